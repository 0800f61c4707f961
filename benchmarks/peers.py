"""datassay beside other libraries, method by method: the same rows, model and number of trainings; AUC, time, memory.

    python benchmarks/peers.py                   # 3 seeds, 1,000 trainings, one core
    python benchmarks/peers.py --quick           # 1 seed, 300 trainings
    python benchmarks/peers.py --only dattri --only cg-score

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
WRONG = 0.4  # an AUC below this is announced as a probable wrong sign


LIBRARIES = {"ours": "datassay", "plain": "plain", "cleanlab": "cleanlab", "pydvl": "pyDVL", "opendataval": "OpenDataVal"}
LIBRARIES |= {"dattri": "dattri"}
DATA = {"digits": "digits", "breast-cancer": "cancer"}


class Entry(NamedTuple):
    """One line of the table."""

    group: str  # the method, as it is compared
    peer: str  # folder under peers/
    method: str  # what its run.py calls it
    variant: str = ""  # beside the library's name
    sees_validation: bool = True
    slow: bool = False  # fewer seeds


def group(name: str, method: str, *others: str, own: dict[str, str] | None = None, **more: bool) -> list[Entry]:
    """datassay's entry, the ``others``' of the same method, and ``own``: further variants of datassay's."""
    ours = [Entry(name, "ours", method, "", **more)] + [Entry(name, "ours", m, v, **more) for m, v in (own or {}).items()]
    return ours + [Entry(name, peer, method, "", **more) for peer in others]


