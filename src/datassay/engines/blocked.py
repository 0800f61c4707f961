"""Cholesky factor and its inverse in place, panel by panel: LAPACK's own algorithms, called through to BLAS.

Why not `potrf` and `trtri` of scipy in one call: with two threads OpenBLAS 0.3.30's `potrf` crashed the process at n = 26,000
in float32 and n = 30,162 in float64 (23,000 went well), and one call can neither report progress nor be
stopped by Ctrl-C. SciPy's Python wrappers copy every sub-matrix, so the routines are called by the addresses that SciPy
exports for Cython.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.linalg import cython_blas, cython_lapack

PANEL = 1024  # wide enough that the products run at BLAS's full rate, narrow enough for a bar that moves


def cholesky(A: Float[ndarray, "n n"], report: Callable[[float], Any] | None = None, panel: int = PANEL) -> int:
    """Lower triangle of A (Fortran order) becomes L with A = L L'; the strict upper triangle is not touched.

    Returns 0, or the number (from 1) of the first row at which A is not positive definite.
    """
    n, at, one, minus = len(A), _at(A), _scalar(A, 1.0), _scalar(A, -1.0)
    potrf, trsm, syrk = (_routine(A, name) for name in ("potrf", "trsm", "syrk"))
    info = ctypes.c_int()
    for j in range(0, n, panel):
        b, rest = min(panel, n - j), max(n - j - panel, 0)
        potrf(b"L", _int(b), at(j, j), _int(n), ctypes.byref(info))
        if info.value > 0:
            return j + info.value
        if rest:
            trsm(b"R", b"L", b"T", b"N", _int(rest), _int(b), one, at(j, j), _int(n), at(j + b, j), _int(n))
            syrk(b"L", b"N", _int(rest), _int(b), minus, at(j + b, j), _int(n), one, at(j + b, j + b), _int(n))
        if report:
            report(((n - j) ** 3 - rest**3) / n**3)
    return 0


def invert_lower(L: Float[ndarray, "n n"], report: Callable[[float], Any] | None = None, panel: int = PANEL) -> None:
    """Lower triangle of L (Fortran order) becomes L^-1; the strict upper triangle is not touched."""
    n, at, one, minus = len(L), _at(L), _scalar(L, 1.0), _scalar(L, -1.0)
    trmm, trsm, trtri = (_routine(L, name) for name in ("trmm", "trsm", "trtri"))
    info = ctypes.c_int()
    for j in reversed(range(0, n, panel)):
        b, rest = min(panel, n - j), max(n - j - panel, 0)
        if rest:  # -L22^-1 L21 L11^-1, where L22 has its inverse already
            trmm(b"L", b"L", b"N", b"N", _int(rest), _int(b), one, at(j + b, j + b), _int(n), at(j + b, j), _int(n))
            trsm(b"R", b"L", b"N", b"N", _int(rest), _int(b), minus, at(j, j), _int(n), at(j + b, j), _int(n))
        trtri(b"L", b"N", _int(b), at(j, j), _int(n), ctypes.byref(info))
        if report:
            report(((n - j) ** 3 - rest**3) / n**3)


def _routine(A: np.ndarray, name: str) -> Callable[..., None]:
    """LAPACK's or BLAS's Fortran routine for A's precision; every argument is an address."""
    letter = {"float64": "d", "float32": "s"}[str(A.dtype)]
    module = cython_lapack if name in ("potrf", "trtri") else cython_blas
    capsule = module.__pyx_capi__[letter + name]
    get_name = ctypes.pythonapi.PyCapsule_GetName
    get_name.restype, get_name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return ctypes.CFUNCTYPE(None)(get_pointer(capsule, get_name(capsule)))


def _at(A: np.ndarray) -> Callable[[int, int], ctypes.c_void_p]:
    if not (A.flags.f_contiguous and A.flags.writeable):
        raise ValueError("a writeable matrix in Fortran order is needed.")
    n, size, start = len(A), A.itemsize, A.ctypes.data
    return lambda i, j: ctypes.c_void_p(start + (i + j * n) * size)


def _int(value: int) -> Any:
    return ctypes.byref(ctypes.c_int(value))


def _scalar(A: np.ndarray, value: float) -> Any:
    return ctypes.byref(ctypes.c_double(value) if A.dtype == np.float64 else ctypes.c_float(value))
