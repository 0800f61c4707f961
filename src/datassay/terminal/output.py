"""Standard output that may go away or be full, tables, and error messages."""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NoReturn, cast

from rich.console import Console
from rich.markup import escape
from rich.table import Table


class Output:
    """Standard output. Where it can't be written, the error is kept and the command goes on: results are not lost."""

    error: Exception | None = None

    def write(self, text: str) -> int:
        try:
            if self.error is None:
                sys.stdout.write(text)
        except (OSError, ValueError) as error:
            self.error = error
        return len(text)

    def flush(self) -> None:
        try:
            if self.error is None:
                sys.stdout.flush()
        except (OSError, ValueError) as error:
            self.error = error

    def isatty(self) -> bool:
        return sys.stdout is not None and not sys.stdout.closed and sys.stdout.isatty()

    def fileno(self) -> int:
        return sys.stdout.fileno()

    @property
    def encoding(self) -> str:
        return getattr(sys.stdout, "encoding", None) or "utf-8"

    def finish(self, status: int) -> int:
        """Flush; the exit status, 1 where not all could be printed. A reader that closed the pipe is no error."""
        self.flush()
        if isinstance(self.error, OSError):
            if not isinstance(self.error, BrokenPipeError) and status == 0:
                status = print_error(f"not all could be printed ({self.error.strerror}); the files are written", 1)
            with suppress(OSError, ValueError):  # or Python tries again at its end, and complains
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return status


_NAME = 40  # characters of a name that is never folded

stdout = Output()
out = Console(file=cast(IO[str], stdout), soft_wrap=True, highlight=False, emoji=False)


def print_table(frame: Any, title: str) -> None:
    """In a narrow terminal cells are folded, not cut; names, in the first column, only if they are long."""
    table = Table(title=escape(title))
    for column in frame.columns:
        whole = column == frame.columns[0] and max(map(len, map(printable, frame[column])), default=0) <= _NAME
        table.add_column(escape(printable(column)), overflow="fold", no_wrap=whole)
    for row in frame.itertuples(index=False):
        table.add_row(*[escape(printable(cell)) for cell in row])
    out.print(table)


def print_text_table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Long texts, folded; the first column is not."""
    table = Table(show_lines=True)
    for column in header:
        table.add_column(column, overflow="fold", no_wrap=column == header[0])
    for row in rows:
        table.add_row(*[escape(cell) for cell in row])
    out.print(table)


def print_written(page: Path) -> None:
    out.print(safe(f"Wrote {page} and {page.with_suffix('.json')}. Open {page.resolve().as_uri()} in a browser."))


def print_next(*words: Any) -> None:
    """What to call next: a line that a shell runs as it stands."""
    arguments = [
        os.path.join(".", word) if isinstance(word, Path) and str(word).startswith("-") else str(word) for word in words
    ]
    out.print(escape(f"Next: datassay {' '.join(map(quoted, arguments))}"))


def quoted(word: str) -> str:
    """As a shell reads it. What would steer the terminal, or is no text, is written by its bytes.

    >>> print(quoted("rows.csv"), quoted("my rows.csv"), quoted("\\x1b[1m"))
    rows.csv 'my rows.csv' $'\\x1b[1m'
    """
    if word.isprintable():
        return shlex.quote(word)
    ordinary = set(range(32, 127)) - set(b"'\\")
    return "$'" + "".join(chr(b) if b in ordinary else f"\\x{b:02x}" for b in os.fsencode(word)) + "'"


def safe(text: str) -> str:
    """For `out.print`: no markup, and no control characters from data or names of files."""
    return escape(printable(text))


def printable(cell: Any) -> str:
    """Numbers short, and no control characters: they could steer the terminal."""
    text = f"{cell:.6g}" if isinstance(cell, float) else str(cell)
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def print_error(message: str, status: int) -> int:
    """The sentence on stderr, if that is there; the status."""
    with suppress(OSError, ValueError, AttributeError):
        Console(stderr=True, soft_wrap=True, highlight=False).print("datassay: " + escape(printable(message)))
    return status


def fail(message: str, status: int) -> NoReturn:
    sys.exit(print_error(message, status))