ENTRIES = [
    *group("KNN-Shapley, k = 10", "knn-shapley", "pydvl", "opendataval", "dattri"),
    *group("KNN-Shapley, rows judge, cosine", "knn-shapley-rows", "cleanlab", sees_validation=False),
    *group("self-confidence, 5 folds", "self-confidence", "cleanlab", "plain", sees_validation=False),
    *group("confident learning, 5 folds", "confident-learning", "cleanlab", sees_validation=False),
    *group("Data-OOB", "data-oob", "pydvl", "opendataval", own={"data-oob-default": "own trees"}, sees_validation=False),
    *group("leave-one-out", "leave-one-out", "pydvl", "opendataval", own={"leave-one-out-default": "defaults"}),
    *group(
        "Shapley",
        "shapley",
        "pydvl",
        "opendataval",
        own={"shapley-permutation": "permutations", "shapley-default": "defaults"},
    ),
    *group("Beta(4, 1) Shapley", "beta-shapley", "pydvl", "opendataval", own={"beta-shapley-default": "defaults"}),
    *group("Banzhaf", "banzhaf", "opendataval", own={"banzhaf-msr": "MSR", "banzhaf-default": "defaults"}),
    Entry("Banzhaf", "pydvl", "banzhaf", slow=True),
    *group("AME", "ame", "opendataval", own={"ame-default": "defaults"}),
    *group("LAVA", "lava", "opendataval"),
    *group("DVRL, 1,000 selections", "dvrl", "opendataval", slow=True),
    Entry("DVRL, 1,000 selections", "ours", "dvrl-default", "defaults: 2,000", slow=True),
    *group("TracIn, 20 checkpoints", "tracin"),
    Entry("TracIn, 20 checkpoints", "dattri", "tracin", "exact", slow=True),
    Entry("TracIn, 20 checkpoints", "dattri", "tracin-default", "default: projected", slow=True),
    Entry("TRAK", "dattri", "trak"),
    Entry("CG-score", "ours", "cg-score", sees_validation=False),
    Entry("CG-score", "ours", "cg-score-paper", "as in the paper", sees_validation=False),
    Entry("CG-score", "ours", "cg-score-trusted", "trusted validation rows"),
    Entry("model of the validation rows", "plain", "clean-model"),
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


def value(entry: Entry, arrays: dict[str, np.ndarray], seed: int, trainings: int, cores: int) -> dict:
    """What one method says of the rows, and what it took: scores (higher = keep), flags, seconds, bytes, versions."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.npz"), Path(folder, "out.npz")
        np.savez(source, **arrays)
        script = PEERS / entry.peer / "run.py"
        options = ["--method", entry.method, "--seed", seed, "--trainings", trainings]
        run([interpreter(entry.peer), script, source, target, *options], 3600, cores)
        with np.load(target, allow_pickle=False) as out:
            return {name: out[name] if out[name].ndim else out[name].item() for name in out.files}


# --------------------------------------------------------------------------------------------------------- the tables


def machine(cores: int) -> str:
    """What the times were measured on."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        names = [x for x in Path("/proc/cpuinfo").read_text().splitlines() if x.startswith("model name")]
        model = names[0].split(":", 1)[1].strip() if names else model
    return f"{model}, {cores} of {os.cpu_count()} cores, {platform.system()} {platform.machine()}"


def title(library: str, variant: str) -> str:
    return f"{library}, {variant}" if variant else library


def mean(values: pd.Series, form: str = ".3f") -> str:
    """'0.912 ± 0.004', or without ± of one value; a failure is named."""
    values = values.dropna()
    if values.empty:
        return "failed"
    spread = f" ± {values.std():{form}}" if len(values) > 1 else ""
    return f"{values.mean():{form}}{spread}"


def seconds(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def compact(results: pd.DataFrame) -> list[str]:
    """One line a method that a peer has too: datassay, then each peer: AUC on both data sets, seconds and MB on the larger."""
    peers = [name for name in LIBRARIES.values() if name not in ("datassay", "plain") and name in set(results["library"])]
    heads = ["method", "datassay", "its defaults", *peers]
    lines = ["| " + " | ".join(heads) + " |", "| --- " * len(heads) + "|"]
    for name, part in results.groupby("group", sort=False):
        first = part.drop_duplicates(["library", "data", "seed"])  # variants are in the table below
        if not {"datassay", *peers}.intersection(set(first["library"]) - {"datassay"}) or "datassay" not in set(
            first["library"]
        ):
            continue
        cells = []
        for library in ("datassay", "its defaults", *peers):
            mine = first[first["library"] == library]
            if library == "its defaults":
                mine = part[(part["library"] == "datassay") & part["variant"].str.startswith(("defaults", "own"))]
            if mine.empty:
                cells.append("")
                continue
            auc = " / ".join(f"{mine[mine['data'] == d]['auc'].mean():.3f}" for d in DATA if d in set(mine["data"]))
            large = mine[mine["data"] == mine["data"].iloc[0]]
            cells.append(f"{auc}; {seconds(large['seconds'].median())} s; {large['MB'].median():.0f} MB")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def long(results: pd.DataFrame) -> list[str]:
    """A line for each method of each library."""
    data = [d for d in DATA if d in set(results["data"])]
    heads = ["method", "library", *(f"AUC, {DATA[d]}" for d in data), *(f"AP, {DATA[d]}" for d in data)]
    heads += [f"seconds, {DATA[data[0]]}", "times ours", "MB", "trainings", "seeds", "note"]
    lines = ["| " + " | ".join(heads) + " |", "| --- " * len(heads) + "|"]
    for name, part in results.groupby("group", sort=False):
        ours = part[(part["library"] == "datassay") & (part["data"] == data[0])]
        base = ours[ours["variant"] == ours["variant"].iloc[0]]["seconds"].median() if len(ours) else np.nan
        for (library, variant), some in part.groupby(["library", "variant"], sort=False):
            large = some[some["data"] == data[0]]
            took = large["seconds"].median()
            notes = "; ".join(dict.fromkeys(note.replace("|", "/") for note in some["note"] if note))
            done = large["trainings"].dropna().astype(int)
            spread = sorted({done.min(), done.max()}) if len(done) else [0]
            cells = [name, title(library, variant)]
            cells += [mean(some[some["data"] == d][column]) for column in ("auc", "ap") for d in data]
            cells += [seconds(took) if took == took else "", f"{took / base:.2g}" if took == took and base == base else ""]
            cells += [
                f"{large['MB'].median():.0f}" if took == took else "",
                " to ".join(f"{n:,}" for n in spread) if spread[-1] else "none",
            ]
            lines.append("| " + " | ".join([*cells, str(large["seed"].nunique()), notes]) + " |")
    return lines


def tables(results: pd.DataFrame, versions: dict[str, dict[str, str]], cores: int) -> str:
    """All that was found, as Markdown."""
    results = results.assign(seconds=results["cpu"]) if cores == 1 else results  # the same, unless other programs run too
    lines = ["# datassay and its peers", "", f"Machine: {machine(cores)}", ""]
    lines += [f"- {LIBRARIES[peer]}: " + ", ".join(f"{k} {v}" for k, v in found.items()) for peer, found in versions.items()]
    clock = "CPU time" if cores == 1 else "time"
    lines += [
        "",
        f"{RATE:.0%} of the training labels wrong. AUC and AP (average precision): of the wrong labels, mean ± standard deviation over",
        f"seeds. Seconds: median {clock} of the valuation alone. MB: median peak of the process, imported libraries included.",
        "",
        "## Methods that datassay and a peer have",
        "",
        f"AUC on {' / '.join(DATA[d] for d in DATA if d in set(results['data']))}; seconds and MB on the first.",
        "",
        *compact(results),
        "",
        "## All",
        "",
        *long(results),
    ]
    flagged = results.dropna(subset=["precision"])
    if len(flagged):
        lines += ["", "## Flags", "", "| method | library | data | flagged | precision | recall |", "| --- " * 6 + "|"]
        for (name, library, data), some in flagged.groupby(["group", "library", "data"], sort=False):
            cells = [
                name,
                library,
                DATA[data],
                f"{some['flagged'].mean():.0f}",
                mean(some["precision"]),
                mean(some["recall"]),
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def measure(entry: Entry, arrays: dict, wrong: np.ndarray, seed: int, trainings: int, cores: int) -> dict:
    """A line of the results: one method of one library on one draw of the rows."""
    line = {
        "group": entry.group,
        "library": LIBRARIES[entry.peer],
        "variant": entry.variant,
        "validation": entry.sees_validation,
    }
    line |= dict.fromkeys(
        ["auc", "ap", "seconds", "cpu", "MB", "MB_before", "trainings", "precision", "recall", "flagged"], np.nan
    )
    try:
        found = value(entry, arrays, seed, trainings, cores)
    except RuntimeError as failure:
        return line | {"note": f"FAILED: {failure}"}
    scores, flags = found["scores"], found["flags"]
    line |= {name: found[name] for name in ("seconds", "cpu", "trainings", "note")} | {
        "versions": json.loads(found["versions"])
    }
    line |= {"MB": found["peak"] / 2**20, "MB_before": found["before"] / 2**20}
    line |= {"auc": roc_auc_score(wrong, -scores), "ap": average_precision_score(wrong, -scores)}
    if len(flags):
        line |= {"flagged": flags.sum(), "precision": (flags & wrong).sum() / max(1, flags.sum())}
        line |= {"recall": (flags & wrong).sum() / wrong.sum()}
    if line["auc"] < WRONG:
        line["note"] = f"WRONG SIGN? AUC {line['auc']:.3f}. {line['note']}"
    return line


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds (default 3)")
    parser.add_argument("--slow-seeds", type=int, default=1, help="of methods that take minutes (default 1)")
    parser.add_argument("--trainings", type=int, help="of methods that train on subsets (default 1,000; with --quick 300)")
    parser.add_argument("--quick", action="store_true", help="1 seed, 300 trainings, on breast cancer alone")
    parser.add_argument("--only", action="append", metavar="NAME", help="a peer (folder) or a method; may be repeated")
    parser.add_argument("--cores", type=int, default=1, help="threads or processes, the same for all (default 1)")
    call = parser.parse_args()
    seeds = 1 if call.quick else call.seeds
    trainings = call.trainings or (300 if call.quick else 1000)
    names = {name for entry in ENTRIES for name in (entry.peer, entry.method)}
    if unknown := set(call.only or ()) - names:
        parser.error(f"--only: no such peer or method: {', '.join(unknown)}; there are {', '.join(sorted(names))}")
    entries = [entry for entry in ENTRIES if not call.only or {entry.peer, entry.method} & set(call.only)]

    results, versions = [], {}
    OUT.mkdir(exist_ok=True)
    for seed in range(seeds):
        for data in ("breast-cancer",) if call.quick else DATA:
            arrays, wrong = rows(data, seed)
            for entry in entries:
                if entry.slow and seed >= call.slow_seeds:
                    continue
                line = {"data": data, "seed": seed} | measure(entry, arrays, wrong, seed, trainings, call.cores)
                versions |= {entry.peer: line.pop("versions")} if "versions" in line else {}
                results.append(line)
                name = f"{data} seed {seed} {entry.group}, {title(line['library'], entry.variant)}"
                print(
                    f"{name}: {line['auc']:.4f}, {line['seconds']:.3g} s, {line['MB']:.0f} MB {line['note']}",
                    file=sys.stderr,
                    flush=True,
                )
            frame = pd.DataFrame(results)
            frame.to_csv(OUT / "peers.csv", index=False)
            text = tables(frame, versions, call.cores)
            (OUT / "peers.md").write_text(text)
    print(text)
    return int(frame["auc"].isna().any() or (frame["auc"] < WRONG).any())


if __name__ == "__main__":
    sys.exit(main())
