"""Definitions, slow and obvious, that the fast formulas are compared with."""

import numpy as np


def unit(X):
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def arc_cosine(X):
    """H entry by entry, as in the paper."""
    n = len(X)
    H = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            cosine = 1.0 if i == j else min(1.0, max(-1.0, float(X[i] @ X[j])))
            H[i, j] = cosine * (np.pi - np.arccos(cosine)) / (2 * np.pi)
    return H


def energy(H, y):
    return float(y @ np.linalg.solve(H, y)) if len(y) else 0.0


def cg_by_deletion(H, y):
    """Equation 2, row by row."""
    rows = np.arange(len(y))
    gaps = []
    for i in rows:
        rest = np.delete(rows, i)
        gaps.append(energy(H, y) - energy(H[np.ix_(rest, rest)], y[rest]))
    return np.array(gaps)


def terms_of_equation_6(H, y):
    """a^2, 2ab, b^2 from the columns of the inverse, as equation 6 writes them."""
    inverse = np.linalg.inv(H)
    rows = np.arange(len(y))
    out = []
    for i in rows:
        rest = np.delete(rows, i)
        h, d = inverse[rest, i], inverse[i, i]
        s = float(y[rest] @ h)
        out.append((s**2 / d, 2 * y[i] * s, y[i] ** 2 * d))
    return np.array(out).T


def predictions_without(H, Y, ridge=0.0):
    """What a kernel fit on all other rows says of each row."""
    rows = np.arange(len(Y))
    f = np.empty_like(Y)
    for i in rows:
        rest = np.delete(rows, i)
        f[i] = H[i, rest] @ np.linalg.solve(H[np.ix_(rest, rest)] + ridge * np.eye(len(rest)), Y[rest])
    return f


def one_vs_rest(codes, c):
    return np.where(codes == c, 1.0, -1.0)


def gaussian_classes(n, d, k, seed=0, spread=1.0):
    """n rows around k random centres."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(k, d)) * 2
    codes = np.arange(n) % k
    return centres[codes] + spread * rng.normal(size=(n, d)), codes


def _airport(S, costs=(1.0, 2.0, 2.0, 5.0)):
    """A runway for these aircraft costs what the largest of them needs."""
    return max((costs[i] for i in S), default=0.0)


# players, what a coalition is worth, Shapley values, Banzhaf values; each follows by counting
GAMES = {
    "majority of three": (3, lambda S: float(len(S) >= 2), [1 / 3] * 3, [1 / 2] * 3),
    "two left gloves, one right": (3, lambda S: float(2 in S and len(S) >= 2), [1 / 6, 1 / 6, 4 / 6], [1 / 4, 1 / 4, 3 / 4]),
    "majority of five": (5, lambda S: float(len(S) >= 3), [1 / 5] * 5, [6 / 16] * 5),
    "airport": (
        4,
        _airport,
        [1 / 4, 1 / 4 + 1 / 3, 1 / 4 + 1 / 3, 1 / 4 + 1 / 3 + 3],
        [1 / 8, 3 / 8, 3 / 8, 5 - (0 + 1 + 6 * 2) / 8],  # less the mean cost of the eight sets of the others
    ),
    "a null player": (3, lambda S: float(0 in S) + 2 * float(1 in S), [1.0, 2.0, 0.0], [1.0, 2.0, 0.0]),
    "any two of three among five": (
        5,
        lambda S: float(len(S & {0, 1, 2}) >= 2),
        [1 / 3, 1 / 3, 1 / 3, 0, 0],
        [1 / 2, 1 / 2, 1 / 2, 0, 0],
    ),
}
