"""The CG-score's approximations of linear cost: rows and trusted rows as one list, landmarks chosen, the error estimated."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import scipy.sparse as sp

from datassay.costs.cg_score import Way
from datassay.engines import gram, local, low_rank
from datassay.engines.gp_loo import Left, Trusted, energy_terms, leave_one_out
from datassay.engines.machine import one_thread
from datassay.engines.partition import partition, project
from datassay.engines.ranks import spearman

TUNED = 8_000  # rows on which the ridge is found again
SAMPLE = 4000  # rows on which the approximation is compared with the exact score


def approximate(
    X: Any,
    Y: np.ndarray,
    ridge: float,
    known: Trusted | None,
    how: Way,
    *,
    bias: bool,
    landmarks: int,
    choice: str,
    k: int,
    tune: bool,
    seed: int,
    n_jobs: int | None,
    report: Callable[[float], Any],
) -> tuple[Left, dict[str, Any]]:
    """Each row predicted from the others, approximately; and for `Values.stats`: what was used, and the error on a sample.

    With ``tune`` the ridge, found on few rows far apart, is found again on whole blocks of neighbouring rows.
    """
    seeds = np.random.SeedSequence(seed).spawn(4)
    n, likelihood = len(Y), None
    if tune:
        ridge, likelihood = _tuned(X, Y, ridge, bias, seeds[3], n_jobs)
    left, used = _run(X, Y, ridge, known, how, bias, landmarks, choice, k, seeds[1], n_jobs, lambda s: report(0.95 * s))
    used |= {"ridge": ridge} | ({} if likelihood is None else {"loo_log_likelihood": likelihood})
    pick = np.sort(np.random.default_rng(seeds[2]).permutation(n)[: min(n, SAMPLE)])
    # the share of a row's information that an approximation keeps falls with n; on fewer rows it would look too good
    small = how._replace(
        rank=max(1, round(how.rank * np.sqrt(len(pick) / n))), block=max(1, round(how.block * np.sqrt(len(pick) / n)))
    )
    fewer = max(small.rank, round(landmarks * np.sqrt(len(pick) / n)))
    U = low_rank.dense_unit_rows(X[pick], bias)
    with one_thread():
        exact = leave_one_out(U, Y[pick], ridge, np.arange(len(pick)))
    near, _ = _run(X[pick], Y[pick], ridge, None, small, bias, fewer, choice, k, seeds[1], n_jobs, lambda s: None)
    a, b = (energy_terms(Y[pick], x)["cg_score"].sum(axis=1) for x in (exact, near))
    report(0.05)
    return left, used | {"sample_rows": len(pick), "sample_spearman": spearman(a, b)}


def _tuned(
    X: Any, Y: np.ndarray, ridge: float, bias: bool, seed: np.random.SeedSequence, n_jobs: int | None
) -> tuple[float, float]:
    """Ridge of greatest leave-one-out likelihood, and that likelihood, of a low-rank matrix with exact blocks on TUNED rows.

    In steps of 2 from the ridge that was found on a random sample, until the likelihood falls, then the top of a parabola.
    Rows of a sample of a million are further from each other than the million's, and their ridge was seen to be too small.
    """
    draws, n = np.random.default_rng(seed), len(Y)
    Z = low_rank.dense_unit_rows(X[np.sort(draws.permutation(n)[: min(n, 2048)])], bias)
    with one_thread():
        T = project(n, lambda index: low_rank.dense_unit_rows(X[index], bias), Z)
    groups = partition(T, 2000)
    pick = np.sort(np.concatenate([groups[g] for g in draws.permutation(len(groups))[: max(1, TUNED // 2000)]]))
    B = low_rank.basis(Z, min(512, len(Z)), 0)

    @cache
    def at(step: int) -> float:
        e, d = low_rank.leave_one_out(
            lambda index: X[pick[index]], Y[pick], np.full(len(pick), ridge * 2.0**step), B, block=2000,
            bias=bias, n_jobs=n_jobs, report=lambda share: None,
        )  # fmt: skip
        return float(-0.5 * (np.log(2 * np.pi * np.mean(d[:, None] * e**2)) + 1 - np.mean(np.log(d))))

    step = 0
    for way in (1, -1):
        while abs(step) < 8 and at(step + way) > at(step):
            step += way
    left, top, right = at(step - 1), at(step), at(step + 1)
    bend = left - 2 * top + right
    return float(ridge * 2.0 ** (step + (0.5 * (left - right) / bend if bend < 0 else 0.0))), top


def _run(
    X: Any, Y: np.ndarray, ridge: float, known: Trusted | None, how: Way, bias: bool, landmarks: int, choice: str, k: int,
    seed: np.random.SeedSequence, n_jobs: int | None, report: Callable[[float], Any],
) -> tuple[Left, dict[str, Any]]:  # fmt: skip
    n = len(Y)
    m = 0 if known is None else len(known.Y)
    own = np.r_[np.full(n, ridge), np.full(m, 0.0 if known is None else known.ridge)]
    both = Y if known is None else np.r_[Y, known.Y]

    def take(index: np.ndarray) -> Any:
        """Raw rows, the trusted ones behind the others."""
        inside = index < n
        if known is None or inside.all():
            return X[index]
        parts = [X[index[inside]], known.X[index[~inside] - n]]
        if sp.issparse(X):
            return sp.vstack([sp.csr_array(part) for part in parts]).tocsr()
        rows = np.empty((len(index), X.shape[1]), np.result_type(*parts))
        rows[inside], rows[~inside] = parts
        return rows

    draws = np.random.default_rng(seed)
    if how.approx == "neighbours":
        sample = np.sort(draws.permutation(n)[: min(n, 4096)])
        e, d = local.leave_one_out(take, both, own, sample, k=k, bias=bias, n_jobs=n_jobs, report=report)
        used: dict[str, Any] = {"neighbours": min(k, n + m - 1)}
    else:
        M = min(landmarks, n)
        Z = _landmarks(take, n, M, choice, bias, draws)
        r = min(how.rank, M)
        B = low_rank.basis(Z, r, int(draws.integers(2**31)))
        e, d = low_rank.leave_one_out(take, both, own, B, block=how.block, bias=bias, n_jobs=n_jobs, report=report)
        used = {"landmarks": M, "rank": r, "block": how.block}
    return Left(e[:n], d[:n], np.zeros(n, bool), 0.0), used


def _landmarks(
    take: Callable[[np.ndarray], Any], n: int, M: int, choice: str, bias: bool, draws: np.random.Generator
) -> np.ndarray:
    """(M, d) unit rows: drawn uniformly, centres of k-means, or drawn in proportion to their leverage; from at most 8 M rows."""
    order = draws.permutation(n)
    if choice == "uniform" or n == M:
        return low_rank.dense_unit_rows(take(np.sort(order[:M])), bias)
    U = low_rank.dense_unit_rows(take(np.sort(order[: 8 * M])), bias)
    if choice == "kmeans":
        from sklearn.cluster import MiniBatchKMeans

        clusters = MiniBatchKMeans(
            M, batch_size=4096, n_init=1, max_iter=5, init="random", random_state=int(draws.integers(2**31))
        ).fit(U)
        return gram.unit_rows(clusters.cluster_centers_, dtype=np.float32)
    # leverage of a row: h' (H + I)^-1 h on features of a uniform pilot, and the rest that the pilot does not span
    pilot = low_rank.basis(U[draws.permutation(len(U))[: min(512, M)]], 512, int(draws.integers(2**31)))
    F = np.asarray(gram.arc_cosine(U, pilot.Z) @ pilot.R, np.float64)
    inside = np.einsum("nr,nr->n", F, np.linalg.solve(F.T @ F + np.eye(F.shape[1]), F.T).T)
    leverage = np.maximum(inside + np.maximum(0.5 - np.einsum("nr,nr->n", F, F), 0), 1e-12)
    return U[np.sort(draws.choice(len(U), M, replace=False, p=leverage / leverage.sum()))]
