"""`apply`: data with what was decided done to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from datassay.checks import DataError
from datassay.data.dataset import Dataset
from datassay.decisions.records import Settled, read_decisions, settled


def apply(data: Dataset, decisions: pd.DataFrame | str | Path) -> Dataset:
    """The rows with the decisions done: labels replaced, rows dropped; validation rows stay.

    Rows that were kept, that nobody was sure of, about which people disagree, or that nobody looked at stay as they are.

    Parameters
    ----------
    data
        n rows.
    decisions
        A frame or a CSV file: ``id``, ``action`` ("keep", "relabel", "drop", "unsure"), ``new_label`` for rows that are relabelled;
        where they are there, ``given_label`` and ``data`` (the hash) must be those of the data, ``who`` is the person who decided.

    Raises
    ------
    DataError
        The decisions are of other data, an action or a label is none, or too few rows would be left.

    Examples
    --------
    >>> import pandas as pd, datassay as da
    >>> X = [[0., 1.], [1., 0.], [1., .1], [.1, 1.], [.2, 1.]]
    >>> data = da.Dataset(X, ["cat", "dog", "cat", "cat", "dog"], ids=list("abcde"))
    >>> better = da.apply(data, pd.DataFrame({"id": ["c", "e"], "action": ["relabel", "drop"], "new_label": ["dog", ""]}))
    >>> better.ids.tolist(), better.y.tolist()
    (['a', 'b', 'c', 'd'], ['cat', 'dog', 'dog', 'cat'])
    """
    if not isinstance(data, Dataset):
        raise DataError(
            f"apply needs a Dataset, got {type(data).__name__}: make one with da.Dataset(X, y) or da.read(path)."
        )
    if isinstance(decisions, str | Path):
        decisions = read_decisions(decisions)
    if not isinstance(decisions, pd.DataFrame):
        raise DataError(f"apply needs decisions as a frame or a file, got {type(decisions).__name__}.")
    return done(data, settled(decisions, data))


def done(data: Dataset, decided: Settled) -> Dataset:
    """The rows as `apply` returns them."""
    relabelled = decided.action == "relabel"
    stays = decided.action != "drop"
    if not stays.any():
        raise DataError(f"apply: the decisions drop all {len(data)} rows.")
    out = data
    if relabelled.any():
        y = data.y.copy()
        new = decided.code[relabelled]
        y[relabelled] = new if data.task == "regression" else data.labels_of(new)
        out = data.with_labels(y)
    if not stays.all():
        out = out.take(np.flatnonzero(stays))
    return out
