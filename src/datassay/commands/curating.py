"""`datassay curate`: value, decide by a rule, prove, and write."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from datassay.terminal.exits import when_stopped
from datassay.terminal.options import Force
from datassay.terminal.output import out, safe
from datassay.terminal.paths import check_all_paths
from datassay.terminal.reading import DataPath, Reading, reads


@reads(without=("features", "val_features"))
def curate(
    data: DataPath,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write, of the same form.")],
    reading: Reading,
    method: Annotated[str, typer.Option("--method", "-m", help="One of `datassay methods`.")] = "cg-score",
    rule: Annotated[
        str,
        typer.Option(
            "--rule",
            help="relabel: flagged rows get a probable suggestion, else they are dropped; drop; sure: labels that are surely wrong get "
            "the suggestion; best: relabel or sure.",
        ),
    ] = "best",
    anyway: Annotated[bool, typer.Option("--anyway", help="Write the file also where no gain can be shown.")] = False,
    decisions: Annotated[
        Path | None, typer.Option("--decisions", help="Also write what was decided to this CSV file.")
    ] = None,
    folds: Annotated[int, typer.Option("--folds", min=2, help="Of the proof, where there are no validation rows.")] = 5,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Partitions into folds.")] = 1,
    seed: Annotated[int, typer.Option(help="All randomness follows from it.")] = 0,
    force: Force = False,
) -> None:
    """Clean a file by a rule, if that is shown to help.

    Values the rows, decides about those that are flagged, and measures on rows that the rule has not seen whether a model is better
    for it. Nothing is written where no gain can be shown, unless --anyway.
    """
    from datassay.decisions.curate import curate as clean
    from datassay.decisions.files import write_applied
    from datassay.decisions.records import settled, write_decisions
    from datassay.files import replacing

    check_all_paths(reading.files(data), [output, decisions], force)
    rows = reading.rows(data)
    with when_stopped(lambda: "nothing is written"):
        found = clean(rows, method=method, rule=rule, folds=folds, repeats=repeats, seed=seed)
    relabelled, dropped = ((found.decisions["action"] == action).sum() for action in ("relabel", "drop"))
    if found.gain is None:
        out.print(
            safe(
                f"Of {len(rows):,} rows none is suspicious enough by {method}: there is nothing to decide, and nothing was written."
            )
        )
        return
    out.print(safe(f"Of {len(rows):,} rows {relabelled:,} get another label and {dropped:,} are dropped: {found.rule}."))
    out.print(safe(f"{found.gain}"))
    if not (found.shown or anyway):
        out.print(f"Nothing was written. --anyway writes {safe(str(output))}; datassay review shows the rows to a person.")
        return
    decided = settled(found.decisions, rows)
    write_applied(data, rows, decided, output, label=reading.label, encoding=reading.encoding or "utf-8", force=force)
    if decisions is not None:
        with replacing(decisions) as beside:
            write_decisions(found.decisions, beside)
    out.print(safe(f"Wrote {output}{f' and {decisions}' if decisions is not None else ''}."))
