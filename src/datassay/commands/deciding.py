"""`check`, `apply`, `gain`, `export` and `import`: from suspects to better data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from datassay.checks import DataError
from datassay.terminal.options import Force, ValuedPath, ValuesPath
from datassay.terminal.output import out, print_next, safe
from datassay.terminal.paths import check_all_paths, free_path
from datassay.terminal.reading import Reading, reads


def check(
    values: Annotated[Path, typer.Argument(help="What `datassay value` wrote, or an earlier `datassay check --answers`.")],
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="How many rows to draw in all.")] = 60,
    answers: Annotated[
        Path | None, typer.Option("--answers", help="The drawn rows with the column wrong filled in: yes or no.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write; default: sample.csv, with --answers checked.parquet."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Which rows are drawn; a larger -n with the same seed goes on.")] = 0,
    force: Force = False,
) -> None:
    """Look at a few rows, and know how many labels are wrong.

    Draws rows and writes them to a CSV file with an empty column wrong. With --answers that file comes back: prints
    between which numbers of labels are wrong, wherever one stopped, and writes the values with what was found.
    """
    from datassay.evaluation.checking import checked, in_words, read_answers, write_sheet
    from datassay.values import Values

    written = output or Path("sample.csv" if answers is None else "checked.parquet")
    check_all_paths([values, answers], [] if answers is None else [written], force)  # a sheet takes the place of nothing
    loaded = Values.load(values)
    if answers is None:
        write_sheet(loaded, number, written, seed)
        out.print(safe(f"Wrote {number} of {len(loaded)} rows to {written}: fill in the column wrong with yes or no."))
        print_next("check", values, "--answers", written, "-o", free_path("checked.parquet"))
        return
    result = checked(loaded, read_answers(answers))
    for line in in_words(result):
        out.print(safe(line))
    out.print(safe(f"Wrote {result.save(written, force=force)}."))


@reads(without=("val", "features", "val_features"))
def apply(
    decisions: Annotated[Path, typer.Argument(help="decisions.csv, or with a rule the values that `datassay value` wrote.")],
    data: ValuedPath,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write, of the same form.")],
    reading: Reading,
    drop_top: Annotated[str | None, typer.Option("--drop-top", help="Drop this share of the rows, such as 2%.")] = None,
    relabel: Annotated[
        str | None, typer.Option("--relabel", help="above=.95: take the suggestion where the label is so probably wrong.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option("--weights", help="Column to add: how likely each row is right, for sample_weight.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and write nothing.")] = False,
    force: Force = False,
) -> None:
    """Do to a file what was decided about its rows.

    The file is written anew in its own form: labels replaced, rows dropped, all else as it was, CSV byte for byte. Of values
    a rule decides, --drop-top or --relabel, without anybody having looked; --weights leaves every row as it is, with a weight.
    """
    from datassay.decisions.files import write_applied
    from datassay.decisions.records import by_rule, check_same_rows, no_decisions, read_decisions, settled
    from datassay.values import Values

    check_all_paths([decisions, data], [output], force)
    rule = drop_top is not None or relabel is not None or weights is not None
    if rule:
        values = Values.load(decisions)
        source = values.stats.get("source", {})
        reading = reading.or_else({name: source.get(name) for name in ("label", "id")})
        if drop_top is None and relabel is None:
            lines = no_decisions()
        else:
            lines = by_rule(values, drop_top=_share(drop_top), relabel_above=_above(relabel))
    else:
        lines = read_decisions(decisions)
    rows = reading.rows(data)
    if weights is not None:
        check_same_rows(values, rows, str(decisions), str(data))
    if rule and values.data_hash and values.data_hash != rows.hash:  # valued on other features, or beside validation rows
        lines["data"] = ""
    decided = settled(lines, rows)
    counts = decided.counts()
    out.print(
        safe(
            f"Of {len(rows):,} rows {counts['relabel']:,} get another label and {counts['drop']:,} are dropped; {counts['keep']:,} are "
            f"kept as they are, {counts['unsure'] - counts['disputed']:,} are undecided, and about {counts['disputed']:,} people disagree."
        )
    )
    if relabel is not None and counts["relabel"]:
        p = values.columns["probability_wrong"][decided.action == "relabel"]
        out.print(
            safe(
                f"Nobody looked at these rows: about {float((1 - p).sum()):.0f} of the {counts['relabel']:,} labels were right, and become "
                "wrong; of those that were wrong the suggestion may be wrong, too. Look at some first: datassay check."
            )
        )
    if dry_run:
        out.print("Nothing was written (--dry-run).")
        return
    written = write_applied(
        data, rows, decided, output, label=reading.label, encoding=reading.encoding or "utf-8", force=force,
        weights=None if weights is None else (weights, values.to_sample_weight()),
    )  # fmt: skip
    out.print(safe(f"Wrote {written}."))


@reads(without=("features", "val_features"))
def gain(
    before: Annotated[Path, typer.Option("--before", help="The file as it was.")],
    after: Annotated[Path, typer.Option("--after", help="The file with the decisions done.")],
    reading: Reading,
    folds: Annotated[int, typer.Option("--folds", min=2, help="Where there are no validation rows.")] = 5,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Partitions into folds.")] = 3,
    seed: Annotated[int, typer.Option(help="All randomness follows from it.")] = 0,
) -> None:
    """Measure whether a model is better for what was done to the rows, with an interval.

    The same model is trained on both files and asked about the same rows that it has not seen: validation rows, or rows that
    nothing was done to.
    """
    from datassay.decisions.gain import gain as measure

    first, second = (reading.rows(path) for path in (before, after))
    if reading.id is None and len(first) != len(second):
        raise DataError(
            f"{before} has {len(first)} rows and {after} has {len(second)}: pass --id, by which rows are found again."
        )
    found = measure(first, second, folds=folds, repeats=repeats, seed=seed)
    out.print(safe(f"{found.relabelled:,} rows have another label, {found.dropped:,} are gone."))
    out.print(safe(f"{found}"))


def export(
    values: ValuesPath,
    data: ValuedPath,
    to: Annotated[str, typer.Option("--to", help="label-studio, argilla, fiftyone, cleanlab, huggingface or csv.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")],
    top: Annotated[
        int | None, typer.Option("--top", min=1, help="So many of the most suspicious rows; default: all.")
    ] = None,
    prefix: Annotated[str, typer.Option("--prefix", help="Before the paths of images: where the tool finds them.")] = "",
    force: Force = False,
) -> None:
    """Write the suspects for a tool in which people label.

    The file is read as it was when it was valued.
    """
    from datassay.decisions.exchange import export as write
    from datassay.values import Values

    check_all_paths([values, data], [output], force)
    loaded = Values.load(values)
    rows = Reading().or_else(loaded.stats.get("source", {})).rows(data)
    for path in write(loaded, rows, to, output, top=top, prefix=prefix, force=force):
        out.print(safe(f"Wrote {path}."))


@reads(without=("val", "features", "val_features"))
def import_answers(
    answers: Annotated[Path, typer.Argument(help="What Label Studio, Argilla or a spreadsheet exported: JSON or CSV.")],
    data: ValuedPath,
    reading: Reading,
    output: Annotated[Path, typer.Option("--output", "-o", help="File of decisions to write.")] = Path("decisions.csv"),
    force: Force = False,
) -> None:
    """Make decisions of what people answered in another tool."""
    from datassay.decisions.exchange import read_answers
    from datassay.decisions.records import write_decisions
    from datassay.files import replacing

    check_all_paths([answers, data], [output], force)
    rows = reading.rows(data)
    lines = read_answers(answers, rows)
    with replacing(output) as beside:
        write_decisions(lines, beside)
    counts = lines["action"].value_counts()
    said = ", ".join(f"{count:,} {action}" for action, count in counts.items()) or "none"
    out.print(safe(f"Wrote {len(lines):,} decisions ({said}) to {output}."))


def _share(text: str | None) -> float | None:
    """2% or .02."""
    if text is None:
        return None
    try:
        return float(text.rstrip("% ")) / (100 if text.rstrip().endswith("%") else 1)
    except ValueError:
        raise DataError(f"--drop-top must be a share such as 2% or .02, got {text!r}.") from None


def _above(text: str | None) -> float | None:
    """above=.95."""
    if text is None:
        return None
    try:
        return float(text.removeprefix("above="))
    except ValueError:
        raise DataError(f"--relabel must be above= and a probability, such as above=.95, got {text!r}.") from None
