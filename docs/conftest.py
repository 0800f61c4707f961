"""`pytest docs` runs the examples of every page, from top to bottom, in one folder and one namespace for each page.

A ``python`` block is a doctest; in a ``console`` block the lines after ``$`` are run, and the lines below each are what it
must print (stdout and stderr together). A command must end with status 0, unless the next one is ``$ echo $?``.
In what is printed ``...`` stands for anything, and numbers with a decimal point may differ by 1 %. Blocks of other kinds are text.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import pytest

from datassay import cli

DOCS = Path(__file__).parent
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
FENCE = re.compile(r"^```(python|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

collect_ignore_glob = ["*.py", "_build/*", "generated/*"]


class Checker(doctest.OutputChecker):
    """Numbers with a decimal point agree within 1 %, line by line where the lines have as many of them."""

    DECIMAL = re.compile(r"-?\d+\.\d+(?:e[+-]\d+)?")

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        wanted, came = want.splitlines(), got.splitlines()
        if len(wanted) == len(came):
            got = "".join(f"{self._near(w, g)}\n" for w, g in zip(wanted, came, strict=True))
        return super().check_output(want, got, optionflags)

    def _near(self, want: str, got: str) -> str:
        wanted = self.DECIMAL.findall(want)
        if len(wanted) != len(self.DECIMAL.findall(got)):
            return got
        numbers = iter(wanted)

        def settle(found: re.Match[str]) -> str:
            number = next(numbers)
            return number if abs(float(number) - float(found[0])) <= 0.01 * abs(float(number)) else found[0]

        return self.DECIMAL.sub(settle, got)


class Block(NamedTuple):
    kind: str
    text: str
    line: int  #: of its first line in the page, from 0


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    inside = file_path.is_relative_to(DOCS) and file_path.relative_to(DOCS).parts[0] not in ("_build", "generated")
    if inside and file_path.suffix == ".md" and FENCE.search(file_path.read_text(encoding="utf-8")):
        return PageFile.from_parent(parent, path=file_path)
    return None


class PageFile(pytest.File):
    def collect(self) -> Iterator[pytest.Item]:
        yield Page.from_parent(self, name="examples")


class Page(pytest.Item):
    """All examples of one page."""

    def runtest(self) -> None:
        page = self.path.read_text(encoding="utf-8")
        folder = self.config._tmp_path_factory.mktemp(self.path.stem)
        names: dict[str, Any] = {}
        was = Path.cwd()
        os.chdir(folder)
        try:
            for found in FENCE.finditer(page):
                block = Block(found[1], found[2], page.count("\n", 0, found.start()) + 1)
                (_python if block.kind == "python" else _console)(self.path, block, names)
        finally:
            os.chdir(was)

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        return str(excinfo.value) if isinstance(excinfo.value, ExampleError) else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, f"{self.path.name} (examples)"


class ExampleError(Exception):
    """An example of a page does not do what the page says."""


def _python(path: Path, block: Block, names: dict[str, Any]) -> None:
    test = doctest.DocTestParser().get_doctest(block.text, names, path.name, str(path), block.line)
    if not test.examples:
        raise ExampleError(f"{path}:{block.line}: a python block without >>> is not run; give it prompts.")
    said: list[str] = []
    runner = doctest.DocTestRunner(checker=Checker(), optionflags=FLAGS, verbose=False)
    runner.run(test, out=said.append, clear_globs=False)
    names.update(test.globs)
    if said:
        raise ExampleError("".join(said))


def _console(path: Path, block: Block, names: dict[str, Any]) -> None:
    status = 0
    for command, want in _commands(block.text):
        if status and command != "echo $?":
            raise ExampleError(f"{path}:{block.line}: the command before `$ {command}` ended with status {status}.")
        if command == "echo $?":
            came, status = f"{status}\n", 0
        else:
            came, status = _run(command)
        if (want.strip() or came.strip()) and not Checker().check_output(want, came, FLAGS):
            raise ExampleError(f"{path}:{block.line}: $ {command}\nexpected:\n{want}\ngot:\n{came}")
    if status:
        raise ExampleError(f"{path}:{block.line}: the last command ended with status {status}.")


def _run(command: str) -> tuple[str, int]:
    """Output and exit status; `datassay` by its entry point in this process, which spares seconds of imports."""
    words = shlex.split(command)
    if words[0] != "datassay":
        done = subprocess.run(
            command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", timeout=120
        )
        return done.stdout, done.returncode
    printed, status = io.StringIO(), 0
    with (
        mock.patch.dict(os.environ, COLUMNS="90", NO_COLOR="1"),
        mock.patch.object(sys, "argv", words),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
    ):
        try:
            cli.main()
        except SystemExit as end:
            status = int(end.code or 0)
    return printed.getvalue(), status


def _commands(text: str) -> Iterator[tuple[str, str]]:
    """Each command of a console block and what it must print."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, want = part.partition("\n")
        while command.endswith("\\"):
            more, _, want = want.partition("\n")
            command = command[:-1] + more.strip()
        yield command, want
