"""`plan`, `audit` and `methods`: which method to take, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from datassay.terminal.exits import when_stopped
from datassay.terminal.options import Budget, Memory
from datassay.terminal.output import fail, out, print_next, print_table, print_text_table, safe
from datassay.terminal.paths import check_all_paths, free_path
from datassay.terminal.reading import DataPath, Reading, reads


@reads()
def plan(
    data: DataPath,
    reading: Reading,
    method: Annotated[str | None, typer.Option("--method", "-m", help="One of `datassay methods`; default: all.")] = None,
    budget: Budget = None,
    memory: Memory = None,
) -> None:
    """Predict time, memory and disk; nothing is valued.

    For every method, from a probe of a few seconds; with a budget, which to take.
    """
    from datassay.planning import plan as make_plan

    rows = reading.rows(data, choose=on_any_features(method))
    out.print(safe(f"{data}: {rows!r}"))
    planned = make_plan(rows, method, budget=budget, memory=memory)
    print_table(planned.shown(), title="what each would take on this machine")
    if planned.method is None:
        fail("nothing fits: give a larger --budget or --memory, or fewer rows", 1)
    print_next(
        "value",
        data,
        *reading.arguments(),
        *_method_arguments(planned.method, planned.options),
        "-o",
        free_path("values.parquet"),
    )


@reads()
def audit(
    data: DataPath,
    reading: Reading,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            "-m",
            help="Try this one, as in 'lossval transport_power=0'; may be repeated; all: all that fit. Default: the CG-score, and all that "
            "fit where it does not find the errors well.",
        ),
    ] = None,
    budget: Annotated[str, typer.Option("--budget", help="Time for all methods, such as '5 min'.")] = "1 min",
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind",
            help="Of the planted errors: uniform, pair-flip, near, confused, balanced, features or mixed; default: uniform or near, "
            "whichever is like the data's own.",
        ),
    ] = None,
    rate: Annotated[
        float | None, typer.Option("--rate", help="Their share of the rows; default: .05, of fewer than 400 rows .1.")
    ] = None,
    repeats: Annotated[
        int,
        typer.Option("--repeats", min=1, help="Copies of the data, each with other errors; fewer where the budget ends."),
    ] = 8,
    rows: Annotated[int, typer.Option("--rows", min=20, help="Of more rows so many are drawn.")] = 2000,
    seed: Annotated[int, typer.Option(help="All randomness follows from it.")] = 0,
) -> None:
    """Find out which method to trust on these data.

    Plants known errors in copies of them, and says how many of the first suspects to expect to be wrong.
    """
    from datassay.evaluation.audit import audit as run_audit
    from datassay.methods.spec import method_of

    for _, _, options in map(method_of, method or []):
        check_all_paths(reading.files(data), [], options=options)
    dataset = reading.rows(data, choose=True)
    out.print(safe(f"{data}: {dataset!r}"))
    with when_stopped(lambda: "an audit keeps nothing: a smaller --budget ends sooner"):
        audited = run_audit(dataset, method, budget=budget, kind=kind, rate=rate, repeats=repeats, rows=rows, seed=seed)
    print_audit(audited, len(dataset))
    chosen = _method_arguments(audited.name, audited.options) + (["--seed", str(seed)] if seed else [])
    print_next("value", data, *reading.arguments(), *chosen, "-o", free_path("values.parquet"))


def print_audit(audited: Any, n: int) -> None:
    """What an audit says, in a table and two sentences."""
    copies = "a copy" if audited.repeats == 1 else f"{audited.repeats} copies"
    table = audited.table.drop(columns="error") if (audited.table["error"] == "").all() else audited.table
    print_table(
        table.round(4), title=f"errors planted in {copies} of {audited.rows} rows: {audited.kind}, {audited.rate:.0%}"
    )
    if audited.early:
        out.print(
            safe(f"{audited.name} finds them well, and others are seldom better by much: none was tried (-m all tries all).")
        )
    reasons: dict[str, list[str]] = {}
    for name, reason in audited.left_out.items():
        reasons.setdefault(reason, []).append(name)
    for reason, names in reasons.items():
        out.print(safe(f"Not tried: {', '.join(names)}: {reason}."))
    best = audited.table.iloc[0]
    out.print(safe(f"Take {audited.name}: it puts a planted error before another row with probability {best['auc']:.3f}."))
    if audited.error_rate is not None:
        share = audited.share_in_words()
        out.print(safe(f"{share[0].upper()}{share[1:]}."))
        for k in sorted({min(k, n) for k in (20, 100, max(1, round(audited.error_rate * n)))}):
            out.print(safe(f"{str(audited.expected(k, n)).capitalize()}."))


def methods() -> None:
    """Print the table of methods.

    What a low score says, what the method needs, its cost, the paper's sign, the paper.
    """
    from datassay.methods import METHODS

    print_text_table(
        ("method", "a low score says", "needs", "cost", "the paper's sign", "paper"),
        [(name, m.says, m.needs, m.cost, m.sign, m.paper) for name, m in METHODS.items()],
    )
    out.print("Scores are always turned so that higher = more worth keeping; the columns keep the paper's sign.")


def on_any_features(method: str | None) -> bool:
    """Whether it is no method that trains a network, which makes its own features of pixels."""
    from datassay.methods import METHODS

    return method is None or method not in METHODS or METHODS[method].model != "network"


def _method_arguments(method: str, options: Mapping[str, Any]) -> list[str]:
    """A method and its options, as arguments of a command."""
    return ["-m", method, *(word for name, value in options.items() for word in ("--set", f"{name}={value}"))]
