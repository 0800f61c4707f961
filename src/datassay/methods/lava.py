"""LAVA (Just et al., ICLR 2023, arXiv 2305.00054): what mass on a row does to the distance between training and validation rows.

    OT = min over plans p >= 0 of <p, C> + eps KL,   rows sum to 1 / n, columns to 1 / m
    C_ij = |x_i - x_j'|^2 / 2 + class_weight W(y_i, y_j'),   W(a, b): exact transport between the features of classes a and b

    calibrated_gradient_i = f_i - mean of f_j over j != i        f (n,): dual potential of OT = its derivative in the rows' masses

With ``unbalanced`` u, as by default, the sums may differ from 1 / n and 1 / m, at the price u x median cost x KL (Sejourne et al. 2019),
and the calibrated gradient is made of the derivative of that.

The distance between labels (OTDD, Alvarez-Melis & Fusi 2020) is that between what the rows of these labels look like. A high gradient =
mass moved to the row from all others takes the training rows farther from the validation rows: it lies apart from them, or among rows
whose label is far from its own. No model is trained.

Differs from the paper: mass may be lost, by which more wrong labels are found. From the released code: eps is a share
of the median cost instead of .1, whatever the unit of the features; classes of many rows are drawn from for W; it ends when the transport
has converged, where the released code takes one step at each of a few falling eps and stops.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
from numpy import ndarray

from datassay.checks import Count, FromZero, Number, Positive, Seed, Share
from datassay.data.dataset import Dataset
from datassay.engines import transport
from datassay.engines.progress import progress_bar
from datassay.engines.transport import Cost
from datassay.engines.two_means import suspicious
from datassay.methods.definition import Finding, method

EPS = 0.05  # of the median cost


@method("lava")
def lava(
    data: Dataset,
    *,
    class_weight: FromZero = 1.0,
    eps: Positive | None = None,
    debias: bool = False,
    unbalanced: Annotated[float, Number(above=0, below=1e9)] | None = 1.0,
    class_rows: Count = 500,
    tolerance: Share = 1e-5,
    flag: Share | None = None,
    seed: Seed = 0,
    progress: bool = True,
) -> Finding:
    """Calibrated gradients of the transport distance between training and validation rows.

    Parameters
    ----------
    data
        n rows of c classes and m validation rows with the right labels.
    class_weight
        What the distance between labels counts beside that between features; 0: labels count for nothing.
    eps
        Blur of the transport, in half squared distances. None: a twentieth of the median cost.
    debias
        Take the training rows' own potential away. It needs n^2 costs, again and again.
    unbalanced
        Mass may also be made and lost, at this share of the median cost times the Kullback-Leibler divergence of the masses, so that a
        row which nothing near resembles need not be matched. Rows far beyond that share then have nearly the same value. None: all mass
        is moved, as in the paper.
    class_rows
        So many rows of a class, drawn anew for training and validation rows, stand for it in the distances between labels.
    tolerance
        Share of the mass that may be in the wrong place at last; ``unbalanced``: the last change of a potential, by eps.
    flag
        None: the lower of the two groups into which 2-means splits the scores. A number: this share of the rows, the lowest.

    Returns
    -------
    Values
        scores (n,) = minus the column ``calibrated_gradient``, high = worth keeping; in half squared distances; their sum is 0.
        Suggested label: that of the validation rows around it, each of weight exp(-half squared distance / eps).
        ``stats``: ``distance``, ``class_distances`` (classes x classes, of training and validation rows), ``eps``, ``steps``,
        ``error``.

    Examples
    --------
    >>> import datassay as da
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> y[7] = 1                                                       # a wrong label
    >>> values = da.value(da.Dataset(X[:300], y[:300], X[300:600], y[300:600]), method="lava")
    >>> 7 in list(values.suspects(10)["id"]), abs(float(values.scores.sum())) < 1e-9
    (True, True)
    """
    x, x_val = transport.centred(data.X, data.X_val, "lava")
    codes, codes_val = data.codes, data.codes_val
    assert codes_val is not None
    n, m, c = len(x), len(x_val), len(data.classes)
    with progress_bar(f"lava, {n} rows", c * c + 1, progress=progress, remaining=False) as bar:
        rng = np.random.default_rng(seed)
        blocks = [_of_classes(z, k, c, class_rows, rng) for z, k in ((x, codes), (x_val, codes_val))]
        W = np.zeros((c, c))
        if class_weight:
            W = class_distances(blocks[0], blocks[1], bar.update)
        cost = Cost(x, x_val, (class_weight * W).astype(x.dtype), codes, codes_val)
        sample = cost[np.linspace(0, n - 1, min(n, 1000)).astype(int)]
        unit = max(float(np.median(sample)), float(sample.mean()) / 100, 1e-12 / EPS)  # one row far off is no unit
        blur, reach = eps or EPS * unit, None if unbalanced is None else float(np.sqrt(unbalanced * unit))
        a, b = np.full(n, 1 / n, x.dtype), np.full(m, 1 / m, x.dtype)
        begin = own_a = own_b = None
        if debias:  # where both sides are the same this is the solution, and near it where they are alike
            between = class_distances(blocks[1], blocks[1]) if class_weight else W
            among = Cost(x_val, x_val, (class_weight * between).astype(x.dtype), codes_val, codes_val)
            begin = own_b = transport.own(among.held(), b, blur, reach=reach, tol=tolerance).g
        plan = transport.solve(cost.held(), a, b, blur, reach=reach, start=begin, tol=tolerance, steps=5000)
        error = plan.error
        if debias:
            inner = class_distances(blocks[0], blocks[0]) if class_weight else W
            own_cost = Cost(x, x, (class_weight * inner).astype(x.dtype), codes, codes)
            own = transport.own(own_cost.held(), a, blur, reach=reach, tol=tolerance)
            own_a, error = own.f, max(error, own.error)
        if debias:
            own_a, own_b = np.asarray(own_a, float), np.asarray(own_b, float)
        f, g = np.asarray(plan.f, float), np.asarray(plan.g, float)
        at = transport.joined(a.astype(float), b.astype(float), f, g, own_a, own_b, blur, reach)
        suggested = data.labels_of(_around(Cost(x, x_val), codes_val, c, blur))
        bar.update(1)
    gradient = calibrated(np.asarray(at.da))
    scores = -gradient
    low, rule = suspicious(scores, flag)
    stats: dict[str, Any] = {
        "flag_rule": rule,
        "distance": float(at.value),
        "class_distances": W.tolist(),
        "eps": blur,
        "steps": plan.steps,
        "error": error,
    }
    if error > tolerance:
        place = "of the mass in the wrong place" if reach is None else "of eps between the last two steps"
        stats["warning"] = (
            f"the transport stopped after {plan.steps} steps with {error:.2g} {place}: the scores are not exact; raise eps"
        )
    return Finding(scores, low, {"calibrated_gradient": gradient}, suggested, stats)


def calibrated(f: ndarray) -> ndarray:
    """(n,) f_i less the mean of all others.

    >>> calibrated(np.array([1.0, 2.0, 6.0]))
    array([-3. , -1.5,  4.5])
    """
    n = len(f)
    return (f - f.mean()) * (n / max(1, n - 1))


def class_distances(of: list[ndarray], to: list[ndarray], tick: Callable[[int], Any] | None = None) -> ndarray:
    """(c, c) exact transport between the rows of each class and of each class; where a class has no row, the largest distance.

    >>> class_distances([np.zeros((2, 1)), np.ones((1, 1))], [np.array([[3.0]]), np.array([[1.0], [1.0]])])
    array([[4.5, 0.5],
           [2. , 0. ]])
    """
    ot = _pot()
    W = np.full((len(of), len(to)), np.nan)
    for j, rows in enumerate(of):
        for k, others in enumerate(to):
            if len(rows) and len(others):
                C = transport.half_squared_distances(rows.astype(float), others.astype(float))
                W[j, k] = ot.emd2(
                    np.full(len(rows), 1 / len(rows)), np.full(len(others), 1 / len(others)), C, numItermax=10_000_000
                )
            if tick is not None:
                tick(1)
    return np.where(np.isnan(W), np.nanmax(W), W)


def _of_classes(x: ndarray, codes: ndarray, classes: int, most: int, rng: np.random.Generator) -> list[ndarray]:
    rows = (np.flatnonzero(codes == k) for k in range(classes))
    return [x[np.sort(rng.permutation(of)[:most])] for of in rows]


def _around(features: Cost, codes_val: ndarray, classes: int, eps: float) -> ndarray:
    """(n,) class of which most validation rows are near."""
    n, m = features.shape
    order = np.argsort(codes_val, kind="stable")
    edges = np.searchsorted(codes_val[order], np.arange(classes + 1))
    best = np.zeros(n, int)
    step = max(1, transport.BLOCK // m)
    for rows in (slice(i, i + step) for i in range(0, n, step)):
        z = features[rows][:, order] / -eps
        z -= z.max(1, keepdims=True)
        share = np.cumsum(np.exp(z), axis=1, dtype=float)
        share = np.concatenate([np.zeros((len(share), 1)), share], 1)[:, edges]
        best[rows] = np.diff(share, axis=1).argmax(1)
    return best


def _pot():  # type: ignore[no-untyped-def]  # a module
    try:
        import ot
    except ImportError as error:
        raise ImportError("lava needs POT for exact transport between classes: pip install 'datassay[ot]'") from error
    return ot
