"""Accuracy on clean test rows after each way to act on a list of suspects: what wrong labels cost, and how much of it is won back.

    python benchmarks/won_back.py --path folder --seeds 5 --output won_back.parquet     all sets; cells that are there are not made again
    python benchmarks/won_back.py --seeds 2 --data docstrings digits                    these need no file
    python benchmarks/won_back.py --path folder --curate --output curate.parquet        what the command `curate` makes of them

The folder has mnist_train.parquet, adult.parquet, cifar10_train.parquet and cifar10n_labels.parquet. CIFAR-10N: labels that people gave, on
patches; the others: errors planted by kind and rate. The CG-score of the noisy rows decides; a model of default settings (``--model``) is
trained on what is left, and asked about test rows with right labels, which took no part in anything:

    noisy       all rows as they are given                  right       all rows with their right labels
    drop        the flagged rows dropped                    relabel     `curate`: sure suggestions taken, other flagged rows dropped
    sure        its other rule: surely wrong labels get the suggestion, others stay
    blind       each flagged row gets its suggestion        blind 5 %   so do the first 5 % of the suspects
    review 5 %  the first 5 % of the suspects get the right labels
    curate      the command: `relabel` or `sure`, whichever wins more in five folds, and nothing where no gain can be shown there

In points of accuracy, over the draws: the loss by the errors (right less noisy), and what each way wins over noisy, with standard errors.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import RidgeClassifier
from text_errors import docstrings

import datassay as da
from datassay.decisions.curate import decide
from datassay.decisions.gain import Trained
from datassay.evaluation.datasets import drawn

PLANTED = ["digits", "docstrings", "mnist", "adult"]
PEOPLE = ["cifar10n-aggregate", "cifar10n-random1"]
ERRORS = [("uniform", 0.0), ("uniform", 0.1), ("uniform", 0.2), ("near", 0.1), ("near", 0.2)]
WAYS = ["drop", "relabel", "sure", "blind", "blind 5 %", "review 5 %", "curate"]
REVIEWED = 0.05


def cells(args: argparse.Namespace) -> Iterator[tuple[str, str, float, int]]:
    for seed in range(args.seeds):
        for name in args.data:
            for kind, rate in [("people", 0.0)] if name in PEOPLE else ERRORS:
                yield name, kind, rate, seed


texts_and_packages = functools.cache(docstrings)  # a minute's work, the same for every draw


def data_of(name: str, kind: str, rate: float, seed: int, args: argparse.Namespace) -> tuple[da.Dataset, np.ndarray]:
    """Noisy rows with right test rows as validation rows, and the right labels of the noisy rows."""
    if name == "docstrings":
        texts, labels = texts_and_packages()
        rows = np.random.default_rng(seed).permutation(len(texts))
        train, test = rows[: args.train], rows[args.train : args.train + args.test]
        frame = pd.DataFrame({"text": texts})
        right = da.Dataset(frame.iloc[train], labels[train], frame.iloc[test], labels[test], text=["text"])
        human = None
    else:
        folder = args.path or Path()
        paths = {
            "mnist": folder / "mnist_train.parquet",
            "adult": folder / "adult.parquet",
            "cifar10": folder / "cifar10_train.parquet",
            "cifar10n": folder / "cifar10n_labels.parquet",
        }
        split = drawn(name, train=args.train, val=args.test, test=2, seed=seed, paths=paths)
        right, human = split.data, split.human
        if not right.standardised and name not in PEOPLE:
            right = da.Dataset(right.X, right.y, right.X_val, right.y_val, standardise=False)
    if kind == "people":
        return da.plant(right, "human", 0, seed=seed, human=human)[0].with_features("patches", progress=False), right.codes
    return (da.plant(right, kind, rate, seed=seed)[0] if rate else right), right.codes


def cell(noisy: da.Dataset, right: np.ndarray, seed: int, model: Any) -> dict[str, float]:
    alone, begin = noisy.without_validation(), time.process_time()
    values = da.value(alone, "cg-score", seed=seed, progress=False)
    code_of = {label: code for code, label in enumerate(noisy.classes)}
    suggested = np.array([code_of[label] for label in values.suggested_label.tolist()])
    first = np.argsort(values.scores, kind="stable")[: int(REVIEWED * len(noisy))]
    everything = np.ones(len(noisy), bool)
    ways: dict[str, tuple[np.ndarray, np.ndarray]] = {"noisy": (everything, noisy.codes), "right": (everything, right)}
    for rule in ("drop", "relabel", "sure"):
        ways[rule] = _decided(decide(values, rule), alone, code_of)
    ways["blind"] = (everything, np.where(values.flagged, suggested, noisy.codes))
    for way, labels in (("blind 5 %", suggested), ("review 5 %", right)):
        changed = noisy.codes.copy()
        changed[first] = labels[first]
        ways[way] = (everything, changed)
    trained = Trained(noisy, noisy.X_val, noisy.codes_val, model, seed, None, False)
    found = {way: float(trained.right(rows, labels, None, None).mean()) for way, (rows, labels) in ways.items()}
    wrong = noisy.codes != right
    return found | {
        "wrong": float(wrong.mean()), "flagged": float(values.flagged.mean()),
        "precision": float(wrong[values.flagged].mean()) if values.flagged.any() else np.nan,
        "suggestion right": float((suggested == right)[values.flagged & wrong].mean()) if (values.flagged & wrong).any() else np.nan,
        "cpu_s": time.process_time() - begin,
    }  # fmt: skip


def curated(noisy: da.Dataset, right: np.ndarray, seed: int, model: Any) -> dict[str, float]:
    alone, begin = noisy.without_validation(), time.process_time()
    found = da.curate(alone, model=model, seed=seed, progress=False)
    code_of = {label: code for code, label in enumerate(noisy.classes)}
    everything = np.ones(len(noisy), bool)
    ways = {"noisy": (everything, noisy.codes), "right": (everything, right)}
    ways["curate"] = _decided(found.decisions, alone, code_of) if found.shown else ways["noisy"]
    trained = Trained(noisy, noisy.X_val, noisy.codes_val, model, seed, None, False)
    said = {way: float(trained.right(rows, labels, None, None).mean()) for way, (rows, labels) in ways.items()}
    gain = found.gain
    return said | {
        "wrong": float((noisy.codes != right).mean()), "shown": float(found.shown),
        "promised": np.nan if gain is None else gain.difference, "cpu_s": time.process_time() - begin,
    }  # fmt: skip


def _decided(lines: pd.DataFrame, data: da.Dataset, code_of: dict[Any, int]) -> tuple[np.ndarray, np.ndarray]:
    rows = pd.Index([str(one) for one in data.ids.tolist()]).get_indexer(lines["id"])
    stays, codes = np.ones(len(data), bool), data.codes.copy()
    named = {str(label): code for label, code in code_of.items()}
    for row, action, new in zip(rows.tolist(), lines["action"], lines["new_label"], strict=True):
        if action == "drop":
            stays[row] = False
        else:
            codes[row] = named[new]
    return stays, codes


def table(found: pd.DataFrame) -> pd.DataFrame:
    points = pd.DataFrame({"loss": 100 * (found["right"] - found["noisy"])})
    for way in [way for way in WAYS if way in found]:
        points[way] = 100 * (found[way] - found["noisy"])
    keys = [found[key] for key in ("data", "kind", "rate")]
    grouped = points.groupby(keys)
    mean, error = grouped.mean(), grouped.std() / np.sqrt(grouped.count())
    said = mean.map("{:+.2f}".format) + " (" + error.map("{:.2f}".format) + ")"
    told = [name for name in ("wrong", "flagged", "precision", "suggestion right", "shown", "promised") if name in found]
    others = found.groupby(["data", "kind", "rate"])[told].mean().round(3)
    return said.join(others)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--path", type=Path, help="folder of the files")
    parser.add_argument("--data", nargs="+", default=[*PLANTED, *PEOPLE])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--train", type=int, default=5000)
    parser.add_argument("--test", type=int, default=5000)
    parser.add_argument(
        "--model", default="logistic", choices=["logistic", "ridge"], help="the second is scikit-learn's RidgeClassifier"
    )
    parser.add_argument(
        "--curate", action="store_true", help="the command alone, beside noisy and right; into an output of its own"
    )
    parser.add_argument("--output", type=Path, default=Path("won_back.parquet"))
    args = parser.parse_args()
    keys = ["data", "kind", "rate", "seed"]
    rows = pd.read_parquet(args.output).to_dict("records") if args.output.exists() else []
    there = {tuple(row[key] for key in keys) for row in rows}
    one = curated if args.curate else cell
    model = RidgeClassifier(alpha=10.0) if args.model == "ridge" else None
    for key in cells(args):
        if key in there:
            continue
        noisy, right = data_of(*key, args)
        rows.append(dict(zip(keys, key, strict=True)) | one(noisy, right, key[-1], model))
        pd.DataFrame(rows).to_parquet(args.output)
        print({name: round(value, 4) if isinstance(value, float) else value for name, value in rows[-1].items()}, flush=True)
    print(table(pd.DataFrame(rows)).to_string())


if __name__ == "__main__":
    main()
