"""Is the method that `audit` recommends the best in hindsight, and are as many suspects wrong as it says?

    datassay bench benchmarks/studies/noisy-labels.toml --path folder -o noisy-labels --jobs 2
    python benchmarks/audit.py --study noisy-labels --path folder --jobs 2

For every case of a study (data set, kind and rate of errors, seed) `audit` is given the rows with the errors and without being told of
them; the methods are those of the study, as far as they fit its budget. Its choice is judged by the AUC that the study has of it there,
beside the best of all methods; its expected hits among the first suspects by how many are wrong. Results are kept line by line in
``benchmarks/out/audit/``: a run that was stopped goes on; ``--fresh`` begins anew. Writes ``benchmarks/out/audit.md``.
"""

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ame import Lines
from cg_score import OUT, markdown
from joblib import Parallel, delayed
from peers import machine as machine_name

import datassay as da
from datassay.engines.machine import blas_threads
from datassay.evaluation.cells import Sizes, sources
from datassay.evaluation.tasks import with_errors

KEPT = OUT / "audit"
NEAR = 0.02
CASE = ["data", "kind", "rate", "seed"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--study", type=Path, required=True, help="folder that `datassay bench` wrote")
    parser.add_argument("--path", default="", help="folder with the files of its data sets")
    parser.add_argument("--train", type=int, default=500, help="rows, as in the study")
    parser.add_argument("--val", type=int, default=100)
    parser.add_argument("--test", type=int, default=500)
    parser.add_argument("--budget", default="20 s", help="of each audit")
    parser.add_argument("--seeds", type=int, help="the first so many; default: all of the study")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--fresh", action="store_true", help="forget what earlier runs kept")
    args = parser.parse_args()
    KEPT.mkdir(parents=True, exist_ok=True)
    kept = KEPT / f"{args.budget.replace(' ', '')}.jsonl"
    if args.fresh:
        kept.unlink(missing_ok=True)
    start = time.perf_counter()
    results = pd.read_parquet(args.study / "results.parquet")
    auc = results[results["metric"] == "auc"]
    if args.seeds:
        auc = auc[auc["seed"] < args.seeds]
    lines = Lines(kept)
    cases = list(auc[CASE].drop_duplicates().itertuples(index=False, name=None))
    rest = [case for case in cases if not lines.has(**dict(zip(CASE, case, strict=True)))]
    for case, found in Parallel(n_jobs=args.jobs, return_as="generator_unordered")(
        delayed(one)(case, args) for case in rest
    ):
        lines.get(lambda found=found: found, **dict(zip(CASE, case, strict=True)))
    text = report(auc, {case: lines.found_at(**dict(zip(CASE, case, strict=True))) for case in cases}, args)
    took = f"{machine_name(blas_threads())}. {time.perf_counter() - start:.0f} s in this run."
    OUT.mkdir(exist_ok=True)
    (OUT / "audit.md").write_text(f"# audit\n\n{text}\n\n{took}\n", encoding="utf-8")
    print(f"{text}\n\n{took}")


def one(case: tuple[Any, ...], args: argparse.Namespace) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What an audit says that does not know what is wrong, and what is."""
    warnings.simplefilter("ignore")
    name, kind, rate, seed = case
    source = sources([name], {"": args.path} if args.path else None, False, None, True)[name]
    given = with_errors(source.split(Sizes(args.train, args.val, args.test), seed), kind, rate, seed)
    found = da.audit(given.data, budget=args.budget, seed=seed, progress=False)
    values = found.calibrate(da.value(given.data, found.method, seed=seed, **found.options))
    wrong = given.wrong[np.argsort(values.scores, kind="stable")]
    n = len(wrong)
    hits = {}
    for label, k in (("20", 20), ("rate", max(1, round(rate * n))), ("100", 100)):
        said = found.expected(min(k, n), n)
        hits[label] = [said.k, said.hits, said.half, int(wrong[: said.k].sum())]
    p = values.columns["probability_wrong"]
    return case, {
        "method": found.method,
        "tried": found.table["method"].tolist(),
        "error_rate": [found.error_rate, found.error_rate_sd],
        "hits": hits,
        "brier": float(np.mean((p - given.wrong) ** 2)),
        "constant": float(np.mean((rate - given.wrong) ** 2)),
        "seconds": found.seconds,
    }


def report(auc: pd.DataFrame, found: dict[tuple[Any, ...], dict[str, Any]], args: argparse.Namespace) -> str:
    """Regret of the choice, beside always taking one method; and expected hits beside the hits."""
    wide = auc.pivot_table(index=CASE, columns="method", values="value")
    chosen = pd.Series({case: wide.loc[case, line["method"]] for case, line in found.items()})
    best = wide.max(axis=1).loc[list(found)]
    regret = best - chosen.to_numpy()
    rows: list[list[object]] = []
    for name, some in regret.groupby(level="data"):
        picks = pd.Series([found[case]["method"] for case in some.index]).value_counts()
        rows.append([
            name, f"{(some <= NEAR).mean():.0%}", f"{some.mean():.3f}", f"{best.loc[some.index].mean():.3f}",
            ", ".join(f"{method} {count}" for method, count in picks.items()),
        ])  # fmt: skip
    rows.append(["all", f"{(regret <= NEAR).mean():.0%}", f"{regret.mean():.3f}", f"{best.mean():.3f}", ""])
    always = ((best.to_numpy()[:, None] - wide.loc[list(found)].to_numpy()) <= NEAR).mean(0)
    order = np.argsort(-always, kind="stable")[:6]
    fixed = "; ".join(f"{wide.columns[i]} {always[i]:.0%}" for i in order)
    tables = []
    for label in ("20", "rate", "100"):
        lines = [line["hits"][label] for line in found.values()]
        said, half, true = (np.array([line[i] for line in lines], float) for i in (1, 2, 3))
        tables.append([
            {"20": "first 20", "rate": "as many as are wrong", "100": "first 100"}[label], f"{said.mean():.1f}", f"{true.mean():.1f}",
            f"{np.abs(said - true).mean():.1f}", f"{(np.abs(said - true) <= half + 0.5).mean():.0%}", f"{half.mean():.1f}",
        ])  # fmt: skip
    rates = pd.DataFrame(
        [(case[2], line["error_rate"][0], abs(line["error_rate"][0] - case[2])) for case, line in found.items()],
        columns=["rate", "said", "off"],
    )
    by_rate = [
        [f"{rate:.0%}", f"{some['said'].mean():.3f}", f"{some['said'].std():.3f}", f"{some['off'].mean():.3f}"]
        for rate, some in rates.groupby("rate")
    ]
    brier = np.mean([line["brier"] for line in found.values()]), np.mean([line["constant"] for line in found.values()])
    seconds = [line["seconds"] for line in found.values()]
    tried = [len(line["tried"]) for line in found.values()]
    return f"""{len(found)} cases; budget of an audit {args.budget}, {np.median(seconds):.0f} s in the median; {min(tried)} to {max(tried)}
methods tried, of {wide.shape[1]} in the study. "within": share of the cases in which the AUC of the recommended method is within {NEAR} of
the best of all methods of the study.

{markdown(["data", f"within {NEAR}", "mean regret", "mean of the best", "recommended"], rows)}

Always taking one method: {fixed}.

{markdown(["suspects", "expected to be wrong", "wrong", "mean distance", "within the interval", "its half width"], tables)}

{markdown(["planted", "share of wrong labels said", "sd", "mean distance"], by_rate)}

Brier score of the probabilities {brier[0]:.4f}; of the true rate for every row {brier[1]:.4f}."""


if __name__ == "__main__":
    main()
