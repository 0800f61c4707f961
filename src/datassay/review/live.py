"""CG-scores that follow what a person decides, without a new factorisation.

    A = (H + R)^-1,  z = A Y,  d = diag(A);   score of row i: sum over the classes of z_i^2 / d_i,   f_i = y_i - z_i / d_i

R holds a ridge for each row. What somebody decided about row i changes one label and one ridge:

    another label     z += A_.i (y_new - y_old)                                        O(n) for each class
    a trusted row     R_ii falls to that of rows known to be right
    a dropped row     R_ii becomes infinite: the row tells nothing any more
    both of these     A -= c u u',   u = A_.i,   c = g / (1 + g u_i) with g the change of the ridge, 1 / u_i where it is infinite

A itself stays as it was made and the k pairs (c, u) stand beside it, so a decision costs O(n (k + classes)) and none is ever O(n^2).
Taking decisions back goes through the pairs from the end, and does again what came after.

The prediction of row i is a sum over the other rows, f_i = -sum_j A_ij Y_j / A_ii: its terms are what speaks for and against a label.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy import ndarray
from scipy.linalg import get_blas_funcs, get_lapack_funcs

from datassay.data.dataset import Dataset
from datassay.engines import gram, noise_model
from datassay.engines.machine import available_memory
from datassay.values import Values

MOST = 20_000  #: rows, those for validation too
DOUBLE = 5_000  #: rows up to which the inverse is in float64
KNOWN = 0.01  #: ridge of a row about which a person has decided


class Known(NamedTuple):
    """What is known of a row."""

    code: int  #: its class
    dropped: bool = False


class _Change(NamedTuple):
    """One that can be taken back."""

    row: int
    known: Known
    was: ndarray  #: the row's targets before
    c: float  #: of the pair; the vector stands in `Live.pairs`
    z: ndarray  #: z of the row before the pair, after the label


class Term(NamedTuple):
    """One row in the prediction of another."""

    row: int  #: of the data, or of the validation rows, counted from the end of these
    weight: float


def reason_against(values: Values, data: Dataset) -> str:
    """Why the scores can't follow; empty where they can."""
    m = 0 if values.stats.get("trusted_ridge") is None or data.X_val is None else len(data.codes_val)  # type: ignore[arg-type]
    n, options = len(data) + m, values.options
    if values.method != "cg-score":
        return f"{values.method} is computed once"
    if data.task != "classification" or options.get("negatives") is not None or options.get("inverse") is False:
        return "this form of the CG-score is computed once"
    if not values.stats.get("ridge"):
        return "without a ridge the CG-score is computed once"
    if n > MOST:
        return f"of more than {MOST:,} rows the order is computed once"
    if _bytes(n) > available_memory() / 2:
        return f"re-ranking needs {2 * _bytes(n) / 1e9:.1f} GB of free memory"
    return ""


def _bytes(n: int) -> float:
    return float(n) * n * (8 if n <= DOUBLE else 4)


