"""CRAIG (Mirzasoleiman, Bilmes & Leskovec, ICML 2020): so few rows that their gradients, with weights, stand for those of all.

    S = argmax_{|S| = k} sum_i max_{j in S} (d_max - d_ij),   d_ij = |(p_i - y_i) - (p_j - y_j)|,   in each class by itself

p_i: class probabilities of a network after ``epochs``; y_i: one-hot; p_i - y_i is the gradient in the logits, which bounds how far
the gradients of two rows are apart. Lazy greedy, within (1 - 1/e) of the best S. A chosen row j weighs gamma_j, the number of rows
that are nearest to it (of equally near ones the earliest chosen): the weights of a class add up to its rows.

The paper chooses sets and has no value for a row. Here: every row has a representative, its nearest chosen row m(i), and in the
coreset's gradient it is replaced by it. score_i = -|p_m(i) - y_m(i)|: low where a row stands for it at which the network is far
from the label. The share of the class with the same representative, gamma_m(i) / n_c, is weak for two classes, where the large crowd of
typical rows is broken up into small groups (docs/methods/craig.md has both).

Differs from the paper: chosen once, early in a training on all rows, not again and again while training on S.
"""

from __future__ import annotations

import time
from typing import Annotated, Unpack

import numpy as np

from datassay.checks import Call, Number
from datassay.data.dataset import Dataset
from datassay.engines.facility import locate
from datassay.engines.training import outputs
from datassay.methods.definition import Finding, network_method
from datassay.networks.problem import Model, problem
from datassay.networks.recipes import small_steps
from datassay.networks.runs import One, OneTraining, chosen, options_of, run_all


@network_method("craig")
def craig(
    call: Call,
    data: Dataset,
    model: Model | None = None,
    *,
    fraction: Annotated[float, Number(above=0, most=1)] = 0.1,
    **shared: Unpack[OneTraining],
) -> Finding:
    """A weighted coreset of each class, and what stands for each row in it.

    Parameters
    ----------
    data
        n rows in classes.
    fraction
        Of each class is chosen, rounded, and one row at least.
    epochs, lr
        Of the training on the rows, after which the coreset is chosen, by SGD without momentum and weight decay. None: 10 epochs at 0.01
        for tables, 8 at 0.05 for images.

    Returns
    -------
    Values
        scores (n,), high = worth keeping: minus the length of the representative's gradient in the logits. Columns (n,):
        ``craig_weight``, gamma, 0 for a row that is not chosen; ``craig_order``, place in the choice within the class from 0 on, -1
        for a row that is not chosen; ``representative``, position of the row that stands for this one; ``distance`` to it; ``share``
        of the class for which it stands. ``stats``: ``chosen``, how many rows of each class.
        Suggested label: what the network says of the row. Flagged: the network says another label of the representative.

    Examples
    --------
    >>> import numpy as np, datassay as da
    >>> rng = np.random.default_rng(0)
    >>> X = np.r_[rng.normal(2, 1, (30, 3)), rng.normal(-2, 1, (30, 3))]
    >>> y = np.repeat(["a", "b"], 30); y[3] = "b"                      # one wrong label
    >>> values = da.value(da.Dataset(X, y), method="craig", fraction=0.1)
    >>> values.suspects(1)[["id", "given_label", "suggested_label"]]
       id given_label suggested_label
    3   3           b               a
    >>> int(values.columns["craig_weight"].sum()), values.stats["chosen"]
    (60, {'a': 3, 'b': 3})
    """
    p = problem(data, model, shared["device"], "craig")
    used = chosen(shared, small_steps(p, tables=10, images=8), len(data))
    options = options_of(call, used)
    start = time.perf_counter()
    (predictions,) = run_all(_predict, call, p, used, options)
    trained = time.perf_counter()
    n, codes = len(data), data.codes
    weight, order, representative = np.zeros(n), np.full(n, -1), np.zeros(n, np.int64)
    distance, share = np.zeros(n), np.zeros(n)
    sizes = {}
    for c, label in enumerate(data.classes):
        rows = np.flatnonzero(codes == c)
        k = max(1, round(fraction * len(rows)))
        facilities = locate(predictions[rows], k)  # y is the same for all, and falls out of the distances
        gamma = np.bincount(facilities.nearest, minlength=k)
        weight[rows[facilities.chosen]], order[rows[facilities.chosen]] = gamma, np.arange(k)
        representative[rows], distance[rows] = rows[facilities.chosen[facilities.nearest]], facilities.distance
        share[rows] = gamma[facilities.nearest] / len(rows)
        sizes[str(label)] = k
    of_label = predictions[np.arange(n), codes]
    length = np.sqrt((predictions**2).sum(1) - of_label**2 + (1 - of_label) ** 2)
    stats = {
        "flag_rule": "the network says another class of the row's representative",
        "chosen": sizes,
        "seconds_training": trained - start,
        "device": p.device,
    }
    columns = {"craig_weight": weight, "craig_order": order, "representative": representative}
    columns |= {"distance": distance, "share": share}
    scores, probabilities = -length[representative], predictions.argmax(1)
    return Finding(scores, probabilities[representative] != codes, columns, p.suggested(predictions), stats, options)


def _predict(one: One) -> np.ndarray:
    """(n, classes) probabilities after the training."""
    p, x = one.p, one.p.x
    predictions: np.ndarray = p.probabilities(outputs(one.start(x, p.y).through(one.tick), x).double()).cpu().numpy()
    return predictions
