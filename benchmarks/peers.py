"""datassay beside other libraries and two plain rivals: which finds planted wrong labels, and in what time.

    python benchmarks/peers.py                   # 5 seeds, TMC-Shapley on the first of them
    python benchmarks/peers.py --quick           # 1 seed, no TMC-Shapley
    python benchmarks/peers.py --only pydvl --only clean-model

Every library runs in a virtual environment of its own, made at the first run from ``peers/<name>/requirements.txt``;
peers without that file run in the interpreter that runs this. What each peer is given: ``peers/README.md``.
The tables go to ``benchmarks/out/peers.md`` (means over seeds) and ``peers.csv`` (a line a run).
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

HERE = Path(__file__).resolve().parent
PEERS = HERE / "peers"
OUT = HERE / "out"
RATE = 0.2


class Entry(NamedTuple):
    """One line of the table."""

    peer: str  # folder under peers/
    method: str  # what its run.py calls it
    title: str
    sees_validation: bool


ENTRIES = [
    Entry("ours", "cg-score", "datassay cg-score", False),
    Entry("ours", "cg-score-paper", "datassay cg-score, as in the paper", False),
    Entry("ours", "cg-score-trusted", "datassay cg-score, trusted validation rows", True),
    Entry("plain", "clean-model", "plain: model fitted on clean validation rows", True),
    Entry("plain", "out-of-fold", "plain: out-of-fold probability", False),
    Entry("cleanlab", "self-confidence", "cleanlab self-confidence", False),
    Entry("cleanlab", "knn-shapley", "cleanlab KNN-Shapley (k=10)", False),
    Entry("pydvl", "knn-shapley", "pyDVL KNN-Shapley (k=5)", True),
    Entry("pydvl", "data-oob", "pyDVL Data-OOB (1,000 trees)", False),
    Entry("pydvl", "tmc-shapley", "pyDVL TMC-Shapley", True),
]


# ---------------------------------------------------------------------------------------------------------- the rows


def plant(y: np.ndarray, rate: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Give ``rate`` of the rows, drawn without replacement, a label drawn uniformly among the other classes."""
    wrong = np.zeros(len(y), dtype=bool)
    wrong[rng.choice(len(y), round(rate * len(y)), replace=False)] = True
    classes, code = np.unique(y, return_inverse=True)
    shift = rng.integers(1, len(classes), len(y))  # never 0: a planted label always differs
    return np.where(wrong, classes[(code + shift) % len(classes)], y), wrong


