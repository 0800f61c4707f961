"""Linear models without one row: a Newton step from the fit of all rows, for all rows at once.

A model has outputs o_i = W'z_i (K of them; z ends with a one for the intercept) and minimises sum_i loss(o_i, y_i) + sum_d c_d |W_d|^2 / 2,
c = 0 for the intercept. With r_i the gradient of row i's loss in its outputs and A_i the Hessian there,

    H    = sum_i A_i (x) z_i z_i' + diag(c) (x) I              g_i = r_i (x) z_i
    W_-i - W = (H - A_i (x) z_i z_i')^-1 g_i                   Newton's step from the fit of all rows, without row i

for least squares exactly the fit without the row. With M_i the K x K matrix of z_i' (H^-1)_kl z_i and u = H^-1 G for a function f of W with
gradient G, U_i = (u_1' z_i, ..., u_K' z_i), s_i = (I - A_i M_i)^-1 r_i,

    W_-i - W         = sum_l (H^-1)_.l z_i s_il                rescaled influence (Rubinstein & Hopkins, 2506.06656)
    W_-i' z_i        = o_i + M_i s_i                           outputs of the row by the model without it
    f(W) - f(W_-i)  ~= - U_i' r_i                              the influence function (Koh & Liang, ICML 2017)

K = 1: r = o - y, A = 1, so that s = r / (1 - leverage). Softmax: r = p - e_y, A = diag(p) - p p'. Adding one number to all
intercepts of a softmax changes nothing, and r and G are orthogonal to it: H gets a curvature along it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.linalg import cho_solve, cholesky, qr
from scipy.linalg.lapack import dpotri

AT_ONCE = 2**22  # numbers that are formed at a time


class Removal:
    """The fit of all rows, ready for the question what it would be without one.

    Parameters
    ----------
    Z
        (n, D) rows, the last column ones.
    r
        (n, K) gradients of the losses in the outputs.
    A
        (n, K, K) Hessians there; None: least squares, 1.
    penalty
        Of all columns but the last: c.

    Examples
    --------
    >>> Z = np.array([[0.0, 1], [1, 1], [2, 1], [4, 1]])
    >>> y = np.array([0.0, 1, 2, 8])
    >>> W = np.linalg.lstsq(Z, y)[0]
    >>> without = Removal(Z, (Z @ W - y)[:, None]).own(Z @ W[:, None])       # by least squares on the other three
    >>> without.ravel().round(6).tolist(), (Z[3] @ np.linalg.lstsq(Z[:3], y[:3])[0]).round(6)
    ([-2.0, 1.333333, 3.692308, 4.0], np.float64(4.0))
    """

    def __init__(
        self,
        Z: Float[ndarray, "n D"],
        r: Float[ndarray, "n K"],
        A: Float[ndarray, "n K K"] | None = None,
        penalty: float = 0.0,
    ) -> None:
        n, K = r.shape
        self.turn = None
        if n < Z.shape[1] - 1 and penalty > 0:  # nothing happens outside the space of the rows
            self.turn, R = qr(Z[:, :-1].T, mode="economic")
            Z = np.c_[R.T, np.ones(n)]
        self.Z, self.r = Z, r
        self.A = np.ones((n, 1, 1)) if A is None else A
        D = Z.shape[1]
        H = np.empty((K, D, K, D))
        for k in range(K):
            for j in range(k + 1):
                H[k, :, j] = Z.T @ (self.A[:, k, j, None] * Z)
                H[j, :, k] = H[k, :, j]
            H[k, range(D - 1), k, range(D - 1)] += penalty
        if A is not None:
            H[:, -1, :, -1] += n / K
        self.L = cholesky(H.reshape(K * D, K * D), lower=True, overwrite_a=True, check_finite=True)

    @property
    def parameters(self) -> int:
        return len(self.L)

    def first_order(self, G: Float[ndarray, "D K"]) -> Float[ndarray, " n"]:
        """What a function of the model with this gradient loses without each row, by the influence function."""
        if self.turn is not None:
            G = np.r_[self.turn.T @ G[:-1], G[-1:]]
        u = cho_solve((self.L, True), G.T.ravel()).reshape(G.T.shape)
        lost: ndarray = -(self.Z @ u.T * self.r).sum(1)
        return lost

    def moved(self, Q: Float[ndarray, "m D"]) -> Iterator[tuple[slice, Float[ndarray, "b m K"]]]:
        """Some rows at a time: the outputs of other rows by the model without each of them, less those by the model of all."""
        if self.turn is not None:
            Q = np.c_[Q[:, :-1] @ self.turn, Q[:, -1]]
        (n, D), K, m = self.Z.shape, self.r.shape[1], len(Q)
        step = max(1, AT_ONCE // (K * max(D, m)))
        for a in range(0, n, step):
            rows = slice(a, min(a + step, n))
            weights = np.zeros((rows.stop - a, K, D))
            for k in range(K):
                for j in range(K):
                    weights[:, k] += (self.Z[rows] * self.s[rows, j, None]) @ self.inverse[j, :, k]
            yield rows, np.einsum("bkd,md->bmk", weights, Q, optimize=True)

    def own(self, outputs: Float[ndarray, "n K"]) -> Float[ndarray, "n K"]:
        """Outputs of each row by the model without it."""
        moved: ndarray = (self.M @ self.s[:, :, None])[:, :, 0]
        return outputs + moved

    @cached_property
    def inverse(self) -> Float[ndarray, "K D K D"]:
        """H^-1"""
        K, D = self.r.shape[1], self.Z.shape[1]
        lower, info = dpotri(self.L, lower=1)
        if info:
            raise np.linalg.LinAlgError("the Hessian has no inverse")
        whole: ndarray = np.tril(lower)
        whole += np.tril(lower, -1).T
        return whole.reshape(K, D, K, D)

    @cached_property
    def M(self) -> Float[ndarray, "n K K"]:
        """Each row's leverage."""
        n, K = self.r.shape
        M = np.empty((n, K, K))
        for k in range(K):
            for j in range(k + 1):
                M[:, k, j] = np.einsum("nd,nd->n", self.Z @ self.inverse[k, :, j], self.Z)
                M[:, j, k] = M[:, k, j]
        return M

    @cached_property
    def s(self) -> Float[ndarray, "n K"]:
        """(I - A M)^-1 r"""
        n, K = self.r.shape
        out = np.empty((n, K))
        step = max(1, AT_ONCE // (K * K))
        for a in range(0, n, step):
            rows = slice(a, a + step)
            out[rows] = np.linalg.solve(np.eye(K) - self.A[rows] @ self.M[rows], self.r[rows, :, None])[:, :, 0]
        return out


def of_softmax(
    Z: Float[ndarray, "n D"], W: Float[ndarray, "D K"], codes: Int[ndarray, " n"], penalty: float
) -> tuple[Removal, Float[ndarray, "n K"]]:
    """For a softmax with these weights, and its outputs (n, K).

    >>> Z, codes = np.array([[0.0, 1], [1, 1], [2, 1], [3, 1]]), np.array([0, 0, 1, 1])
    >>> removal, outputs = of_softmax(Z, np.array([[-1.0, 1.0], [1.5, -1.5]]), codes, 1.0)
    >>> removal.own(outputs).shape, removal.parameters
    ((4, 2), 4)
    """
    outputs = Z @ W
    p = np.exp(outputs - outputs.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    A = -p[:, :, None] * p[:, None, :]
    A[:, range(p.shape[1]), range(p.shape[1])] += p
    r = p.copy()
    r[np.arange(len(r)), codes] -= 1
    return Removal(Z, r, A, penalty), outputs
