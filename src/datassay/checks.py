"""What goes wrong by the caller's hand, and checks of options: each says in one sentence what is needed and what came.

The command line turns both errors into one sentence and exit status 2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any


class DataError(ValueError):
    """The data or the call is wrong: one sentence says what is needed, what came, and what to do."""


class OptionError(TypeError):
    """The method has no such option."""


@contextmanager
def needing_torch(what: str) -> Iterator[None]:
    """Imports inside that miss torch say how to get it."""
    try:
        yield
    except ImportError as error:
        if "torch" not in (error.name, getattr(error.__cause__, "name", None)):
            raise
        raise ImportError(f"{what} needs torch: pip install 'datassay[torch]'") from error


def whole(method: str, least: int, **numbers: Any) -> None:
    """Each must be a whole number from ``least`` on."""
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
            raise DataError(f"{method}: {name} must be a whole number from {least} on, got {value!r}.")


def number(method: str, least: float, *, above: bool = False, below: float = math.inf, **numbers: Any) -> None:
    """Each must be a number from ``least`` on, or above it, and below ``below``."""
    for name, value in numbers.items():
        real = isinstance(value, Real) and not isinstance(value, bool)
        right = real and least <= value < below
        if not right or (above and value == least):
            what = f"{'above' if above else 'from'} {least:g}" + ("" if above else " on")
            what += "" if below == math.inf else f" and below {below:g}"
            raise DataError(f"{method}: {name} must be a number {what}, got {value!r}.")


def one_of(method: str, known: tuple[Any, ...], **choices: Any) -> None:
    """Each must be one of the known."""
    for name, value in choices.items():
        if not any(type(value) is type(k) and value == k for k in known):
            raise DataError(f"{method}: {name} must be {' or '.join(map(repr, known))}, got {value!r}.")


def jobs(method: str, n_jobs: Any) -> None:
    """None, or so many workers as joblib counts them."""
    if n_jobs is not None and (isinstance(n_jobs, bool) or not isinstance(n_jobs, Integral) or n_jobs == 0):
        raise DataError(f"{method}: n_jobs must be None or a whole number other than 0, got {n_jobs!r}.")
