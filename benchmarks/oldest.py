"""The oldest promised version of each dependency, as constraints for pip: read from pyproject.toml, written nowhere else.

    python benchmarks/oldest.py torch images ot

Prints a line ``name==version`` for each dependency of datassay, and of the extras that are named. `make test-oldest` installs these into
``.venv-oldest`` and runs the tests there.
"""

import re
import sys
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def oldest(extras: list[str], project: dict[str, object]) -> list[str]:
    """Minimums as exact versions; an error where a dependency has none.

    >>> oldest(["x"], {"dependencies": ["numpy>=2"], "optional-dependencies": {"x": ["dask[array]>=2024.8"]}})
    ['numpy==2', 'dask==2024.8']
    """
    lines = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    found = [re.fullmatch(r"([\w.-]+)(\[[\w,]+\])?>=([\d.]+)", line) for line in lines]
    if None in found:
        raise SystemExit(
            f"{PYPROJECT.name}: {lines[found.index(None)]!r} promises no oldest version: write it as name>=version."
        )
    return [f"{match[1]}=={match[3]}" for match in found]


if __name__ == "__main__":
    print("\n".join(oldest(sys.argv[1:], tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"])))
