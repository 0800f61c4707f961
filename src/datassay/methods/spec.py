"""A method and its options, as people write them: "lossval transport_power=0"."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from datassay.checks import DataError
from datassay.methods import find
from datassay.methods.definition import ADDS_TO, WRITES


def options_of(pairs: Sequence[str], where: str = "--set ") -> dict[str, Any]:
    """name=value pairs; the value as Python would write it (0.1, True, None), else as text.

    >>> options_of(["ridge=0", "bias=false", "classes=own"])
    {'ridge': 0, 'bias': False, 'classes': 'own'}
    """
    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if name.strip() in ("data", "seed", "progress"):
            raise DataError(f"{where}{name.strip()} is not an option of the method; the seed is --seed.")
        if not equals or not name.strip():
            raise DataError(f"{where.strip() or 'a method'} needs name=value, as in {where}ridge=0, got {pair!r}.")
        if name.strip() in (*WRITES, *ADDS_TO, "device") and text != "None":  # names, also of digits alone
            options[name.strip()] = text
            continue
        try:
            options[name.strip()] = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            options[name.strip()] = {"true": True, "false": False}.get(text.lower(), text)
    return options


def method_of(
    asked: str | Mapping[str, Any] | Callable[..., Any],
) -> tuple[str, str | Callable[..., Any], dict[str, Any]]:
    """What to call it, the method, its options; from "cg-score ridge=0", a table with ``method``, ``name`` and the options, or a function.

    >>> method_of("cg-score ridge=0")
    ('cg-score ridge=0', 'cg-score', {'ridge': 0})
    >>> method_of({"method": "cg-score", "ridge": 0, "name": "as in the paper"})
    ('as in the paper', 'cg-score', {'ridge': 0})
    """
    if callable(asked):
        return find(asked)[0], asked, {}
    if isinstance(asked, str):
        name, *pairs = asked.split() or [""]
        title, options = " ".join([name, *pairs]), options_of(pairs, "")
    elif isinstance(asked, Mapping) and isinstance(asked.get("method"), str):
        name = asked["method"]
        options = {key: value for key, value in asked.items() if key not in ("method", "name")}
        title = str(asked.get("name") or " ".join([name, *(f"{key}={value}" for key, value in options.items())]))
    else:
        raise DataError(
            f'a method is a text such as "cg-score ridge=0", or a table with method and its options, got {asked!r}.'
        )
    find(name)
    return title, name, options
