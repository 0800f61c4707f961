"""The command line, put together. Exit status 0 done, 1 the run failed, 2 the call or the data is wrong."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from datassay.commands.choosing import audit, methods, plan
from datassay.commands.comparing import bench
from datassay.commands.curating import curate
from datassay.commands.deciding import apply, check, export, gain, import_answers
from datassay.commands.explaining import explain
from datassay.commands.reviewing import review
from datassay.commands.valuing import demo, report, value
from datassay.terminal.exits import run
from datassay.terminal.output import out

app = typer.Typer(
    help="What each training row is worth, and which rows are wrong.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def about(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        from datassay import __version__

        out.print(__version__)


for command in (demo, value, report, plan, audit, bench, methods, explain, check, review, apply, gain, curate, export):
    app.command()(command)
app.command("import")(import_answers)


def main() -> None:
    """Entry point: errors become one sentence and a status."""
    sys.exit(run(app))
