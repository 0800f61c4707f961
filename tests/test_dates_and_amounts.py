"""Dates, truth values in several spellings, and amounts with units, in frames and their validation rows."""

import numpy as np
import pandas as pd
import pytest

import datassay as da
from datassay.checks import DataError
from datassay.data.cells import amounts, cycles, truths

Y = np.array(["a", "b"] * 20)


def test_dates_have_days_weekdays_seasons_and_hours():
    when = pd.Series(pd.date_range("2023-01-01 06:30", periods=40, freq="11D1h"))
    frame = pd.DataFrame({"when": when, "n": np.arange(40) % 7})
    data = da.Dataset(frame, Y, frame[:5], Y[:5], standardise=False)
    by = dict(zip(data.columns, data.X.T, strict=True))
    assert list(by) == [
        "when",
        "n",
        *(f"when: {w}, {s}" for w in ("weekday", "day of the year", "hour") for s in ("sine", "cosine")),
    ]
    for row, date in enumerate(when):
        assert by["when"][row] == pytest.approx((date - pd.Timestamp(0)) / pd.Timedelta(days=1))
        assert by["when: weekday, sine"][row] == pytest.approx(np.sin(2 * np.pi * date.weekday() / 7))
        assert by["when: hour, cosine"][row] == pytest.approx(np.cos(2 * np.pi * (date.hour + 0.5) / 24))
        assert by["when: day of the year, sine"][row] == pytest.approx(np.sin(2 * np.pi * date.day_of_year / 365.2425))
    np.testing.assert_allclose(data.X_val, data.X[:5])
    assert list(data.encoding) == ["when", "n"]
    assert data.encoding["when"] == "number, as it is; of its date also weekday, day of the year, hour"
    plain = pd.DataFrame({"when": when.dt.date})
    assert "of its date also weekday, day of the year" in da.Dataset(plain, Y).encoding["when"]
    assert da.Dataset(plain[:10], Y[:10]).columns == ["when"]


def test_gaps_among_dates():
    when = pd.Series(pd.date_range("2023-01-01", periods=40, freq="5D"))
    when[3] = pd.NaT
    frame = pd.DataFrame({"when": when})
    with pytest.raises(DataError, match=r"row 3.*column 'when'"):
        da.Dataset(frame, Y)
    assert np.isfinite(da.Dataset(frame, Y, missing="mean").X).all()
    assert da.Dataset(frame, Y, missing="drop").dropped.tolist() == [3]
    assert cycles(pd.Series(["2023-01-01", "9999-12-31x"])) == {}


def test_a_weekday_tells_what_days_do_not():
    rng = np.random.default_rng(0)
    days = pd.to_datetime("2020-01-01") + pd.to_timedelta(rng.integers(0, 2000, 200), "D")
    y = np.where(days.day_of_week >= 5, "rest", "work")
    data, wrong = da.plant(da.Dataset(pd.DataFrame({"day": days}), y), "uniform", 0.1, seed=0)
    first = da.value(data, progress=False).suspects(20)["id"]
    assert wrong[first].mean() > 0.8


def test_truth_values_in_several_spellings():
    said = pd.Series(["Yes", "no", "y", "NO ", "TRUE", "False", None, "n"] * 5)
    frame = pd.DataFrame({"agreed": said, "n": np.arange(40) % 7})
    data = da.Dataset(frame, Y, frame[:4].assign(agreed=["f", "YES", "t", "0"]), Y[:4], missing="mean")
    assert data.columns == ["n", "agreed=(empty)", "agreed=no", "agreed=yes"]
    assert data.encoding["agreed"] == "text, one-hot, 3 values, of several spellings"
    np.testing.assert_array_equal(data.X[:7, 3], [1, 0, 1, 0, 1, 0, 0])
    np.testing.assert_array_equal(data.X_val[:, 3], [0, 1, 1, 0])
    for other in (["yes", "no"], ["yes", "no", "maybe"], ["1", "0", "1 "], ["a", "b", "c"]):
        assert truths(pd.Series(other)) is None


@pytest.mark.parametrize(
    ("cells", "numbers", "said"),
    [
        (["1,200", "90", "1,234,567.5"], [1200, 90, 1234567.5], ("", "")),
        (["12 kg", "3.5kg", "-4 KG"], [12, 3.5, -4], ("", "kg")),
        (["$1,200.50", "$ 3", "-$4", "$-5"], [1200.5, 3, -4, -5], ("$", "")),
        (["5%", "12 %"], [5, 12], ("", "%")),
        (["20 °C", "-3°C"], [20, -3], ("", "°c")),
        (["3 m²", "4 m²"], [3, 4], ("", "m²")),
        (["80 km/h", "7 km/h"], [80, 7], ("", "km/h")),
    ],
)
def test_amounts(cells, numbers, said):
    found = amounts(pd.Series([*cells, None]))
    assert found is not None
    np.testing.assert_array_equal(found[0], [*numbers, np.nan])
    assert found[1] == said


@pytest.mark.parametrize(
    "cells",
    [["12", "13"], ["1,5", "2,5"], ["0,125", "1,200"], ["3 kg", "4 lb"], ["t1", "t2"], ["3", "4 kg"], ["1-2", "3-4"], []],
)
def test_what_is_no_amount(cells):
    assert amounts(pd.Series(cells, dtype=object)) is None


def test_amounts_of_a_frame_and_of_validation_rows():
    frame = pd.DataFrame({"weight": [f"{i + 1:,} kg" for i in range(0, 4000, 100)]})
    data = da.Dataset(frame, Y, frame[:3], Y[:3])
    numbers = da.Dataset(pd.DataFrame({"weight": np.arange(1.0, 4000, 100)}), Y)
    np.testing.assert_array_equal(data.X, numbers.X)
    np.testing.assert_array_equal(data.X_val, data.X[:3])
    assert data.encoding["weight"].endswith(", in kg")
    assert data.shown["weight"][0] == "1 kg"
    with pytest.raises(DataError, match="'weight'"):
        da.Dataset(frame, Y, pd.DataFrame({"weight": ["3 lb", "4 lb"]}), Y[:2])
