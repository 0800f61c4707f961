"""Which rows are behind an answer of boosted trees: `boostin` and the similarity of trees against trees that are trained anew.

    python benchmarks/boosted.py --path folder             # adult.parquet in the folder; ten sets, about a quarter of an hour of one core
    python benchmarks/boosted.py --data wine --data diabetes

400 rows (fewer where there are not as many), 50 answers for validation rows, scikit-learn's histogram gradient boosting. LDS: the rank
correlation between what trees of random halves (--masks) say of a row and the sums of its values. Removal: of 20 of the answers, the
tenth of the rows that speaks most for it is left out, and the fall of the answer (log-odds; regression: the change of the squared
error) set beside that without as many rows of the same classes at random; given is the share of answers that fall further. "similarity"
is the share of trees in which two rows have the same leaf, with a minus where the labels differ (regression: times the product of both
residuals from the mean); it needs no gradients. Writes ``benchmarks/out/boosted.md``.
"""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from cg_score import OUT, markdown
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

import datassay as da
from datassay.engines.designs import Subsets
from datassay.evaluation import lds
from datassay.subsets.boosted import fitted
from datassay.subsets.study import TOL, study
from datassay.subsets.utilities import log_odds, of_labels

SETS = (
    "digits",
    "breast-cancer",
    "wine",
    "iris",
    "diabetes",
    "2dplanes",
    "2dplanes-regression",
    "fried",
    "fried-regression",
    "adult",
)
LARGEST = {"wine": (100, 60), "iris": (90, 50), "diabetes": (300, 100)}  # training and validation rows
REMOVED, ASKED = 0.1, 20


def drawn(name: str, path: Path | None) -> da.Dataset:
    train, val = LARGEST.get(name, (400, 100))
    paths = {"": path} if name == "adult" else None
    return da.datasets.drawn(name, train=train, val=val, test=10, seed=0, paths=paths).data


def model_of(data: da.Dataset) -> HistGradientBoostingClassifier | HistGradientBoostingRegressor:
    of = HistGradientBoostingClassifier if data.classes else HistGradientBoostingRegressor
    return of(early_stopping=False, random_state=0)


def similarity(data: da.Dataset) -> np.ndarray:
    """(n, m)"""
    trees, _, _ = fitted(data, np.asarray(data.X, float), np.asarray(data.X_val, float), model_of(data), 0, "benchmark")
    t, K, n = trees.leaves.shape
    same = np.zeros((n, trees.asked.shape[2]))
    for step in range(t):
        for k in range(K):
            same += trees.leaves[step, k][:, None] == trees.asked[step, k]
    y, z = data.codes, data.codes_val
    if data.classes:
        return same / (t * K) * np.where(y[:, None] == z, 1, -1)
    return same / (t * K) * (y[:, None] - y.mean()) * (z - y.mean())


def values(data: da.Dataset, way: str) -> np.ndarray:
    """(n, m)"""
    if way == "similarity":
        return similarity(data)
    with TemporaryDirectory() as folder:
        options = {"utility": "log-likelihood"} if way.endswith("log-likelihood") else {}
        da.value(data, "boostin", model=model_of(data), matrix=Path(folder) / "m.npy", **options)
        return np.load(Path(folder) / "m.npy")


def answers_of(data: da.Dataset, counts: np.ndarray) -> np.ndarray:
    """(subsets, m) what trees of these rows say of the validation rows' labels."""
    trained = study(
        "benchmark", data, model_of(data), training=None, device="auto", store=None, seed=0, n_jobs=1, progress=False, tol=TOL,
        same_seed=True,
    )  # fmt: skip
    subsets = Subsets(counts, np.full(len(counts), np.nan))
    trained.train(subsets)
    codes = data.codes_val

    def said(predictions: np.ndarray) -> np.ndarray:
        return log_odds(of_labels(predictions, codes)) if data.classes else -((predictions[..., 0] - codes) ** 2)

    return trained.utilities_of(subsets, said)


def removal(data: da.Dataset, matrix: np.ndarray) -> float:
    """Share of the answers that fall further than without as many rows at random."""
    n, m = matrix.shape
    rng, k = np.random.default_rng(0), round(REMOVED * n)
    queries = np.linspace(0, m - 1, ASKED).round().astype(int)
    counts = np.ones((2 * ASKED, n), np.uint8)
    for j, q in enumerate(queries):
        first = np.argsort(-matrix[:, q], kind="stable")[:k]
        counts[2 * j, first] = 0
        kinds = data.codes if data.classes else np.zeros(n, int)
        for c in np.unique(kinds[first]):
            counts[2 * j + 1, rng.choice(np.flatnonzero(kinds == c), (kinds[first] == c).sum(), replace=False)] = 0
    said = answers_of(data, counts)
    return float(np.mean([said[2 * j, q] < said[2 * j + 1, q] for j, q in enumerate(queries)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", type=Path)
    parser.add_argument("--data", action="append", choices=SETS)
    parser.add_argument("--masks", type=int, default=100)
    call = parser.parse_args()
    lines = []
    for name in call.data or SETS:
        data = drawn(name, call.path)
        counts = lds.halves(len(data), call.masks, 0)
        said = answers_of(data, counts)
        line: list[object] = [name, len(data)]
        for way in ("boostin", "boostin, log-likelihood", "similarity"):
            if way == "boostin, log-likelihood" and not data.classes:
                line += [""] * 3
                continue
            start = time.process_time()
            matrix = values(data, way)
            seconds = time.process_time() - start
            each = lds.scores(matrix, counts, said)
            line += [
                f"{each.mean():.2f} ± {each.std(ddof=1) / len(each) ** 0.5:.2f}",
                f"{removal(data, matrix):.0%}",
                f"{seconds:.1f}",
            ]
        lines.append(line)
        print(*line, sep=" | ", flush=True)
        ways = ("boostin", "log-likelihood", "similarity")
        header = ["set", "rows", *(f"{way}: {what}" for way in ways for what in ("LDS", "falls further", "CPU s"))]
        OUT.mkdir(exist_ok=True)
        (OUT / "boosted.md").write_text(markdown(header, lines) + "\n")
    print((OUT / "boosted.md").read_text())


if __name__ == "__main__":
    main()
