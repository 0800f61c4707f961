"""What must stand in a file by itself and follows from METHODS: the methods that editors are told of, and their number in README.

    python docs/declare.py

Type checkers and editors run nothing, so `datassay/__init__.py` has a line for each method's function. tests/test_places.py says when
this is to be run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from datassay.methods import METHODS, Method

ROOT = Path(__file__).parents[1]
FILES = ("src/datassay/__init__.py", "README.md")


def declared(text: str, methods: Mapping[str, Method]) -> str:
    """The text of one of these files with every method in it."""
    functions = sorted(
        m.function for m in methods.values() if isinstance(m.function, str)
    )  # those of other packages are objects
    lines = "".join(f"    from datassay.methods.{name} import {name} as {name}\n" for name in functions)
    text = re.sub(r"(    from datassay\.methods\.\w+ import \w+ as \w+\n)+", lines, text)
    return re.sub(r"\b\d+ methods, called in the same way", f"{len(functions)} methods, called in the same way", text)


if __name__ == "__main__":
    for name in FILES:
        path = ROOT / name
        path.write_text(declared(path.read_text(encoding="utf-8"), METHODS), encoding="utf-8")