def rows(data: str, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Training rows with planted wrong labels, validation rows with correct ones, and which labels were planted."""
    load, n_train, n_val = {"digits": (load_digits, 1000, 200), "breast-cancer": (load_breast_cancer, 300, 100)}[data]
    X, y = load(return_X_y=True)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(y))
    train, val = order[:n_train], order[n_train : n_train + n_val]
    if data == "digits":
        X = X / 16.0  # the pixels' range, the same for every row: no fitting involved
    else:
        X = StandardScaler().fit(X[train]).transform(X)
    given, wrong = plant(y[train], RATE, rng)
    return {"X": X[train], "y": given, "X_val": X[val], "y_val": y[val]}, wrong


# --------------------------------------------------------------------------------------------------------- the peers


def interpreter(peer: str) -> Path:
    """Path of the peer's Python, its virtual environment made or renewed where its requirements ask for that."""
    requirements = PEERS / peer / "requirements.txt"
    if not requirements.exists():
        return Path(sys.executable)
    venv = PEERS / f".venv-{peer}"
    python = venv / ("Scripts" if os.name == "nt" else "bin") / "python"
    installed = venv / "requirements-installed.txt"  # written last: a broken installation is made again
    if not installed.exists() or installed.read_text() != requirements.read_text():
        print(f"making {venv}", file=sys.stderr)
        run([sys.executable, "-m", "venv", "--clear", venv], 300)
        run([python, "-m", "pip", "install", "--quiet", "-r", requirements], 1800)
        shutil.copy(requirements, installed)
    return python


def run(command: list, timeout: float, cores: int = 1) -> None:
    """Run a command on ``cores`` threads or processes; RuntimeError with the last line of its stderr if it fails."""
    limits = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LOKY_MAX_CPU_COUNT")
    environment = os.environ | dict.fromkeys(limits, str(cores)) | {"PYTHONWARNINGS": "ignore"}
    try:
        done = subprocess.run(
            [str(part) for part in command], env=environment, timeout=timeout, capture_output=True, text=True
        )
    except subprocess.TimeoutExpired as late:
        raise RuntimeError(f"no answer within {timeout:.0f} s") from late
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise RuntimeError(lines[-1].strip() if lines else f"exit status {done.returncode}")


def value(entry: Entry, arrays: dict[str, np.ndarray], seed: int, limit: float, cores: int) -> tuple[np.ndarray, dict]:
    """Scores of one method (higher = keep), and beside them its seconds, note and versions."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.npz"), Path(folder, "out.npz")
        np.savez(source, **arrays)
        script = PEERS / entry.peer / "run.py"
        options = ["--method", entry.method, "--seed", seed, "--limit", limit]
        run([interpreter(entry.peer), script, source, target, *options], 1800 + limit, cores)
        with np.load(target, allow_pickle=False) as out:
            versions = json.loads(str(out["versions"]))
            return out["scores"], {"seconds": float(out["seconds"]), "note": str(out["note"]), "versions": versions}


# --------------------------------------------------------------------------------------------------------- the tables


def machine(cores: int) -> str:
    """What the times were measured on."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        names = [x for x in Path("/proc/cpuinfo").read_text().splitlines() if x.startswith("model name")]
        model = names[0].split(":", 1)[1].strip() if names else model
    return f"{model}, {cores} of {os.cpu_count()} cores, {platform.system()} {platform.machine()}"


def tables(results: pd.DataFrame, versions: dict[str, dict[str, str]], cores: int) -> str:
    """The means over seeds as Markdown, a table a data set, best AUC first, failures last."""
    lines = ["# Planted wrong labels: datassay and its peers", "", f"Machine: {machine(cores)}", ""]
    lines += [f"- {peer}: " + ", ".join(f"{k} {v}" for k, v in found.items()) for peer, found in versions.items()]
    lines += [
        "",
        f"{RATE:.0%} of the training labels planted wrong. Mean ± standard deviation over seeds; median seconds of the",
        "valuation alone. Validation: the method is given clean validation rows.",
    ]
    for data, part in results.groupby("data", sort=False):
        lines += ["", f"## {data}", ""]
        lines += ["| method | validation | ROC AUC | average precision | seconds | seeds | note |"]
        lines += ["| --- | --- | --- | --- | --- | --- | --- |"]
        groups = [group for _, group in part.groupby("method", sort=False)]
        for group in sorted(groups, key=lambda g: -g["auc"].fillna(0).mean()):
            title, sees = group["method"].iloc[0], "yes" if group["validation"].iloc[0] else "no"
            fine = group.dropna(subset=["auc"])
            notes = "; ".join(dict.fromkeys(note.replace("|", "/") for note in group["note"] if note))
            if fine.empty:
                lines.append(f"| {title} | {sees} | FAILED | FAILED | | 0 | {notes} |")
                continue
            auc, precision = (
                f"{fine[c].mean():.4f}" + (f" ± {fine[c].std():.4f}" if len(fine) > 1 else "") for c in ("auc", "ap")
            )
            cells = (title, sees, auc, precision, f"{fine['seconds'].median():.3g}", str(len(fine)), notes)
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds (default 5)")
    parser.add_argument("--quick", action="store_true", help="1 seed; TMC-Shapley only if --only names it, then 10 s")
    parser.add_argument("--only", action="append", metavar="NAME", help="a peer (folder) or a method; may be repeated")
    parser.add_argument("--tmc-seconds", type=float, help="time limit of TMC-Shapley (default 200; with --quick 10)")
    parser.add_argument("--cores", type=int, default=2, help="threads or processes, the same for all (default 2)")
    call = parser.parse_args()
    seeds = 1 if call.quick else call.seeds
    limit = call.tmc_seconds or (10.0 if call.quick else 200.0)
    names = {name for entry in ENTRIES for name in (entry.peer, entry.method)}
    if unknown := set(call.only or ()) - names:
        parser.error(f"--only: no such peer or method: {', '.join(unknown)}; there are {', '.join(sorted(names))}")

    entries = [entry for entry in ENTRIES if not call.only or {entry.peer, entry.method} & set(call.only)]
    if call.quick and not call.only:
        entries = [entry for entry in entries if entry.method != "tmc-shapley"]

    results, versions = [], {}
    for data in ("digits", "breast-cancer"):
        for seed in range(seeds):
            arrays, wrong = rows(data, seed)
            for entry in entries:
                if entry.method == "tmc-shapley" and seed > 0:
                    continue  # one seed: every further one costs the whole time limit again
                line = {"data": data, "seed": seed, "peer": entry.peer, "method": entry.title}
                line |= {"validation": entry.sees_validation, "auc": np.nan, "ap": np.nan, "seconds": np.nan}
                try:
                    scores, found = value(entry, arrays, seed, limit, call.cores)
                except RuntimeError as failure:
                    results.append(line | {"note": f"FAILED: {failure}"})
                    print(f"{data} seed {seed} {entry.title}: FAILED: {failure}", file=sys.stderr)
                    continue
                versions[entry.peer] = found.pop("versions")
                line |= found | {"auc": roc_auc_score(wrong, -scores), "ap": average_precision_score(wrong, -scores)}
                if line["auc"] <= 0.5:
                    line["note"] = f"WRONG SIGN? AUC {line['auc']:.3f}. {line['note']}"
                    print(f"\n!!! {entry.title}: AUC {line['auc']:.3f} on {data}: is higher = keep?\n", file=sys.stderr)
                results.append(line)
                print(f"{data} seed {seed} {entry.title}: {line['auc']:.4f}, {line['seconds']:.3g} s", file=sys.stderr)

    frame = pd.DataFrame(results)
    OUT.mkdir(exist_ok=True)
    frame.to_csv(OUT / "peers.csv", index=False)
    text = tables(frame, versions, call.cores)
    (OUT / "peers.md").write_text(text)
    print(text)
    return int(frame["auc"].isna().any() or (frame["auc"] <= 0.5).any())


if __name__ == "__main__":
    sys.exit(main())
