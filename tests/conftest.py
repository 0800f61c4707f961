"""For all tests."""

import signal

import jaxtyping
import pytest

collect_ignore = ["conftest.py"]  # two modules of one name can't be looked through for examples

_checked = jaxtyping.jaxtyped


def _outer_ones(*, typechecker):
    """What the import of the engines puts before each function. Those within functions are made anew at each call, and to have them
    checked took longer than what they do: mypy looks at them."""
    return lambda fn: fn if "<locals>" in getattr(fn, "__qualname__", "") else _checked(fn, typechecker=typechecker)


jaxtyping.jaxtyped = _outer_ones


@pytest.fixture(autouse=True, scope="session")
def heard():
    """A shell's background job ignores Ctrl-C, and so would all that the tests start."""
    before = signal.getsignal(signal.SIGINT)
    if before == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
