"""Decisions: one line for each row that somebody looked at, in a CSV file to which lines are added.

    id, given_label, new_label, action, who, when, seconds, note, data      action: keep, relabel, drop, unsure; data: hash of the rows

Of one person's decisions about a row the last counts. Where people disagree about a row nothing is decided.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy import ndarray

from datassay.checks import DataError, shown
from datassay.data.dataset import Dataset
from datassay.data.encoding import plain
from datassay.decisions.cells import for_sheet, from_sheet
from datassay.values import Values

ACTIONS = ("keep", "relabel", "drop", "unsure")
COLUMNS = ("id", "given_label", "new_label", "action", "who", "when", "seconds", "note", "data")
NEEDED = ("id", "action")


class Settled(NamedTuple):
    """What is decided about the n rows of a data set."""

    action: ndarray  #: (n,) object: one of `ACTIONS`, or "" where nothing was decided
    code: ndarray  #: (n,) int64: the new class of rows that are relabelled, else -1; regression: float64, else NaN
    disputed: list[Any]  #: ids about which people disagree

    def counts(self) -> dict[str, int]:
        """Rows by what is done to them."""
        return {action: int((self.action == action).sum()) for action in ACTIONS} | {"disputed": len(self.disputed)}


def read_decisions(path: str | Path) -> pd.DataFrame:
    """The lines of a file of decisions, all cells as text, "" where there is nothing; see `write_decisions`.

    Raises
    ------
    DataError
        There is no such file, or it is no CSV file with the columns id and action.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(
            f"there is no file {str(path)!r}: a file of decisions is needed, CSV with the columns id and action."
        )
    try:
        lines = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, UnicodeDecodeError) as error:
        said = str(error).splitlines()[0]
        raise DataError(
            f"{str(path)!r} is no file of decisions ({said}): CSV with the columns id and action is needed."
        ) from None
    check_columns(lines, str(path))
    return lines.map(from_sheet)


def write_decisions(lines: pd.DataFrame, path: str | Path) -> None:
    """CSV; text that a spreadsheet would run as a formula begins with an apostrophe, which `read_decisions` takes off again."""
    lines.map(for_sheet).to_csv(path, index=False)


def check_columns(lines: pd.DataFrame, name: str = "decisions") -> None:
    """That the columns are there.

    Raises
    ------
    DataError
        One is missing.
    """
    if missing := [column for column in NEEDED if column not in lines.columns]:
        raise DataError(
            f"{name} has no column {missing[0]!r}: id and action are needed, and new_label for rows that are relabelled."
        )


def rows_hash(data: Dataset) -> str:
    """The hash of the training rows as they came: without validation rows, and not of features that were made of them."""
    plain_rows = data if data.base is None else data.base
    return plain_rows.hash if plain_rows.X_val is None else plain_rows.without_validation().hash


def settled(lines: pd.DataFrame, data: Dataset) -> Settled:
    """What the lines decide about the rows of these data.

    Ids and labels are compared as text, as a CSV file has them.

    Raises
    ------
    DataError
        The lines are of other data: an id, a given label or the hash is another; or an action or a new label is none.
    """
    check_columns(lines)
    row_of = {str(one): row for row, one in enumerate(data.ids.tolist())}
    label_of = {str(label): code for code, label in enumerate(data.classes)}
    regression = data.task == "regression"
    of_these = functools.cache(lambda of: of == data.hash or of == rows_hash(data))
    said: dict[int, dict[str, tuple[str, Any]]] = {}
    for line, one in enumerate(lines.to_dict("records"), 1):
        where = f"line {line} of the decisions"
        key = text(one["id"])
        if key not in row_of:
            raise DataError(f"{where} is about id {key!r}, which no row has: these decisions are of other data.")
        row = row_of[key]
        if (of := text(one.get("data"))) and not of_these(of):
            raise DataError(
                f"{where} (id {key!r}) was made on other data (hash {of}, these have {data.hash}): give the file that was reviewed, "
                "read in the same way."
            )
        given = text(one.get("given_label"))
        if given and given != str(plain(data.y[row])) and not (regression and _same_number(given, data.codes[row])):
            raise DataError(
                f"{where} says that the label of id {key!r} is {given!r}, and it is {plain(data.y[row])!r}: these decisions are of "
                "other data."
            )
        action = text(one["action"]).strip().lower()
        if action not in ACTIONS:
            raise DataError(f"{where} (id {key!r}): the action must be one of {', '.join(ACTIONS)}, got {action!r}.")
        new: Any = None
        if action == "relabel":
            new = new_label_of(text(one.get("new_label")), label_of, regression, f"{where} (id {key!r})")
            if not regression and new == data.codes[row]:
                action, new = "keep", None
        said.setdefault(row, {})[text(one.get("who"))] = (action, new)
    n = len(data)
    actions = np.full(n, "", object)
    code = np.full(n, np.nan) if regression else np.full(n, -1, np.int64)
    disputed = []
    for row, by_person in said.items():
        opinions = {opinion for opinion in by_person.values() if opinion[0] != "unsure"}
        if len(opinions) > 1:
            disputed.append(plain(data.ids[row]))
            actions[row] = "unsure"
        elif opinions:
            actions[row], new = opinions.pop()
            if new is not None:
                code[row] = new
        else:
            actions[row] = "unsure"
    return Settled(actions, code, disputed)


