"""`bench`: methods side by side where the answers are known."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from datassay.checks import DataError
from datassay.terminal.exits import when_stopped
from datassay.terminal.options import Force
from datassay.terminal.output import fail, out, print_table, print_text_table, safe
from datassay.terminal.paths import check_all_paths
from datassay.terminal.reading import Label, Reading


def bench(
    study: Annotated[
        Path | None, typer.Argument(help="TOML file with what is asked for; options below go before it.")
    ] = None,
    task: Annotated[
        list[str] | None, typer.Option("--task", help="One of the tasks; may be repeated. Default: noisy-labels.")
    ] = None,
    data: Annotated[
        list[str] | None, typer.Option("--data", help="Name of a data set, or a file with --label; may be repeated.")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option("--method", "-m", help="As in 'lossval transport_power=0'; may be repeated. Default: all."),
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option("--kind", help="Of errors; may be repeated. Default: the task's.")
    ] = None,
    rate: Annotated[
        list[float] | None, typer.Option("--rate", help="Of errors; may be repeated. Default: the task's.")
    ] = None,
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="How many; default 5.")] = None,
    train: Annotated[int | None, typer.Option("--train", min=4, help="Training rows; default 1000.")] = None,
    val: Annotated[int | None, typer.Option("--val", min=1, help="Validation rows; default 200.")] = None,
    test: Annotated[int | None, typer.Option("--test", min=1, help="Test rows; default 1000.")] = None,
    limit: Annotated[str | None, typer.Option("--limit", help="Leave out cells that by their plan take longer.")] = None,
    path: Annotated[
        list[str] | None,
        typer.Option("--path", help="mnist=mnist_train.parquet, or a folder with the usual names; may be repeated."),
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch openml: and torchvision: sets from the network.")
    ] = False,
    cache: Annotated[Path | None, typer.Option("--cache", help="Folder that keeps what was fetched.")] = None,
    label: Label = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder to write; a study that was stopped goes on there.")
    ] = Path("datassay-bench"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Run all cells anew.")] = False,
    jobs: Annotated[int | None, typer.Option("--jobs", help="Cells that run side by side; default 1.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Print the tasks and the data sets, and run nothing.")] = False,
    force: Force = False,
) -> None:
    """Run methods side by side on tasks whose answers are known.

    Writes results.parquet, curves.parquet, agreement.parquet and one page, index.html.
    """
    from datassay.evaluation import TASKS, evaluate
    from datassay.evaluation.bench import TABLES, bench_file
    from datassay.evaluation.datasets import SETS

    if list_:
        print_text_table(("task", "what is done", "kinds", "rates", "metric"), [
            (name, t.says, ", ".join(t.kinds + t.other_kinds), ", ".join(f"{r:g}" for r in t.rates), t.main) for name, t in TASKS.items()
        ])  # fmt: skip
        print_text_table(("data", "what it is", "task", "from", "licence"), [
            (name, one.says, one.task, one.source, one.licence) for name, one in SETS.items()
        ])  # fmt: skip
        return
    tables = [output / f"{name}.parquet" for name in TABLES]
    study_options = {} if study is None else bench_file(study)
    pairs = {
        name if equals else "": file if equals else name for name, equals, file in (one.partition("=") for one in path or [])
    }
    arguments = {
        "task": task, "methods": method, "kinds": kind, "rates": rate, "seeds": seeds, "train": train, "val": val, "test": test,
        "limit": limit, "paths": pairs or None, "download": download or None, "cache": cache, "fresh": fresh or None, "n_jobs": jobs,
    }  # fmt: skip
    study_options |= {name: chosen for name, chosen in arguments.items() if chosen is not None and chosen != []}
    if os.path.lexists(output) and not output.is_dir():
        raise DataError(f"{str(output)!r} is a file: give the name of a folder.")
    if output.is_dir():
        files = (
            [Path(str(file)) for file in study_options["paths"].values()]
            if isinstance(study_options.get("paths"), dict)
            else []
        )
        check_all_paths([study, *map(Path, data or []), *files], [*tables, output / "index.html"], force)
    cells = str(output / "cells")
    with when_stopped(lambda: f"the cells that were done are kept in {cells!r}: the same call goes on there") as written:
        if data:
            study_options["data"] = {
                name: Reading(label=label).rows(Path(name)) if Path(name).suffix and ":" not in name else name
                for name in data
            }
        study_options.setdefault("folder", output)
        evaluation = evaluate(**study_options)
        evaluation.save(output, force=force)
        written += tables
        try:
            page = evaluation.page(output / "index.html", title="datassay bench", force=force)
            written.append(page)
        except DataError as error:
            fail(f"the tables are in {str(output)!r}, and there is no page: {error}", 1)
        for name in dict.fromkeys(evaluation.results["task"]):
            print_table(_summary(evaluation, name), title=f"{name}: {TASKS[name].main}, mean over seeds, kinds and rates")
        if len(failed := evaluation.failures()):
            out.print(
                safe(
                    f"{len(failed)} of the cells failed; the first: {failed['method'][0]} on {failed['data'][0]}: {failed['error'][0]}"
                )
            )
        out.print(safe(f"Wrote {output / 'results.parquet'} and {page}. Open {page.resolve().as_uri()} in a browser."))


def _summary(evaluation: Any, task: str) -> Any:
    """The main metric, a line a method."""
    try:
        return evaluation.table(task=task).reset_index().round(4)
    except DataError:
        return evaluation.failures()[["method", "data", "error"]].head(10)
