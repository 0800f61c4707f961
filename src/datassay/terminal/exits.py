"""How a command ends: signals, errors, and the exit status."""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from datassay.checks import DataError, OptionError
from datassay.terminal.output import print_error, stdout

UNEXPECTED = "an error that datassay did not expect:"


class Stopped(Exception):  # noqa: N818
    """Ctrl-C or SIGTERM: what is kept, and how to go on."""


@contextmanager
def when_stopped(kept: str) -> Iterator[None]:
    """Ctrl-C inside says what is kept."""
    try:
        yield
    except KeyboardInterrupt:
        raise Stopped(f"stopped; {kept}.") from None


def when_method_stopped(method: str, options: Mapping[str, Any]) -> AbstractContextManager[None]:
    """What is kept of a method that was stopped."""
    from datassay.methods import takes

    for name, finished in (("store", "the trainings that were done are"), ("checkpoint", "what was done is")):
        if options.get(name) is not None:
            return when_stopped(f"{finished} kept in {str(options[name])!r}: the same call goes on there")
    hints = {"store": "--set store=trainings.sqlite", "checkpoint": "--set checkpoint=a-folder"}
    hint = next(
        (f"; with {text} the same call goes on where it was stopped" for n, text in hints.items() if takes(n, method)), ""
    )
    return when_stopped(f"nothing is written, and what was there is as it was{hint}")


def run(command: Callable[[], Any]) -> int:
    """Run a command line; errors become one sentence on stderr. The exit status."""
    for name in ("SIGTERM", "SIGHUP"):  # like Ctrl-C: what was done is kept, and workers end
        number = getattr(signal, name, None)
        if number and threading.current_thread() is threading.main_thread() and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    status = 0
    stdout.error = None
    try:
        command()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except (DataError, OptionError) as error:
        status = print_error(str(error), 2)
    except ImportError as error:
        if "pip install" not in str(error):
            raise
        status = print_error(str(error), 2)
    except Stopped as error:
        status = print_error(str(error), 130)
    except KeyboardInterrupt:
        status = print_error("stopped", 130)
    except MemoryError as error:
        status = print_error(f"there is not enough memory: {str(error) or 'give fewer rows or columns'}", 1)
    except (OSError, UnicodeError) as error:
        status = print_error(f"{type(error).__name__}: {error}", 1)
    except Exception as error:
        if os.environ.get("DATASSAY_DEBUG"):
            raise
        where = traceback.extract_tb(error.__traceback__)[-1]
        status = print_error(
            f"{UNEXPECTED} {type(error).__name__}: {(str(error).splitlines() or [''])[0]} ({Path(where.filename).name}, line "
            f"{where.lineno}); nothing was written. With DATASSAY_DEBUG=1 in the environment all of it is shown: please report it.",
            1,
        )
    return stdout.finish(status)
