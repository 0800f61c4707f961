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

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from datassay.checks import Count, DataError, FromZero, Jobs, Positive, Seed, Share, refuse
from datassay.costs import cg_score as cg_score_costs
from datassay.costs.cg_score import Way, factor_bytes, on_card, scheme_memory, way
from datassay.data.dataset import Dataset
from datassay.data.encoding import plain
from datassay.engines import gram, machine, noise_model
from datassay.engines.class_draws import Draw, draw, over_draws
from datassay.engines.equal_rows import conflicts
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
    flag: Literal["likely", "loo", "sign", "fdr"] = "likely",
    q: Share = 0.1,
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
        (scale profiled out) on the rows, or on a random 1000 if there are more, from that of 500 of them, on which bias and trusted
        are chosen: the same time for any n. Approximations of more than 30,000 rows find it again on 8,000 rows in blocks of
        neighbours.
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
        "likely": most likely wrong, by a noise model on what the other rows predict (engines.noise_model); regression: by the residual.
        "loo": the class predicted from all other rows is another one. "sign": the paper's rule, partial CG-score > 0.
        In regression "loo" means that the residual is beyond 3 robust standard deviations.
        "fdr": of the flagged rows at most the share ``q`` is expected to be right, by validation rows.
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
    classes = ("sum" if negatives is None else "own") if classes is None else classes
    approx = "exact" if approx is None else approx
    _check(data, ridge, classes, negatives, inverse, trusted, flag, approx, checkpoint, device)
    n, own = len(data), np.zeros(len(data), np.int64) if data.task == "regression" else data.codes
    Y, known = _targets(data)
    known = None if trusted is False else known
    size = n if negatives is None else max(min(n, int(c) + round(negatives * int(c))) for c in np.bincount(own))
    how = _way(
        data, size, 0 if known is None else len(known.Y), Y.shape[1], ridge, negatives, inverse, approx, rank, block, checkpoint,
        dtype, device, n_jobs,
    )  # fmt: skip
    if bias is not True:
        _directions(data, known)
    best = _choose(data, Y, known, ridge, bias, trusted, seed) if inverse else Choice(0.0, bias is True, None, -np.inf)
    known = None if known is None or best.trusted_ridge is None else known._replace(ridge=best.trusted_ridge)
    same = gram.equal_rows(data.X, bias=best.bias)
    stats: dict[str, Any] = {"bias": best.bias, "device": how.device}
    if not inverse:
        U = gram.unit_rows(data.X, bias=best.bias, dtype=how.dtype)
        solved = _Solved(_cg_prime(U, Y), np.zeros(n, bool), {})
    else:
        stats |= _about(how, best, known, size)
        title = f"{size} x {size} {how.dtype}" if how.approx == "exact" else f"{n} rows, {how.approx}"
        with (
            progress_bar(f"cg-score, {title}", 1.0, progress=progress, smoothing=0) as bar,
            _in_one_sentence(how, best.ridge),
        ):
            if how.approx != "exact":
                left, used = approximate(
                    data.X, Y, best.ridge, known, how, bias=best.bias, landmarks=landmarks, choice=choice, k=k,
                    tune=ridge == "auto" and n > cg_score_costs.EXACT, seed=seed, n_jobs=n_jobs, report=bar.update,
                )  # fmt: skip
                solved = _Solved(energy_terms(Y, left), left.unbounded, used | {"residual": None})
            else:
                draws = None if negatives is None else draw(own, negatives, repeats, seed)
                solved = _solve(data, Y, best, known, same, how, draws, checkpoint, n_jobs, bar.update)
    stats |= solved.stats
    terms, f = solved.terms, solved.terms.pop("f")
    columns = {name: t.sum(axis=1) if classes == "sum" else t[np.arange(n), own] for name, t in terms.items()}
    scores = -columns["cg_score"] if inverse else columns["cg_prime"].copy()
    if (unbounded := solved.unbounded).any():
        copies = np.bincount(same)[same][unbounded]
        dissent = ((Y - f) ** 2).sum(axis=1)[unbounded] * (copies - 1) / copies  # by this much over the ridge CG grows
        scores[unbounded] = scores[~unbounded].min(initial=0.0) - 1 - dissent / dissent.max()
        columns["cg_score"][unbounded] = np.inf
    groups, outvoted = conflicts(same, own)
    stats["equal_rows"] = int(np.sum(np.bincount(same, minlength=n)[same] > 1))
    stats["conflicting_rows"] = [data.ids[group].tolist() for group in groups[:100]]
    verdict = _residuals(data, f, columns, flag) if data.task == "regression" else _labels(data, f, terms, flag, seed)
    flagged = verdict.flagged if data.task == "regression" else verdict.flagged | outvoted
    options = {"classes": classes, "approx": approx}
    return Finding(scores, flagged, columns | verdict.columns, verdict.suggested, stats | verdict.stats, options)


