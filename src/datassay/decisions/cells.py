"""Cells of files that people open in a spreadsheet."""

from __future__ import annotations

from typing import Any

FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")


def for_sheet(cell: Any) -> Any:
    """Text that a spreadsheet would run, behind an apostrophe; numbers stay.

    >>> for_sheet("=1+1"), from_sheet(for_sheet("=1+1")), for_sheet("a"), for_sheet("-1"), from_sheet(for_sheet("'-1"))
    ("'=1+1", '=1+1', 'a', '-1', "'-1")
    """
    return f"'{cell}" if _runs(cell) else cell


def from_sheet(cell: Any) -> Any:
    """Without the apostrophe of `for_sheet`."""
    return cell[1:] if isinstance(cell, str) and cell.startswith("'") and _runs(cell[1:]) else cell


def _runs(cell: Any) -> bool:
    if not isinstance(cell, str) or not cell.startswith(FORMULA):
        return False
    try:
        float(cell)
    except ValueError:
        return True
    return False
