"""Features of images without a network: how much each patch looks like random patches of the same images.

After Coates & Ng (2011) and Thiry et al. (ICLR 2021): patches x of q x q pixels, their mean removed, whitened (ZCA),

    c_k = d_k'W x / |W x|,   W = (cov + 1e-3 I)^-1/2,   d_k: one of K random whitened patches, of unit length
    column (cell, k, side) = mean over the patches of a cell of the picture of  max(+-c_k - t, 0)

with t such that a fifth of the cosines lie beyond it on either side; the cells are a grid of 2 x 2. Columns are brought to mean 0
and standard deviation 1 over the training images. Nothing is trained: two products and a mean. Mirrored: the mean of the columns of
a picture and of its mirror image, so that both are the same row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.linalg import eigh

from datassay.engines import machine

SIDE = 32  # pixels of the longer side at work: larger images are averaged down
PATCH = 6
RIDGE = 1e-3  # on the covariance of pixels in 0 ... 1
KEPT = 0.2  # of the cosines, on either side of the threshold
SAMPLED = 50_000  # patches for the covariance
AT_ONCE = 64  # images in a task
TILE = 65_536  # cosines at a time: they stay in a core's cache

Report = Callable[[float], Any]  #: called with the number of images that have just been done


@dataclass(frozen=True)
class Dictionary:
    """What is learned from the training images."""

    low: float  #: of their numbers, which becomes 0
    span: float  #: from there to what becomes 1
    size: tuple[int, int]  #: height and width at work
    patch: int  #: pixels of a patch's side
    grid: int  #: cells along each side
    whiten: Float[ndarray, "p p"]  #: removes the mean and whitens
    filters: Float[ndarray, "p k"]  #: whitened patches of unit length, in columns
    threshold: float
    mirrored: bool = False  #: the mean over the picture and its mirror image

    @property
    def width(self) -> int:
        """Columns of a row of features."""
        return 2 * self.filters.shape[1] * self.grid**2


def working_size(height: int, width: int, side: int = SIDE) -> tuple[int, int]:
    """Height and width at work: as they are, or with the longer one at ``side``.

    >>> working_size(28, 28), working_size(300, 400)
    ((28, 28), (24, 32))
    """
    longest = max(height, width)
    if longest <= side:
        return height, width
    return max(1, round(height * side / longest)), max(1, round(width * side / longest))


def patch_side(height: int, width: int) -> int:
    """Six pixels, fewer in small pictures."""
    return min(PATCH, max(3, min(height, width) // 4), height, width)


def learn(
    images: ndarray,
    *,
    k: int = 1024,
    grid: int = 2,
    side: int = SIDE,
    patch: int | None = None,
    seed: int = 0,
    mirrored: bool = False,
) -> Dictionary:
    """Whitening, dictionary and threshold from random patches of (n, h, w) or (n, h, w, c) images."""
    rng = np.random.default_rng(seed)
    n = len(images)
    size = working_size(images.shape[1], images.shape[2], side)
    q = patch_side(*size) if patch is None else patch
    grid = min(grid, size[0] - q + 1, size[1] - q + 1)
    some = np.sort(rng.permutation(n)[: min(n, 2000)])
    low, span = levels(images[some])
    batch = prepared(images[some], low, span, size)
    rows, columns = size[0] - q + 1, size[1] - q + 1
    at = rng.integers(0, [len(some), rows, columns], (SAMPLED, 3))
    P = np.stack([batch[i, a : a + q, b : b + q].reshape(-1) for i, a, b in at]).astype(np.float64)
    P -= P.mean(axis=1, keepdims=True)
    w, Q = eigh(np.cov(P, rowvar=False).reshape(P.shape[1], -1))
    W = (Q / np.sqrt(np.maximum(w, 0) + RIDGE)) @ Q.T
    W = W - W.mean(axis=1, keepdims=True)  # W (x - mean x)
    V = P @ W.T
    length = np.linalg.norm(V, axis=1)
    V[length > 0] /= length[length > 0, None]
    known = np.flatnonzero(length > 1e-6 * max(length.max(), 1e-300))
    known = known if len(known) else np.arange(len(V))
    D = V[rng.choice(known, k, replace=len(known) < k)]
    seen = abs(V[rng.choice(known, min(len(known), 4096), replace=False)] @ D.T)
    t = float(np.quantile(seen, 1 - 2 * KEPT))
    whiten, filters = (np.ascontiguousarray(A, np.float32) for A in (W.T, D.T))
    return Dictionary(low, span, size, q, grid, whiten, filters, t, mirrored)


def features(
    images: ndarray, dictionary: Dictionary, *, device: str = "cpu", report: Report | None = None
) -> Float[ndarray, "n d"]:
    """(n, 2 k grid^2) in float32, before they are brought to one scale; on as many threads as BLAS may use, or wherever joblib has them;
    or with torch on a card."""
    if device != "cpu":
        return _on_card(images, dictionary, device, report)
    out = np.empty((len(images), dictionary.width), np.float32)
    blocks = [slice(start, min(start + AT_ONCE, len(images))) for start in range(0, len(images), AT_ONCE)]
    tasks = (machine.task(_some, np.asarray(images[rows]), dictionary) for rows in blocks)
    name = "patches of images {} on".format
    for rows, found in zip(blocks, machine.spread(None, tasks, lambda k: name(blocks[k].start)), strict=True):
        out[rows] = found
        if report:
            report(rows.stop - rows.start)
    return out


def _some(images: ndarray, it: Dictionary) -> Float[ndarray, "n d"]:
    out = np.empty((len(images), it.width), np.float32)
    with machine.one_thread():
        for i in range(len(images)):
            picture = prepared(images[i : i + 1], it.low, it.span, it.size)[0]
            out[i] = _one(picture, it)
            if it.mirrored:
                out[i] = (out[i] + _one(picture[:, ::-1], it)) / 2
    return out


def prepared(images: ndarray, low: float, span: float, size: tuple[int, int]) -> Float[ndarray, "n h w c"]:
    """Numbers in 0 ... 1 at the working size, float32; of four channels the last is left out."""
    X = images[..., None] if images.ndim == 3 else images[..., : 3 if images.shape[3] == 4 else None]
    X = (X.astype(np.float32) - np.float32(low)) / np.float32(span)
    for axis, new in enumerate(size, start=1):
        if X.shape[axis] != new:
            X = np.moveaxis(np.tensordot(_resampling(X.shape[axis], new), X, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(X)


def _resampling(old: int, new: int) -> Float[ndarray, "new old"]:
    """Means over ``new`` equal stretches of ``old`` pixels, a pixel across a border in part on both sides; more pixels by straight lines
    from each pixel's middle to the next."""
    if new > old:
        at = np.clip((np.arange(new) + 0.5) * (old / new) - 0.5, 0, old - 1)
        return np.maximum(0, 1 - abs(at[:, None] - np.arange(old))).astype(np.float32)
    edges = np.linspace(0, old, new + 1)
    pixels = np.arange(old)
    inside = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (np.maximum(inside, 0) * (new / old)).astype(np.float32)


