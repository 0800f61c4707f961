"""A noise model of labels on out-of-sample predictions: which labels are wrong, and between which two numbers their count lies.

    p_i = softmax(s L_i),   q_i = sum_c p_ic T_{c, y_i};   score = 1 - probability that the label is wrong; see engines.noise_model

L: log-probabilities of any model that has not seen the row, for example a network's that is there already (``probabilities``); or those
of five folds. T after Natarajan et al. (NeurIPS 2013) and Patrini et al. (CVPR 2017), s after Guo et al. (ICML 2017); that the count is
said as two bounds is this project's: where classes overlap, predictions don't tell wrong labels from right ones.
"""

from __future__ import annotations

from typing import Annotated, Any, Unpack

import numpy as np

from datassay.checks import Count, Whole
from datassay.data.dataset import Dataset
from datassay.engines import noise_model as model_of_noise
from datassay.engines.margins import confidences
from datassay.methods.definition import SUBSETS, Finding, method
from datassay.subsets.held_out import class_probabilities
from datassay.subsets.study import Trained

NAME = "noise-model"
TOO_GOOD = 0.003  # share of rows of which another class is predicted, below which predictions are said to be in-sample


@method(NAME, SUBSETS)
def noise_model(
    data: Dataset,
    model: Any = None,
    *,
    probabilities: Any = None,
    folds: Annotated[int, Whole(2)] = 5,
    repeats: Count = 1,
    **shared: Unpack[Trained],
) -> Finding:
    """Probability that each label is right, by a noise model on out-of-sample predictions.

    Parameters
    ----------
    data
        n rows of K classes.
    model
        Of which out-of-fold predictions are taken where there are no probabilities. None: logistic regression.
    probabilities
        (n, K) out-of-sample probabilities of any model, in the order of ``data.classes``; or a DataFrame with a column for each class,
        named like it (and, if it is not in the order of the rows, their ``id``), which may have classes that no row has; or a file with
        such, Parquet, CSV or npy.
    folds, repeats
        Folds of a partition; partitions, whose probabilities are averaged.

    Returns
    -------
    Values
        scores (n,): 1 - ``probability_wrong``, high = worth keeping. Columns: ``probability_wrong``, between ``probability_wrong_least``
        (where classes overlap, labels are right unless noise made them) and ``probability_wrong_most`` (where classes overlap, labels
        are drawn anew), and ``self_confidence``. ``stats["wrong_labels"]``: counts ``low``, ``high``, ``likely`` (flagged rows), and
        ``told`` (the bounds are near to each other). Suggested label: the likeliest class. Flagged: most likely wrong.

    Examples
    --------
    >>> import numpy as np, datassay as da
    >>> p = np.repeat([[0.95, 0.05], [0.1, 0.9]], 50, axis=0)
    >>> data = da.Dataset(np.eye(100), ["a"] * 49 + ["b"] * 51)        # the fiftieth is more likely an "a"
    >>> values = da.value(data, method="noise-model", probabilities=p)
    >>> values.flagged.nonzero()[0].tolist(), values.stats["wrong_labels"]["likely"]
    ([49], 1)
    """
    p, classes, stats, options = class_probabilities(NAME, data, model, probabilities, folds, repeats, shared)
    other = float(np.mean(p.argmax(1) != data.codes))
    if probabilities is not None and other < TOO_GOOD and len(data) >= 200:
        stats["warning"] = (
            f"the probabilities prefer another class than the given label in {other:.1%} of the rows alone, as those of a model do "
            "that was trained on these rows: take out-of-sample ones (cross_val_predict(..., method='predict_proba'))"
        )
    fitted = model_of_noise.of_probabilities(p, data.codes)
    likeliest = np.where(fitted.flagged | (p.max(1) > p[np.arange(len(p)), data.codes]), p.argmax(1), data.codes)
    suggested = (
        data.labels_of(likeliest) if len(classes) == len(data.classes) else np.array(classes, dtype=object)[likeliest]
    )
    columns = fitted.columns() | {"self_confidence": confidences(p, data.codes)["self_confidence"]}
    stats |= {"wrong_labels": fitted.wrong_labels(), "flag_rule": model_of_noise.RULE}
    return Finding(1 - fitted.probability, fitted.flagged, columns, suggested, stats, options)
