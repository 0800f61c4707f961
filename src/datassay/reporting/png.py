"""Pictures as PNG data URIs, with the standard library alone (Pillow is an extra)."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np

_COLOUR = {1: 0, 3: 2, 4: 6}  # channels -> PNG colour type: grey, RGB, RGBA


def shrink(image: np.ndarray, side: int) -> np.ndarray:
    """(h, w, c) averaged over square boxes until neither side is longer than ``side`` pixels.

    >>> shrink(np.arange(16.0).reshape(4, 4, 1), 2)[..., 0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]])
    """
    step = -(-max(image.shape[:2]) // side)
    if step <= 1:
        return image
    rows, columns = (np.arange(0, n, step) for n in image.shape[:2])
    total = np.add.reduceat(np.add.reduceat(image.astype(np.float64), rows, axis=0), columns, axis=1)
    height, width = (np.diff(np.append(starts, n)) for starts, n in zip((rows, columns), image.shape[:2], strict=True))
    return total / np.outer(height, width)[:, :, None]


def data_uri(image: np.ndarray) -> str:
    """(h, w, c) uint8 with 1, 3 or 4 channels as a base64 PNG that a browser shows without fetching anything."""
    height, width, channels = image.shape
    pixels = np.ascontiguousarray(image).reshape(height, width * channels)
    coded = pixels.copy()
    coded[:, channels:] -= pixels[:, :-channels]  # PNG filter 1: each byte minus its left neighbour; packs better
    lines = np.concatenate([np.ones((height, 1), np.uint8), coded], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR[channels], 0, 0, 0)
    body = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(lines.tobytes(), 9)) + _chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + body).decode()


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
