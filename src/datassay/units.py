"""Amounts of time and memory, as people write them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from datassay.checks import DataError

_SECONDS = {
    "s": 1,
    "sec": 1,
    "second": 1,
    "seconds": 1,
    "min": 60,
    "minute": 60,
    "minutes": 60,
    "h": 3600,
    "hour": 3600,
    "hours": 3600,
}
_BYTES = {"b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}


def in_seconds(value: str | float, name: str) -> float:
    """
    >>> in_seconds("10 min", "budget"), in_seconds(90, "budget")
    (600.0, 90.0)
    >>> in_seconds("90", "budget")
    90.0
    """
    return _amount(value, _SECONDS, name, "'10 min', '2 h' or seconds")


def in_bytes(value: str | float, name: str) -> float:
    """
    >>> in_bytes("8 GB", "memory")
    8000000000.0
    """
    return _amount(value, _BYTES, name, "'8 GB' or bytes")


def _amount(value: str | float, units: Mapping[str, float], name: str, example: str) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0:
        return float(value)
    if isinstance(value, str) and re.fullmatch(r"\s*[0-9]*\.?[0-9]+\s*", value) and float(value) > 0:  # as on a command line
        return float(value)
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([a-zA-Z]+)\s*", str(value))
    if match is None or match[2].lower() not in units or float(match[1]) <= 0:
        raise DataError(f"{name} must be an amount such as {example}, got {value!r}.")
    return float(match[1]) * units[match[2].lower()]


def duration(seconds: float) -> str:
    """
    >>> [duration(s) for s in (0.25, 42, 600, 9000, 2e6)]
    ['0.2 s', '42 s', '10 min', '2.5 h', '23 days']
    """
    for limit, unit, size in ((1, "s", 1), (120, "s", 1), (7200, "min", 60), (200_000, "h", 3600)):
        if seconds < limit:
            return f"{seconds:.1f} s" if limit == 1 else f"{seconds / size:.{0 if seconds / size >= 10 else 1}f} {unit}"
    return f"{seconds / 86400:.0f} days"
