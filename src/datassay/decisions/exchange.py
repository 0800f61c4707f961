"""Suspects out to the tools in which people label, and what they decided there back as decisions.

Out: rows in the order of suspicion, the least worth first; for cleanlab and huggingface in that of the data. Back: an answer that is the
given label keeps it, another one replaces it; an answer that was refused or holds several choices leaves the row undecided, and a row
without an answer has no decision. Of one person's answers about a row the latest is the last line: flat exports of Label Studio list them
from the newest to the oldest.

    label-studio   tasks as a JSON list, and beside it the labelling configuration; back: JSON, JSON_MIN, CSV and TSV
    argilla        records as a JSON list (`dataset.records.from_json`; `records.log` finds no fields in it); back: the flat list
                   (`records.to_list(flatten=True)`), and of that submitted responses alone
    fiftyone       CSV with a column filepath (`CSVDataset`)
    cleanlab       CSV with Datalab's and CleanLearning's columns; back: is_label_issue with predicted_label
    huggingface    Parquet, a row each, to be joined on id
    csv            for spreadsheets, with empty columns action and new_label: text that one would run as a formula begins with an
                   apostrophe, which reading takes off again; back: the same file, filled in
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

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
FIELD = re.compile(r"\$[\w[\].{}]")  # what Label Studio's interface takes for a field of the task


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
        Before the paths of images of a folder: where the tool finds them. Of an address (http://, https://, /) the paths are quoted.
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
    if to in ("cleanlab", "huggingface"):  # cleanlab's models and `datasets` put columns beside rows by their place
        rows.sort()
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
            web = self.prefix.startswith(("http://", "https://", "/"))  # buckets (s3://) and folders take names as they are
            return {"image": self.prefix + (quote(one) if web else one)}
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
        name, size = kind.lower(), ' maxHeight="50vh"' if self.images else ""  # else a picture hides the choices below it
        choices = "\n".join(f"    <Choice {_choice(text(c))}/>" for c in self.data.classes)
        return (
            f'<View>\n  <{kind} name="{name}" value="${name}"{size}/>\n  <Header size="5" value="labelled $given_label"/>\n'
            f'  <Choices name="{QUESTION}" toName="{name}" choice="single-radio">\n{choices}\n  </Choices>\n</View>\n'
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


def _choice(label: str) -> str:
    """Attributes of a choice. In a value, $ and the word behind it stand for a field of the task (a space of no width keeps them apart); in
    an alias, which is what answers hold, they don't.

    >>> print(_choice("a & b"), _choice("$5"))
    value="a &amp; b" value="$&#8203;5" alias="$5"
    """
    if not FIELD.search(label):
        return f"value={quoteattr(label)}"
    shown = quoteattr(label.replace("$", "$\u200b"), {"\u200b": "&#8203;"})
    return f"value={shown} alias={quoteattr(label)}"


def read_answers(path: str | Path, data: Dataset) -> pd.DataFrame:
    """What people answered in another tool, as decisions about these rows: a frame with the columns of a file of decisions.

    Parameters
    ----------
    path
        JSON (Label Studio, its JSON_MIN; Argilla's flat list) or CSV (Label Studio, its TSV; cleanlab's columns; or a file of `export`).
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
            lines = _table(path)
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(
            f"{str(path)!r} can't be read as {path.suffix.lstrip('.').upper()}: {str(error).splitlines()[0]}."
        ) from None
    if not isinstance(lines, list) or not all(isinstance(line, dict) for line in lines) or not lines:
        raise DataError(f"{str(path)!r} is not a list of tasks, records or rows.")
    row_of = {text(one): row for row, one in enumerate(data.ids.tolist())}
    labels = {text(label) for label in data.classes}
    found: list[dict[str, str]] = []
    first: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        for key, answer in _answers(line, labels, str(path), number):
            if key not in row_of:
                raise DataError(f"{str(path)!r}, entry {number}: no row has the id {key!r}: this is about other data.")
            own, given = text(data.y[row_of[key]]), text(answer.get("given"))
            if given and not _alike(given, own):
                raise DataError(
                    f"{str(path)!r}, entry {number}: the label of id {key!r} was {given!r}, and it is {own!r}: this is about other data, "
                    "or they were changed since: give the file that was exported."
                )
            first.setdefault(key, len(first))
            found.append(_decision(answer, key, own, data.hash))
    found.sort(key=lambda one: (first[one["id"]], one["when"]))
    return pd.DataFrame(found, columns=list(COLUMNS))


def _table(path: Path) -> list[dict[str, Any]]:
    """Rows of a file of separated values: Label Studio calls its TSV .csv, too, and spreadsheets write what their country does."""
    with path.open(encoding="utf-8-sig") as file:
        head = file.readline()
    separator = max(",;\t", key=head.count)
    frame = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, index_col=False, encoding="utf-8-sig")
    if ID not in frame.columns:  # what `export` wrote
        frame = frame.map(from_sheet)
    return [{str(name): cell for name, cell in line.items()} for line in frame.to_dict("records")]


def _alike(given: str, own: str) -> bool:
    """The same label, also as a spreadsheet would write it.

    >>> _alike("TRUE", "True"), _alike("1", "001"), _alike("1.50", "1.5"), _alike("a", "b")
    (True, True, True, False)
    """
    if given.casefold() == own.casefold():
        return True
    try:
        return float(given) == float(own)
    except ValueError:
        return False


# choice: a label, None where it is none or was refused; given: the label before; who, when, seconds, note
Answer = dict[str, Any]


def _answers(line: Mapping[str, Any], labels: set[str], path: str, number: int) -> Iterator[tuple[str, Answer]]:
    """(id, answer) for each answer in a task, a record or a row."""
    given = line.get("given_label")
    if isinstance(line.get("annotations"), list) and isinstance(line.get("data"), dict):
        yield from _of_tasks(line, path, number)
    elif f"{QUESTION}.responses" in line:
        users = line.get(f"{QUESTION}.responses.users") or []
        states = line.get(f"{QUESTION}.responses.status") or []
        for at, choice in enumerate(line[f"{QUESTION}.responses"] or []):
            if at < len(states) and text(states[at]) == "submitted":
                who = text(users[at]) if at < len(users) else ""
                yield text(line.get("id")), {"choice": choice, "given": given, "who": who}
    elif "is_label_issue" in line and "predicted_label" in line:
        if text(line["is_label_issue"]).lower() in ("true", "1"):
            yield text(line.get("id")), {"choice": line["predicted_label"], "given": given, "who": "cleanlab"}
    elif "action" in line and "id" in line:
        if text(line["action"]).strip():
            yield (
                text(line["id"]),
                {"choice": None, "given": given}
                | {k: text(line.get(k)) for k in ("action", "new_label", "who", "when", "note")},
            )
    elif ID in line:
        if QUESTION in line and text(line[QUESTION]) != "":
            who, when, seconds = (text(line.get(name)) for name in ("annotator", "updated_at", "lead_time"))
            choice = _single(line[QUESTION], labels)
            yield text(line[ID]), {"choice": choice, "given": given, "who": who, "when": when, "seconds": seconds}
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
                "given": task["data"].get("given_label"),
                "who": who,
                "when": text(one.get("updated_at") or one.get("created_at")),
                "seconds": text(one.get("lead_time")),
                "note": "skipped" if cancelled else f"{len(choices)} choices" if len(choices) != 1 else "",
            },
        )


def _single(cell: Any, labels: set[str]) -> Any:
    """One choice of a flat export; None where it holds several, as JSON in a cell of CSV."""
    if isinstance(cell, str) and cell.startswith("{") and cell not in labels:
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
