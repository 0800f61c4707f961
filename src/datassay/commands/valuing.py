"""`demo`, `value` and `report`: what each row is worth, and a page of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datassay.checks import DataError
from datassay.checks import jobs as check_jobs
from datassay.commands.choosing import on_any_features, print_audit
from datassay.terminal.exits import kept_of_method, resuming_hint, when_stopped
from datassay.terminal.options import Budget, Force, Memory, Top, ValuedPath, ValuesPath
from datassay.terminal.output import fail, out, print_next, print_table, print_written, safe
from datassay.terminal.paths import check_all_paths, free_path, json_beside, path_of_stopped
from datassay.terminal.reading import DataPath, Reading, reads

if TYPE_CHECKING:
    from datassay.data.dataset import Dataset
    from datassay.values import Values

FEWEST = 40  # rows with which methods are compared; with fewer it is the CG-score
RELIABLE = 0.8  # below, a word is said


def demo(
    folder: Annotated[Path, typer.Option("--out", "-o", help="Where to write; made if it is not there.")] = Path(
        "datassay-demo"
    ),
    seed: Annotated[int, typer.Option(help="Which labels are planted wrong.")] = 0,
    force: Force = False,
) -> None:
    """Find wrong labels planted in real data.

    1,797 handwritten digits, scikit-learn's, 10 % of the labels planted wrong.
    """
    import numpy as np
    from sklearn.datasets import load_digits

    from datassay.data.dataset import Dataset
    from datassay.evaluation import detection, plant_wrong_labels
    from datassay.methods import value as value_rows
    from datassay.reporting import report as write_report

    if not folder.is_dir() and os.path.lexists(folder):
        raise DataError(f"{str(folder)!r} is a file: give the name of a folder.")
    saved, page = folder / "values.parquet", folder / "report.html"
    if folder.is_dir():
        check_all_paths([], [saved, page, page.with_suffix(".json")], force)
    elif not folder.parent.is_dir():
        raise DataError(f"the folder {str(folder.parent)!r} does not exist: make it first.")
    digits = load_digits()
    data, wrong = plant_wrong_labels(Dataset(digits.images, digits.target), 0.1, seed=seed)
    out.print(
        f"{len(data)} handwritten digits (scikit-learn's); {wrong.sum()} labels (10 %) were planted wrong for this demo."
    )
    values = value_rows(data, method="cg-score", seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    values.save(saved, force=force)
    write_report(values, data, page, top=200, force=force)
    auc = detection(values.scores, wrong)["auc"]
    order = np.argsort(values.scores, kind="stable")
    out.print(f"Valued by cg-score in {values.stats['seconds']:.1f} s, no model trained. Planted rows among the")
    for k in (50, 100, int(wrong.sum())):
        out.print(f"  first {k:4d} suspects: {wrong[order[:k]].sum():4d}    (by chance: {k * wrong.mean():.0f})")
    out.print(
        f"{values.flagged.sum()} rows are flagged, {(values.flagged & wrong).sum()} of them planted; "
        f"AUC {auc:.4f} (by chance 0.5)."
    )
    said = values.headline()
    out.print(safe(f"Not told of them, it says: {said[0].upper()}{said[1:]}."))
    out.print(
        f"Wrote {saved} and {page}.\nOpen {page.resolve().as_uri()} in a browser: the suspects, and what speaks against them."
    )


@reads()
def value(
    data: DataPath,
    reading: Reading,
    method: Annotated[
        str | None,
        typer.Option("--method", "-m", help="One of `datassay methods`; default: what `datassay audit` recommends."),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Parquet file to write.")] = Path("values.parquet"),
    seed: Annotated[int, typer.Option(help="All randomness follows from it.")] = 0,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="An option of the method, as in --set ridge=0; may be repeated.")
    ] = None,
    probabilities: Annotated[
        Path | None,
        typer.Option(
            "--probabilities",
            help="Out-of-sample probabilities of a model (Parquet, CSV: a column a class; npy): the default method is then noise-model.",
        ),
    ] = None,
    budget: Budget = None,
    memory: Memory = None,
    jobs: Annotated[int | None, typer.Option("--jobs", help="Workers; default: a thread for each core.")] = None,
    backend: Annotated[str | None, typer.Option("--backend", help="joblib's: loky, threading, dask or ray.")] = None,
    scheduler: Annotated[str | None, typer.Option("--scheduler", help="Address of a running dask or ray cluster.")] = None,
    top: Annotated[int, typer.Option("--top", min=0, help="How many suspects to print.")] = 10,
    report: Annotated[Path | None, typer.Option("--report", help="Also write the report to this HTML file.")] = None,
    force: Force = False,
) -> None:
    """Value every row of a file.

    Prints the most suspicious rows and writes all values to a Parquet file. Without --method, errors are planted in copies of the
    data for half of the budget (20 seconds if none is given), a method that none clearly beats values the rows, and a column
    probability_wrong says what its suspects are worth. With --method and --budget or --memory, the approximation is that of
    `datassay plan`.
    """
    from datassay.engines.machine import backend as workers
    from datassay.engines.machine import check_backend
    from datassay.methods import value as value_rows
    from datassay.methods.spec import options_of
    from datassay.reporting import report as write_report
    from datassay.signals import INTERRUPTED

    check_jobs("value", jobs)
    try:
        check_backend(backend, scheduler)
    except ValueError as error:
        raise DataError(f"--backend, --scheduler: {error}") from None
    if backend == "ray" and scheduler is None:
        out.print(
            "Ray's services listen on all addresses of this machine while this runs: on a network of others take dask."
        )
    options = options_of(set_ or [])
    if probabilities is not None:
        method, options = method or "noise-model", options | {"probabilities": str(probabilities)}
    check_all_paths(
        [*reading.files(data), probabilities],
        [output, report, json_beside(report)],
        force,
        options,
    )
    with when_stopped(lambda: kept_of_method(method or "cg-score", options)) as written:
        rows = reading.rows(data, choose=on_any_features(method))
        out.print(safe(f"{data}: {rows!r}"))
        if len(rows.dropped):
            out.print(f"{len(rows.dropped)} rows with missing cells were left out.")
        audited = None
        if method is None and rows.task == "classification" and len(rows) >= FEWEST and not options:
            from datassay.evaluation.audit import audit as run_audit
            from datassay.units import in_seconds

            audited = run_audit(rows, budget=in_seconds(budget or "40 s", "budget") / 2, seed=seed)
            print_audit(audited, len(rows))
            method = audited.name
        if budget is not None or memory is not None or (audited is not None and len(rows) > audited.rows):
            from datassay.planning import plan as make_plan

            planned = make_plan(rows, method, budget=budget, memory=memory)
            if planned.method is None:
                print_table(planned.shown(), title="what each would take on this machine")
                fail("nothing fits: give a larger --budget or --memory, or fewer rows", 1)
            method, options = planned.method, planned.options | options
            out.print(safe(f"Planned: {method} {planned.options}"))
        name = method or "cg-score"
        with ExitStack() as stack:
            try:
                stack.enter_context(workers(backend, jobs, scheduler))
            except ValueError as error:
                raise DataError(f"--backend, --scheduler: {error}") from None
            values = value_rows(rows, method=name, seed=seed, **options)
        if audited is not None:
            values = audited.calibrate(values)
        if values.stats.get("stopped") == INTERRUPTED and not force:
            output, report = path_of_stopped(output), report and path_of_stopped(report)
        saved = values.save(output, force=force)
        written.append(saved)
        if report is not None:
            write_report(values, rows, report, top=100, force=force)
            written.append(report)
        _print_values(values, rows, options, top, saved)
        if report is not None:
            print_written(report)
        else:
            print_next("report", saved, "--data", data, "-o", free_path("report.html"))
    if values.stats.get("stopped") == INTERRUPTED:
        raise typer.Exit(130)


def _print_values(values: Values, rows: Dataset, options: Mapping[str, Any], top: int, saved: Path) -> None:
    """What was found, in sentences and a table."""
    from datassay.signals import INTERRUPTED

    if (stopped := values.stats.get("stopped")) in (INTERRUPTED, "the time was up"):
        n_models = values.options.get("n_models")
        done = f"{values.stats['trainings']:,}" + (f" of {n_models:,}" if isinstance(n_models, int) else "") + " trainings"
        store = options.get("store") is not None
        resuming = f"; {kept_of_method(values.method, options)}" if store else resuming_hint(values.method)
        out.print(safe(f"This run stopped early, {done}: {stopped}{resuming}."))
    if doubled := values.stats.get("equal_rows"):
        groups = len(values.stats["conflicting_rows"])
        out.print(
            f"{doubled} rows have an equal row"
            + ("" if values.stats.get("bias") else ", or one that is a multiple of it")
            + (f"; in {groups} group{'s'[: groups != 1]} of them the labels conflict." if groups else ".")
        )
    if headline := values.headline("label" if rows.task == "classification" else "target"):
        out.print(safe(f"{headline[0].upper()}{headline[1:]}."))
    share = values.flagged.mean()
    out.print(safe(f"{values.flagged.sum()} of {len(values)} rows ({share:.1%}) are flagged: {values.stats['flag_rule']}."))
    if "way" in values.stats:
        out.print(safe(f"How: {values.stats['way']}."))
    if values.common.get("reliability", 1.0) < RELIABLE:
        out.print(
            f"By their standard errors the scores would correlate to {values.stats['reliability']:.2f} with those of a repeat: more "
            "trainings make them more certain."
        )
    if "warning" in values.stats:
        out.print(safe(f"Warning: {values.stats['warning']}."))
    if top:
        print_table(values.suspects(top).iloc[:, :6], title="most suspicious rows")
    out.print(safe(f"{values.stats['seconds']:.1f} s; wrote {saved}."))


@reads()
def report(
    values: ValuesPath,
    data: ValuedPath,
    reading: Reading,
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file to write; the JSON goes beside it.")] = Path(
        "report.html"
    ),
    top: Top = 100,
    force: Force = False,
) -> None:
    """Write one HTML page of suspects.

    With what is unusual about them, and the rows that speak against their labels.

    How the data was read is remembered in the values; the options are needed only where it changed.
    """
    from datassay.reporting import report as write_report
    from datassay.values import Values

    check_all_paths([values, *reading.files(data)], [output, json_beside(output)], force)
    saved = Values.load(values)
    reading = reading.or_else(saved.stats.get("source", {}))
    check_all_paths([values, *reading.files(data)], [output, json_beside(output)], force)
    rows = reading.rows(data)
    print_written(write_report(saved, rows, output, top=top, force=force))
