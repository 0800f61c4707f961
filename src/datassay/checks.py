"""What goes wrong by the caller's hand, and checks of options: each says in one sentence what is needed and what came.

The command line turns both errors into one sentence and exit status 2.
"""

from __future__ import annotations

import collections.abc as abc
import functools
import math
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin


class DataError(ValueError):
    """The data or the call is wrong: one sentence says what is needed, what came, and what to do."""


class OptionError(TypeError):
    """The method has no such option."""


@dataclass(frozen=True)
class Call:
    """How a method was called."""

    method: str
    given: Mapping[str, Any]  #: all options, those of the signature too, under their present names
    renamed: Mapping[str, str] = field(default_factory=dict)  #: former names of options, and their present ones

    def former(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options under the names that they had first: files of today and of old go by these.

        >>> Call("dvgs", {}, {"restarts": "runs"}).former({"seed": 0, "runs": 3})
        {'seed': 0, 'restarts': 3}
        """
        first = {new: old for old, new in self.renamed.items()}
        return {first.get(name, name): value for name, value in options.items()}


@contextmanager
def needing_torch(what: str) -> Iterator[None]:
    """Imports inside that miss torch say how to get it."""
    try:
        yield
    except ImportError as error:
        if "torch" not in (error.name, getattr(error.__cause__, "name", None)):
            raise
        raise ImportError(f"{what} needs torch: pip install 'datassay[torch]'") from error


@dataclass(frozen=True)
class Whole:
    """A kind of option: whole numbers."""

    least: int = -(2**63)
    most: int = 2**63 - 1

    def holds(self, value: Any) -> bool:
        return isinstance(value, Integral) and not isinstance(value, bool) and self.least <= int(value) <= self.most

    def __str__(self) -> str:
        if self.least < -(2**62):
            return "a whole number"
        return f"a whole number from {self.least} " + ("on" if self.most >= 2**62 - 1 else f"to {self.most}")


@dataclass(frozen=True)
class Number:
    """A kind of option: finite numbers between bounds, which belong to it as `least` and `most`, and do not as `above` and `below`."""

    least: float | None = None
    above: float | None = None
    below: float | None = None
    most: float | None = None

    def holds(self, value: Any) -> bool:
        try:
            right = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(float(value))
        except OverflowError:
            return False
        return (
            right
            and (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
            and (self.most is None or value <= self.most)
        )

    def __str__(self) -> str:
        if self.least is not None and self.most is not None:
            return f"a number from {self.least:g} to {self.most:g}"
        words = {"above": self.above, "from": self.least, "below": self.below, "at most": self.most}
        bounds = [f"{word} {bound:g}" for word, bound in words.items() if bound is not None]
        return " ".join(["a number", " and ".join(bounds)]).strip() + (" on" if bounds and bounds[-1][:4] == "from" else "")


@dataclass(frozen=True)
class NotZero:
    """A kind of option: workers as joblib counts them."""

    def holds(self, value: Any) -> bool:
        return Whole().holds(value) and value != 0

    def __str__(self) -> str:
        return "a whole number other than 0"


Seed = Annotated[int, Whole(0, 2**62 - 1)]
Count = Annotated[int, Whole(1)]
Jobs = Annotated[int, NotZero()]
Positive = Annotated[float, Number(above=0)]
FromZero = Annotated[float, Number(least=0)]
Share = Annotated[float, Number(above=0, below=1)]


def shown(value: Any) -> str:
    """A value in a sentence: short, and a whole number that is too large for any option says so."""
    if isinstance(value, Integral) and not isinstance(value, bool) and abs(int(value)) >= 2**62:
        return f"one of {int(value).bit_length()} bits, which is too large"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def whole(method: str, least: int, **numbers: Any) -> None:
    """Each must be a whole number from ``least`` on."""
    of_kind(method, Whole(least), **numbers)


def of_kind(method: str, kind: Whole | Number | NotZero, **options: Any) -> None:
    """Each must be of the kind."""
    for name, value in options.items():
        if not kind.holds(value):
            raise DataError(f"{method}: {name} must be {kind}, got {shown(value)}.")


def one_of(method: str, known: tuple[Any, ...], **choices: Any) -> None:
    """Each must be one of the known."""
    for name, value in choices.items():
        if not any(_same(k, value) for k in known):
            raise DataError(f"{method}: {name} must be {' or '.join(map(repr, known))}, got {shown(value)}.")


def refuse(method: str, *wrong: tuple[Any, str]) -> None:
    """Options that don't go with each other, or with the data: the sentence of the first that is so.

    >>> refuse("ame", (False, "label is for a query"), (True, "epsilon draws subsets of its own"))
    Traceback (most recent call last):
    datassay.checks.DataError: ame: epsilon draws subsets of its own.
    """
    for holds, sentence in wrong:
        if holds:
            raise DataError(f"{method}: {sentence}.")


def jobs(method: str, n_jobs: Any) -> None:
    """None, or so many workers as joblib counts them."""
    if n_jobs is not None and not NotZero().holds(n_jobs):
        raise DataError(f"{method}: n_jobs must be None or {NotZero()}, got {shown(n_jobs)}.")


def annotated(method: str, given: Mapping[str, Any], hints: Mapping[str, Any]) -> dict[str, float]:
    """Options against their annotations: Literal, bool, int, float, str, Path, the kinds above, None, and any union of these.

    What an annotation says in another way (a class, Any) is not looked at, nor what is in a list.

    Returns
    -------
    dict
        Whole numbers of more than 64 bits, given where any number may be, as floats: C code takes no such integers.

    Raises
    ------
    DataError
        An option is none of what its annotation lists.
    """
    large = {}
    for option, value in given.items():
        parts = _parts(hints.get(option))
        if parts and not any(holds(value) for _, holds in parts):
            said = " or ".join(dict.fromkeys(words for words, _ in parts))
            raise DataError(f"{method}: {option} must be {said}, got {shown(value)}.")
        if parts and isinstance(value, Integral) and not Whole().holds(int(value)):
            large[option] = float(value)
    return large


def _parts(hint: Any) -> list[tuple[str, Callable[[Any], bool]]]:
    """What an annotation allows: words and a test for each; none where it can't be told."""
    if get_origin(hint) in (Union, types.UnionType):
        parts = sorted(get_args(hint), key=lambda part: part is not type(None))  # None first
        found = [_parts(part) for part in parts]
        return [one for part in found for one in part] if all(found) else []
    if get_origin(hint) is Literal:
        return [(repr(known), functools.partial(_same, known)) for known in get_args(hint)]
    if get_origin(hint) is Annotated:
        return [(str(kind), kind.holds) for kind in hint.__metadata__]
    if get_origin(hint) in (list, tuple, abc.Sequence):
        return [("a list", _is_listed)]
    known: dict[Any, list[tuple[str, Callable[[Any], bool]]]] = {
        type(None): [("None", functools.partial(_same, None))],
        bool: [("True", functools.partial(_same, True)), ("False", functools.partial(_same, False))],
        int: [(str(Whole()), Whole().holds)],
        float: [(str(Number()), Number().holds)],
        str: [("a text", lambda value: isinstance(value, str))],
        Path: [("a path", lambda value: isinstance(value, PathLike))],
    }
    return known.get(hint, [])


def _is_listed(value: Any) -> bool:
    """A list, a tuple, an array; what is in it the method looks at."""
    return hasattr(value, "__len__") and hasattr(value, "__getitem__") and not isinstance(value, (str, bytes, Mapping))


def _same(known: Any, value: Any) -> bool:
    return type(value) is type(known) and bool(value == known)
