"""Do the intervals of `checked` hold the truth, and how narrow are they, on labels that people gave?

    python benchmarks/checked_rows.py --path folder                      # 2,000 rows, 1,000 repeats; about five minutes of one core
    python benchmarks/checked_rows.py --path folder --rows 5000 --checked 60 100 300
    python benchmarks/checked_rows.py --path folder --rows 5000 --features patches --repeats 200
    python benchmarks/checked_rows.py                                    # digits with planted errors alone; needs no file

The folder has cifar10_train.parquet and cifar10n_labels.parquet; of these so many rows are drawn, valued by the CG-score of their
pixels (or patches), and the answers to the rows that `check_sample` draws are whether the label is CIFAR-10's own. A repeat is another
seed of the sample. "Ever outside" is the worst rule of stopping: looked at after every answer, was the truth outside at any time.
"Before" is what the values say without a checked row: their bounds where they have such, else 0 and the flagged rows. "A plain sample" is
the interval of as many rows drawn from all alike, without strata and guesses, by the same bets; it and the second table take a tenth of
the repeats.
"In hindsight" is the floor for these ten strata: the normal interval of a number of rows that was fixed beforehand, shared out among
the strata as is best for the true shares of wrong rows, which nobody knows.
Writes ``benchmarks/out/checked_rows.md``.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from cg_score import OUT, markdown
from scipy.stats import norm
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

import datassay as da
from datassay.engines import confidence
from datassay.evaluation import plant_wrong_labels
from datassay.evaluation.checking import _design

HUMAN = ("cifar10n-aggregate", "cifar10n-random1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--path", type=Path, help="folder with the CIFAR-10 file and its human labels")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--checked", type=int, nargs="+", default=[60, 100])
    parser.add_argument("--method", default="cg-score")
    parser.add_argument("--features", default="pixels", choices=["pixels", "patches"], help="of the images")
    options = parser.parse_args()
    lines, wide = [], []
    for name in HUMAN if options.path else ("digits, 10 % planted",):
        values, wrong = valued(name, options)
        some, other = measured(name, values, wrong, options.checked, options.repeats)
        lines += some
        wide += other
    text = f"{options.repeats} repeats, {options.method}.\n\n{markdown(HEAD, lines)}\n\n{markdown(WIDE, wide)}"
    print(text)
    OUT.mkdir(exist_ok=True)
    (OUT / "checked_rows.md").write_text(text + "\n")


HEAD = [
    "data", "rows", "wrong", "AUC", "checked", "holds the truth", "ever outside", "estimate: mean error", "its sd", "within 5 points",
    "width before", "width", "of before", "a plain sample", "in hindsight, of before",
]  # fmt: skip
WIDE = ["data", "checked", "k", "precision: holds", "width", "recall: holds", "width"]


def valued(name: str, options: argparse.Namespace) -> tuple[da.Values, np.ndarray]:
    if name in HUMAN:
        split = da.datasets.drawn(name, train=options.rows, val=0, test=0, paths={"": options.path})
        data, wrong = split.data.with_labels(split.human), split.human != split.data.y
        data = data.with_features(options.features, progress=False)
    else:
        digits = load_digits()
        data, wrong = plant_wrong_labels(da.Dataset(digits.data, digits.target), 0.1, seed=0)
    return da.value(data, options.method, progress=False), wrong


def measured(
    name: str, values: da.Values, wrong: np.ndarray, sizes: list[int], repeats: int
) -> tuple[list[list[object]], list[list[object]]]:
    n, most, truth = len(values), max(sizes), int(wrong.sum())
    strata, prior = _design(values)
    share, w = confidence.shares(strata, prior), wrong.astype(int)
    one, half = np.zeros(n, int), np.full(n, prior.mean())
    first = values.ranks() <= 100
    found = {k: [] for k in sizes}
    firsts = {k: [] for k in sizes}
    lost = np.zeros((repeats, most), bool)
    for seed in range(repeats):
        rows = confidence.draw(strata, share, most, seed)
        whole = confidence.History.of(strata, share, prior, rows, w[rows])
        arrays, _, _ = confidence._count(whole, np.ones(n, bool))
        path = confidence._wealth(*arrays, np.array([float(truth)]))[:, 0]
        lost[seed] = np.maximum.accumulate(path) >= -np.log(0.05)
        for k in sizes:
            h = cut(whole, k)
            low, high = confidence.count_interval(h)
            p = confidence.recalibrated(h, prior)
            plain = np.nan
            if seed < repeats // 10:
                rows_plain = confidence.draw(one, np.ones(1), k, seed)
                bounds = confidence.count_interval(confidence.History.of(one, np.ones(1), half, rows_plain, w[rows_plain]))
                plain = (bounds[1] - bounds[0]) / n
                a, b = confidence.count_interval(h, first)
                c, d = confidence.recall_interval(h, first)
                firsts[k].append((a <= w[first].sum() <= b, (b - a) / 100, c <= w[first].sum() / truth <= d, d - c))
            found[k].append((low <= truth <= high, p.sum() / n - truth / n, (high - low) / n, plain))
    bounds = values.stats.get("wrong_labels") or {"low": 0, "high": int(values.flagged.sum())}
    before = (bounds["high"] - bounds["low"]) / n
    lines, wide = [], []
    for k in sizes:
        holds, error, width, plain = np.array(found[k], float).T
        lines.append([
            name, n, truth / n, float(roc_auc_score(wrong, -values.scores)), k, float(holds.mean()), float(lost[:, k - 1].mean()),
            float(error.mean()), float(error.std()), float((abs(error) <= 0.05).mean()), before, float(width.mean()),
            float(width.mean() / before), float(np.nanmean(plain)),
            hindsight(strata, wrong, k) / before,
        ])  # fmt: skip
        wide.append([name, k, 100, *np.array(firsts[k], float).mean(0).tolist()])
    return lines, wide


def hindsight(strata: np.ndarray, wrong: np.ndarray, k: int) -> float:
    """Width of the normal interval of 95 %, as a share of all rows, by k rows shared out best among the strata."""
    sizes = np.bincount(strata)
    p = np.bincount(strata, wrong) / sizes
    spread = sizes * np.sqrt(p * (1 - p))
    return float(2 * norm.ppf(0.975) * spread.sum() / np.sqrt(k) / len(wrong))


def cut(history: confidence.History, k: int) -> confidence.History:
    """As it was after k answers."""
    return replace(
        history, rows=history.rows[:k], wrong=history.wrong[:k], left=history.left[:k], chance=history.chance[:k], guess=history.guess[:k]
    )  # fmt: skip


if __name__ == "__main__":
    main()
