"""Cholesky factor of a kernel matrix, panel by panel of its columns: half a matrix in memory, or on disk.

K = L L' left-looking: panel j of L is panel j of K less the products with all panels before it, so K is made a panel at a
time, when it is needed, and each panel of L is written once. What is finished can be kept in a folder: a killed run goes on
behind its last panel, to the same bits, and a matrix larger than the memory is read back from there. The diagonal of K^-1
takes the squared lengths of the columns of L^-1, which are solved for a panel at a time and not kept.

(2/3) n^3 operations in products of n x 2048 by 2048 x 2048 and n^2 / 2 numbers. The strict upper triangle of a panel's
square goes on holding K.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.linalg import get_blas_funcs, get_lapack_funcs

from datassay.engines.gram import blocks
from datassay.files import replacing

PANEL = 2048  # wide enough that the products run at BLAS's full rate, narrow enough that a stop costs little
WHOLE = 4096  # up to here one panel, which is LAPACK's potrf and trtri; above, OpenBLAS's threaded potrf has crashed

Kernel = Callable[[slice, slice], ndarray]  #: rows, columns -> their part of the matrix, a new array in C order
Report = Callable[[float], Any]  #: called with the share of the work that has just been done


class SingularGramError(np.linalg.LinAlgError):
    """The Gram matrix has no inverse in this precision; ``row`` is where the factorisation stopped."""

    def __init__(self, row: int) -> None:
        super().__init__(f"the Gram matrix has no inverse in this precision: the factorisation stopped at row {row}.")
        self.row = row


class OtherRunError(ValueError):
    """The folder holds panels of a run on other rows, or with other options."""


class Panels:
    """Panels of L (n, n): ``self[j]`` is (n - start, b) in C order, the rows from the panel's own square on.

    Parameters
    ----------
    n, dtype, panel
        Size of the matrix, its numbers, and how many columns a panel has.
    folder
        Where finished panels are kept as .npy files, each written beside and renamed; None: in memory alone.
    in_memory
        False: read panels from the folder when they are needed, through a memory map.
    run
        What the panels depend on, in a few letters; a folder of another run is refused.
    """

    def __init__(
        self, n: int, dtype: str, panel: int, folder: Path | None = None, *, in_memory: bool = True, run: str = ""
    ) -> None:
        self.n, self.dtype, self.panel, self.folder, self.in_memory = n, np.dtype(dtype), panel, folder, in_memory
        self.starts = list(range(0, n, panel))
        self.held: list[ndarray] = []
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            header = {"rows": n, "dtype": str(self.dtype), "panel": panel, "run": run}
            about = folder / "run.json"
            if about.exists():
                with _whole(about):
                    existing = json.loads(about.read_text())
                if existing != header:
                    raise OtherRunError(f"{folder} holds a run on other rows or with other options")
            elif any(not path.name.startswith(".") for path in folder.iterdir()):
                raise OtherRunError(f"{folder} holds other files")
            else:
                with replacing(about) as beside:
                    beside.write_text(json.dumps(header))
            for path in folder.glob(".panel-*"):  # of a run that was killed while it wrote
                path.unlink()
            while len(self.held) < len(self.starts) and self._path(len(self.held)).exists():
                with _whole(self._path(len(self.held))):
                    self.held.append(np.load(self._path(len(self.held)), mmap_mode=None if in_memory else "r"))

    def __len__(self) -> int:
        """How many panels are finished."""
        return len(self.held)

    def __getitem__(self, j: int) -> ndarray:
        return self.held[j]

    def add(self, P: ndarray) -> None:
        """The next finished panel."""
        if self.folder is not None:
            path = self._path(len(self.held))
            with replacing(path) as beside, beside.open("wb") as file:
                np.save(file, P)
            if not self.in_memory:
                P = np.load(path, mmap_mode="r")
        self.held.append(P)

    def save_array(self, name: str, **arrays: Any) -> None:
        """Intermediate results beside the panels, where there is a folder."""
        if self.folder is not None:
            with replacing(self.folder / f"{name}.npz") as beside, beside.open("wb") as file:
                np.savez(file, **arrays)

    def load_array(self, name: str) -> dict[str, ndarray] | None:
        """What `keep` was given, of this run or the one before it; None if nothing was."""
        if self.folder is None or not (path := self.folder / f"{name}.npz").exists():
            return None
        with _whole(path), np.load(path, allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}

    def clear(self) -> None:
        """Delete the panels, the run being over; what `keep` wrote is small and stays, so that the next call ends at once."""
        self.held = []
        if self.folder is not None:
            for path in self.folder.glob("panel-*.npy"):
                path.unlink()

    def _path(self, j: int) -> Path:
        assert self.folder is not None
        return self.folder / f"panel-{j:05d}.npy"


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """What numpy and zip say of a file that is not as it was written, in a sentence."""
    try:
        yield
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise OtherRunError(f"{path} is damaged") from error


def width(n: int) -> int:
    """Columns of a panel."""
    return n if n <= WHOLE else PANEL


def cholesky(
    L: Panels, kernel: Kernel, own: Float[ndarray, " n"], *, entry: float = 0.0, report: Report | None = None
) -> None:
    """Make the panels of L that are not there yet, L L' = K + diag(own).

    ``entry``: operations that an entry of K costs, so that ``report`` tells true shares.

    Raises
    ------
    SingularGramError
        If the matrix is not positive definite in its own precision.
    """
    n, empty = L.n, np.zeros((1, 1), L.dtype)
    gemm, syrk, trsm = get_blas_funcs(("gemm", "syrk", "trsm"), (empty,))
    (potrf,) = get_lapack_funcs(("potrf",), (empty,))

    def cost(start: int) -> float:
        b = min(L.panel, n - start)
        return (n - start) * b * (entry + 2.0 * start + b)

    total = sum(cost(start) for start in L.starts)
    if report and len(L):
        report(sum(cost(start) for start in L.starts[: len(L)]) / total)
    for start in L.starts[len(L) :]:
        b = min(L.panel, n - start)
        P = kernel(slice(start, n), slice(start, start + b))
        diagonal = np.einsum("ii->i", P[:b])
        diagonal += own[start : start + b].astype(L.dtype)
        for k in range(len(L)):  # P -= L[start:, k] L[start:start + b, k]'; BLAS sees the transposes, which lie in its order
            at = L.starts[k]
            A = L[k][start - at :]
            _same(syrk(-1.0, A[:b].T, beta=1.0, c=P[:b].T, trans=1, lower=0, overwrite_c=1), P)
            if len(A) > b:
                _same(gemm(-1.0, A[:b].T, A[b:].T, beta=1.0, c=P[b:].T, trans_a=1, overwrite_c=1), P[b:])
            if report:
                report(2.0 * (n - start) * b * len(A[0]) / total)
        U, info = potrf(P[:b].T, lower=0, clean=0, overwrite_a=1)
        if info > 0:
            raise SingularGramError(start + info - 1)
        _same(U, P)
        if len(P) > b:
            _same(trsm(1.0, U, P[b:].T, trans_a=1, overwrite_b=1), P[b:])
        L.add(P)
        if report:
            report((n - start) * b * (entry + b) / total)


def solve(L: Panels, Y: Float[ndarray, "n k"]) -> Float[ndarray, "n k"]:
    """(L L')^-1 Y, in L's precision."""
    (trtrs,) = get_lapack_funcs(("trtrs",), (np.zeros((1, 1), L.dtype),))
    Z = np.array(Y, L.dtype)
    for j, start in enumerate(L.starts):
        b = L[j].shape[1]
        Z[start : start + b] = trtrs(L[j][:b].T, Z[start : start + b], lower=0, trans=1)[0]
        Z[start + b :] -= L[j][b:] @ Z[start : start + b]
    for j, start in reversed(list(enumerate(L.starts))):
        b = L[j].shape[1]
        Z[start : start + b] -= L[j][b:].T @ Z[start + b :]
        Z[start : start + b] = trtrs(L[j][:b].T, Z[start : start + b], lower=0, trans=0)[0]
    return Z


def product(
    L: Panels, kernel: Kernel, diagonal: Float[ndarray, " n"], Z: Float[ndarray, "n k"], report: Report | None = None
) -> Float[ndarray, "n k"]:
    """K Z, K's diagonal given: squares from what L's panels still hold of K, the rest made anew."""
    n = L.n
    (symm,) = get_blas_funcs(("symm",), (np.zeros((1, 1), L.dtype),))
    out = diagonal.astype(L.dtype)[:, None] * Z
    for j, start in enumerate(L.starts):
        b = L[j].shape[1]
        own, rest = slice(start, start + b), slice(start + b, n)
        S = L[j][:b]
        out[own] += symm(1.0, S.T, Z[own], lower=1) - S.diagonal()[:, None] * Z[own]  # L's diagonal is not K's
        if start + b < n:
            B = kernel(rest, own)
            out[rest] += B @ Z[own]
            out[own] += B.T @ Z[rest]
        if report:
            report((n - start) * b / sum((n - s) * L.panel for s in L.starts))
    return out


def product_rows(
    L: Panels, kernel: Kernel, diagonal: Float[ndarray, " n"], Z: Float[ndarray, "n k"], j: int
) -> Float[ndarray, "b k"]:
    """The rows of K Z that belong to panel j."""
    start, b = L.starts[j], L[j].shape[1]
    own, S = slice(start, start + b), L[j][:b]
    (symm,) = get_blas_funcs(("symm",), (S,))
    out = symm(1.0, S.T, Z[own], lower=1) + (diagonal[own].astype(L.dtype) - S.diagonal())[:, None] * Z[own]
    if start > 0:
        out += kernel(own, slice(0, start)) @ Z[:start]
    if start + b < L.n:
        out += kernel(slice(start + b, L.n), own).T @ Z[start + b :]
    return np.asarray(out)


def inverse_diagonal(L: Panels, first: int = 0, report: Report | None = None) -> Float[ndarray, " rest"]:
    """diag((L L')^-1) from row ``first`` on; **destroys the panels** that are held in memory.

    Entry i is the squared length of column i of L^-1, of which a panel is solved for at a time. Columns of earlier panels
    are not needed any more, so the square of a panel becomes its own inverse in place.
    """
    n, empty = L.n, np.zeros((1, 1), L.dtype)
    gemm, trsm, trmm = get_blas_funcs(("gemm", "trsm", "trmm"), (empty,))
    (trtri,) = get_lapack_funcs(("trtri",), (empty,))
    begin = first // L.panel
    cost = [float(L[j].shape[1]) * (n - L.starts[j]) ** 2 for j in range(len(L.starts))]
    total = sum(cost[begin:])
    d, done = np.zeros(n), begin
    if before := L.load_array("diagonal"):
        d, done = before["d"], int(before["done"])
        if report:
            report(sum(cost[begin:done]) / total)
    for j in range(done, len(L.starts)):
        start, P = L.starts[j], L[j]
        b = P.shape[1]
        square = P[:b] if P.flags.writeable else np.array(P[:b])
        inverse, info = trtri(square.T, lower=0, overwrite_c=1)  # (L_jj^-1)' in its upper triangle
        _same(inverse, square)
        assert info == 0  # the factorisation would have failed
        for rows in blocks(b, max(64, b // 32)):  # the strict upper triangle is K's
            left, corner = square[rows, : rows.start], np.tril(square[rows, rows])
            d[start : start + rows.start] += np.einsum("ij,ij->j", left, left, dtype=np.float64)
            d[start + rows.start : start + rows.stop] += np.einsum("ij,ij->j", corner, corner, dtype=np.float64)
        if start + b < n:
            X = np.array(P[b:])  # becomes rows start + b ... n of panel j of L^-1
            _same(trmm(-1.0, inverse, X.T, lower=0, overwrite_b=1), X)
            for k in range(j + 1, len(L.starts)):
                at, c = L.starts[k] - start - b, L[k].shape[1]
                own = X[at : at + c]
                _same(trsm(1.0, L[k][:c].T, own.T, side=1, lower=0, overwrite_b=1), own)
                if at + c < len(X):
                    _same(gemm(-1.0, own.T, L[k][c:].T, beta=1.0, c=X[at + c :].T, overwrite_c=1), X[at + c :])
                d[start : start + b] += np.einsum("ij,ij->j", own, own, dtype=np.float64)
                if report:
                    report(2.0 * b * c * (len(X) - at - c / 2) / total)
        L.save_array("diagonal", d=d, done=j + 1)
        if report:
            report(1.0 * b * b * (n - start) / total)
    return d[first:]


def _same(result: ndarray, given: ndarray) -> None:
    """BLAS worked in place: a silent copy by the wrapper would lose the result."""
    assert result.ctypes.data == given.ctypes.data
