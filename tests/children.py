"""Processes that tests kill: forked from one that has imported torch and all methods once, so that each begins at once."""

import itertools
import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

_FORKED = multiprocessing.get_context("forkserver")
_FORKED.set_forkserver_preload(["pytest", "torch._dynamo", "sklearn.ensemble", "datassay.evaluation"])


def begun(work: Callable[..., Any], *arguments: Any) -> BaseProcess:
    """A process that does this. The work is a function of a module; the arguments are few."""
    process = _FORKED.Process(target=work, args=arguments)
    process.start()
    return process


def ended(work: Callable[..., Any], *arguments: Any) -> int:
    """The exit code of a process that did this: 0, 1 where it came to an error, -9 where it was killed."""
    process = begun(work, *arguments)
    process.join(240)
    code = process.exitcode
    assert code is not None
    process.close()
    return code


def killed_by(call: int, owner: Any, name: str) -> None:
    """This process is killed when this function of the owner was called so many times."""
    do, calls = getattr(owner, name), itertools.count(1)

    def counted(*arguments: Any, **options: Any) -> Any:
        result = do(*arguments, **options)
        if next(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, counted)
