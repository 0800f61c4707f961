"""A few rows that somebody looked at say how many labels are wrong, and how good the first suspects are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray

from datassay.checks import DataError, Number, Seed, Whole, of_kind, shown
from datassay.decisions.cells import for_sheet, from_sheet
from datassay.engines.confidence import (
    History,
    count_interval,
    draw,
    inclusion,
    recalibrated,
    recall_interval,
    rows_for,
    shares,
    strata_of,
    usual,
)
from datassay.files import replacing
from datassay.values import Values

_WRONG = {"1", "1.0", "true", "t", "yes", "y", "wrong"}
_RIGHT = {"0", "0.0", "false", "f", "no", "n", "right"}
_FIRST = (20, 50, 100, 200, 500)


def check_sample(values: Values, n: int, seed: Seed = 0) -> pd.DataFrame:
    """Rows to look at, so that the answers say how many labels are wrong (`checked`).

    They are drawn without replacement from ten strata of the ranking (by ``probability_wrong`` where there is such a column, else by
    score); strata in which answers vary most are drawn from most often, and none is left out.

    Parameters
    ----------
    values
        Of any method. Of values that `checked` gave the strata stay those of the first sample.
    n
        How many. The first rows of a larger sample are those of a smaller one with the same seed: to go on, ask for more.
    seed
        All randomness follows from it.

    Returns
    -------
    DataFrame
        A line a row, in the order of drawing: ``id``, ``draw`` (from 1), ``probability`` (to be among n drawn rows), ``rank``
        (1 = most suspicious), ``given_label``, ``suggested_label``. Stop after any line, but leave none out.

    Raises
    ------
    DataError
        ``n`` is not a whole number from 1 to the number of rows, or ``seed`` not one from 0.

    Examples
    --------
    >>> values = Values(
    ...     ids=np.arange(100), scores=np.arange(100.0), flagged=np.arange(100) < 9, columns={}, method="cg-score"
    ... )
    >>> sample = check_sample(values, 10)
    >>> sample["id"].tolist() == check_sample(values, 30)["id"].tolist()[:10]
    True
    """
    of_kind("check_sample", Whole(1, len(values)), n=n)
    of_kind("check_sample", Whole(0, 2**62 - 1), seed=seed)
    strata, prior = _design(values)
    share = shares(strata, prior)
    rows = draw(strata, share, int(n), int(seed))
    chance = inclusion(np.bincount(strata), share, int(n))
    frame = values.to_frame().iloc[rows][["id", "rank", "given_label", "suggested_label"]]
    frame.insert(1, "draw", np.arange(1, n + 1))
    frame.insert(2, "probability", chance[strata[rows]])
    return frame.reset_index(drop=True)


def checked(values: Values, answers: pd.DataFrame, level: float = 0.95) -> Values:
    """Values that know what somebody found when he looked at the rows of a `check_sample`.

    Parameters
    ----------
    values
        Those that the sample was drawn from, or what `checked` made of them: then earlier answers stay, and ``answers`` goes on.
    answers
        A line a row: ``id`` and ``wrong`` (True or False, 1 or 0, yes or no, wrong or right); other columns may be there. In the order of
        ``draw`` if there is such a column, else as they come. One may stop after any of the drawn rows, for any reason, and
        may go on; rows that are left out, or chosen by hand, would bias everything.
    level
        Of each interval.

    Returns
    -------
    Values
        The same scores, with

        - ``stats["wrong_labels"]``: ``low`` and ``high``, which hold the number of wrong labels with this level however it was decided
          to stop; ``estimate``; ``likely`` (rows flagged), ``told`` (True), ``checked``, ``level``, and ``more_to_halve``: how many
          more rows would make the interval half as wide, about
        - the column ``probability_wrong``: 1 and 0 for rows that were checked, for others brought to what was found
        - ``stats["precision_at"]`` and ``stats["recall_at"]``: of the first k by rank, dicts of ``k``, ``low``, ``high``, ``estimate``;
          of other k `precision_at` and `recall_at` tell
        - ``flagged``: for rows that were checked, the answer.

    Raises
    ------
    DataError
        A column is missing, an id is unknown or has two answers, an answer is empty or another word, or a drawn row is left out.

    Examples
    --------
    >>> values = Values(
    ...     ids=np.arange(400), scores=np.arange(400.0), flagged=np.arange(400) < 40, columns={}, method="cg-score"
    ... )
    >>> sample = check_sample(values, 60)
    >>> found = checked(values, sample.assign(wrong=sample["id"] < 50)).stats["wrong_labels"]
    >>> found["low"] <= 50 <= found["high"], found["checked"], found["told"]
    (True, 60, True)
    """
    of_kind("checked", Number(above=0, below=1), level=level)
    strata, prior = _design(values)
    rows, wrong = _answered(values, answers)
    history = History.of(strata, shares(strata, prior), prior, rows, wrong)
    probability = recalibrated(history, prior)
    flagged = values.flagged.copy()
    flagged[rows] = wrong == 1
    stats = {k: v for k, v in values.stats.items() if k not in ("wrong_labels", "precision_at", "recall_at")} | {
        "checks": {"rows": rows.tolist(), "wrong": wrong.tolist(), "level": float(level)},
        "check_strata": strata,
        "check_prior": prior,
    }
    result = replace(values, columns=dict(values.columns) | {"probability_wrong": probability}, flagged=flagged, stats=stats)
    low, high = count_interval(history, level=level)
    stats["wrong_labels"] = {
        "low": low,
        "high": high,
        "estimate": int(np.clip(round(float(probability.sum())), low, high)),
        "likely": int(flagged.sum()),
        "told": True,
        "checked": len(rows),
        "level": float(level),
        "more_to_halve": rows_for((high - low) / 2, float(high - low), len(rows), len(values)) - len(rows)
        if high > low
        else 0,
    }
    some = [k for k in _FIRST if k < len(values)]
    stats["precision_at"] = [_precision(result, history, k) for k in some]
    stats["recall_at"] = [_recall(result, history, k) for k in some]
    return result


def wrong_among(
    values: Values, rows: Sequence[int], wrong: Sequence[int], level: float = 0.95, inside: ndarray | None = None
) -> tuple[int, int]:
    """Bounds of the number of wrong labels by rows of a `check_sample`: ``stats["wrong_labels"]`` of `checked` has the same two.

    Parameters
    ----------
    values
        Those that the sample was drawn from.
    rows, wrong
        Positions in the order of drawing, none left out, and for each 1 or 0.
    level
        Of the interval.
    inside
        (n,) Count among these alone; chosen without a look at the answers.
    """
    strata, prior = _design(values)
    history = History.of(strata, shares(strata, prior), prior, np.asarray(rows, np.int64), np.asarray(wrong, np.int64))
    return count_interval(history, inside, level)


def precision_at(values: Values, k: int) -> dict[str, Any]:
    """What share of the first k rows by rank is wrong, by the rows that were checked: ``k``, ``low``, ``high``, ``estimate``.

    Raises
    ------
    DataError
        The values are not of `checked`, or k is not from 1 to the number of rows.
    """
    return _precision(values, _history(values, "precision_at", k), k)


def recall_at(values: Values, k: int) -> dict[str, Any]:
    """What share of all wrong rows is among the first k by rank, by the rows that were checked: ``k``, ``low``, ``high``, ``estimate``.

    Raises
    ------
    DataError
        The values are not of `checked`, or k is not from 1 to the number of rows.
    """
    return _recall(values, _history(values, "recall_at", k), k)


def rows_needed(values: Values, width: float) -> int:
    """How many rows must be checked in all for ``high - low`` of the wrong labels to be ``width`` rows, about.

    Raises
    ------
    DataError
        The values are not of `checked`, or width is not a number above 0.
    """
    of_kind("rows_needed", Number(above=0), width=width)
    _history(values, "rows_needed", 1)
    wrong_labels = values.stats["wrong_labels"]
    return rows_for(float(width), float(wrong_labels["high"] - wrong_labels["low"]), wrong_labels["checked"], len(values))


def sheet(values: Values, n: int, seed: Seed = 0) -> pd.DataFrame:
    """The sample with a column ``wrong`` to fill in; rows that were checked before have their answer."""
    frame = check_sample(values, n, seed)
    checks = values.stats.get("checks", {"rows": [], "wrong": []})
    known = {str(values.ids[row]): "yes" if bad else "no" for row, bad in zip(checks["rows"], checks["wrong"], strict=True)}
    frame.insert(0, "wrong", [known.get(str(one), "") for one in frame["id"]])
    return frame[["id", "given_label", "suggested_label", "wrong", "rank", "draw", "probability"]]


def write_sheet(values: Values, n: int, path: Path, seed: Seed = 0) -> Path:
    """Write the `sheet` to a CSV file that is not there yet: it may hold somebody's work.

    Raises
    ------
    DataError
        The file is there, or there are not so many rows.
    """
    if path.exists():
        raise DataError(f"{str(path)!r} is there already and may hold answers: give another name with -o.")
    frame = sheet(values, n, seed)
    with replacing(path) as beside:
        frame.map(for_sheet).to_csv(beside, index=False)
    return path


def read_answers(path: Path) -> pd.DataFrame:
    """Answers from a CSV or Parquet file.

    Raises
    ------
    DataError
        The file is not there, or is no such table.
    """
    if not path.is_file():
        raise DataError(f"there is no file {str(path)!r}.")
    try:
        if path.suffix.lower() == ".parquet":
            return pd.read_parquet(path)
        answers = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", sep=None, engine="python")
        return answers.map(from_sheet)
    except (ValueError, OSError) as error:  # of pandas, of arrow and of the encoding
        raise DataError(
            f"{str(path)!r} is not a table of answers ({type(error).__name__}): a CSV file with the columns id and wrong is needed."
        ) from None


def in_words(values: Values) -> list[str]:
    """What the checked rows say, a sentence a line."""
    wrong_labels, n = values.stats["wrong_labels"], len(values)
    low, high = wrong_labels["low"], wrong_labels["high"]
    seen = f"by {wrong_labels['checked']:,} checked rows"
    if low == high:
        return [f"Of {n:,} rows {low:,} labels are wrong, {seen}."]
    lines = [
        f"Of {n:,} rows between {low:,} and {high:,} labels are wrong ({100 * wrong_labels['level']:g} %, {seen}), most likely about "
        f"{wrong_labels['estimate']:,}; about {wrong_labels['more_to_halve']:,} more rows would halve that."
    ]
    for good, whole in zip(values.stats["precision_at"], values.stats["recall_at"], strict=True):
        lines.append(
            f"Of the first {good['k']} suspects {_percent(good)} are wrong; of all wrong labels {_percent(whole)} are among them."
        )
    return lines


def _percent(interval: dict[str, Any]) -> str:
    return f"{100 * interval['low']:.0f} to {100 * interval['high']:.0f} %"


def _design(values: Values) -> tuple[ndarray, ndarray]:
    """(n,) strata and first guesses; those of the first sample, where there was one."""
    if "check_strata" in values.stats:
        return np.array(values.stats["check_strata"]), np.array(values.stats["check_prior"])
    n, known = len(values), values.columns.get("probability_wrong")
    order, prior = np.argsort(values.ranks()), np.empty(n)
    if known is None:
        prior[order] = usual(n)
    else:
        known = np.nan_to_num(np.asarray(known, np.float64), nan=0.5)
        order = np.lexsort((values.ranks(), -known))
        prior[order] = usual(n)
        prior = (prior + np.clip(known, 0, 1)) / 2  # neither is trusted alone
    return strata_of(order), prior


def _answered(values: Values, answers: pd.DataFrame) -> tuple[ndarray, ndarray]:
    """(T,) rows in the order of drawing, and their answers."""
    if not isinstance(answers, pd.DataFrame):
        raise DataError(f"checked: answers must be a frame with the columns id and wrong, got {type(answers).__name__}.")
    if missing := [name for name in ("id", "wrong") if name not in answers]:
        raise DataError(f"checked: the answers have no column {missing[0]!r}: id and wrong are needed.")
    draws = _draws(answers)
    if draws is not None:
        order = np.argsort(draws, kind="stable")
        answers, draws = answers.iloc[order], draws[order]
    row_of = {str(one): row for row, one in enumerate(values.ids)}
    checks = values.stats.get("checks", {"rows": [], "wrong": []})
    before = dict(zip(checks["rows"], checks["wrong"], strict=True))
    found, draw_numbers = dict(before), []
    for line, (one, word) in enumerate(zip(answers["id"], answers["wrong"], strict=True)):
        row = row_of.get(str(one))
        if row is None:
            raise DataError(f"checked: no row has the id {shown(one)}: the answers are of other values.")
        answer = _answer(one, word)
        if found.get(row, answer) != answer:
            raise DataError(f"checked: id {shown(one)} has two different answers: leave the one that is right.")
        if row not in found and draws is not None:
            draw_numbers.append(int(draws[line]))
        found[row] = answer
    if not found:
        raise DataError("checked: there are no answers: fill in the column wrong of at least one row.")
    if draws is not None and draw_numbers != list(range(len(before) + 1, len(found) + 1)):
        expected = next((d for d, p in enumerate(draw_numbers, len(before) + 1) if d != p), len(before) + 1)
        raise DataError(
            f"checked: the answer to draw {expected} is missing: one may stop after any drawn row, but leave none out before."
        )
    return np.array(list(found), np.int64), np.array(list(found.values()), np.int64)


def _draws(answers: pd.DataFrame) -> ndarray | None:
    if "draw" not in answers:
        return None
    draws = pd.to_numeric(answers["draw"], errors="coerce").to_numpy(np.float64)
    if not (np.isfinite(draws) & (draws == np.round(draws))).all():
        raise DataError("checked: the column draw must hold whole numbers, as check_sample gave them.")
    return draws.astype(np.int64)


def _answer(one: Any, word: Any) -> int:
    if word is None or word is pd.NA or (isinstance(word, float) and np.isnan(word)) or not str(word).strip():
        raise DataError(
            f"checked: id {shown(one)} has no answer in the column wrong: write yes or no, or delete this line and all that were "
            "drawn later."
        )
    text = str(word).strip().lower()
    if text in _WRONG:
        return 1
    if text in _RIGHT:
        return 0
    raise DataError(f"checked: the answer to id {shown(one)} must be yes or no (or true, false, 1, 0), got {shown(word)}.")


def _history(values: Values, what: str, k: int) -> History:
    if "checks" not in values.stats:
        raise DataError(f"{what}: no rows of these values were checked: give what `checked` returns.")
    of_kind(what, Whole(1, len(values)), k=k)
    strata, prior = _design(values)
    rows, wrong = (np.array(values.stats["checks"][name], np.int64) for name in ("rows", "wrong"))
    return History.of(strata, shares(strata, prior), prior, rows, wrong)


def _precision(values: Values, history: History, k: int) -> dict[str, Any]:
    first = values.ranks() <= k
    low, high = count_interval(history, first, values.stats["checks"]["level"])
    estimate = float(values.columns["probability_wrong"][first].mean())
    return {"k": int(k), "low": low / k, "high": high / k, "estimate": float(np.clip(estimate, low / k, high / k))}


def _recall(values: Values, history: History, k: int) -> dict[str, Any]:
    first, p = values.ranks() <= k, values.columns["probability_wrong"]
    low, high = recall_interval(history, first, values.stats["checks"]["level"])
    estimate = float(p[first].sum() / max(p.sum(), 1e-12))
    return {"k": int(k), "low": low, "high": high, "estimate": float(np.clip(estimate, low, high))}
