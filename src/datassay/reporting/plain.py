"""Anything that came with the data or the values, as JSON can hold it: no NaN, no numpy, no endless text."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

_LONGEST = 300  # characters of one cell or option


def plain(value: Any) -> str | int | float | bool | None:
    """One label, cell or number; infinity and NaN as text, since JSON has no word for them. Of a text that is cut a digest stands
    at its end, so that those that begin alike can be told apart.

    >>> plain(np.float64("inf")), plain(np.int64(3)), plain((np.str_("a"), 1)), plain(pd.NaT)
    ('inf', 3, "('a', 1)", None)
    >>> len(plain(400 * "a")), plain(400 * "a")[-12:], plain(401 * "a")[-12:]
    (300, 'a… #edd77bff', 'a… #73b4a411')
    """
    if value is None or value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, np.generic) and value.dtype.kind in "biufUO":
        value = value.item()
    if isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, tuple):
        value = tuple(plain(v) for v in value)
    text = str(value)
    if len(text) <= _LONGEST:
        return text
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=4).hexdigest()
    return f"{text[: _LONGEST - 11]}… #{digest}"


def named(values: Mapping[str, Any], n: int) -> list[dict[str, Any]]:
    """Options or stats as name and value; arrays with an entry a row are left out, other long ones only counted.

    >>> named({"ridge": 0.5, "sizes": [2, 3], "gram": {"blocks": 4}, "stderr": np.zeros(9)}, n=9)
    [{'name': 'ridge', 'value': 0.5}, {'name': 'sizes', 'value': '2, 3'}, {'name': 'gram.blocks', 'value': 4}]
    """
    out: list[dict[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            out += named({f"{name}.{key}": v for key, v in value.items()}, n)
            continue
        if isinstance(value, np.ndarray):
            if value.ndim and len(value) == n:
                continue
            value = value.tolist()
        if isinstance(value, list | tuple | set | frozenset):
            entries = list(value)
            value = ", ".join(str(plain(v)) for v in entries) if len(entries) <= 12 else f"{len(entries):,} entries"
        out.append({"name": str(name), "value": plain(value)})
    return out