def no_decisions() -> pd.DataFrame:
    """Lines that decide nothing: every row stays."""
    return pd.DataFrame({column: [] for column in ("id", "given_label", "new_label", "action", "who", "data")})


def check_same_rows(values: Values, data: Dataset, of_values: str, of_data: str) -> None:
    """That the values are of these rows, in this order.

    Raises
    ------
    DataError
        An id or a label is another.
    """
    labels = [] if values.given_label is None else values.given_label.tolist()
    if values.ids.tolist() != data.ids.tolist() or (labels and labels != data.y.tolist()):
        raise DataError(
            f"{of_values} holds values of other rows than {of_data}: pass the file that was valued, and the options with which it was."
        )


def by_rule(values: Values, *, drop_top: float | None = None, relabel_above: float | None = None) -> pd.DataFrame:
    """Decisions without a look at the rows: the most suspicious share is dropped, or flagged rows that are wrong with more than a
    probability get the label that is suggested.

    Raises
    ------
    DataError
        Neither or both came, a number is none, or the values say no probability or suggest no label.

    Examples
    --------
    >>> import numpy as np
    >>> v = Values(np.arange(4), np.array([.2, -3., .5, .1]), np.zeros(4, bool), {}, "cg-score", given_label=np.array(list("abab")))
    >>> by_rule(v, drop_top=0.25)[["id", "given_label", "action"]]
      id given_label action
    0  1           b   drop
    """
    if (drop_top is None) == (relabel_above is None):
        raise DataError(
            "apply takes one rule: the share of the rows to drop (drop_top), or the probability above which to relabel."
        )
    n, given = len(values), values.given_label
    if drop_top is not None:
        if not 0 < drop_top < 1:
            raise DataError(f"apply: the share to drop must be between 0 and 1, got {drop_top:g}.")
        rows = np.argsort(values.scores, kind="stable")[: round(drop_top * n)]
        new: list[str] = [""] * len(rows)
    else:
        assert relabel_above is not None
        p, suggested = values.columns.get("probability_wrong"), values.suggested_label
        if p is None or suggested is None or given is None:
            raise DataError(
                f"apply: values by {values.method} have no probability_wrong or suggest no label: relabelling needs both."
            )
        if not 0 <= relabel_above < 1:
            raise DataError(f"apply: the probability must be from 0 to below 1, got {relabel_above:g}.")
        other = np.array([a != b for a, b in zip(given.tolist(), suggested.tolist(), strict=True)])
        rows = np.flatnonzero((p > relabel_above) & other)
        new = [text(label) for label in suggested[rows].tolist()]
    return pd.DataFrame(
        {
            "id": [text(one) for one in values.ids[rows].tolist()],
            "given_label": [text(one) for one in given[rows].tolist()] if given is not None else [""] * len(rows),
            "new_label": new,
            "action": ["drop" if drop_top is not None else "relabel"] * len(rows),
            "who": "rule",
            "data": values.data_hash or "",
        }
    )


def text(cell: Any) -> str:
    """A cell as text, "" where there is nothing.

    >>> text(None), text(float("nan")), text(3), text(3.0), text("a")
    ('', '', '3', '3', 'a')
    """
    if cell is None or cell is pd.NA or (isinstance(cell, float) and np.isnan(cell)):
        return ""
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:  # of a frame whose column has gaps
        return str(int(cell))
    return str(plain(cell))


def new_label_of(label: str, label_of: Mapping[str, int], regression: bool, where: str) -> Any:
    """What a label that somebody gave stands for.

    Raises
    ------
    DataError
        No row has it; in regression, it is no number.
    """
    if label == "":
        raise DataError(f"{where} relabels and names no new_label.")
    if regression:
        try:
            number = float(label)
        except ValueError:
            number = np.nan
        if not np.isfinite(number):
            raise DataError(f"{where}: the new label of a regression must be a number, got {shown(label)}.")
        return number
    if label not in label_of:
        known = ", ".join(map(repr, list(label_of)[:10]))
        raise DataError(
            f"{where}: no row has the label {shown(label)} (there are {known}): give one of these, or drop the row."
        )
    return label_of[label]


def _same_number(given: str, target: float) -> bool:
    try:
        return float(given) == float(target)
    except ValueError:
        return False