class _Solved(NamedTuple):
    """The terms of the scores."""

    terms: dict[str, np.ndarray]  #: (n, k) each
    unbounded: np.ndarray  #: (n,) rows whose score grows without bound as the ridge vanishes
    stats: dict[str, Any]


def _solve(
    data: Dataset,
    Y: np.ndarray,
    best: Choice,
    known: Trusted | None,
    same: np.ndarray,
    how: Way,
    draws: list[Draw] | None,
    checkpoint: str | Path | None,
    n_jobs: int | None,
    report: Callable[[float], Any],
) -> _Solved:
    """Exactly: of one matrix, or in the stochastic scheme of the mean over its draws."""
    U = gram.unit_rows(data.X, bias=best.bias, dtype=how.dtype)
    near = known and known._replace(X=gram.unit_rows(known.X, bias=best.bias, dtype=how.dtype))
    if draws is not None:
        terms, unbounded, residual = over_draws(
            draws, U, Y, best.ridge, same, near, device=how.device, n_jobs=n_jobs, report=report
        )
        return _Solved(terms, unbounded, {"residual": residual})
    run = f"{data.hash} {best.ridge} {best.bias} {best.trusted_ridge}"
    work = None if checkpoint is None else Work(Path(checkpoint), not how.on_disk, run)
    left = leave_one_out(U, Y, best.ridge, same, near, device=how.device, work=work, report=report)
    return _Solved(energy_terms(Y, left), left.unbounded, {"residual": left.residual})


class _Verdict(NamedTuple):
    """Which rows are flagged, and why."""

    flagged: np.ndarray
    columns: dict[str, np.ndarray]
    suggested: np.ndarray
    stats: dict[str, Any]


def _residuals(data: Dataset, f: np.ndarray, columns: dict[str, np.ndarray], flag: str) -> _Verdict:
    """Regression: by the leave-one-out residuals, in their own standard deviations."""
    suggested = f[:, 0] * data.codes.std() + data.codes.mean()
    residual, r = data.codes - suggested, np.sqrt(columns["cg_score"])
    outliers = noise_model.outliers(np.sign(residual) * r)
    flagged, rule = outliers.flagged, noise_model.RULE
    if flag == "loo":
        flagged, rule = r > limit(r), "leave-one-out residual beyond 3 robust standard deviations"
    added = {"loo_prediction": suggested, "loo_residual": residual} | outliers.columns()
    return _Verdict(flagged, added, suggested, {"wrong_labels": outliers.wrong_labels(), "flag_rule": rule})


def _labels(data: Dataset, f: np.ndarray, terms: dict[str, np.ndarray], flag: str, seed: int) -> _Verdict:
    """Classification: by the leave-one-out predictions."""
    own = data.codes
    f = np.where(np.isnan(f), -np.inf, f)  # of a class among whose draws the row never was
    added, guess = {"loo_margin": margin(f, own)}, top(f, own)
    noise = noise_model.fit(f, own, seed=seed)
    flagged, rule = (noise.flagged, noise_model.RULE) if flag == "likely" else _flagged(terms, own, guess, flag)
    stats = {"wrong_labels": noise.wrong_labels(), "flag_rule": rule}
    if warning := _warning(own, guess):
        stats["warning"] = warning
    return _Verdict(flagged, added | noise.columns(), data.labels_of(guess), stats)


def _way(
    data: Dataset, size: int, m: int, c: int, ridge: Any, negatives: float | None, inverse: bool, approx: str, rank: int | str,
    block: int | str, checkpoint: str | Path | None, dtype: str, device: str, n_jobs: int | None,
) -> Way:  # fmt: skip
    """Where and how: on a card or not, exact or not, in which precision. Of ``size`` rows is the largest matrix; m are trusted."""
    if not inverse or checkpoint is not None or approx in ("landmarks", "neighbours"):
        device = "cpu" if device == "auto" else device
    try:
        picked = machine.pick_device(device, worthwhile=size >= 2000) if inverse else "cpu"
    except ValueError as error:
        raise DataError(f"cg-score: {error}") from None
    n, d = data.X.shape
    if negatives is not None or not inverse:
        how = Way("exact", "float64" if dtype == "auto" else dtype, False, 0, 0, "", picked)
        if picked == "cpu" and inverse:
            scheme_memory(size, m, machine.workers(n_jobs), how.dtype)
        return how
    if picked != "cpu" and (card := on_card(n + m, d, dtype, picked, required=device != "auto")):
        return card
    return way(n, m, d, c, approx, dtype, rank, block, ridge == 0, checkpoint is not None)


def _about(how: Way, best: Choice, known: Trusted | None, size: int) -> dict[str, Any]:
    """For `Values.stats`: the way, and what was chosen on a sample."""
    stats = {
        "way": how.why,
        "approx": None if how.approx == "exact" else how.approx,
        "dtype": how.dtype,
        "ridge": best.ridge,
        "loo_log_likelihood": best.log_likelihood if np.isfinite(best.log_likelihood) else None,
        "trusted_rows": 0 if known is None else len(known.Y),
        "trusted_ridge": best.trusted_ridge,
    }
    return stats | ({"matrix_bytes": int(factor_bytes(size, how.dtype))} if how.approx == "exact" else {})


