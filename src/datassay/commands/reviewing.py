"""`datassay review`: the page on which a person decides."""

from __future__ import annotations

import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from datassay.checks import DataError
from datassay.terminal.exits import when_stopped
from datassay.terminal.options import ValuedPath, ValuesPath
from datassay.terminal.output import out, safe, stdout
from datassay.terminal.paths import check_all_paths
from datassay.terminal.reading import Reading


def review(
    values: ValuesPath,
    data: ValuedPath,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File of decisions; one that is there is gone on with.")
    ] = Path("decisions.csv"),
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Of 127.0.0.1; 0: a free one.")] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page.")] = True,
    who: Annotated[str, typer.Option("--who", help="Name of the person who decides; others add ?who= or type it in.")] = "",
    everybody: Annotated[
        bool, typer.Option("--everybody", help="Everybody looks at every row; else rows are shared out.")
    ] = False,
    by: Annotated[
        str | None,
        typer.Option("--by", help="Column that says who labelled a row, or where it is from: wrong labels of each."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the rows that are drawn from all.")] = 0,
) -> None:
    """Look at the suspects in a browser, and decide.

    Serves one page on this machine alone. Every decision is written to a CSV file at once, for `datassay apply`. The file is read as
    it was when it was valued. Ends with Ctrl-C; the same call goes on where it stopped.
    """
    from datassay.review.groups import Groups
    from datassay.review.record import Record
    from datassay.review.server import HOST, application, listen, serve
    from datassay.review.session import Session
    from datassay.values import Values

    check_all_paths([values, data], [])
    if any(output.exists() and path.exists() and output.samefile(path) for path in (values, data)):
        raise DataError(f"{str(output)!r} is read by this call: give another name for the decisions.")
    loaded = Values.load(values)
    rows = Reading().or_else(loaded.stats.get("source", {})).rows(data, notes=False)  # the address is the first line
    record = Record(output, rows)
    session = Session(loaded, rows, record, everybody=everybody, seed=seed)
    groups = Groups(session) if by is None else Groups(session, by, column_of(data, rows, by))
    bound = listen(port)
    at = bound.getsockname()[1]
    app = application(session, at, title=f"{data.name} · {loaded.method}", groups=groups)
    address = f"http://{HOST}:{at}/?token={app.state.token}" + (f"&who={quote(who)}" if who else "")
    out.print(safe(address))
    before = len(record.decisions)
    if before:
        out.print(safe(f"{output} has {before:,} lines of earlier decisions: the review goes on after them."))
    out.print("Open this address in a browser; it is for you alone. Ctrl-C ends the review.")
    stdout.flush()
    if browser:
        with suppress(webbrowser.Error, OSError):
            webbrowser.open(address)

    def kept() -> str:
        lines = len(record.decisions)
        return f"{lines:,} lines of decisions are in {str(output)!r}" if lines else "nothing was decided"

    with when_stopped(kept):
        serve(app, bound)


def column_of(path: Path, rows: Any, name: str) -> list[Any]:
    """What a column of the file holds in the rows that were read.

    Raises
    ------
    DataError
        The file has no columns, or not this one.
    """
    from datassay.data.read import read_column

    try:
        cells = read_column(path, name, rows.source.get("encoding") or "utf-8")
    except DataError as error:
        raise DataError(f"--by: {error}") from None
    if len(cells) != len(rows.kept):
        raise DataError(f"{str(path)!r} has {len(cells)} rows, and {len(rows.kept)} were read: it was changed since.")
    return ["" if cell is None or cell != cell else cell for cell in cells[rows.kept].tolist()]
