"""Ctrl-C, SIGTERM and SIGHUP: heard from the first line to the last, and once the work is done no trouble any more."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any, NoReturn

STOPS = [number for name in ("SIGINT", "SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None]
INTERRUPTED = "interrupted"  #: in ``stats["stopped"]``, after any of them
BEFORE = b"datassay: stopped before anything was done: the same call starts again.\n"


class _Heard:
    """Whether one came, and whether its interrupt has reached anybody.

    Some libraries turn it into an error of their own; and where it is raised in a finaliser, or in the callback of a weak reference,
    Python prints it and goes on.
    """

    one = False
    taken = False
    hook: Any = None  # what was told of such exceptions before


def came() -> bool:
    """Whether a signal came since `listen`."""
    return _Heard.one


def taken() -> None:
    """The interrupt has reached somebody who ends the work."""
    _Heard.taken = True


def once_more() -> None:
    """Raise an interrupt that was lost on its way; called wherever long work goes a step further.

    Raises
    ------
    KeyboardInterrupt
        A signal came, and nobody has heard of it.
    """
    if _Heard.one and not _Heard.taken and threading.current_thread() is threading.main_thread():
        raise KeyboardInterrupt


def begin() -> None:
    """While Python imports: a sentence, and the end. Signals that are ignored, as under nohup, stay so."""
    _set(_end_at_once, {signal.SIG_DFL, signal.default_int_handler})
    atexit.register(_deaf)  # the first to be registered, the last to be called


def listen() -> None:
    """From now on each is a KeyboardInterrupt: what was done is kept, and workers end."""
    _Heard.one = _Heard.taken = False
    if sys.unraisablehook is not _unraisable:
        _Heard.hook, sys.unraisablehook = sys.unraisablehook, _unraisable
    _set(_interrupt, {signal.SIG_DFL, signal.default_int_handler, _end_at_once})


def end(status: int) -> None:
    """All is written: a signal only ends what Python has left to do."""

    if came():
        import ctypes

        # where an import of C code was interrupted Python would end by the signal, and not with the status: any text that is run
        # from C takes that back
        ctypes.pythonapi.PyRun_SimpleString(b"")

    def at_once(number: int, frame: FrameType | None) -> NoReturn:
        os._exit(status)

    _set(at_once, {signal.SIG_DFL, signal.default_int_handler, _interrupt, _end_at_once})


def _deaf() -> None:
    """Python takes its handlers away before it ends, and a signal would then decide the status."""
    _set(signal.SIG_IGN, {signal.getsignal(number) for number in STOPS})


def _set(handler: Any, in_place_of: set[Any]) -> None:
    if threading.current_thread() is not threading.main_thread():
        return
    for number in STOPS:
        if signal.getsignal(number) in in_place_of:
            signal.signal(number, handler)


def _unraisable(what: sys.UnraisableHookArgs) -> None:
    """What Python can't raise it prints; an interrupt comes once more, and needs no print."""
    if not (_Heard.one and issubclass(what.exc_type, KeyboardInterrupt)):
        (_Heard.hook or sys.__unraisablehook__)(what)


def _end_at_once(number: int, frame: FrameType | None) -> NoReturn:
    try:
        os.write(2, BEFORE)
    finally:
        os._exit(130)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    _Heard.one, _Heard.taken = True, False
    raise KeyboardInterrupt
