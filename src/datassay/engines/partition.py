"""Rows in blocks of neighbours: a balanced tree of cuts across the direction in which the rows of a node vary most."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from datassay.engines.gram import blocks

DIRECTIONS = 32  # the rows' leading principal components, in which the tree is cut


def project(
    n: int,
    rows: Callable[[ndarray], ndarray],
    sample: Float[ndarray, "some d"],
    report: Callable[[float], object] | None = None,
) -> Float[ndarray, "n few"]:
    """The n rows, handed out by ``rows(index)``, on the leading principal components of a sample of them."""
    centre = sample.mean(axis=0)
    S = sample - centre
    rng = np.random.default_rng(0)
    V = rng.normal(size=(S.shape[1], min(DIRECTIONS, *S.shape))).astype(S.dtype)
    for _ in range(4):  # power iteration: the tree needs the directions only roughly
        V, _ = np.linalg.qr(S.T @ (S @ V))
    out = np.empty((n, V.shape[1]), np.float32)
    for at in blocks(n, 8192):
        out[at] = (rows(np.arange(at.start, at.stop)) - centre) @ V
        if report:
            report((at.stop - at.start) / n)
    return out


def partition(T: Float[ndarray, "n few"], size: int) -> list[Int[ndarray, " some"]]:
    """ceil(n / size) blocks of about n / ceil(n / size) rows each, in the order of the tree: blocks side by side are near.

    >>> [block.tolist() for block in partition(np.array([[0.0], [9.0], [1.0], [8.0]], np.float32), 2)]
    [[0, 2], [1, 3]]
    """

    def cut(index: ndarray, parts: int) -> list[ndarray]:
        if parts == 1:
            return [np.sort(index)]
        S = T[index[:: max(1, len(index) // 4096)]].astype(np.float64)
        _, vectors = np.linalg.eigh(np.cov(S, rowvar=False).reshape(S.shape[1], -1))
        v = vectors[:, -1] * np.sign(vectors[np.argmax(abs(vectors[:, -1])), -1])  # an eigenvector has no sign of its own
        order = index[np.argsort(T[index] @ v.astype(T.dtype), kind="stable")]
        left = parts // 2
        middle = len(index) * left // parts
        return cut(order[:middle], left) + cut(order[middle:], parts - left)

    n = len(T)
    return cut(np.arange(n), max(1, -(-n // size)))
