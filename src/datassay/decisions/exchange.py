"""Suspects out to the tools in which people label, and what they decided there back as decisions.

Out: rows in the order of suspicion, the least worth first. Back: an answer that is the given label keeps it, another one replaces it; an
answer that was refused or holds several choices leaves the row undecided, and a row without an answer has no decision.

    label-studio   tasks as a JSON list, and beside it the labelling configuration; back: JSON, JSON_MIN and CSV
    argilla        records as a JSON list of dicts (`records.log`); back: the flat list (`records.to_list(flatten=True)`), and of that
                   submitted responses alone
    fiftyone       CSV with a column filepath (`CSVDataset`)
    cleanlab       CSV with Datalab's and CleanLearning's columns; back: is_label_issue with predicted_label
    huggingface    Parquet, a row each, to be joined on id
    csv            for spreadsheets, with empty columns action and new_label: text that one would run as a formula begins with an
                   apostrophe, which reading takes off again; back: the same file, filled in
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from datassay.checks import DataError, one_of, whole
from datassay.data.dataset import Dataset, is_images
from datassay.data.encoding import plain
from datassay.decisions.cells import for_sheet, from_sheet
from datassay.decisions.records import COLUMNS, text
from datassay.files import check_paths, replacing
from datassay.values import Values

TOOLS = ("label-studio", "argilla", "fiftyone", "cleanlab", "huggingface", "csv")
ID = "datassay_id"  # flat exports of Label Studio have an id of their own
QUESTION = "label"


def export(
    values: Values,
    data: Dataset,
    to: str,
    path: str | Path,
    *,
    top: int | None = None,
    prefix: str = "",
    force: bool = False,
) -> list[Path]:
    """Write the suspects for another tool; the files that were written.

    Parameters
    ----------
    values, data
        What was found, and the rows.
    to
        One of "label-studio", "argilla", "fiftyone", "cleanlab", "huggingface", "csv".
    path
        The file.
    top
        So many of the most suspicious rows; None: all.
    prefix
        Before the paths of images of a folder: where the tool finds them.
    force
        Replace a file of others.

    Raises
    ------
    DataError
        There is no such tool, the values are of other rows, or the tool has no place for such rows.
    """
    one_of("export", TOOLS, to=to)
    if top is not None:
        whole("export", 1, top=top)
    if values.ids.tolist() != data.ids.tolist():
        raise DataError(
            "export: these values are of other rows than the data: give the file that was valued, read in the same way."
        )
    path = Path(path)
    config = path.with_suffix(".xml")
    files = [path, config] if to == "label-studio" else [path]
    check_paths([], files, force=force, or_force=", or add --force")
    rows = np.argsort(values.scores, kind="stable")[:top]
    found = _Rows(values, data, rows, prefix)
    with replacing(path) as beside:
        if to == "label-studio":
            _dump(found.tasks(), beside)
        elif to == "argilla":
            _dump(found.records(), beside)
        elif to == "huggingface":
            found.frame().to_parquet(beside, index=False)
        else:
            lines = {"fiftyone": found.samples, "cleanlab": found.issues, "csv": found.sheet}[to]()
            lines.map(for_sheet).to_csv(beside, index=False)
    if to == "label-studio":
        with replacing(config) as beside:
            beside.write_text(found.config(), encoding="utf-8")
    return files


class _Rows:
    """Some rows of values, for other tools."""

    def __init__(self, values: Values, data: Dataset, rows: np.ndarray, prefix: str) -> None:
        self.values, self.data, self.rows, self.prefix = values, data, rows, prefix
        self.ranks = values.ranks()
        self.suggested = values.suggested_label
        self.model = f"datassay {version('datassay')} {values.method}"
        self.images = is_images(data.shown)

    def _about(self, row: int) -> dict[str, Any]:
        """Numbers that every tool shows beside a row."""
        about = {
            "datassay_score": float(self.values.scores[row]),
            "datassay_rank": int(self.ranks[row]),
            "flagged": bool(self.values.flagged[row]),
        }
        if (p := self.values.columns.get("probability_wrong")) is not None:
            about["probability_wrong"] = float(p[row])
        return about

    def _trust(self, row: int) -> float:
        """0 for the most suspicious row, 1 for the least."""
        return float((self.ranks[row] - 1) / max(len(self.values) - 1, 1))

    def _suggestion(self, row: int) -> str | None:
        return None if self.suggested is None else text(self.suggested[row])

    def _given(self, row: int) -> str:
        return text(self.data.y[row])

    def _look(self, row: int) -> dict[str, str]:
        """What a person looks at: a picture or a text."""
        if self.images:
            one = self.data.ids[row]
            if not isinstance(one, str):
                raise DataError(
                    "export: pictures that are no files have no address for another tool: read them from a folder."
                )
            return {"image": self.prefix + one}
        if isinstance(self.data.shown, pd.DataFrame):
            cells = self.data.shown.iloc[row]
            if len(cells) == 1:
                return {"text": text(cells.iloc[0])}
            return {"text": "\n".join(f"{column}: {text(cell)}" for column, cell in cells.items())}
        numbers = self.data.X[row]
        dense = numbers.toarray().ravel() if hasattr(numbers, "toarray") else np.asarray(numbers).ravel()
        return {"text": "\n".join(f"{column}: {x:g}" for column, x in zip(self.data.columns, dense, strict=True))}

    def tasks(self) -> Iterator[dict[str, Any]]:
        """Of Label Studio."""
        self._classes("label-studio")
        for number, row in enumerate(self.rows, 1):
            look = self._look(row)
            about = {ID: text(self.data.ids[row]), "given_label": self._given(row)} | self._about(row)
            task: dict[str, Any] = {"data": look | about}
            if (choice := self._suggestion(row)) is not None:
                result = {
                    "id": f"datassay-{number}", "type": "choices", "from_name": QUESTION, "to_name": next(iter(look)),
                    "value": {"choices": [choice]},
                }  # fmt: skip
                task["predictions"] = [{"model_version": self.model, "score": self._trust(row), "result": [result]}]
            yield task

    def config(self) -> str:
        """The labelling configuration of Label Studio."""
        kind = "Image" if self.images else "Text"
        name = kind.lower()
        choices = "\n".join(f'    <Choice value="{escape(text(c))}"/>' for c in self.data.classes)
        return (
            f'<View>\n  <{kind} name="{name}" value="${name}"/>\n  <Choices name="{QUESTION}" toName="{name}" choice="single-radio">\n'
            f"{choices}\n  </Choices>\n</View>\n"
        )

    def records(self) -> Iterator[dict[str, Any]]:
        """Of Argilla."""
        self._classes("argilla")
        for row in self.rows:
            about = {"given_label": self._given(row)} | self._about(row) | {"flagged": str(bool(self.values.flagged[row]))}
            record: dict[str, Any] = {"id": text(self.data.ids[row]), "fields": self._look(row), "metadata": about}
            if (choice := self._suggestion(row)) is not None:
                record["suggestions"] = {QUESTION: {"value": choice, "score": 1 - self._trust(row), "agent": self.model}}
            yield record

    def samples(self) -> pd.DataFrame:
        """Of FiftyOne."""
        if not self.images:
            raise DataError("export: FiftyOne shows pictures, and these rows are none.")
        p = self.values.columns.get("probability_wrong")
        return pd.DataFrame(
            {
                "filepath": [self._look(row)["image"] for row in self.rows],
                "ground_truth": [self._given(row) for row in self.rows],
                "predictions": [self._suggestion(row) or "" for row in self.rows],
                "mistakenness": [1 - self._trust(row) if p is None else float(p[row]) for row in self.rows],
                "datassay_rank": self.ranks[self.rows],
            }
        )

    def issues(self) -> pd.DataFrame:
        """With cleanlab's columns."""
        return pd.DataFrame(
            {
                "id": [text(self.data.ids[row]) for row in self.rows],
                "is_label_issue": self.values.flagged[self.rows],
                "label_score": [self._trust(row) for row in self.rows],
                "given_label": [self._given(row) for row in self.rows],
                "predicted_label": [self._suggestion(row) or "" for row in self.rows],
            }
        )

    def frame(self) -> pd.DataFrame:
        """All that the values have."""
        frame = self.values.to_frame().iloc[self.rows].reset_index(drop=True)
        for name in ("given_label", "suggested_label"):
            if frame[name].isna().all():
                frame = frame.drop(columns=name)
        return frame

    def sheet(self) -> pd.DataFrame:
        """The same, with columns to fill in."""
        frame = self.frame()
        frame.insert(1, "action", "")
        frame.insert(2, "new_label", "")
        return frame

    def _classes(self, tool: str) -> None:
        if self.data.task != "classification":
            raise DataError(f"export: {tool} is asked for a class, and these are amounts: take --to csv.")