@contextmanager
def _in_one_sentence(how: Way, ridge: float) -> Iterator[None]:
    """What can go wrong in a factorisation."""
    try:
        yield
    except SingularGramError as error:
        raise DataError(
            f"the kernel matrix has no inverse in {how.dtype} at ridge {ridge:g} (it failed at its row {error.row}): some rows are "
            f"almost equal; pass ridge='auto', or a small ridge such as 1e-6{', or float64' * (how.dtype == 'float32')}."
        ) from None
    except OtherRunError as error:
        raise DataError(f"checkpoint: {error}: give another folder, or delete this one.") from None


def _directions(data: Dataset, known: Trusted | None) -> None:
    for what, X in [("row", data.X), ("validation row", None if known is None else known.X)]:
        if X is not None and len(zero := gram.zero_rows(X)):
            name = f" (id {plain(data.ids[zero[0]])!r})" if what == "row" else ""
            raise DataError(
                f"{what} {zero[0]}{name} is zero in every column, as are {len(zero)} in all, so it has no direction to compare: "
                "drop such rows, or pass bias=True, which gives every row one (a standardised column is zero at its mean)."
            )


def _flagged(terms: dict[str, np.ndarray], own: np.ndarray, guess: np.ndarray, flag: str) -> tuple[np.ndarray, str]:
    """(n,) and the rule."""
    mine = (np.arange(len(own)), own)
    if flag == "loo":
        return guess != own, "leave-one-out class differs from the given label"
    if "cross_term" in terms:
        return terms["cross_term"][mine] > 0, "partial CG-score of the given class > 0"
    return terms["cg_prime"][mine] < 0.5, "2 y_i (y_-i' g_i) < 0"


def _warning(own: np.ndarray, guess: np.ndarray) -> str:
    """Where the columns say nothing about the labels."""
    commonest, agree = np.bincount(own).max() / len(own), np.mean(guess == own)
    if agree >= commonest + 2 * np.sqrt(commonest * (1 - commonest) / len(own)):
        return ""
    return (
        f"on these columns the other rows predict a row's label no better than chance ({agree:.0%} agree, the commonest label has "
        f"{commonest:.0%}): the flags mean little here"
    )


def _check(
    data: Dataset, ridge: Any, classes: str, negatives: float | None, inverse: bool, trusted: Any, flag: str, approx: str,
    checkpoint: Any, device: str,
) -> None:  # fmt: skip
    """Options against each other, and against the data."""
    scheme, linear = negatives is not None, approx in ("landmarks", "neighbours")
    regression, whole = data.task == "regression", not scheme and inverse
    few = negatives is not None and not regression and round(negatives * np.bincount(data.codes).min()) < 1
    refuse(
        "cg-score",
        (
            trusted is True and data.X_val is None,
            "trusted=True needs validation rows: give X_val and y_val (flag='fdr' compares with them, and leaves none)",
        ),
        (
            regression and (not whole or flag == "sign"),
            "negatives, inverse=False and flag='sign' are about classes, and this is regression",
        ),
        (few, f"negatives={negatives} draws no row beside the smallest class: give more"),
        (scheme and classes != "own", "negatives needs classes='own': the scheme scores a row in its own class"),
        (scheme and not inverse, "negatives needs inverse=True: there is nothing to draw for CG'"),
        (linear and not whole, f"approx={approx!r} goes with neither negatives nor inverse=False"),
        (linear and ridge == 0, f"approx={approx!r} needs a ridge: 'auto', or a number > 0"),
        (
            checkpoint is not None and (linear or not whole),
            "checkpoint is for the exact score: it goes with neither approx, negatives nor inverse=False",
        ),
        (
            device not in ("auto", "cpu") and (checkpoint is not None or linear),
            f"checkpoint and approximations run on the CPU: leave device={device!r} out",
        ),
    )


def _cg_prime(U: Any, Y: np.ndarray) -> dict[str, np.ndarray]:
    """2 y_i (Hy)_i - 1/2, a block of rows at a time: no n x n matrix."""
    HY = np.empty_like(Y)
    for rows in gram.blocks(len(Y), 1024):
        H = gram.arc_cosine(U[rows], U)
        H[np.arange(len(H)), np.arange(rows.start, rows.stop)] = 0.5  # exactly, where rounding has it nearly
        HY[rows] = H @ Y
    return {"cg_prime": 2 * Y * HY - 0.5, "f": HY - 0.5 * Y}


def _targets(data: Dataset) -> tuple[np.ndarray, Trusted | None]:
    """(n, k): +1 for a class, -1 for the rest, or the standardised target; and the validation rows in the same terms."""

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
