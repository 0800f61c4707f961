"""CG-score (Ki, Choi & Chung, ICLR 2023): the label energy that leaves when row i leaves.

    CG_i = y'H^-1 y - y_-i' H_-i^-1 y_-i = z_i^2 / d_i,      z = H^-1 y,  d = diag(H^-1)                     (eqs. 2, 6)
         = d_i (y_i - f_i)^2,      f_i = y_i - z_i / d_i: the prediction of row i from all the others
         = a^2 + 2ab + b^2 = d_i f_i^2 - 2 d_i y_i f_i + d_i y_i^2;      2ab is the "partial CG-score"
    H (n, n): arc-cosine kernel of the rows scaled to unit length (engines/gram.py); y: +1 for a class, -1 for the rest

H knows no labels, so one Cholesky factorisation serves all classes at once. Differs from the paper by default, each for
what it finds (docs/methods/cg-score.md has the measurements): a ridge on H, chosen by leave-one-out likelihood; the sum
over all one-vs-rest columns; a bias where the likelihood asks for one; validation rows, where given, as trusted rows.
``ridge=0, classes="own"`` is the paper's score, ``negatives=r`` its stochastic scheme. Where n is too large for n^3,
``approx`` names what replaces H: a low-rank matrix with exact blocks (engines/low_rank.py), or each row's neighbours
(engines/local.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from datassay.checks import Count, DataError, FromZero, Jobs, Positive, Seed
from datassay.costs import cg_score as cg_score_costs
from datassay.costs.cg_score import Way, factor_bytes, on_card, scheme_memory, way
from datassay.data.dataset import Dataset
from datassay.data.encoding import plain
from datassay.engines import gram, machine
from datassay.engines.class_draws import draw, over_draws
from datassay.engines.gp_loo import Choice, SingularGramError, Trusted, Work, choose, energy_terms, leave_one_out
from datassay.engines.margins import margin
from datassay.engines.panels import OtherRunError
from datassay.engines.progress import progress_bar
from datassay.engines.robust import limit, top
from datassay.methods.cg_score_approx import approximate
from datassay.methods.definition import Finding, method

SAMPLE = 1000  # rows on which ridge, bias and trusted are chosen, so that the choice costs the same for any n
TRUSTED_RIDGES = (0.01, 0.1, 1.0, 10.0)  # tried for the trusted rows: clean labels need little, overlapping classes more


@method("cg-score")
def cg_score(
    data: Dataset,
    *,
    ridge: FromZero | Literal["auto"] = "auto",
    bias: bool | Literal["auto"] = "auto",
    classes: Literal["sum", "own"] | None = None,
    negatives: Positive | None = None,
    repeats: Count = 10,
    inverse: bool = True,
    trusted: bool | Literal["auto"] = "auto",
    flag: Literal["loo", "sign"] = "loo",
    approx: Literal["auto", "exact", "landmarks", "neighbours"] | None = "auto",
    landmarks: Count = 4096,
    choice: Literal["uniform", "kmeans", "leverage"] = "uniform",
    rank: Count | Literal["auto"] = "auto",
    block: Count | Literal["auto"] = "auto",
    k: Count = 64,
    checkpoint: str | Path | None = None,
    dtype: Literal["auto", "float64", "float32"] = "auto",
    device: str = "auto",
    seed: Seed = 0,
    n_jobs: Jobs | None = None,
    progress: bool = True,
) -> Finding:
    """CG-score of every row: no model is trained, one kernel matrix is factorised.

    Parameters
    ----------
    data
        n rows; classification, or regression: labels standardised, and the score is the squared leave-one-out residual of
        a Gaussian process in units of its variance.
    ridge
        Added to H's diagonal (1/2); the paper has 0. "auto": from 0.01 to 100, of greatest mean leave-one-out log likelihood
        (scale profiled out) on the rows, or on a random 1000 if there are more: one 1000 x 1000 eigendecomposition, about
        0.25 s, for each bias and each of four ridges of the trusted rows that is tried, whatever n is. Approximations of more than
        30,000 rows find it again on 8,000 rows in blocks of neighbours.
    bias
        Append a constant 1 to every row before it is scaled to unit length. "auto": by the same likelihood; none at ridge 0.
    classes
        "sum" over all one-vs-rest columns (default), or the row's "own" class as in the paper (default with negatives).
    negatives, repeats
        The paper's stochastic scheme (appendix A.2): for each class all its n_c rows and a random ``negatives * n_c`` others,
        ``repeats`` times, averaged. Memory and time then follow n_c (1 + negatives) in place of n.
    inverse
        False gives CG' (section 3.2), with H in place of its inverse: 2 y_i (Hy)_i - 1/2, **high = learned fast**.
    trusted
        Put the validation rows into the same matrix, with a ridge of their own chosen by the likelihood of the training rows;
        they are not valued, they sharpen every prediction. "auto": where there are some and that likelihood rises; never at
        ridge 0.
    flag
        "loo": the class predicted from all other rows is another one. "sign": the paper's rule, partial CG-score > 0.
        Regression knows "loo" only: the residual is beyond 3 robust standard deviations.
    approx
        "exact" (or None): one factorisation. "landmarks": low rank between blocks of ``block`` rows, exact within them; "neighbours":
        each row against its ``k`` nearest; both in time and memory linear in n, and both need a ridge. "auto": exact up to
        30,000 rows where memory allows, else landmarks; ``stats["way"]`` says which and why.
    landmarks, choice, rank, block
        Rows (M) that span the low-rank part, drawn "uniform", as "kmeans" centres or by "leverage"; its rank after they are cut down
        to their leading directions; rows exact among each other (1: low rank plus diagonal). "auto": rank 2048 and blocks of 6000 up
        to 100,000 rows, 1024 and 2000 above.
    k
        Neighbours of a row.
    checkpoint
        A folder for the finished panels of the exact factor: a run that was stopped goes on from there to the same bits, and where
        memory is short they are read back from it. They are deleted when the run is done; a few small files stay, with which the
        same call ends at once.
    dtype
        "float32" halves time and memory. "auto": float64 up to 20,000 rows, then float32. Approximations are in float32.

    Returns
    -------
    Values
        scores = -CG (or +CG'). Columns, (n,) each: ``cg_score`` = ``a2`` + ``cross_term`` + ``b2``, summed over the columns
        that ``classes`` names, high = suspicious; ``loo_margin``, the leave-one-out prediction for the given class minus that
        for the best other (regression: ``loo_prediction`` and ``loo_residual`` in the labels' units). Rows that point in the
        same direction, at ridge 0: with one label, cg_score 0; with labels in conflict, cg_score infinite, as the
        limit of a vanishing ridge has it, and scores finite, below all others.

    Examples
    --------
    >>> import numpy as np, datassay as da
    >>> from datassay.methods.cg_score import cg_score
    >>> rng = np.random.default_rng(0)
    >>> X = np.r_[rng.normal(2, 1, (20, 3)), rng.normal(-2, 1, (20, 3))]
    >>> y = np.repeat(["a", "b"], 20); y[3] = "b"                      # one wrong label
    >>> cg_score(da.Dataset(X, y)).suspects(1)[["id", "given_label", "suggested_label"]]
       id given_label suggested_label
    3   3           b               a
    """
    options = {name: value for name, value in locals().items() if name not in ("data", "start")}
    options["classes"] = classes = ("sum" if negatives is None else "own") if classes is None else classes
    options["approx"] = approx = "exact" if approx is None else approx
    options["checkpoint"] = None if checkpoint is None else str(checkpoint)
    _check(data, options)
    options = {name: plain(value) for name, value in options.items() if name not in ("n_jobs", "progress", "checkpoint")}
    n, own = len(data), np.zeros(len(data), np.int64) if data.task == "regression" else data.codes
    Y, known = _targets(data)
    known = None if trusted is False else known
    sizes = [n] if negatives is None else [min(n, c + round(negatives * c)) for c in np.bincount(own)]
    m = 0 if known is None else len(known.Y)
    if not inverse or checkpoint is not None or approx in ("landmarks", "neighbours"):
        device = "cpu" if device == "auto" else device
    asked = device
    try:
        device = machine.pick_device(device, worthwhile=int(max(sizes)) >= 2000) if inverse else "cpu"
    except ValueError as error:
        raise DataError(f"cg_score: {error}") from None
    if negatives is not None or not inverse:
        how = Way("exact", "float64" if dtype == "auto" else dtype, False, 0, 0, "")
        if device == "cpu" and inverse:
            scheme_memory(int(max(sizes)), m, machine.workers(n_jobs), how.dtype)
    elif device != "cpu" and (card := on_card(n + m, data.X.shape[1], dtype, device, required=asked != "auto")):
        how = card
    else:
        device = "cpu"
        how = way(n, m, data.X.shape[1], Y.shape[1], approx, dtype, rank, block, ridge == 0, checkpoint is not None)
    for what, X in [("row", data.X), ("validation row", None if known is None else known.X)]:
        if X is not None and bias is not True and len(zero := gram.zero_rows(X)):
            name = f" (id {plain(data.ids[zero[0]])!r})" if what == "row" else ""
            raise DataError(
                f"{what} {zero[0]}{name} is zero in every column, as are {len(zero)} in all, so it has no direction to compare: "
                "drop such rows, or pass bias=True, which gives every row one (a standardised column is zero at its mean)."
            )
    best = _choose(data, Y, known, ridge, bias, trusted, seed) if inverse else Choice(0.0, bias is True, None, -np.inf)
    known = None if known is None or best.trusted_ridge is None else known._replace(ridge=best.trusted_ridge)
    same = gram.equal_rows(data.X, bias=best.bias)
    stats: dict[str, Any] = {"bias": best.bias, "device": device}
    found: dict[str, Any] = {}
    if inverse:
        title = f"{max(sizes)} x {max(sizes)} {how.dtype}" if how.approx == "exact" else f"{n} rows, {how.approx}"
        with progress_bar(f"cg-score, {title}", 1.0, progress=progress, smoothing=0) as bar:
            try:
                if how.approx != "exact":
                    tune = ridge == "auto" and n > cg_score_costs.EXACT
                    left, found = approximate(
                        data.X, Y, best.ridge, known, how, bias=best.bias, landmarks=landmarks, choice=choice, k=k, tune=tune,
                        seed=seed, n_jobs=n_jobs, report=bar.update,
                    )  # fmt: skip
                    terms, endless, residual = energy_terms(Y, left), left.endless, None
                else:
                    U = gram.unit_rows(data.X, bias=best.bias, dtype=how.dtype)
                    if known is not None:
                        known = known._replace(X=gram.unit_rows(known.X, bias=best.bias, dtype=how.dtype))
                    if negatives is None:
                        work = None
                        if checkpoint is not None:
                            run = f"{data.hash} {best.ridge} {best.bias} {best.trusted_ridge}"
                            work = Work(Path(checkpoint), not how.on_disk, run)
                        left = leave_one_out(U, Y, best.ridge, same, known, device=device, work=work, report=bar.update)
                        terms, endless, residual = energy_terms(Y, left), left.endless, left.residual
                    else:
                        draws = draw(own, negatives, repeats, seed)
                        terms, endless, residual = over_draws(
                            draws, U, Y, best.ridge, same, known, device=device, n_jobs=n_jobs, report=bar.update
                        )
            except SingularGramError as error:
                raise DataError(
                    f"the kernel matrix has no inverse in {how.dtype} at ridge {best.ridge:g} (it failed at its row {error.row}): "
                    "some rows are almost equal; pass ridge='auto', or a small ridge such as 1e-6"
                    f"{', or float64' * (how.dtype == 'float32')}."
                ) from None
            except OtherRunError as error:
                raise DataError(f"checkpoint: {error}: give another folder, or delete this one.") from None
        stats |= {
            "way": how.why,
            "approx": None if how.approx == "exact" else how.approx,
            "dtype": how.dtype,
            "ridge": best.ridge,
            "loo_log_likelihood": best.log_likelihood if np.isfinite(best.log_likelihood) else None,
            "trusted_rows": 0 if known is None else len(known.Y),
            "trusted_ridge": best.trusted_ridge,
            "residual": residual,
            **found,
        }
        if how.approx == "exact":
            stats["matrix_bytes"] = int(factor_bytes(int(max(sizes)), how.dtype))
    else:
        U = gram.unit_rows(data.X, bias=best.bias, dtype=how.dtype)
        terms, endless = _cg_prime(U, Y), np.zeros(n, bool)
    f = terms.pop("f")
    columns = {name: t.sum(axis=1) if classes == "sum" else t[np.arange(n), own] for name, t in terms.items()}
    scores = -columns["cg_score"] if inverse else columns["cg_prime"].copy()
    if endless.any():
        copies = np.bincount(same)[same][endless]
        dissent = ((Y - f) ** 2).sum(axis=1)[endless] * (copies - 1) / copies  # by this much over the ridge CG grows
        scores[endless] = scores[~endless].min(initial=0.0) - 1 - dissent / dissent.max()
        columns["cg_score"][endless] = np.inf
    conflicts, outvoted = _conflicts(same, own)
    stats["equal_rows"] = int(np.sum(np.bincount(same, minlength=n)[same] > 1))
    stats["conflicting_rows"] = [data.ids[group].tolist() for group in conflicts[:100]]
    if data.task == "regression":
        centre, scale = data.codes.mean(), data.codes.std()
        suggested = f[:, 0] * scale + centre
        columns |= {"loo_prediction": suggested, "loo_residual": data.codes - suggested}
        r = np.sqrt(columns["cg_score"])
        flagged, rule = r > limit(r), "leave-one-out residual beyond 3 robust standard deviations"
    else:
        f = np.where(np.isnan(f), -np.inf, f)  # of a class among whose draws the row never was
        columns["loo_margin"], guess = margin(f, own), top(f, own)
        suggested = data.labels_of(guess)
        if flag == "loo":
            flagged, rule = guess != own, "leave-one-out class differs from the given label"
        elif inverse:
            flagged, rule = terms["cross_term"][np.arange(n), own] > 0, "partial CG-score of the given class > 0"
        else:
            flagged, rule = terms["cg_prime"][np.arange(n), own] < 0.5, "2 y_i (y_-i' g_i) < 0"
        flagged = flagged | outvoted
        commonest = np.bincount(own).max() / n
        if (agree := np.mean(guess == own)) < commonest + 2 * np.sqrt(commonest * (1 - commonest) / n):
            stats["warning"] = (
                f"on these columns the other rows predict a row's label no better than chance ({agree:.0%} agree, the commonest "
                f"label has {commonest:.0%}): the flags mean little here"
            )
    stats |= {"flag_rule": rule}
    return Finding(scores, flagged, columns, suggested, stats, options)


def _cg_prime(U: Any, Y: np.ndarray) -> dict[str, np.ndarray]:
    """2 y_i (Hy)_i - 1/2, a block of rows at a time: no n x n matrix."""
    HY = np.empty_like(Y)
    for rows in gram.blocks(len(Y), 1024):
        H = gram.arc_cosine(U[rows], U)
        H[np.arange(len(H)), np.arange(rows.start, rows.stop)] = 0.5  # exactly, where rounding has it nearly
        HY[rows] = H @ Y
    return {"cg_prime": 2 * Y * HY - 0.5, "f": HY - 0.5 * Y}


def _targets(data: Dataset) -> tuple[np.ndarray, Trusted | None]:
    """(n, k): +1 for a class, -1 for the rest, or the standardised amount; and the validation rows in the same terms."""

    def coded(codes: np.ndarray) -> np.ndarray:
        if data.task == "regression":
            return ((codes - data.codes.mean()) / data.codes.std())[:, None]
        return np.where(codes[:, None] == np.arange(len(data.classes)), 1.0, -1.0)

    if data.codes_val is None:
        return coded(data.codes), None
    return coded(data.codes), Trusted(data.X_val, coded(data.codes_val), TRUSTED_RIDGES[0])


def _choose(data: Dataset, Y: np.ndarray, known: Trusted | None, ridge: Any, bias: Any, trusted: Any, seed: int) -> Choice:
    """Fill in what is "auto" from a sample; at ridge 0, the paper's definition, "auto" is False."""
    lam = None if ridge == "auto" else float(ridge)
    b = (False if lam == 0 else None) if bias == "auto" else bool(bias)
    t = (False if lam == 0 or known is None else None) if trusted == "auto" else bool(trusted)
    if lam is not None and b is not None and t is False:
        return Choice(lam, b, None, -np.inf)
    rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])
    pick = np.sort(rng.permutation(len(Y))[:SAMPLE])
    if known is not None:
        pick_v = np.sort(rng.permutation(len(known.Y))[:SAMPLE])
        known = known._replace(X=known.X[pick_v], Y=known.Y[pick_v])
    return choose(data.X[pick], Y[pick], lam, b, known, t, TRUSTED_RIDGES)


