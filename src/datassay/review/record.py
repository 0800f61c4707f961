"""The file of decisions while a review goes on: lines are added, each on the disk before it is answered, none is ever changed.

    id, given_label, new_label, action, who, when, seconds, note, data

Taking a decision back adds a line, too: "unsure" with the note "undone". Of one person's lines about a row the last counts, so that whoever
reads the file without knowing of this decides nothing about the row.
"""

from __future__ import annotations

import csv
import io
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from datassay.checks import DataError
from datassay.data.dataset import Dataset
from datassay.decisions.cells import for_sheet
from datassay.decisions.records import COLUMNS, read_decisions, rows_hash, settled, text

UNDONE = "undone"  #: the note of a line that takes the one before it back


class Decision(NamedTuple):
    """What somebody decided about a row."""

    row: int
    who: str
    action: str  #: keep, relabel, drop or unsure
    new_label: str = ""  #: as the file has it
    seconds: float = 0.0
    note: str = ""
    when: str = ""  #: UTC

    @property
    def undone(self) -> bool:
        """Whether it takes an earlier one back."""
        return self.action == "unsure" and self.note == UNDONE


class Record:
    """Decisions about the rows of one data set, in a file.

    Parameters
    ----------
    path
        The file; lines of an earlier review of the same rows stay.
    data
        The rows.

    Raises
    ------
    DataError
        The file holds something else, or decisions of other data; or ids are no text that a file can hold.
    """

    def __init__(self, path: str | Path, data: Dataset) -> None:
        self.path, self.data, self.hash = Path(path), data, rows_hash(data)
        self.ids = [text(one) for one in data.ids.tolist()]
        self.given = [text(label) for label in data.y.tolist()]
        self.lock = threading.Lock()
        for one in self.ids:
            if "\0" in one or not _is_text(one):
                raise DataError(
                    f"review: the id {one!r} is no text that a file of decisions can hold: give other ids (--id)."
                )
        if not self.path.parent.is_dir():
            raise DataError(f"the folder {str(self.path.parent)!r} does not exist: make it first.")
        if self.path.is_dir():
            raise DataError(f"{str(self.path)!r} is a folder: give the name of a file of decisions.")
        self.decisions = self._earlier()

    def add(self, decision: Decision) -> Decision:
        """Write a line, and wait until it is on the disk."""
        decision = decision._replace(when=decision.when or datetime.now(UTC).isoformat(timespec="seconds"))
        cells = [
            self.ids[decision.row], self.given[decision.row], decision.new_label, decision.action, decision.who, decision.when,
            f"{decision.seconds:.1f}", decision.note, self.hash,
        ]  # fmt: skip
        line = _line(cells)
        with self.lock:
            if not self.path.exists() or self.path.stat().st_size == 0:
                line = _line(COLUMNS) + line
            self._append(line)
            self.decisions.append(decision)
        return decision

    def _append(self, line: str) -> None:
        there = self.path.exists()
        with self.path.open("ab", buffering=0) as file:
            begin = file.seek(0, os.SEEK_END)
            content = line.encode()
            try:
                if file.write(content) != len(content):
                    raise OSError(28, "not all of a decision could be written", str(self.path))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(begin)
                raise
        if not there:
            _sync_folder(self.path.parent)

    def _earlier(self) -> list[Decision]:
        """What is in the file; half a line at its end, of a machine that lost its power, is cut off."""
        if not self.path.exists() or self.path.stat().st_size == 0:
            return []
        content = self.path.read_bytes()
        header = _line(COLUMNS).encode()
        if not content.startswith(header):
            if header.startswith(content):
                self.path.write_bytes(b"")
                return []
            raise DataError(
                f"{str(self.path)!r} is there and is no file of a review (its first line must be {','.join(COLUMNS)}): give another "
                "name with -o."
            )
        whole = _whole(content)
        if len(whole) < len(content):
            with self.path.open("r+b") as file:
                file.truncate(len(whole))
        lines = read_decisions(self.path)
        if (lines["data"] == "").any():
            raise DataError(
                f"{str(self.path)!r}: line {int((lines['data'] == '').argmax()) + 1} does not say which data it is about."
            )
        try:
            settled(lines, self.data)
        except DataError as error:
            raise DataError(f"{str(self.path)!r} can't be gone on with: {error}") from None
        row_of = {one: row for row, one in enumerate(self.ids)}
        return [
            Decision(row_of[i], who, action.strip().lower(), new, _seconds(seconds), note, when)
            for i, new, action, who, when, seconds, note in zip(
                *(lines[name] for name in ("id", "new_label", "action", "who", "when", "seconds", "note")), strict=True
            )
        ]


def _line(cells: list[str] | tuple[str, ...]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow([for_sheet(cell) for cell in cells])
    return out.getvalue()


def _whole(content: bytes) -> bytes:
    """All of it but half a line at the end."""
    end = len(content)
    while (end := content.rfind(b"\n", 0, end)) >= 0:
        try:
            lines = list(csv.reader(io.StringIO(content[: end + 1].decode(), newline=""), strict=True))
        except (csv.Error, UnicodeDecodeError):
            continue
        if len(lines[-1]) == len(COLUMNS):
            return content[: end + 1]
    return content


def _seconds(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return 0.0


def _is_text(one: str) -> bool:
    try:
        one.encode()
    except UnicodeEncodeError:
        return False
    return True


def _sync_folder(folder: Path) -> None:
    """The name of a new file is on the disk, too."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        return
    finally:
        os.close(handle)
