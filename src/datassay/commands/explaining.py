"""`datassay explain`: which rows made a model say this."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datassay.checks import DataError
from datassay.terminal.exits import when_stopped
from datassay.terminal.options import Force
from datassay.terminal.output import out, print_table, print_written, safe
from datassay.terminal.paths import check_all_paths, json_beside
from datassay.terminal.reading import DataPath, Reading, reads

if TYPE_CHECKING:
    from datassay.data.dataset import Dataset
    from datassay.values import Values


@reads()
def explain(
    data: DataPath,
    reading: Reading,
    row: Annotated[
        list[str] | None,
        typer.Option(
            "--row",
            help="Id of the row that is asked about; with --val the number of a validation row, from 0 on; may be repeated.",
        ),
    ] = None,
    answer: Annotated[
        str | None, typer.Option("--class", help="Of one row: the class that is asked about; default: its own label.")
    ] = None,
    method: Annotated[
        str | None, typer.Option("--method", "-m", help="influence, ame, datamodels, ...; default: the cheapest that fits.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="An option of the method, as in --set n_models=500; may be repeated.")
    ] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Train again without the strongest rows.")] = False,
    remove: Annotated[int, typer.Option("--remove", min=1, help="How many rows that are.")] = 25,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also write all values to this Parquet file.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="Also write a page of these rows, side by side, to this HTML file.")
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="How many rows for and against are printed.")] = 10,
    seed: Annotated[int, typer.Option(help="All randomness follows from it.")] = 0,
    force: Force = False,
) -> None:
    """Say which rows made a model say this, for and against.

    Asks a model that is trained on the rows: a logistic regression, or ridge regression for regression targets. Without --row the
    question is about all validation rows.
    """
    from datassay.explaining import explain as explained
    from datassay.methods.spec import options_of

    options = options_of(set_ or [])
    check_all_paths(reading.files(data), [output, report, json_beside(report)], force, options)
    rows = reading.rows(data, choose=True)
    out.print(safe(f"{data}: {rows!r}"))
    positions = [_position(rows, one) for one in row or ()]
    query: Any = "validation" if not positions else positions[0] if len(positions) == 1 else positions
    label = None if answer is None else _class(rows, answer)
    with when_stopped(lambda: "an explanation keeps nothing"):
        values = explained(
            rows, None, query, method, label=label, verify=verify, remove=remove, options=options, seed=seed
        )  # fmt: skip
    out.print(safe(f"Asked: {values.stats['answer']}, by {values.stats['method']} ({values.stats['why']})."))
    itself = set() if rows.X_val is not None else set(positions)
    print_table(_table(values, top, itself, first=True), title="speak for it")
    print_table(_table(values, top, itself, first=False), title="speak against it")
    if itself:
        out.print("The row itself is among those that the model is trained on: it is left out of the tables.")
    if forecast := values.stats.get("forecast"):
        out.print(f"Without the {forecast['rows']} strongest rows the answer should lose {forecast['lost']:.3g}.")
    if said := values.stats.get("verified"):
        out.print(
            f"Trained again: {said['before']:.3f} by all rows, {said['after']:.3f} without these {said['rows']}, "
            f"{said['after_random']:.3f} without as many others of the same classes."
        )
    if output is not None:
        out.print(safe(f"Wrote {values.save(output, force=force)}."))
    if report is not None:
        from datassay.reporting import report as write_report

        write_report(values, rows, report, top=48, force=force)
        print_written(report)


def _position(rows: Dataset, name: str) -> int:
    """Of a row: by its id, of a validation row by its number."""
    if rows.X_val is not None:
        if not name.isdecimal():
            raise DataError(f"--row: validation rows are asked about by their number, from 0 on, got {name!r}.")
        return int(name)
    found = [position for position, one in enumerate(rows.ids.tolist()) if str(one) == name]
    if not found:
        raise DataError(f"--row: no row has the id {name!r}; the first is {str(rows.ids[0])!r}.")
    return found[0]


def _class(rows: Dataset, name: str) -> object:
    """The class that is written so."""
    if rows.task == "regression":
        raise DataError("--class is about classes, and this is regression: leave it out.")
    if name not in (known := {str(c): c for c in rows.classes}):
        raise DataError(f"--class: no row is labelled {name!r}; the classes are {', '.join(list(known)[:20])}.")
    return known[name]


def _table(values: Values, top: int, itself: set[int], *, first: bool) -> object:
    """The rows that speak most for or against."""
    import numpy as np

    order = np.argsort(-values.scores if first else values.scores, kind="stable")
    chosen = [row for row in order.tolist() if row not in itself and (values.scores[row] > 0) == first][:top]
    return values.to_frame().iloc[chosen][["id", "given_label", "score"]].rename(columns={"given_label": "label"}).round(5)
