"""A review: which row comes next, what was decided, and what follows from it for the order of the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy import ndarray

from datassay.checks import DataError, whole
from datassay.data.dataset import Dataset
from datassay.decisions.records import ACTIONS, new_label_of, text
from datassay.evaluation.checking import check_sample
from datassay.reporting.summary import check_same
from datassay.review import numbers
from datassay.review.live import Known, Live, reason_against
from datassay.review.record import UNDONE, Decision, Record
from datassay.values import Values

EVERY = 5  #: of so many rows one is drawn from all
DRAWS = 2_000  #: rows that are drawn at most
LEASE = 900.0  #: seconds for which a row that somebody looks at is not given to another
NOTE, NAME = 500, 60  #: characters


class Session:
    """Who looks at which row, in what order.

    Rows come in the order of suspicion; every fifth is one of a `check_sample`, drawn from all, and nothing tells which. A row is done when
    somebody has decided about it, or with ``everybody`` when all have; one that is looked at in one window is not given to another.

    Parameters
    ----------
    values, data
        What was found, and the rows.
    record
        Where decisions go.
    everybody
        Everybody looks at every row, else they share the rows.
    seed
        Of the rows that are drawn.

    Raises
    ------
    DataError
        The values are of other rows than the data.
    """

    def __init__(self, values: Values, data: Dataset, record: Record, *, everybody: bool = False, seed: int = 0) -> None:
        check_same(values, data)
        whole("review", 0, seed=seed)
        self.values, self.data, self.record, self.everybody = values, data, record, everybody
        self.regression = data.task == "regression"
        self.labels = [text(label) for label in data.classes]
        self.code_of = {label: code for code, label in enumerate(self.labels)}
        self.suggested = self._suggested()
        self.drawn = self._draws(seed)
        checks = values.stats.get("checks", {"rows": [], "wrong": []})
        self.scores = np.asarray(values.scores, np.float64)
        self.by_row: dict[int, dict[str, Decision]] = {}
        self.leases: dict[int, tuple[str, float]] = {}  # row: window and time
        self.lock = threading.RLock()
        self.live: Live | None = None
        self.thread: threading.Thread | None = None
        self.fixed = reason_against(values, data)
        self.checked: dict[int, int] = dict(zip(checks["rows"], checks["wrong"], strict=True))
        self._left: tuple[Any, dict[str, Any]] | None = None
        for decision in record.decisions:
            self._take(decision)
        if not self.fixed:
            self.fixed = "the matrix that it takes is being computed"
            self.thread = threading.Thread(target=self._compute, name="re-ranking", daemon=True)
            self.thread.start()

    def wait(self, seconds: float | None = None) -> None:
        """Until the order can follow what is decided, but no longer than so many seconds."""
        if self.thread is not None:
            self.thread.join(seconds)

    # ------------------------------------------------------------------------------------------------ which row is next

    def next(self, who: str, window: str) -> int | None:
        """The row to look at; the one that was given to this window and not decided, else the next; None: no row is left."""
        with self.lock:
            self.seen(window)
            for given, (whose, _) in self.leases.items():
                if whose == window and not self.done(given, who):
                    return given
            row = self._choose(who, window)
            if row is not None:
                self.leases[row] = (window, time.monotonic())
            return row

    def open(self, row: int, window: str) -> None:
        """Look at this row, whatever is next."""
        with self.lock:
            if not 0 <= row < len(self.data):
                raise DataError(f"there is no row {row}.")
            self._release(window)
            self.leases[row] = (window, time.monotonic())

    def seen(self, window: str) -> None:
        """The window is still open; others that were not heard of for long are taken for closed."""
        with self.lock:
            now = time.monotonic()
            for row, (whose, since) in list(self.leases.items()):
                if whose == window:
                    self.leases[row] = (whose, now)
                elif now - since > LEASE:
                    del self.leases[row]

    def done(self, row: int, who: str) -> bool:
        """Whether the row need not be looked at (by this person)."""
        said = self.by_row.get(row, {})
        return who in said if self.everybody else bool(said)

    def _choose(self, who: str, window: str) -> int | None:
        others = {row for row, (whose, _) in self.leases.items() if whose != window} if not self.everybody else set()
        free = np.ones(len(self.data), bool)
        free[[row for row in self.by_row if self.done(row, who)] + sorted(others)] = False
        if not free.any():
            return None
        number = sum(self.done(row, who) for row in self.by_row) + len(others)
        if number % EVERY == EVERY - 1:
            for row in self.drawn:
                if free[row] and row not in self.checked:
                    return int(row)
        rows = np.flatnonzero(free)
        return int(rows[np.argmin(self.scores[rows])])  # of equal ones the first

    # --------------------------------------------------------------------------------------------------- what is decided

    def decide(
        self, who: str, window: str, row: int, action: str, *, label: str = "", seconds: float = 0.0, note: str = ""
    ) -> Decision:
        """Write a decision down, and re-rank.

        Parameters
        ----------
        who, window
            Who decides, and where.
        row, action, label
            Position of the row; "keep", "relabel" (to the label), "drop" or "unsure".
        seconds, note
            That it took; what else there is to say.

        Raises
        ------
        DataError
            There is no such row, action or label.
        """
        return self.decide_all(who, window, [(row, label)], action, seconds=seconds, note=note)[0]

    def decide_all(
        self, who: str, window: str, rows: Sequence[tuple[int, str]], action: str, *, seconds: float = 0.0, note: str = ""
    ) -> list[Decision]:
        """The same for several rows, each with its new label, which "relabel" needs; the seconds are those of all together."""
        if action not in ACTIONS:
            raise DataError(f"the action must be one of {', '.join(ACTIONS)}, got {action[:40]!r}.")
        note = clean(note, NOTE)
        if action == "unsure" and note == UNDONE:
            note = f"{note}."
        each = float(np.clip(seconds, 0, 3600 * len(rows))) / max(len(rows), 1)
        asked = []
        for row, label in rows:
            if not 0 <= row < len(self.data):
                raise DataError(f"there is no row {row}.")
            new = self._new_label(label) if action == "relabel" else ""
            same = action == "relabel" and new == self.record.given[row]
            asked.append(Decision(row, clean(who, NAME), "keep" if same else action, "" if same else new, each, note))
        made = []
        with self.lock:
            for decision in asked:
                made.append(self.record.add(decision))
                self._take(made[-1])
                self._follow(decision.row)
            self._release(window)
        return made

    def undo(self, who: str, window: str) -> int | None:
        """Take this person's last decision back; its row comes again. None: there is none."""
        who = clean(who, NAME)
        with self.lock:
            last = next(
                (d for d in reversed(self.record.decisions) if d.who == who and self.by_row.get(d.row, {}).get(who) is d),
                None,
            )
            if last is None:
                return None
            decision = self.record.add(Decision(last.row, who, "unsure", note=UNDONE))
            self._take(decision)
            self._follow(last.row)
            self.open(last.row, window)
            return last.row

    def verdict(self, row: int) -> tuple[str, str]:
        """Action and new label on which those who are sure agree; or "disputed", "unsure" where nobody is sure, "" where nobody decided."""
        said = self.by_row.get(row, {})
        opinions = {(d.action, d.new_label) for d in said.values() if d.action != "unsure"}
        if len(opinions) > 1:
            return "disputed", ""
        if opinions:
            return opinions.pop()
        return ("unsure" if said else ""), ""

    def disputed(self) -> list[int]:
        """Rows about which people disagree."""
        with self.lock:
            return [row for row in self.by_row if self.verdict(row)[0] == "disputed"]

    def _take(self, decision: Decision) -> None:
        said = self.by_row.setdefault(decision.row, {})
        said.pop(decision.who, None)
        if not decision.undone:
            said[decision.who] = decision
        if not said:
            del self.by_row[decision.row]

    def _release(self, window: str) -> None:
        for row in [row for row, (whose, _) in self.leases.items() if whose == window]:
            del self.leases[row]

    def _new_label(self, label: str) -> str:
        found = new_label_of(label, self.code_of, self.regression, "the decision")
        return text(found) if self.regression else label

    # -------------------------------------------------------------------------------------------------------- the order

    def known(self, row: int) -> Known | None:
        """What is known of a row's class by what was decided."""
        action, new = self.verdict(row)
        if action in ("keep", "drop"):
            return Known(int(self.data.codes[row]), action == "drop")
        return Known(self.code_of[new]) if action == "relabel" else None

    def _compute(self) -> None:
        try:
            live = Live(self.values, self.data)
        except (ArithmeticError, MemoryError, ValueError) as error:
            self.fixed = f"the matrix that it takes could not be computed ({str(error) or type(error).__name__})"
            return
        with self.lock:
            for row in self.by_row:
                live.know(row, self.known(row))
            self.live, self.fixed = live, ""
            self.scores = live.scores()

    def _follow(self, row: int) -> None:
        if self.live is not None:
            self.live.know(row, self.known(row))
            self.scores = self.live.scores()

    # ------------------------------------------------------------------------------------------------------ the numbers

    def numbers(self, who: str) -> dict[str, Any]:
        """Found, looked at, left with an interval, precision of the last 50 suspects, seconds to go, and whether to stop."""
        who = clean(who, NAME)
        with self.lock:
            verdicts = {row: self.verdict(row) for row in self.by_row}
            found = sum(action in ("relabel", "drop") for action, _ in verdicts.values())
            right = sum(action == "keep" for action, _ in verdicts.values())
            rows, answers = self.answered(verdicts)
            drawn = set(rows)
            asked = [d for d in self.record.decisions if self.by_row.get(d.row, {}).get(d.who) is d]
            judged = [d for d in asked if verdicts[d.row][0] in ("keep", "relabel", "drop") and d.row not in drawn]
            last = [int(verdicts[d.row][0] != "keep") for d in judged][-numbers.LAST :]
            step = numbers.pace([d.seconds for d in asked if d.who == who])
            to_go = int(self.values.flagged.sum() - sum(self.values.flagged[row] for row in self.by_row))
            fixed = self.fixed
        key = (tuple(rows), tuple(answers), found, right)
        if self._left is None or self._left[0] != key:
            self._left = key, numbers.left(self.values, rows, answers, found, right)
        between = self._left[1]
        return {
            "looked": len(verdicts), "rows": len(self.data), "found": found, "left": between,
            "last": {"wrong": sum(last), "of": len(last)}, "to_go": to_go,
            "seconds_to_go": None if step is None else step * to_go * EVERY / (EVERY - 1),
            "advice": numbers.advice(last, to_go, between["high"]), "fixed": fixed,
        }  # fmt: skip

    def answered(self, verdicts: dict[int, tuple[str, str]]) -> tuple[list[int], list[int | None]]:
        """Drawn rows up to the first that nobody has looked at, and what they are."""
        rows: list[int] = []
        answers: list[int | None] = []
        for row in self.drawn:
            if row in self.checked:
                answer: int | None = self.checked[row]
            elif row in verdicts:
                answer = {"keep": 0, "relabel": 1, "drop": 1}.get(verdicts[row][0])
            else:
                break
            rows.append(row)
            answers.append(answer)
        return rows, answers

    def _draws(self, seed: int) -> list[int]:
        row_of = {one: row for row, one in enumerate(self.values.ids.tolist())}
        sample = check_sample(self.values, min(DRAWS, len(self.values)), seed)
        return [row_of[one] for one in sample["id"].tolist()]

    def _suggested(self) -> ndarray:
        """(n,) class that is suggested, -1 where none is; regression: the number."""
        suggested = self.values.suggested_label
        if self.regression:
            return np.full(len(self.data), np.nan) if suggested is None else np.asarray(suggested, np.float64)
        if suggested is None:
            return np.full(len(self.data), -1)
        return np.array([self.code_of.get(text(label), -1) for label in suggested.tolist()])


def clean(words: str, most: int) -> str:
    """A name or a note: in one line, and without what is no character."""
    kept = "".join(c if c.isprintable() else " " for c in _characters(words))
    return " ".join(kept.split())[:most]


def _characters(words: str) -> Iterable[str]:
    return words.encode("utf-8", "ignore").decode("utf-8")
