"""Random scores: the floor of every comparison. What a method finds counts from here.

    random_i uniform on [0, 1)             from the seed and the row's id alone: the same wherever the row stands, whatever rows there are

AUC .5, average precision the share of wrong rows, in expectation. No row is flagged and no label suggested but the given one.
"""

from __future__ import annotations

import hashlib

import numpy as np

from datassay.checks import Seed
from datassay.data.dataset import Dataset
from datassay.methods.definition import Finding, method


@method("random")
def random(data: Dataset, *, seed: Seed = 0) -> Finding:
    """A score that knows nothing, to compare others with.

    Parameters
    ----------
    data
        n rows.

    Returns
    -------
    Values
        scores = the column ``random`` (n,), from 0 to 1. Nothing is flagged.

    Examples
    --------
    >>> import numpy as np, datassay as da
    >>> data = da.Dataset(np.eye(4), ["a", "a", "b", "b"])
    >>> one, other = (da.value(rows, method="random").scores for rows in (data, data.take([2, 3, 0, 1])))
    >>> one.round(2).tolist(), other.round(2).tolist()
    ([0.64, 0.48, 0.39, 0.95], [0.39, 0.95, 0.64, 0.48])
    """
    drawn = [hashlib.blake2b(f"{seed} {name!r}".encode(), digest_size=8).digest() for name in data.ids.tolist()]
    scores = np.array([(int.from_bytes(d) >> 11) / 2**53 for d in drawn])
    stats = {"flag_rule": "none: random scores say nothing"}
    flagged = np.zeros(len(data), bool)
    columns, options = {"random": scores.copy()}, {"seed": int(seed)}
    return Finding(scores, flagged, columns, data.y.copy(), stats, options)
