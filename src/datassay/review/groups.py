"""Rows that can be decided about at once: equal and nearly equal rows whose labels differ, one confusion of two classes.

And how often each source errs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy import ndarray

from datassay.checks import DataError
from datassay.engines.equal_rows import conflicts
from datassay.engines.gram import equal_rows
from datassay.engines.twins import twins
from datassay.review.numbers import of_group
from datassay.review.session import Session

MOST = 12  #: groups of a kind that are listed
AT_ONCE = 24  #: rows of a group that are shown at once
SOURCES = 100  #: kinds in a column of sources, at most


class Groups:
    """The groups of a review.

    Parameters
    ----------
    session
        The review.
    by, sources
        A column that says where each row is from (who labelled it, which batch), and what it holds for the n rows.

    Raises
    ------
    DataError
        The column has not one entry a row, or too many kinds.
    """

    def __init__(self, session: Session, by: str = "", sources: Sequence[Any] | None = None) -> None:
        self.session, self.by = session, by
        data = session.data
        self.of_kind: dict[str, list[ndarray]] = {"equal": [], "near": []}
        if not session.regression:
            self.of_kind["equal"] = conflicts(equal_rows(data.X, bias=True), data.codes)[0]
            found = twins(data.X, data.codes, np.argsort(session.scores, kind="stable"))
            self.of_kind["near"] = [rows for rows, gap in zip(found.groups, found.gap, strict=True) if gap > 0]
        self.kinds: list[str] = []
        self.kind_of = np.zeros(len(data), np.int64)
        if sources is not None:
            names = [str(source) for source in sources]
            if len(names) != len(data):
                raise DataError(f"review: the column {by!r} has {len(names)} entries for {len(data)} rows.")
            self.kinds, self.kind_of = _numbered(names)
            if len(self.kinds) > SOURCES:
                raise DataError(
                    f"review: the column {by!r} has {len(self.kinds):,} kinds, and at most {SOURCES} are compared: give one that says "
                    "who labelled a row, or where it is from."
                )
        self._rates: tuple[Any, list[dict[str, Any]]] | None = None

    def listed(self) -> list[dict[str, Any]]:
        """Groups with ``rows`` open: ``kind`` "equal" or "near" and ``number``, or "confusion" and the classes ``given``, ``suggested``."""
        s = self.session
        with s.lock:
            out: list[dict[str, Any]] = []
            for kind, groups in self.of_kind.items():
                open_groups = [
                    (number, sum(row not in s.by_row for row in rows.tolist())) for number, rows in enumerate(groups)
                ]
                listed = [{"kind": kind, "number": number, "rows": left} for number, left in open_groups if left]
                out += listed[:MOST]
            if s.regression:
                return out
            open_ = self._confused()
            pairs, counts = np.unique(
                np.stack([s.data.codes[open_], s.suggested[open_]], axis=1), axis=0, return_counts=True
            )
            for i in np.argsort(-counts, kind="stable")[:MOST].tolist():
                if counts[i] > 1:
                    given, suggested = (int(code) for code in pairs[i])
                    out.append({"kind": "confusion", "given": given, "suggested": suggested, "rows": int(counts[i])})
            return out

    def rows(self, kind: str, number: int, given: int, suggested: int) -> list[int]:
        """The first open rows of a group, the most suspicious first.

        Raises
        ------
        DataError
            There is no such group.
        """
        s = self.session
        with s.lock:
            if kind in self.of_kind:
                if not 0 <= number < len(self.of_kind[kind]):
                    raise DataError("there is no such group.")
                return [row for row in self.of_kind[kind][number].tolist() if row not in s.by_row][:AT_ONCE]
            if kind != "confusion":
                raise DataError("a group is equal rows, nearly equal ones or a confusion.")
            rows = self._confused()
            rows = rows[(s.data.codes[rows] == given) & (s.suggested[rows] == suggested)]
            return [int(row) for row in rows[np.argsort(s.scores[rows], kind="stable")][:AT_ONCE]]

    def rates(self) -> list[dict[str, Any]]:
        """For each source its name, rows, wrong ones that were found, and between how many are wrong; the worst first."""
        s = self.session
        if not self.kinds:
            return []
        with s.lock:
            verdicts = {row: s.verdict(row) for row in s.by_row}
            drawn, answers = s.answered(verdicts)
        key = (tuple(drawn), tuple(answers), tuple(verdicts.items()))
        if self._rates is None or self._rates[0] != key:
            out = []
            for code, name in enumerate(self.kinds):
                mine = [action for row, (action, _) in verdicts.items() if self.kind_of[row] == code]
                found, right = sum(a in ("relabel", "drop") for a in mine), mine.count("keep")
                out.append({"name": name} | of_group(s.values, self.kind_of == code, drawn, answers, found, right))
            out.sort(key=lambda one: -(one["low"] + one["high"]) / one["rows"])
            self._rates = key, out
        return self._rates[1]

    def _confused(self) -> ndarray:
        """Flagged rows that are open, and of which another class is suggested."""
        s = self.session
        mask = s.values.flagged & (s.suggested >= 0) & (s.suggested != s.data.codes)
        mask[list(s.by_row)] = False
        return np.flatnonzero(mask)


def _numbered(names: list[str]) -> tuple[list[str], ndarray]:
    kinds = sorted(set(names))
    number = {name: code for code, name in enumerate(kinds)}
    return kinds, np.array([number[name] for name in names], np.int64)
