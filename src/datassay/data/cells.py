"""What cells say beside numbers and kinds: dates with their weekdays, truth values in several spellings, amounts, ordered kinds."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from datassay.checks import DataError

FEWEST = 20  # rows from which on dates have columns of their weekday, season and hour
_TRUE, _FALSE = {"yes", "y", "true", "t", "1", "on"}, {"no", "n", "false", "f", "0", "off"}
_AMOUNT = re.compile(
    r"\s*([$€£¥]?)\s*([+-]?)([$€£¥]?)\s*(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?\s*(%|°?[^\W\d_]{0,8}(?:[/²³][^\W\d_]{0,3})?|[$€£¥])\s*"
)
_CYCLES = {"weekday": 7.0, "day of the year": 365.2425, "hour": 24.0}


def is_date(column: pd.Series) -> bool:
    """Whether the cells are dates or times of dates."""
    if pd.api.types.is_datetime64_any_dtype(column):
        return True
    return column.dtype == object and pd.api.types.infer_dtype(column, skipna=True) in ("date", "datetime")


def cycles(column: pd.Series, kept: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Sine and cosine of the weekday, the day of the year and the hour, NaN without a date; of those that differ, or those ``kept``.

    >>> found = cycles(pd.Series(pd.to_datetime(["2024-01-01", "2024-01-08", "2024-07-01"])))
    >>> list(found)
    ['day of the year, sine', 'day of the year, cosine']
    """
    try:
        dates = pd.to_datetime(column)
    except (pd.errors.OutOfBoundsDatetime, ValueError, TypeError):  # 9999-12-31, or zones that differ
        return {}
    hour = dates.dt.hour + dates.dt.minute / 60 + dates.dt.second / 3600
    at = {"weekday": dates.dt.day_of_week, "day of the year": dates.dt.day_of_year, "hour": hour}
    out: dict[str, np.ndarray] = {}
    for what, period in _CYCLES.items():
        angle = 2 * np.pi * at[what].to_numpy(np.float64, na_value=np.nan) / period
        if kept is None and len(np.unique(angle[np.isfinite(angle)])) < 2:
            continue
        out |= {f"{what}, sine": np.sin(angle), f"{what}, cosine": np.cos(angle)}
    return out if kept is None else {name: out[name] for name in kept}


def truths(column: pd.Series) -> pd.Series | None:
    """Yes and no in more than two spellings, as "yes" and "no"; None if that is not what the cells hold.

    >>> truths(pd.Series(["Yes", "y", "NO", None])).tolist()[:3]
    ['yes', 'yes', 'no']
    """
    present = column.dropna()
    if not len(present) or present.nunique() < 3 or present.nunique() > 20:
        return None
    plain = present.astype(str).str.strip().str.casefold()
    said = set(plain)
    if not (said <= _TRUE | _FALSE and said & _TRUE and said & _FALSE) or said <= {"0", "1"}:
        return None
    words = np.where(plain.isin(_TRUE), "yes", "no")
    return pd.Series(words, index=present.index, dtype=object).reindex(column.index).rename(column.name)


def amounts(column: pd.Series, form: tuple[str, str] | None = None) -> tuple[pd.Series, tuple[str, str]] | None:
    """Numbers of cells that all have one currency or unit, or thousands separators, and that currency and unit; else None.

    A comma is a thousands separator only between groups of three digits, of which the first does not begin with 0.

    >>> amounts(pd.Series(["1,200 kg", "90 kg"]))[0].tolist(), amounts(pd.Series(["0,125", "1,200"]))
    ([1200.0, 90.0], None)
    """
    present = column.dropna().astype(str)
    if not len(present) or _AMOUNT.fullmatch(present.iloc[0]) is None:
        return None
    found = [_AMOUNT.fullmatch(cell) for cell in present]
    if not all(found):
        return None
    parts = [m.groups() for m in found if m is not None]
    forms = {(before or inner, unit.casefold()) for before, _, inner, _, _, unit in parts}
    commas = [whole for _, _, _, whole, _, _ in parts if "," in whole]
    if len(forms) > 1 or any(whole.startswith("0") for whole in commas):
        return None
    (said,) = forms
    if form is None and not commas and said == ("", ""):
        return None
    if form is not None and said != form:
        return None
    numbers = [float(f"{sign}{whole.replace(',', '')}{rest or ''}") for _, sign, _, whole, rest, _ in parts]
    return pd.Series(numbers, index=present.index, dtype=np.float64).reindex(column.index).rename(column.name), said


def is_ordered(column: pd.Series) -> bool:
    """Whether the cells are categories that have an order."""
    return isinstance(column.dtype, pd.CategoricalDtype) and bool(column.dtype.ordered)


def places(column: pd.Series, order: Sequence[object], name: str) -> pd.Series:
    """The place of each cell in the order, from 0 on; NaN where there is none.

    >>> places(pd.Series(["low", None, "high"]), ["low", "middle", "high"], "risk").tolist()
    [0.0, nan, 2.0]

    Raises
    ------
    DataError
        A cell holds what has no place.
    """
    place = {value: float(k) for k, value in enumerate(order)}
    cells, gaps = column.tolist(), column.isna().tolist()
    row = next((i for i, (cell, gap) in enumerate(zip(cells, gaps, strict=True)) if not gap and cell not in place), None)
    if row is not None:
        known = " < ".join(repr(str(value)) for value in order[:10]) + (" < ..." if len(order) > 10 else "")
        raise DataError(
            f"column {name!r} has {cells[row]!r} in row {row}, which has no place among its ordered values ({known}): mend it, "
            "or make it one of the training rows' categories."
        )
    at = [np.nan if gap else place[cell] for cell, gap in zip(cells, gaps, strict=True)]
    return pd.Series(at, index=column.index, dtype=np.float64, name=column.name)
