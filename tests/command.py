"""The command line in this process: each call in one of its own would import for seconds."""

import contextlib
import io
import sys
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from datassay.cli import main


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def run(*arguments: object, cwd: Path | str = ".") -> Done:
    """Status, stdout, stderr."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", ["datassay", *map(str, arguments)]),
    ):
        try:
            main()
            status = 0
        except SystemExit as end:
            status = end.code or 0
    return Done(status, out.getvalue(), err.getvalue())