def read_answers(path: str | Path, data: Dataset) -> pd.DataFrame:
    """What people answered in another tool, as decisions about these rows: a frame with the columns of a file of decisions.

    Parameters
    ----------
    path
        JSON (Label Studio, its JSON_MIN; Argilla's flat list) or CSV (Label Studio; cleanlab's columns; or a file of `export`).
    data
        The rows.

    Raises
    ------
    DataError
        The file has none of these forms, or is about other rows.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"there is no file {str(path)!r}.")
    try:
        if path.suffix.lower() in (".json", ".jsonl"):
            content = path.read_text(encoding="utf-8")
            lines = (
                json.loads(content)
                if path.suffix.lower() == ".json"
                else [json.loads(x) for x in content.splitlines() if x.strip()]
            )
        else:
            with path.open(newline="", encoding="utf-8-sig") as file:
                lines = [{name: from_sheet(cell) for name, cell in line.items()} for line in csv.DictReader(file)]
    except (ValueError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{str(path)!r} can't be read as {path.suffix.lstrip('.').upper()}: {str(error).splitlines()[0]}."
        ) from None
    if not isinstance(lines, list) or not all(isinstance(line, dict) for line in lines) or not lines:
        raise DataError(f"{str(path)!r} is not a list of tasks, records or rows.")
    row_of = {text(one): row for row, one in enumerate(data.ids.tolist())}
    found = []
    for number, line in enumerate(lines, 1):
        for key, answer in _answers(line, str(path), number):
            if key not in row_of:
                raise DataError(f"{str(path)!r}, entry {number}: no row has the id {key!r}: this is about other data.")
            found.append(_decision(answer, key, text(data.y[row_of[key]]), data.hash))
    return pd.DataFrame(found, columns=list(COLUMNS))


Answer = dict[str, Any]  # choice: a label, or None where it was refused or is none; who, when, seconds, note


def _answers(line: Mapping[str, Any], path: str, number: int) -> Iterator[tuple[str, Answer]]:
    """(id, answer) for each answer in a task, a record or a row."""
    if isinstance(line.get("annotations"), list) and isinstance(line.get("data"), dict):
        yield from _of_tasks(line, path, number)
    elif f"{QUESTION}.responses" in line:
        users = line.get(f"{QUESTION}.responses.users") or []
        states = line.get(f"{QUESTION}.responses.status") or []
        for at, choice in enumerate(line[f"{QUESTION}.responses"] or []):
            if at < len(states) and text(states[at]) == "submitted":
                who = text(users[at]) if at < len(users) else ""
                yield text(line.get("id")), {"choice": choice, "who": who}
    elif "is_label_issue" in line and "predicted_label" in line:
        if text(line["is_label_issue"]).lower() in ("true", "1"):
            yield text(line.get("id")), {"choice": line["predicted_label"], "who": "cleanlab"}
    elif "action" in line and "id" in line:
        if text(line["action"]).strip():
            yield (
                text(line["id"]),
                {"choice": None} | {k: text(line.get(k)) for k in ("action", "new_label", "who", "when", "note")},
            )
    elif ID in line:
        if QUESTION in line and text(line[QUESTION]) != "":
            who, when, seconds = (text(line.get(name)) for name in ("annotator", "updated_at", "lead_time"))
            yield text(line[ID]), {"choice": _single(line[QUESTION]), "who": who, "when": when, "seconds": seconds}
    else:
        raise DataError(
            f"{path!r}, entry {number}: neither a task of Label Studio with {ID}, nor a flat record of Argilla with "
            f"{QUESTION}.responses, nor a row with cleanlab's columns is_label_issue and predicted_label, nor one with id and action."
        )


def _of_tasks(task: Mapping[str, Any], path: str, number: int) -> Iterator[tuple[str, Answer]]:
    """Of Label Studio's full export: only here a refusal can be told from an answer."""
    if ID not in task["data"]:
        raise DataError(f"{path!r}, task {number}: its data have no {ID}, by which `datassay export` names a row.")
    for one in task["annotations"]:
        by = one.get("completed_by")
        who = text(by.get("email") or by.get("id")) if isinstance(by, dict) else text(by)
        choices = [
            choice
            for result in one.get("result") or []
            if result.get("type") == "choices" and result.get("from_name") == QUESTION
            for choice in (result.get("value") or {}).get("choices") or []
        ]
        cancelled = bool(one.get("was_cancelled"))
        yield (
            text(task["data"][ID]),
            {
                "choice": None if cancelled or len(choices) != 1 else choices[0],
                "who": who,
                "when": text(one.get("updated_at") or one.get("created_at")),
                "seconds": text(one.get("lead_time")),
                "note": "skipped" if cancelled else f"{len(choices)} choices" if len(choices) != 1 else "",
            },
        )


def _single(cell: Any) -> Any:
    """One choice of a flat export; None where it holds several, as JSON in a cell of CSV."""
    if isinstance(cell, str) and cell.startswith("{"):
        try:
            cell = json.loads(cell)
        except ValueError:
            return cell
    if isinstance(cell, Mapping):
        cell = cell.get("choices")
    if isinstance(cell, Sequence) and not isinstance(cell, str):
        return cell[0] if len(cell) == 1 else None
    return cell


def _decision(answer: Answer, key: str, given: str, data: str) -> dict[str, str]:
    choice = answer["choice"]
    label = "" if choice is None else text(choice)
    action = answer.get("action") or ("unsure" if choice is None else "keep" if label == given else "relabel")
    label = answer.get("new_label") or label
    return {
        "id": key, "given_label": given, "new_label": label if action == "relabel" else "", "action": action, "data": data,
        **{name: answer.get(name, "") for name in ("who", "when", "seconds", "note")},
    }  # fmt: skip


def _dump(things: Iterator[dict[str, Any]], path: Path) -> None:
    path.write_text(json.dumps(list(things), ensure_ascii=False, indent=1, default=plain), encoding="utf-8")
