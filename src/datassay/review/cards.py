"""What a person sees of one row: the row, its labels, and the rows that speak for and against it. Plain values, as JSON holds them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from datassay.data.dataset import is_images
from datassay.decisions.records import text
from datassay.reporting.html import isolated
from datassay.reporting.nearest import nearest, similarities
from datassay.reporting.plain import plain
from datassay.reporting.rows import Pictures, rows_of
from datassay.review.session import Session

EVIDENCE = 4  #: rows for a label, and as many against it
LARGE = 480  #: pixels of the picture of the row itself
LONGEST = 20_000  #: characters of a text
SHORT = 400  #: characters of a text of a row beside it


class Cards:
    """Rows of a review, ready to be shown."""

    def __init__(self, session: Session) -> None:
        self.session, self.data, self.values = session, session.data, session.values
        self.rows = rows_of(self.data, pictures=1_000)
        self.large: Pictures | None = None
        if is_images(self.data.shown):
            assert isinstance(self.data.shown, np.ndarray)
            self.large = Pictures(self.data.shown, 1)
            self.large.side = LARGE
        self.texts = self._texts()

    def card(self, row: int) -> dict[str, Any]:
        """One row."""
        s = self.session
        with s.lock:
            given, other = self._labels(row)
            said = [
                {"who": shown(d.who), "action": d.action, "new_label": shown(d.new_label), "note": shown(d.note)}
                for d in s.by_row.get(row, {}).values()
            ]
            evidence = self._evidence(row)
            look, beside = self._look(row, [one["row"] for one in evidence["rows"]])
            for one, seen in zip(evidence["rows"], beside, strict=True):
                one["look"] = seen
                del one["row"]
            wrong = self.values.columns.get("probability_wrong")
            return {
                "row": row,
                "id": shown(self.data.ids[row]),
                "given": given,
                "suggested": other,
                "wrong": None if wrong is None else plain(float(wrong[row])),
                "look": look,
                "evidence": evidence,
                "said": said,
            }

    def group(self, rows: list[int]) -> list[dict[str, Any]]:
        """Rows side by side, each with its labels; compared with the first."""
        if not rows:
            return []
        with self.session.lock:
            first, others = self._look(rows[0], rows[1:])
            if self.large is not None:
                first = {"picture": self.rows.show(rows[0], [])[0]["picture"]}
            out = []
            for row, look in zip(rows, [first, *others], strict=True):
                given, suggested = self._labels(row)
                out.append(
                    {"row": row, "id": shown(self.data.ids[row]), "given": given, "suggested": suggested, "look": look}
                )
            return out

    def brief(self, row: int) -> dict[str, Any]:
        """A row in a list, and what was decided about it."""
        s = self.session
        action, new = s.verdict(row)
        return {
            "row": row,
            "id": shown(self.data.ids[row]),
            "given": self._given(row),
            "action": action,
            "new_label": shown(new),
            "who": [shown(d.who) for d in s.by_row.get(row, {}).values()],
        }

    def _labels(self, row: int) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """Given and suggested label, with the probability that the other rows give to each."""
        s = self.session
        given: dict[str, Any] = {"label": self._given(row), "p": None}
        if s.regression:
            there = np.isfinite(s.suggested[row])
            return given, {"label": f"{s.suggested[row]:.6g}", "code": None, "p": None} if there else None
        p = s.live.probabilities(row) if s.live is not None and not s.live.dropped(row) else None
        own, other = int(self.data.codes[row]), int(s.suggested[row])
        if p is not None:
            given["p"] = float(p[own])
            others = p.copy()
            others[own] = -1.0
            if other == own or others.max() > p[own]:  # as the order, the suggestion follows what was decided
                other = int(others.argmax()) if others.max() > p[own] else own
        if other in (-1, own):
            return given, None
        return given, {"label": shown(s.labels[other]), "code": other, "p": None if p is None else float(p[other])}

    def _given(self, row: int) -> str:
        s = self.session
        return f"{float(self.data.codes[row]):.6g}" if s.regression else shown(s.record.given[row])

    def _evidence(self, row: int) -> dict[str, Any]:
        """Rows that speak for and against the label."""
        s = self.session
        if s.live is not None and not s.live.dropped(row):
            return self._terms(row)
        similarity = next(similarities(self.data.X, np.array([row])))
        if s.regression:
            groups = [("near", np.ones(len(self.data), bool), 2 * EVIDENCE)]
        else:
            codes, own, other = self.data.codes, int(self.data.codes[row]), int(s.suggested[row])
            groups = [
                ("for", codes == own, EVIDENCE),
                ("against", codes != own if other in (-1, own) else codes == other, EVIDENCE),
            ]
        rows = [
            {"row": int(i), "side": side, "id": shown(self.data.ids[i]), "label": self._given(int(i)), "weight": None,
             "similarity": round(float(similarity[i]), 3)}
            for side, among, k in groups for i in nearest(similarity, among, k)
        ]  # fmt: skip
        why = "The nearest rows, by cosine: not what the values were computed from."
        return {"exact": False, "why": why, "total": None, "rows": rows}

    def _terms(self, row: int) -> dict[str, Any]:
        """The largest terms of the prediction for the given label less that for the suggested one."""
        s = self.session
        assert s.live is not None
        own = int(self.data.codes[row])
        _, suggestion = self._labels(row)
        other = own if suggestion is None else int(suggestion["code"])
        terms = s.live.terms(row, own, other)
        labelled = s.live.Y.argmax(1)  # as it was decided
        order = np.argsort(-terms, kind="stable")
        for_it = [i for i in order.tolist() if terms[i] > 0 and labelled[i] == own and i != row]
        against = [i for i in order[::-1].tolist() if terms[i] < 0 and (labelled[i] == other or other == own)]
        rows = [self._one(i, "for", float(terms[i])) for i in for_it[:EVIDENCE]]
        rows += [self._one(i, "against", float(terms[i])) for i in against[:EVIDENCE]]
        than = "" if other == own else ", less that for the suggested one"
        return {
            "exact": True,
            "why": f"The largest parts of these rows in the prediction for the given label{than}. All {len(terms) - 1:,} rows have a part.",
            "total": float(terms.sum()),
            "rows": rows,
        }

    def _one(self, i: int, side: str, weight: float) -> dict[str, Any]:
        """A row of the data, or of the validation rows behind them."""
        s, n = self.session, len(self.data)
        if i < n:
            assert s.live is not None
            name, label = shown(self.data.ids[i]), s.labels[int(s.live.codes[i])]  # as it was decided
        else:
            assert self.data.y_val is not None
            name, label = f"validation row {i - n}", text(self.data.y_val[i - n])
        return {"row": i, "side": side, "id": name, "label": shown(label), "weight": weight, "similarity": None}

    # ------------------------------------------------------------------------------------------------------- how it looks

    def _look(self, row: int, beside: list[int]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The row, and the rows beside it; of validation rows the name alone."""
        inside = [i for i in beside if i < len(self.data)]
        own, others = self.rows.show(row, inside)
        if self.large is not None:
            own = {"picture": self.large.uri(row)}
            self.large.made.clear()
        own, others = _shown(own), [_shown(one) for one in others]
        if self.texts is not None:
            own["texts"] = self._read(row, LONGEST)
            names = {one["column"] for one in own["texts"]}
            own["cells"] = [cell for cell in own.get("cells", []) if cell["column"] not in names]
            for i, one in zip(inside, others, strict=True):
                one["texts"] = self._read(i, SHORT)
                one["cells"] = []
        place = dict(zip(inside, others, strict=True))
        return own, [place.get(i, {}) for i in beside]

    def _texts(self) -> list[int] | None:
        """Columns that are read and not compared."""
        frame = self.data.shown
        if not isinstance(frame, pd.DataFrame):
            return None
        names = [str(c) for c in frame.columns]
        prose = [j for j, name in enumerate(names) if name in self.data.prose]
        if not prose and len(names) == 1 and frame.iloc[:, 0].map(lambda cell: isinstance(cell, str)).all():
            prose = [0]
        return prose or None

    def _read(self, row: int, most: int) -> list[dict[str, Any]]:
        frame = self.data.shown
        out = []
        for j in self.texts or []:
            words = text(frame.iloc[row, j])  # type: ignore[union-attr]
            cut = words if len(words) <= most else f"{words[:most]}…"
            out.append({"column": shown(str(frame.columns[j])), "value": shown(cut)})  # type: ignore[union-attr]
        return out


def shown(value: Any) -> str:
    """Text of the data on a page: it can't turn around what stands beside it."""
    return isolated(value if isinstance(value, str) else text(value))


def _shown(look: dict[str, Any]) -> dict[str, Any]:
    """Cells as text."""
    if "cells" not in look:
        return dict(look)
    cells = []
    for cell in look["cells"]:
        value = cell["value"]
        words = "—" if value is None else f"{value:.6g}" if isinstance(value, float) else shown(value)
        reason = {"reason": isolated(cell["reason"])} if "reason" in cell else {}
        cells.append({**cell, "column": shown(cell["column"]), "value": words, **reason})
    return {**look, "cells": cells}
