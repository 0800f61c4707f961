"""`datassay curate`: value, decide by a rule, prove, and write."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from datassay.terminal.exits import when_stopped
from datassay.terminal.output import out, safe
from datassay.terminal.paths import check_all_paths


def curate(
    data: Annotated[Path, typer.Argument(help="CSV, Parquet, npz, or a folder of images with a sub-folder for each class.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write, of the same form.")],
    label: Annotated[str | None, typer.Option("--label", help="Column of labels.")] = None,
    id: Annotated[str | None, typer.Option("--id", help="Column of ids; default: the row number.")] = None,
    val: Annotated[
        Path | None, typer.Option("--val", help="File of validation rows that are right: they judge, and decide nothing.")
    ] = None,
    method: Annotated[str, typer.Option("--method", "-m", help="One of `datassay methods`.")] = "cg-score",
    rule: Annotated[
        str, typer.Option("--rule", help="relabel: flagged rows get a probable suggestion, else they are dropped; or drop.")
    ] = "relabel",
    anyway: Annotated[bool, typer.Option("--anyway", help="Write the file also where no gain can be shown.")] = False,
    decisions: Annotated[
        Path | None, typer.Option("--decisions", help="Also write what was decided to this CSV file.")
    ] = None,
    folds: Annotated[int, typer.Option("--folds", min=2, help="Of the proof, where there are no validation rows.")] = 5,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Partitions into folds.")] = 1,
    drop: Annotated[list[str] | None, typer.Option("--drop", help="Column to leave out; may be repeated.")] = None,
    missing: Annotated[
        str, typer.Option("--missing", help="What to do with missing cells: error, drop the row, or fill in the mean.")
    ] = "error",
    task: Annotated[str | None, typer.Option("--task", help="classification or regression; default: by the labels.")] = None,
    image_size: Annotated[
        int | None, typer.Option("--image-size", min=1, help="Bring images to this many pixels a side.")
    ] = None,
    encoding: Annotated[str, typer.Option("--encoding", help="Of CSV files, such as latin-1.")] = "utf-8",
    text: Annotated[list[str] | None, typer.Option("--text", help="Column of free text; may be repeated.")] = None,
    seed: Annotated[int, typer.Option(help="All randomness follows from it.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace files that datassay did not write.")] = False,
) -> None:
    """Clean a file by a rule, if that is shown to help.

    Values the rows, decides about those that are flagged, and measures on rows that the rule has not seen whether a model is better
    for it. Nothing is written where no gain can be shown, unless --anyway.
    """
    from datassay.data.read import read
    from datassay.decisions.curate import curate as clean
    from datassay.decisions.files import write_applied
    from datassay.decisions.records import settled
    from datassay.files import replacing

    check_all_paths([data, val], [output, decisions], force)
    reading: dict[str, Any] = {
        "label": label, "id": id, "val": val, "drop": drop or (), "missing": missing, "task": task, "image_size": image_size,
        "encoding": encoding, "text": text or (),
    }  # fmt: skip
    rows = read(data, **reading)
    for note in rows.notes:
        out.print(safe(f"Note: {note}."))
    with when_stopped(lambda: "nothing is written"):
        found = clean(rows, method=method, rule=rule, folds=folds, repeats=repeats, seed=seed)
    relabelled, dropped = ((found.decisions["action"] == action).sum() for action in ("relabel", "drop"))
    if found.gain is None:
        out.print(
            safe(f"Of {len(rows):,} rows none is flagged by {method}: there is nothing to decide, and nothing was written.")
        )
        return
    out.print(safe(f"Of {len(rows):,} rows {relabelled:,} get another label and {dropped:,} are dropped: {found.rule}."))
    out.print(safe(f"{found.gain}"))
    if not (found.shown or anyway):
        out.print(f"Nothing was written. --anyway writes {safe(str(output))}; datassay review shows the rows to a person.")
        return
    decided = settled(found.decisions, rows)
    write_applied(data, rows, decided, output, label=label, encoding=encoding, force=force)
    if decisions is not None:
        with replacing(decisions) as beside:
            found.decisions.to_csv(beside, index=False)
    out.print(safe(f"Wrote {output}{f' and {decisions}' if decisions is not None else ''}."))