def levels(images: ndarray) -> tuple[float, float]:
    """What becomes 0, and the distance from there to what becomes 1: 0 and 255 in 8 bits, else the least and the range."""
    if images.dtype == np.uint8:
        return 0.0, 255.0
    low, high = float(np.min(images)), float(np.max(images))
    return low, (high - low) or 1.0


def cells(rows: int, columns: int, grid: int) -> list[tuple[slice, slice]]:
    """The positions of patches in each cell of the grid."""
    down, along = (np.linspace(0, n, grid + 1).astype(int) for n in (rows, columns))
    return [(slice(down[i], down[i + 1]), slice(along[j], along[j + 1])) for i in range(grid) for j in range(grid)]


def _one(picture: Float[ndarray, "h w c"], it: Dictionary) -> Float[ndarray, " d"]:
    """The features of one picture: sum max(c - t, 0) is sum max(c, t) less t for each patch, tile by tile."""
    q, t, k = it.patch, np.float32(it.threshold), it.filters.shape[1]
    windows = np.lib.stride_tricks.sliding_window_view(picture, (q, q), axis=(0, 1))
    rows, columns = windows.shape[:2]
    # (positions, pixels of a patch), in the order in which patches are laid out
    P = windows.transpose(0, 1, 3, 4, 2).reshape(rows, columns, -1)
    out = np.zeros((it.grid**2, 2, k), np.float32)
    step = max(1, TILE // k)
    room = np.empty((step, k), np.float32)
    beyond = np.empty((step, k), np.float32)
    for cell, (a, b) in enumerate(cells(rows, columns, it.grid)):
        V = P[a, b].reshape(-1, P.shape[2]) @ it.whiten
        length = np.sqrt(np.einsum("np,np->n", V, V))
        V /= np.maximum(length, np.float32(1e-12))[:, None]
        for start in range(0, len(V), step):
            v = V[start : start + step]
            C = np.matmul(v, it.filters, out=room[: len(v)])
            B = np.maximum(C, t, out=beyond[: len(v)])
            out[cell, 0] += B.sum(axis=0)
            B = np.minimum(C, -t, out=beyond[: len(v)])
            out[cell, 1] -= B.sum(axis=0)
        out[cell] = out[cell] / np.float32(len(V)) - t
    return out.reshape(-1)


def _on_card(images: ndarray, it: Dictionary, device: str, report: Report | None) -> Float[ndarray, "n d"]:
    """The same by torch, some pictures at a time."""
    import torch
    from torch.nn import functional

    whiten, filters = (torch.as_tensor(A, device=device) for A in (it.whiten, it.filters))
    k, t, out = filters.shape[1], it.threshold, np.empty((len(images), it.width), np.float32)
    rows, columns = it.size[0] - it.patch + 1, it.size[1] - it.patch + 1
    step = max(1, 2**28 // (rows * columns * k))

    def found(x: Any) -> Any:
        P = functional.unfold(x, it.patch)  # (n, c q q, positions), channels first
        P = P.reshape(len(x), x.shape[1], it.patch**2, -1).permute(0, 3, 2, 1).flatten(2)
        V = P @ whiten
        V = V / V.norm(dim=2, keepdim=True).clamp_min(1e-12)
        C = (V @ filters).reshape(len(x), rows, columns, k)
        parts = []
        for a, b in cells(rows, columns, it.grid):
            here = C[:, a, b]
            parts += [(here - t).clamp_min(0).mean(dim=(1, 2)), (-here - t).clamp_min(0).mean(dim=(1, 2))]
        return torch.cat(parts, dim=1)

    for start in range(0, len(images), step):
        batch = prepared(images[start : start + step], it.low, it.span, it.size)
        x = torch.as_tensor(batch, device=device).permute(0, 3, 1, 2)
        F = (found(x) + found(x.flip(3))) / 2 if it.mirrored else found(x)
        out[start : start + step] = F.cpu().numpy()
        if report:
            report(len(batch))
    return out