class Live:
    """The CG-score of n rows under the decisions so far.

    Parameters
    ----------
    values, data
        Values by "cg-score" for which `reason_against` has nothing to say, and the rows.
    """

    def __init__(self, values: Values, data: Dataset) -> None:
        stats = values.stats
        self.n, K = len(data), len(data.classes)
        self.own_class = values.options.get("classes") == "own"
        self.codes = data.codes.copy()
        bias, trusted = bool(stats.get("bias")), stats.get("trusted_ridge")
        codes = data.codes
        parts = [data.X]
        ridge = np.full(self.n, float(stats["ridge"]))
        if trusted is not None and data.X_val is not None and data.codes_val is not None:
            parts.append(data.X_val)
            codes = np.r_[codes, data.codes_val]
            ridge = np.r_[ridge, np.full(len(data.codes_val), float(trusted))]
        N = len(codes)
        kind = np.float64 if N <= DOUBLE else np.float32
        units = [gram.unit_rows(X, bias=bias, dtype=kind) for X in parts]
        U = units[0] if len(units) == 1 else _stacked(units)
        self.classes = K
        self.Y = np.where(codes[:, None] == np.arange(K), 1.0, -1.0)
        self.ridge = ridge
        self.A = _inverse(gram.arc_cosine(U), ridge)
        (symm,) = get_blas_funcs(("symm",), (self.A,))
        self.z = np.asarray(symm(1.0, self.A, np.asfortranarray(self.Y, kind), lower=1), np.float64)
        self.d = np.diagonal(self.A).astype(np.float64)
        self.pairs = np.empty((0, N), kind)
        self.c = np.empty(0)
        self.changes: list[_Change] = []
        self.temperature = noise_model.fit(self.predictions(), data.codes).temperature

    def column(self, row: int) -> ndarray:
        """(N,) of the present A."""
        first = np.r_[self.A[row, :row], self.A[row:, row]].astype(np.float64)
        k = len(self.changes)
        if k:
            first -= ((self.c[:k] * self.pairs[:k, row]) @ self.pairs[:k]).astype(np.float64)
        return first

    def predictions(self) -> ndarray:
        """(n, K) of each row from all others."""
        with np.errstate(divide="ignore", invalid="ignore"):
            f: ndarray = self.Y[: self.n] - self.z[: self.n] / self.d[: self.n, None]
        return np.nan_to_num(f, posinf=0.0, neginf=0.0)

    def scores(self) -> ndarray:
        """(n,) higher = more worth keeping."""
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = self.z[: self.n] ** 2 / self.d[: self.n, None]
        terms = np.nan_to_num(terms, posinf=0.0)
        cg = terms[np.arange(self.n), self.codes] if self.own_class else terms.sum(1)
        return np.asarray(-cg)

    def probabilities(self, row: int) -> ndarray:
        """(K,) of the right class, by what all other rows say."""
        f = self.Y[row] - self.z[row] / self.d[row]
        return np.asarray(noise_model.softmax(f[None], self.temperature)[0])

    def terms(self, row: int, given: int, other: int) -> ndarray:
        """(N,) of the prediction for the given class, less that for the other one: sums to f_given - f_other; 0 for the row itself.

        Where both are one class: of the prediction for it.
        """
        a = self.column(row)
        w = -a / a[row]
        w[row] = 0.0
        y = self.Y[:, given] - self.Y[:, other] if other != given else self.Y[:, given]
        return np.asarray(w * y)

    def dropped(self, row: int) -> bool:
        """Whether the row tells nothing any more, and nothing can be told of it."""
        return any(c.row == row and c.known.dropped for c in self.changes)

    def know(self, row: int, known: Known | None) -> None:
        """From now on this is known of the row; None: nothing, it is as it came."""
        before = [c.row for c in self.changes]
        again: list[tuple[int, Known]] = []
        if row in before:
            at = before.index(row)
            again = [(c.row, c.known) for c in self.changes[at + 1 :]]
            while len(self.changes) > at:
                self._back()
        for one, what in [*([] if known is None else [(row, known)]), *again]:
            self._change(one, what)

    def _change(self, row: int, known: Known) -> None:
        u = self.column(row).astype(self.pairs.dtype).astype(np.float64)  # as it will stand among the pairs
        was = self.Y[row].copy()
        new = np.where(np.arange(self.classes) == known.code, 1.0, -1.0)
        self.z += u[:, None] * (new - was)
        self.Y[row], self.codes[row] = new, known.code
        g = KNOWN - self.ridge[row]
        c = 1 / u[row] if known.dropped else g / (1 + g * u[row])
        at = self.z[row].copy()
        self._apply(u, c, at)
        k = len(self.changes)
        if k == len(self.pairs):
            more = max(64, k)
            self.pairs = np.concatenate([self.pairs, np.empty((more, self.pairs.shape[1]), self.pairs.dtype)])
            self.c = np.concatenate([self.c, np.empty(more)])
        self.pairs[k], self.c[k] = u, c
        self.changes.append(_Change(row, known, was, float(c), at))

    def _apply(self, u: ndarray, c: float, at: ndarray) -> None:
        self.z -= c * u[:, None] * at
        self.d -= c * u * u

    def _back(self) -> None:
        change = self.changes[-1]
        u = self.pairs[len(self.changes) - 1].astype(np.float64)
        self._apply(u, -change.c, change.z)
        self.changes.pop()
        self.z += u[:, None] * (change.was - self.Y[change.row])
        self.Y[change.row], self.codes[change.row] = change.was, int(change.was.argmax())


def _stacked(units: list[Any]) -> Any:
    if any(sp.issparse(U) for U in units):
        return sp.vstack([sp.csr_array(U) for U in units]).tocsr()
    return np.concatenate(units)


def _inverse(H: ndarray, ridge: ndarray) -> ndarray:
    """(H + diag(ridge))^-1 in place, in the lower triangle of an array in Fortran's order."""
    H[np.diag_indices(len(H))] = np.asarray(0.5 + ridge, H.dtype)
    K = H.T  # symmetric, and in Fortran's order as it lies
    potrf, potri = get_lapack_funcs(("potrf", "potri"), (K,))
    L, info = potrf(K, lower=1, clean=0, overwrite_a=1)
    if info == 0:
        A, info = potri(L, lower=1, overwrite_c=1)
    if info != 0:
        raise ArithmeticError("the kernel matrix has no inverse")
    return np.asarray(A)
