"""For all tests."""

import signal

import pytest

collect_ignore = ["conftest.py"]  # two modules of one name can't be looked through for examples


@pytest.fixture(autouse=True, scope="session")
def heard():
    """A shell's background job ignores Ctrl-C, and so would all that the tests start."""
    before = signal.getsignal(signal.SIGINT)
    if before == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
