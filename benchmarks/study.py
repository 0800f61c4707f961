"""What a study of `datassay bench` says, as Markdown.

    datassay bench benchmarks/studies/noisy-labels.toml --path folder -o noisy-labels --jobs 2
    python benchmarks/study.py noisy-labels
    python benchmarks/study.py cifar10n-aggregate --by kind
    python benchmarks/study.py cifar10n-aggregate --by kind --metric average_precision

Prints, and writes to ``benchmarks/out/study_<name>.md``: for each task the mean of its metric on each data set, mean ranks with the
critical difference, average precision, seconds; ``--by kind`` has a column for each data set and kind of error instead, and says how alike
the orders of the methods in them are. ``--metric``: another one than the task's.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from cg_score import OUT, markdown
from scipy.stats import spearmanr

from datassay.evaluation import TASKS
from datassay.evaluation import statistics as st


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path, help="folder that `datassay bench` wrote")
    parser.add_argument("--by", choices=("data", "kind", "rate"), default="data", help="what has a column of its own")
    parser.add_argument("--metric", help="default: the one by which the task compares methods")
    args = parser.parse_args()
    results = pd.read_parquet(args.study / "results.parquet")
    text = "\n\n".join(
        task(results[results["task"] == name], name, args.by, args.metric) for name in dict.fromkeys(results["task"])
    )
    OUT.mkdir(exist_ok=True)
    (OUT / f"study_{args.study.name}.md").write_text(text + "\n", encoding="utf-8")
    print(text)


def task(results: pd.DataFrame, name: str, by: str, metric: str | None) -> str:
    """One task: a line a method, best first."""
    main, higher = metric or TASKS[name].main, TASKS[name].higher
    some = results[results["metric"] == main]
    column = some["data"] if by == "data" else some["data"] + ", " + some[by].astype(str)
    wide = some.assign(column=column).groupby(["method", "column"])["value"].mean().unstack("column")
    wide = wide[list(dict.fromkeys(column))]
    mean = wide.mean(axis=1, skipna=False)
    seconds = results[results["metric"] == "seconds"].groupby("method")["value"].median()
    second = (
        "average_precision" if (results["metric"] == "average_precision").any() and main != "average_precision" else None
    )
    ap = results[results["metric"] == second].groupby("method")["value"].mean() if second else None
    lines, ranks = [], {}
    tests = ""
    if results["data"].nunique() > 1 and len(wide) > 1:
        blocks = st.blocks(results, main)
        found = st.friedman(blocks.matrix, higher_is_better=higher)
        ranks = dict(found.ranks)
        k, n = blocks.matrix.shape[1], blocks.matrix.shape[0]
        tests = (
            f"\n\nFriedman over {n} data sets, seeds and rates averaged first: chi2 = {found.statistic:.1f}, p = {found.p:.1e}; "
            f"Nemenyi's critical difference of mean ranks {st.nemenyi_cd(k, n):.1f}."
        )
    for method in mean.sort_values(ascending=not higher).index:
        line: list[object] = [f"`{method}`", *(f"{v:.3f}" if np.isfinite(v) else "-" for v in wide.loc[method])]
        line += [f"{mean[method]:.3f}", f"{ranks[method]:.1f}" if method in ranks else "-"]
        line += [f"{ap[method]:.3f}"] if ap is not None else []
        lines.append([*line, f"{seconds.get(method, np.nan):.2g}"])
    head = ["method", *wide.columns, "mean", "mean rank", *(["average precision"] if ap is not None else []), "seconds"]
    cells = results.drop_duplicates(["data", "kind", "rate", "seed", "method"])
    took = results.loc[results["metric"] == "seconds", "value"].sum()
    failed = int((results["metric"] == "failed").sum())
    rates = ", ".join(f"{r:g}" for r in sorted(results["rate"].unique()))
    if by != "data":
        orders = wide.drop(index="random", errors="ignore")
        alike = [f"{c} {spearmanr(orders.iloc[:, 0], orders[c]).statistic:.2f}" for c in orders.columns[1:]]
        tests += (
            f"\n\nSpearman of the methods' order in {orders.columns[0]} with that in {', '.join(alike)}; random left out."
        )
    return (
        f"{name}: {main}, {results['seed'].nunique()} seeds, rates {rates}; {len(cells)} cells, {failed} failed, {took:,.0f} s in all.\n\n"
        f"{markdown(head, lines)}{tests}"
    )


if __name__ == "__main__":
    main()
