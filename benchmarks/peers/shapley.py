"""Data Shapley: datassay beside pyDVL at equal trainings, the same model, rows and utility, one core each.

    python benchmarks/peers/shapley.py                                          # 1,000 and 4,000 trainings, 5 seeds; 40 minutes
    python benchmarks/peers/shapley.py --trainings 400 --seeds 1 --data breast-cancer

Digits (1,000 training, 200 validation rows) and breast cancer (300, 100), drawn and scaled as `peers.py` does, a fifth of the labels
wrong; logistic regression with C = 1. pyDVL's permutations end with the first that has used up the trainings, counted by a utility that
counts; whole permutations are its smallest step, so that it takes some more. Each run is a process of its own. Results are kept line by
line in ``benchmarks/out/peers_shapley.jsonl``, from which a run that was stopped goes on (``--fresh``: begins anew); the table goes to
``benchmarks/out/peers_shapley.md``.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent))
sys.path.append(str(Path(__file__).resolve().parents[1]))

LEAST = 20  # trainings of the call that pays for what is loaded at first use

# ------------------------------------------------------------------------------------------------- in the peer's process


def probability(model: Any, X: Any, y: Any) -> float:
    """Mean probability of the labels, datassay's utility for Shapley values; 0 for a class that the model has not seen."""
    seen, p = {label: k for k, label in enumerate(model.classes_)}, model.predict_proba(X)
    return float(sum(p[i, seen[label]] for i, label in enumerate(y) if label in seen) / len(y))


def by_pydvl(truncated: bool, scoring: Any = "accuracy") -> Callable[..., tuple[Any, str]]:
    """Permutation sampling, with pyDVL's default truncation or without; no rows are worth 0, as in its examples."""

    def method(rows: Any, seed: int, limit: float) -> tuple[Any, str]:
        from joblib import parallel_config
        from pydvl.utils.status import Status
        from pydvl.valuation import (
            Dataset,
            ModelUtility,
            NoTruncation,
            PermutationSampler,
            ShapleyValuation,
            StoppingCriterion,
            SupervisedScorer,
            TMCShapleyValuation,
        )
        from sklearn.linear_model import LogisticRegression

        count = [0]

        class Counted(ModelUtility):
            def _utility(self, sample: Any) -> float:
                count[0] += 1
                return super()._utility(sample)

        class Trainings(StoppingCriterion):
            def _check(self, result: Any) -> Any:
                return Status.Converged if count[0] >= limit else Status.Pending

            def completion(self) -> float:
                return min(1.0, count[0] / limit)

        scorer = SupervisedScorer(scoring, Dataset(rows.X_val, rows.y_val), default=0.0, range=(0.0, 1.0))
        utility = Counted(LogisticRegression(max_iter=1000), scorer, show_warnings=False)
        if truncated:
            valuation = TMCShapleyValuation(utility, is_done=Trainings(), seed=seed, show_warnings=False)
        else:
            sampler = PermutationSampler(truncation=NoTruncation(), seed=seed)
            valuation = ShapleyValuation(utility, sampler, is_done=Trainings(), show_warnings=False)
        with parallel_config(n_jobs=1):
            result = valuation.fit(Dataset(rows.X, rows.y)).result.sort(key="index")
        return result.values, f"{count[0]} trainings, {result.counts.max()} permutations"

    return method


def by_datassay(**options: Any) -> Callable[..., tuple[Any, str]]:
    def method(rows: Any, seed: int, limit: float) -> tuple[Any, str]:
        from sklearn.linear_model import LogisticRegression

        import datassay as da

        data = da.Dataset(rows.X, rows.y, rows.X_val, rows.y_val)
        least = max(LEAST, len(data) if options["estimator"] == "permutation" else 0)
        common = {"n_models": max(int(limit), least), "seed": seed, "n_jobs": 1, "progress": False}
        values = da.value(data, "shapley", model=LogisticRegression(max_iter=1000), **common, **options)
        orders = f", {values.stats['permutations']} permutations" if options["estimator"] == "permutation" else ""
        return values.scores, f"{values.stats['trainings']} trainings{orders}"

    return method


METHODS = {  # what the driver calls it: peer, title, method
    "tmc": ("pydvl", "pyDVL TMC-Shapley, accuracy", by_pydvl(truncated=True)),
    "whole": ("pydvl", "pyDVL permutation Shapley, accuracy", by_pydvl(truncated=False)),
    "tmc-probability": ("pydvl", "pyDVL TMC-Shapley, datassay's utility", by_pydvl(truncated=True, scoring=probability)),
    "cut-accuracy": ("ours", "datassay, permutation, accuracy", by_datassay(estimator="permutation", utility="accuracy")),
    "cut": ("ours", "datassay, permutation (its utility)", by_datassay(estimator="permutation")),
    "ridge-accuracy": ("ours", "datassay, ridge, accuracy", by_datassay(estimator="ridge", utility="accuracy")),
    "ridge": ("ours", "datassay, ridge (defaults)", by_datassay(estimator="ridge")),
}

