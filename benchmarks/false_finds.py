"""``flag="fdr"``: is the share of false finds held, do the bounds hold for all cut-offs together, is the number bounded?

    python benchmarks/false_finds.py --draws 200                   # three data sets, errors of three kinds; about an hour of one core
    python benchmarks/false_finds.py --draws 50 --path folder      # CIFAR-10 with labels that people gave, pixels

Rows are drawn anew for each draw: n of them get errors, m others are the validation rows, which are right. The folder has
cifar10_train.parquet and cifar10n_labels.parquet. Writes ``benchmarks/out/false_finds.md``.
"""

import argparse
from pathlib import Path

import numpy as np
from cg_score import OUT, markdown
from sklearn.datasets import load_breast_cancer, load_digits

import datassay as da
from datassay.engines import conformal
from datassay.evaluation import plant
from datassay.evaluation.datasets import drawn

HEAD = [
    "data", "errors", "n", "m", "q", "flagged", "false share", "its standard error", "found", "all cut-offs hold", "low to high holds",
    "width", "width without",
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--levels", type=float, nargs="+", default=[0.1, 0.2])
    parser.add_argument("--sets", type=lambda text: text.split(","), help="of digits, breast cancer, clouds; default: all")
    parser.add_argument("--path", type=Path, help="folder with the CIFAR-10 file and its human labels")
    parser.add_argument("--rows", type=int, nargs=2, default=[1000, 500], metavar=("n", "m"))
    options = parser.parse_args()
    lines = []
    sources = {"digits": (600, 500), "breast cancer": (300, 200), "clouds": (400, 300)}
    cases = [
        (name, kind, *size)
        for name, size in sources.items()
        if name in (options.sets or sources)
        for kind in ("uniform", "near", "pair-flip")
    ]
    if options.path:
        cases = [(name, "human", *options.rows) for name in ("cifar10n-aggregate", "cifar10n-random1")]
    for name, kind, n, m in cases:
        if kind == "pair-flip" and name == "breast cancer":  # of two classes: the same as uniform
            continue
        lines += measured(name, kind, n, m, options)
        print(markdown(HEAD, lines[-len(options.levels) :]), flush=True)
    OUT.mkdir(exist_ok=True)
    (OUT / "false_finds.md").write_text(f"{options.draws} draws.\n\n{markdown(HEAD, lines)}\n")


def measured(name: str, kind: str, n: int, m: int, options: argparse.Namespace) -> list[list[object]]:
    cells: dict[float, list[tuple[float, ...]]] = {q: [] for q in options.levels}
    for seed in range(options.draws):
        data, wrong = rows(name, kind, n, m, seed, options)
        before = da.value(data.without_validation(), method="cg-score", progress=False).stats["wrong_labels"]
        values = da.value(data, method="cg-score", flag="fdr", q=options.levels[0], progress=False)
        said = values.stats["wrong_labels"]
        order = np.argsort(values.scores, kind="stable")
        right = 1 - np.cumsum(wrong[order]) / np.arange(1, n + 1)
        for q in options.levels:  # which changes the flags alone
            flagged = conformal.step_up(values.columns["conformal_p"], q)
            cells[q].append(
                (
                    flagged.sum(),
                    (flagged & ~wrong).sum() / max(1, flagged.sum()),
                    (flagged & wrong).sum() / wrong.sum(),
                    bool((right <= values.columns["false_share_most"][order] + 1e-12).all()),
                    said["low"] <= wrong.sum() <= said["high"],
                    (said["high"] - said["low"]) / n,
                    (before["high"] - before["low"]) / n,
                )
            )
    out = []
    for q, found in cells.items():
        mean, error = np.mean(found, 0), np.std(found, 0)[1] / np.sqrt(len(found))
        out.append([name, kind, n, m, q, *(f"{x:.3f}" for x in (*mean[:2], error, *mean[2:]))])
    return out


def rows(name: str, kind: str, n: int, m: int, seed: int, options: argparse.Namespace) -> tuple[da.Dataset, np.ndarray]:
    """n rows with errors, and m that are right."""
    if kind == "human":
        files = {"cifar10": options.path / "cifar10_train.parquet", "cifar10n": options.path / "cifar10n_labels.parquet"}
        split = drawn(name, train=n, val=m, test=50, seed=seed, paths=files)
        return plant(split.data, "human", 0, seed=seed, human=split.human)
    rng = np.random.default_rng(seed)
    if name == "clouds":
        y = rng.integers(0, 3, n + m)
        X = 3 * np.eye(3)[y] + rng.normal(0, 1.2, (n + m, 3))
    else:
        X, y = (load_digits if name == "digits" else load_breast_cancer)(return_X_y=True)
        X = (X - X.mean(0)) / np.maximum(X.std(0), 1e-9)
        pick = rng.permutation(len(X))[: n + m]
        X, y = X[pick], y[pick]
    return plant(da.Dataset(X[:n], y[:n], X[n:], y[n:]), kind, options.rate, seed=seed)


if __name__ == "__main__":
    main()