def _conflicts(same: np.ndarray, codes: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Groups of equal rows with different labels, and the rows in them whose label is not the group's strict majority."""
    copied = np.flatnonzero(np.bincount(same, minlength=len(same))[same] > 1)
    order = copied[np.argsort(same[copied], kind="stable")]
    groups = np.split(order, np.flatnonzero(np.diff(same[order])) + 1)
    groups = [g for g in groups if len(g) > 1 and len(np.unique(codes[g])) > 1]
    outvoted = np.zeros(len(same), bool)
    for g in groups:
        outvoted[g] = [2 * np.sum(codes[g] == c) <= len(g) for c in codes[g]]
    return groups, outvoted


def _check(data: Dataset, options: dict[str, Any]) -> None:
    """Every option against what it may be; `options` are those of `cg_score` by name."""

    def need(holds: Any, what: str) -> None:
        if not holds:
            raise DataError(f"cg-score: {what}.")

    r = options["negatives"]
    need(
        options["trusted"] is not True or data.X_val is not None, "trusted=True needs validation rows: give X_val and y_val"
    )
    if data.task == "regression":
        need(
            r is None and options["inverse"] and options["flag"] == "loo",
            "negatives, inverse=False and flag='sign' are about classes, and this is regression",
        )
    if r is not None:
        need(
            round(r * np.bincount(data.codes).min()) >= 1, f"negatives={r} draws no row beside the smallest class: give more"
        )
        need(options["classes"] == "own", "negatives needs classes='own': the scheme scores a row in its own class")
        need(options["inverse"], "negatives needs inverse=True: there is nothing to draw for CG'")
    if options["approx"] in ("landmarks", "neighbours"):
        need(r is None and options["inverse"], f"approx={options['approx']!r} goes with neither negatives nor inverse=False")
        need(
            options["ridge"] == "auto" or options["ridge"] > 0,
            f"approx={options['approx']!r} needs a ridge: 'auto', or a number > 0",
        )
    if options["checkpoint"] is not None:
        need(
            r is None and options["inverse"] and options["approx"] in ("auto", "exact"),
            "checkpoint is for the exact score: it goes with neither approx, negatives nor inverse=False",
        )
    if options["device"] not in ("auto", "cpu") and isinstance(options["device"], str):
        need(
            options["checkpoint"] is None and options["approx"] in ("auto", "exact"),
            f"checkpoint and approximations run on the CPU: leave device={options['device']!r} out",
        )
