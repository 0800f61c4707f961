"""What is said of wrong labels, against the truth: bounds, flags and probabilities of the CG-score, over data sets, kinds and rates.

    python benchmarks/promises.py --path folder --seeds 2 --train 500 --output promises.parquet     216 cells, about 10 min
    python benchmarks/promises.py --people --path folder --train 5000 --features patches     CIFAR-10N: labels that people gave

The folder has adult.parquet and mnist_train.parquet; for --people cifar10_train.parquet and cifar10n_labels.parquet. Cells that the output
has are not made again. Tables: how often the bounds hold the number, how far the noise model's rate is from it where it says that it
can tell, F1 of the flags beside other rules, and promised against found; for people's errors also what 60 checked rows make of the bounds,
over 50 samples.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

import datassay as da
from datassay.evaluation import plant
from datassay.evaluation.datasets import drawn

SETS = ["digits", "breast-cancer", "wine", "iris", "2dplanes", "fried", "adult", "mnist"]
KINDS = ["uniform", "pair-flip", "near"]
RATES = [0.0, 0.02, 0.05, 0.1, 0.2, 0.4]
FILTERS = ["prune_by_noise_rate", "prune_by_class", "both", "confident_learning", "predicted_neq_given"]
TENTHS = 10


def f1(flagged: np.ndarray, wrong: np.ndarray) -> float:
    return float(2 * np.sum(flagged & wrong) / max(1, flagged.sum() + wrong.sum()))


def flags(data: da.Dataset, wrong: np.ndarray, seed: int, others: bool) -> dict[str, float]:
    """F1 of the default rule, of the paper's, and of confident learning's five filters on the same folds."""
    found = {"loo": f1(da.value(data, method="cg-score", flag="loo", seed=seed, progress=False).flagged, wrong)}
    if others:
        with tempfile.TemporaryDirectory() as folder:
            for name in FILTERS:
                store = Path(folder) / "trainings.sqlite"
                values = da.value(data, method="confident-learning", filter=name, store=store, seed=seed, progress=False)
                found[name] = f1(values.flagged, wrong)
    return found


def after_checking(values: da.Values, wrong: np.ndarray, n: int = 60, samples: int = 50) -> dict[str, float]:
    """How often the bounds hold the number after n rows were looked at, and their width in widths before."""
    said = values.stats["wrong_labels"]
    held, width = [], []
    for seed in range(samples):
        sample = da.check_sample(values, n, seed=seed)
        answers = pd.DataFrame({"id": sample["id"], "wrong": wrong[pd.Index(values.ids).get_indexer(sample["id"])]})
        now = da.checked(values, answers).stats["wrong_labels"]
        held.append(now["low"] <= wrong.sum() <= now["high"])
        width.append((now["high"] - now["low"]) / (said["high"] - said["low"]))
    return {"checked held": float(np.mean(held)), "checked width": float(np.mean(width))}


def cell(data: da.Dataset, wrong: np.ndarray, seed: int, *, others: bool, check: bool = False) -> dict[str, object]:
    start = time.process_time()
    values = da.value(data, method="cg-score", seed=seed, progress=False)
    said, probability = values.stats["wrong_labels"], values.columns["probability_wrong"]
    bins = np.minimum((probability * TENTHS).astype(int), TENTHS - 1)
    return {
        "n": len(data), "wrong": int(wrong.sum()), "cpu_s": time.process_time() - start, **said,
        **(after_checking(values, wrong) if check else {}),
        "f1": f1(values.flagged, wrong), "precision": float(wrong[values.flagged].mean()) if values.flagged.any() else np.nan,
        **({f"f1 {name}": share for name, share in flags(data, wrong, seed, others).items()} if wrong.any() else {}),
        "rows": np.bincount(bins, minlength=TENTHS).tolist(), "promised": np.bincount(bins, probability, TENTHS).tolist(),
        "found": np.bincount(bins, wrong, TENTHS).tolist(),
        **{f"{name} promised": float(values.columns[f"probability_wrong_{name}"].sum()) for name in ("least", "most")},
    }  # fmt: skip


def planted(args: argparse.Namespace) -> pd.DataFrame:
    done = pd.read_parquet(args.output) if args.output.exists() else pd.DataFrame(columns=["data", "kind", "rate", "seed"])
    there = set(done[["data", "kind", "rate", "seed"]].itertuples(index=False, name=None))
    rows = done.to_dict("records")
    for name, seed in itertools.product(args.sets, range(args.seeds)):
        paths = (
            {name: args.path / f"{name if name == 'adult' else 'mnist_train'}.parquet"}
            if name in ("adult", "mnist")
            else None
        )
        data = drawn(name, train=args.train, val=50, test=50, seed=seed, paths=paths).data
        data = da.Dataset(data.X, data.y, standardise=False) if not data.standardised else data.take(np.arange(len(data)))
        for kind, rate in itertools.product(KINDS, RATES):
            key = (name, kind, rate, seed)
            twice = (rate == 0 and kind != "uniform") or (kind == "pair-flip" and len(data.classes) == 2)
            if key in there or twice:
                continue
            bad, wrong = plant(data, kind, rate, seed=seed) if rate else (data, np.zeros(len(data), bool))
            others = rate in (0.05, 0.1)
            rows.append(
                dict(zip(["data", "kind", "rate", "seed"], key, strict=True)) | cell(bad, wrong, seed, others=others)
            )
        pd.DataFrame(rows).to_parquet(args.output)
        print(f"{name}, seed {seed}: {len(rows)} cells", flush=True)
    return pd.DataFrame(rows)


def people(args: argparse.Namespace) -> pd.DataFrame:
    rows = []
    for name, seed in itertools.product(["cifar10n-aggregate", "cifar10n-random1"], range(args.seeds)):
        split = drawn(
            name,
            train=args.train,
            val=50,
            test=50,
            seed=seed,
            paths={"cifar10": args.path / "cifar10_train.parquet", "cifar10n": args.path / "cifar10n_labels.parquet"},
        )
        data, wrong = plant(split.data, "human", 0, seed=seed, human=split.human)
        data = data.with_features(args.features, progress=False)
        rows.append(
            {"data": name, "kind": "human", "rate": float(wrong.mean()), "seed": seed}
            | cell(data, wrong, seed, others=not args.own, check=True)
        )
        print(pd.DataFrame(rows[-1:]).drop(columns=["rows", "promised", "found"]).to_string(), flush=True)
    return pd.DataFrame(rows)


def tables(found: pd.DataFrame) -> None:
    held = (found["low"] <= found["wrong"]) & (found["wrong"] <= found["high"])
    width = (found["high"] - found["low"]) / found["n"]
    print("\nThe bounds hold the number of wrong labels:")
    print(found.assign(held=held, width=width).groupby("kind")[["held", "width", "told"]].mean().round(3).to_string())
    told = found[found["told"].astype(bool) & (found["kind"] == "uniform")]
    off = ((told["random"] - told["wrong"]) / told["n"]).abs()
    print(
        f"\nUniform errors, where it says that it can tell ({len(told)}): mean distance of the rate {off.mean():.4f}, most {off.max():.4f}"
    )
    rules = [c for c in found if c.startswith("f1")]
    some = found[found["rate"].isin([0.05, 0.1]) | (found["kind"] == "human")]
    if len(some):
        print("\nF1 of flags:")
        mean = some.groupby(["kind", "rate", "data"])[rules].mean()
        if filters := [rule for rule in rules if rule.removeprefix("f1 ") in FILTERS]:
            mean["f1 best filter"] = mean[filters].max(axis=1)
        print(mean.round(2).to_string())
        print("\nMean over the sets:")
        print(mean.groupby(["kind", "rate"]).mean().round(2).to_string())
        print("\nSets in which the default flag is better, or the same to two digits:")
        print(mean.round(2).apply(lambda rule: mean["f1"].round(2) >= rule).groupby(["kind", "rate"]).sum().to_string())
    print("\nPromised against found, mean distance over tenths, weighted by rows:")
    for (kind, can_tell), group in found.groupby(["kind", "told"]):
        rows, promised, right = (np.sum(np.stack(group[c].map(np.asarray)), 0) for c in ("rows", "promised", "found"))
        print(f"{kind:10s} {'told' if can_tell else 'not told'} {np.sum(np.abs(promised - right)) / rows.sum():.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--path", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path("promises.parquet"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--train", type=int, default=1000)
    parser.add_argument("--sets", type=lambda text: text.split(","), default=SETS)
    parser.add_argument("--people", action="store_true")
    parser.add_argument("--features", default="pixels", choices=["pixels", "patches"], help="of --people's images")
    parser.add_argument("--own", action="store_true", help="without the filters of confident learning, which train networks")
    args = parser.parse_args()
    tables(people(args) if args.people else planted(args))


if __name__ == "__main__":
    main()
