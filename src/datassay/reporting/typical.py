"""What the rows of a class usually hold, column by column, and which cells of a row are therefore unusual.

A number is unusual if it lies more than 3 robust standard deviations from the median of the rows of the same given
label. The deviation is the median absolute deviation times 1.4826, taken above and below the median separately:
amounts are skewed, and one deviation for both sides would call every large one unusual. Where half of the rows hold
the same value it is 0; then the mean absolute deviation times 1.2533 stands in. A text is unusual if under 5 % of the
rows of the class have it while another one is ten times as common. Regression: all rows are one class. Dates count as numbers.
Texts of which nearly every row has another (names, prose) are neither unusual nor different.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from datassay.data.dataset import Dataset
from datassay.data.out_of_core import blocks
from datassay.reporting.plain import plain

_FAR = 3.0  # robust standard deviations
_RARE = 0.05
_FEWEST = 8  # rows of a class from which "usual" means something
_SAMPLE = 5_000  # rows of a class from which quartiles are taken
_OWN = 0.9  # texts to a row, from which on each row is taken to have a text of its own


@dataclass(frozen=True)
class _Usual:
    """What the rows of one class hold."""

    rows: int
    quartiles: np.ndarray  #: (3, d)
    deviation: np.ndarray  #: (2, d) below and above the median
    missing: np.ndarray  #: (d,) share of the rows
    texts: dict[int, np.ndarray]  #: column -> how many rows have each text; first, how many have none


class Typical:
    """Usual values for each class, worked out when first asked for."""

    def __init__(self, data: Dataset) -> None:
        frame = data.shown if isinstance(data.shown, pd.DataFrame) else None
        self.classes = [str(plain(c)) for c in data.classes]
        self.codes = data.codes if data.task == "classification" else np.zeros(len(data), np.int64)
        self.own: list[int] = []  # columns where another text in each row is nothing unusual: free text, names
        self.dates: list[int] = []
        self.texts: dict[int, tuple[np.ndarray, Any]] = {}  # column -> number of the text in every row, and the texts
        if frame is None:
            self.numbers = (
                data.shown
            )  # of any type, and perhaps in a file: `_at` makes float64 of the rows that are asked for
        else:
            self.numbers = np.full(frame.shape, np.nan)
            for j in range(frame.shape[1]):
                column = frame.iloc[:, j]
                if column.dtype.kind == "M":
                    self.dates.append(j)
                    self.numbers[:, j] = _seconds(column)
                elif (numbers := _as_numbers(column)) is not None:
                    self.numbers[:, j] = numbers
                else:
                    self.texts[j] = pd.factorize(column.astype(object).map(str).where(column.notna(), None))
                    if str(frame.columns[j]) in data.prose or len(self.texts[j][1]) > _OWN * max(
                        column.notna().sum(), _FEWEST
                    ):
                        self.own.append(j)
        self._usual: dict[int, _Usual] = {}
        sample = self._at(_thin(np.arange(len(data))))
        everywhere = _quartiles(sample)
        middle = everywhere[2] - everywhere[0]
        self.step = np.where(middle > 0, middle / 2, _mean_deviation(sample, everywhere[1]))

    def _at(self, rows: Any) -> np.ndarray:
        """Rows as float64, NaN for what is missing."""
        numbers = np.asarray(self.numbers[rows], dtype=np.float64)
        return np.where(np.isfinite(numbers), numbers, np.nan)

    def _missing(self, rows: np.ndarray) -> np.ndarray:
        """(d,) share of the rows."""
        count = np.zeros(self.numbers.shape[1])
        for some in blocks(np.broadcast_to(0, (len(rows), len(count)))):
            count += np.isnan(self._at(rows[some])).sum(axis=0)
        return count / len(rows)

    def usual(self, code: int) -> _Usual:
        if code not in self._usual:
            rows = np.flatnonzero(self.codes == code)
            sample = self._at(_thin(rows))
            quartiles = _quartiles(sample)
            deviation = 1.4826 * np.diff(quartiles, axis=0)
            deviation = np.where(deviation > 0, deviation, 1.2533 * _mean_deviation(sample, quartiles[1]))
            missing = self._missing(rows)
            texts = {j: np.bincount(codes[rows] + 1, minlength=len(kinds) + 1) for j, (codes, kinds) in self.texts.items()}
            self._usual[code] = _Usual(len(rows), quartiles, deviation, missing, texts)
        return self._usual[code]

    def severity(self, row: int) -> np.ndarray:
        """(d,) how unusual each cell of the row is among the rows of its given label: above 1 is unusual."""
        usual, x = self.usual(int(self.codes[row])), self._at(row)
        if usual.rows < _FEWEST:
            return np.zeros(len(x))
        away = x - usual.quartiles[1]
        deviation = np.where(away < 0, usual.deviation[0], usual.deviation[1])
        with np.errstate(divide="ignore", invalid="ignore"):
            z = np.nan_to_num(np.abs(away) / deviation, posinf=99.0)  # nothing else has another value: 99
        severity = np.where(np.isnan(x), (usual.missing < _RARE) * 1.01, z / _FAR)
        for j, counts in usual.texts.items():
            count = counts[self.texts[j][0][row] + 1]
            rare = count < _RARE * usual.rows and counts.max() >= 10 * count
            severity[j] = 1.01 + np.log10(_RARE * usual.rows / count) if rare else 0.0
        severity[self.own] = 0.0
        return severity

    def reason(self, row: int, column: int) -> str:
        """What rows of the same given label usually hold there, in a line."""
        usual = self.usual(int(self.codes[row]))
        whose = self.classes[int(self.codes[row])] if self.classes else "all rows"
        if column in self.texts:
            number, kinds = self.texts[column]
            counts = usual.texts[column]
            most = int(counts.argmax())
            common = "missing" if most == 0 else str(plain(kinds[most - 1]))
            share = counts[number[row] + 1] / usual.rows
            return f"{share:.1%} of {whose} have this; commonest: {common} ({counts[most] / usual.rows:.0%})"
        if np.isnan(self._at(row)[column]):
            return f"missing in {usual.missing[column]:.1%} of {whose}"
        low, _, high = usual.quartiles[:, column]
        if column in self.dates:
            first, last = (pd.Timestamp(seconds, unit="s").date() for seconds in (low, high))
            return f"typical for {whose}: {first}" + (f" to {last}" if last > first else "")
        return f"typical for {whose}: {low:.5g}" + (f" to {high:.5g}" if high > low else "")

    def differs(self, row: int, others: list[int]) -> np.ndarray:
        """(len(others), d) which cells of other rows differ: texts at all, numbers and dates by half the interquartile range."""
        here, there = self._at(row), self._at(others)
        with np.errstate(invalid="ignore"):
            out = np.abs(there - here) > self.step
        out |= np.isnan(there) != np.isnan(here)
        for j, (number, _) in self.texts.items():
            out[:, j] = number[others] != number[row]
        out[:, self.own] = False
        return out


def _seconds(dates: pd.Series) -> np.ndarray:
    """Since 1970, NaN where there is no date."""
    if getattr(dates.dtype, "tz", None) is not None:
        dates = dates.dt.tz_convert("UTC").dt.tz_localize(None)
    return np.where(dates.isna(), np.nan, dates.to_numpy().astype("datetime64[ms]").astype(np.int64) / 1000.0)


def _as_numbers(column: pd.Series) -> np.ndarray | None:
    """The column as floats if all its cells are numbers, or text that reads as numbers."""
    if isinstance(column.dtype, pd.CategoricalDtype) or column.dtype.kind in "bMmc":
        return None
    numbers = pd.to_numeric(column, errors="coerce")
    if (numbers.notna() != column.notna()).any():
        return None
    return numbers.to_numpy(dtype=np.float64, na_value=np.nan)


def _thin(rows: np.ndarray) -> np.ndarray:
    return rows[:: max(1, -(-len(rows) // _SAMPLE))]


def _quartiles(numbers: np.ndarray) -> np.ndarray:
    """(3, d), NaN where a column has no number."""
    with warnings.catch_warnings():  # a column of text, or one that is missing in a whole class
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
        function = np.nanquantile if np.isnan(numbers).any() else np.quantile
        return function(numbers, [0.25, 0.5, 0.75], axis=0)


def _mean_deviation(numbers: np.ndarray, centre: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)
        return np.nanmean(np.abs(numbers - centre), axis=0)
