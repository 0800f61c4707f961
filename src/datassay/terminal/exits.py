"""How a command ends: signals, errors, and the exit status."""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datassay.checks import DataError, OptionError, shown
from datassay.signals import came, listen, taken
from datassay.terminal.output import print_error, stdout

UNEXPECTED = "an error that datassay did not expect:"
STOPPED = "stopped: no file is half written, and the same call starts again."


class Stopped(Exception):  # noqa: N818
    """Ctrl-C or SIGTERM: what is kept, and how to go on."""


@contextmanager
def when_stopped(kept: Callable[[], str]) -> Iterator[list[Path]]:
    """Ctrl-C inside says what is kept. Files that are written inside go into the list."""
    written: list[Path] = []
    try:
        yield written
    except (KeyboardInterrupt, Exception) as error:
        if isinstance(error, Stopped) or not (isinstance(error, KeyboardInterrupt) or came()):
            raise
        taken()
        files = f"{' and '.join(repr(str(path)) for path in written)} {'is' if len(written) == 1 else 'are'} written"
        raise Stopped(f"stopped; {files if written else kept()}.") from None


def kept_of_method(method: str, options: Mapping[str, Any]) -> str:
    """What is kept of a method that was stopped, and how to go on."""
    for name, finished in (("store", "the trainings that were done are"), ("checkpoint", "what was done is")):
        if options.get(name) is not None:
            return f"{finished} kept in {str(options[name])!r}: the same call goes on there"
    return f"nothing is written, and what was there is as it was{resuming_hint(method)}"


def resuming_hint(method: str) -> str:
    """How a call would go on where it was stopped."""
    from datassay.methods import takes

    hints = {"store": "--set store=trainings.sqlite", "checkpoint": "--set checkpoint=a-folder"}
    return next(
        (f"; with {text} the same call goes on where it was stopped" for n, text in hints.items() if takes(n, method)), ""
    )


def run(command: Callable[[], Any]) -> int:
    """Run a command line; errors become one sentence on stderr. The exit status."""
    listen()
    status = 0
    stdout.error = None
    try:
        command()
    except BaseException as error:
        status = status_of(error)
    return stdout.finish(status)


def status_of(error: BaseException) -> int:
    """What an error comes to; its sentence is on stderr then."""
    if isinstance(error, Stopped):
        return print_error(str(error), 130)
    if isinstance(error, SystemExit) and not (error.code == 130 and came()):  # 130: typer has caught Ctrl-C
        return error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    if isinstance(error, KeyboardInterrupt) or came():
        return print_error(STOPPED, 130)
    if isinstance(error, (DataError, OptionError)):
        return print_error(str(error), 2)
    if isinstance(error, ImportError) and "pip install" in str(error):
        return print_error(str(error), 2)
    if isinstance(error, MemoryError):
        return print_error(f"there is not enough memory: {str(error) or 'give fewer rows or columns'}", 1)
    if isinstance(error, BrokenExecutor):  # joblib's, too
        return print_error(
            "a worker process ended before its work was done, mostly because there is not enough memory: give fewer workers (--jobs), or "
            "fewer rows or columns.",
            1,
        )
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return print_error(f"the name of a file is longer than this system allows: {shown(error.filename)}.", 2)
    if isinstance(error, (OSError, UnicodeError)):
        return print_error(f"{type(error).__name__}: {error}", 1)
    if os.environ.get("DATASSAY_DEBUG") or not isinstance(error, Exception) or isinstance(error, ImportError):
        raise error
    where = traceback.extract_tb(error.__traceback__)[-1]
    return print_error(
        f"{UNEXPECTED} {type(error).__name__}: {(str(error).splitlines() or [''])[0]} ({Path(where.filename).name}, line "
        f"{where.lineno}); nothing was written. With DATASSAY_DEBUG=1 in the environment all of it is shown: please report it.",
        1,
    )