PYDVL = [name for name, (peer, _, _) in METHODS.items() if peer == "pydvl"]

# --------------------------------------------------------------------------------------------------------------- driver


def drive() -> None:
    import numpy as np
    from peers import OUT, RATE, interpreter, machine, rows, run
    from sklearn.metrics import average_precision_score, roc_auc_score

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainings", type=int, nargs="+", default=[1000, 4000])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data", nargs="+", choices=("digits", "breast-cancer"), default=["digits", "breast-cancer"])
    parser.add_argument("--only", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--fresh", action="store_true", help="forget what earlier runs kept")
    call = parser.parse_args()
    OUT.mkdir(exist_ok=True)
    kept = OUT / "peers_shapley.jsonl"
    if call.fresh:
        kept.unlink(missing_ok=True)
    lines = kept.read_text(encoding="utf-8").splitlines() if kept.exists() else []
    found = {tuple(line["name"]): line for line in map(json.loads, lines)}

    for data in call.data:
        for seed in range(call.seeds):
            arrays, wrong = rows(data, seed)
            for trainings in call.trainings:
                for method in call.only:
                    name = (data, seed, trainings, method)
                    if name in found:
                        continue
                    with tempfile.TemporaryDirectory() as folder:
                        source, target = Path(folder, "in.npz"), Path(folder, "out.npz")
                        np.savez(source, **arrays)
                        python = interpreter(METHODS[method][0])
                        options = ["--method", method, "--seed", seed, "--trainings", trainings]
                        run([python, __file__, "once", source, target, *options], 7200, 1)
                        with np.load(target, allow_pickle=False) as out:
                            line = {
                                "seconds": float(out["seconds"]),
                                "note": str(out["note"]),
                                "versions": str(out["versions"]),
                            }
                            line |= {"auc": float(roc_auc_score(wrong, -out["scores"]))}
                            line |= {"ap": float(average_precision_score(wrong, -out["scores"]))}
                    found[name] = {"name": name} | line
                    with open(kept, "a", encoding="utf-8") as file:
                        file.write(json.dumps(found[name]) + "\n")
                    print(*name, f"AUC {line['auc']:.3f}, {line['seconds']:.3g} s, {line['note']}", flush=True)

    versions = {METHODS[name[3]][0]: json.loads(line["versions"]) for name, line in found.items()}
    text = ["# Data Shapley at equal trainings", "", f"Machine: {machine(1)}", ""]
    text += [f"- {peer}: " + ", ".join(f"{k} {v}" for k, v in some.items()) for peer, some in versions.items()]
    text += [
        "",
        f"{RATE:.0%} of the training labels wrong; logistic regression, C = 1; {call.seeds} seeds: mean ± standard deviation, median",
    ]
    text += [
        "seconds of the whole call on one core, range of the trainings that were done (without those for the suggested labels)."
    ]
    for data in call.data:
        for trainings in call.trainings:
            text += [
                "",
                f"## {data}, {trainings:,} trainings",
                "",
                "| | ROC AUC | average precision | seconds | trainings |",
            ]
            text += ["| --- | --- | --- | --- | --- |"]
            for method in call.only:
                each = [found[data, seed, trainings, method] for seed in range(call.seeds)]
                quality = []
                for key in ("auc", "ap"):
                    values = [line[key] for line in each]
                    quality.append(f"{np.mean(values):.3f} ± {np.std(values, ddof=1) if len(values) > 1 else 0:.3f}")
                seconds = f"{np.median([line['seconds'] for line in each]):.3g}"
                done = sorted(int(line["note"].split()[0]) for line in each)
                cells = [METHODS[method][1], *quality, seconds, f"{done[0]:,} to {done[-1]:,}"]
                text.append("| " + " | ".join(cells) + " |")
    (OUT / "peers_shapley.md").write_text("\n".join(text) + "\n", encoding="utf-8")
    print("\n".join(text))


if __name__ == "__main__":
    if sys.argv[1:2] == ["once"]:
        from adapter import main

        del sys.argv[1]
        library = "pyDVL" if sys.argv[sys.argv.index("--method") + 1] in PYDVL else "datassay"
        main({name: method for name, (_, _, method) in METHODS.items()}, library, "scikit-learn", "numpy")
    else:
        drive()
