"""Linear datamodelling score of methods that say which rows are behind an answer, as dattri has it: MNIST, 5,000 rows, 500 answers.

    python benchmarks/attribution.py --path folder                                       datassay's
    python benchmarks/attribution.py --path folder --dattri .venv-dattri/bin/python      and dattri's, on the same models and truth
    python benchmarks/attribution.py --path folder --kronfluence .venv-kronfluence/bin/python
    python benchmarks/attribution.py --path folder --trak .venv-trak/bin/python                   TRAK's own code
    python benchmarks/attribution.py --path folder --wrong 0.1                           how well these scores find planted errors

Two models: logistic regression, and a perceptron 784-128-64-10 (20 epochs by SGD, momentum .9). With ``--model transformer`` a third, of
two layers, on text: 2,000 first paragraphs of docstrings of installed packages (as text_errors.py has them), of which it says the
package, and 200 answers; datassay's methods alone. The truth: 100 trainings on random halves of the rows; kept in the output folder.
Each method runs in a process of its own, on one thread; seconds, and those of the CPU, begin with the trained networks where dattri's
and Kronfluence's do, and with the training where ours do. With ``--wrong`` so large a share of the labels is wrong, each replaced by
another class's, before all trainings; in place of the LDS stands how well (area under the curve) the mean over the answers of what a
row does to them tells these rows. The folder has mnist_train.parquet; the others' environments are made from
benchmarks/peers/<name>/requirements.txt. Writes ``benchmarks/out/attribution.md``, or ``attribution-wrong.md``.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from plan import held
from sklearn.metrics import roc_auc_score
from text_errors import docstrings
from torch import nn

import datassay as da
from datassay.engines.training import Recipe, Run, spawned
from datassay.evaluation import lds
from datassay.networks.problem import problem

OUT = Path(__file__).parent / "out"
PEERS = Path(__file__).parent / "peers"
RECIPE = Recipe(epochs=20, batch_size=64, lr=0.01, momentum=0.9, weight_decay=0.0)
OURS = {
    "logistic regression": {
        "influence": {}, "influence, first order": {"first_order": True},
    },
    "perceptron": {
        "trak, 1 training": {"runs": 1}, "trak, 3": {"runs": 3}, "trak, 10": {"runs": 10},
        "trak, 1 training, 4,096 numbers": {"runs": 1, "projection": 4096},
        "trak, 1 training, 2,048 numbers": {"runs": 1, "projection": 2048},
        "trak, 1 training, 512 numbers": {"runs": 1, "projection": 512},
        "influence, EK-FAC": {"hessian": "ek-fac"}, "influence, EK-FAC, 3 trainings": {"hessian": "ek-fac", "runs": 3},
        "influence, EK-FAC, 10 trainings": {"hessian": "ek-fac", "runs": 10},
        "influence, Gauss-Newton, 50 answers": {"hessian": "gauss-newton"},
    },
    "transformer": {
        "trak, 1 training": {"runs": 1}, "trak, 3": {"runs": 3}, "trak, 10": {"runs": 10},
        "trak, 1 training, 2,048 numbers": {"runs": 1, "projection": 2048},
        "trak, 10, 2,048 numbers": {"runs": 10, "projection": 2048}, "trak, 30, 2,048 numbers": {"runs": 30, "projection": 2048},
        "influence, EK-FAC": {"hessian": "ek-fac"}, "influence, EK-FAC, 3 trainings": {"hessian": "ek-fac", "runs": 3},
    },
}  # fmt: skip
DATTRI = {
    "logistic regression": ["IF explicit", "IF CG", "TRAK", "TracIn"],
    "perceptron": ["IF CG", "IF EK-FAC", "TRAK", "TRAK, 10 trainings", "TracIn"],
}
KRONFLUENCE = {"perceptron": ["EK-FAC"]}
TRAK = {"perceptron": ["TRAK", "TRAK, 10 trainings"]}
MODELS = list(OURS)
WORDS, LENGTH, WIDTH, HEADS = 2000, 32, 32, 4  # of the transformer: the commonest words, so many of a text
WRITTEN = Recipe(epochs=6, batch_size=32, lr=2e-3, optimiser="adam", weight_decay=0.0)


def perceptron(seed: int) -> nn.Module:
    """A fresh one."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))


class Layer(nn.Module):
    """Attention and two linear layers, normalised before each."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.ask, self.answer, self.say, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.wide, self.narrow = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, h: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        x = self.before(h)
        q, k, v = (part(x).unflatten(2, (HEADS, -1)).transpose(1, 2) for part in (self.ask, self.answer, self.say))
        weight = (q @ k.transpose(2, 3) / (WIDTH / HEADS) ** 0.5).masked_fill(~there[:, None, None, :], -1e9).softmax(3)
        h = h + self.out((weight @ v).transpose(1, 2).flatten(2))
        return h + self.narrow(self.wide(self.between(h)).relu())


class Transformer(nn.Module):
    """Numbers of words, 0 where a text is over; the mean over what is left of it."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.words, self.place = nn.Embedding(WORDS, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.first, self.second = Layer(), Layer()
        self.last = nn.Linear(WIDTH, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.long()
        there = x > 0
        there[:, 0] = True
        h = self.words(x) + self.place(torch.arange(LENGTH, device=x.device).expand_as(x))
        h = self.second(self.first(h, there), there)
        return self.last((h * there[..., None]).sum(1) / there.sum(1, keepdim=True))


def transformer(seed: int) -> nn.Module:
    """A fresh one, of five packages."""
    torch.manual_seed(seed)
    return Transformer(5)


GIVEN = {"logistic regression": (None, None), "perceptron": (perceptron, RECIPE), "transformer": (transformer, WRITTEN)}


def texts(train: int, val: int) -> da.Dataset:
    """Words as numbers by how common they are, from 2 on; 1 is any other word, and behind the last stands 0."""
    written, packages = docstrings()
    drawn = np.random.default_rng(0).permutation(len(written))[: train + val]
    split = [re.findall(r"[a-z]+", written[i].lower())[:LENGTH] for i in drawn]
    common = [word for word, _ in Counter(word for words in split for word in words).most_common(WORDS - 2)]
    number = {word: i + 2 for i, word in enumerate(common)}
    X = np.zeros((len(split), LENGTH), np.float32)
    for row, words in zip(X, split, strict=True):
        row[: len(words)] = [number.get(word, 1) for word in words]
    y = packages[drawn]
    return da.Dataset(X[:train], y[:train], X[train:], y[train:], standardise=False)


def rows(path: Path, train: int, val: int) -> da.Dataset:
    """Pixels as columns."""
    d = da.datasets.drawn("mnist", seed=0, train=train, val=val, test=10, paths={"": path}).data
    return da.Dataset(np.asarray(d.X, np.float32), d.y, np.asarray(d.X_val, np.float32), d.y_val)


def truth(data: da.Dataset, model: str, masks: int, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Halves, and what models of them say."""
    file = folder / f"truth-{model.split()[0]}-{len(data)}-{masks}.npz"
    if not file.exists():
        start = time.perf_counter()
        counts, said = lds.retrained(data, *GIVEN[model], 0, masks)
        np.savez(file, counts=counts, said=said)
        print(f"{model}: {masks} trainings on halves, {time.perf_counter() - start:.0f} s", flush=True)
    with np.load(file) as kept:
        return kept["counts"], kept["said"]


def exported(data: da.Dataset, model: str, folder: Path, runs: int = 10) -> Path:
    """The fitted models, for the others: weights as npz; the networks that trak trains with seed 0."""
    file = folder / f"models-{model.split()[0]}.npz"
    if model == MODELS[0]:
        from datassay.subsets.trainers import trainable

        trainer = trainable(data, None, "benchmark", tol=1e-9).trainer
        W = trainer.fit(np.ones((1, len(data)), np.uint8), tol=1e-9)[0]
        arrays = {
            "X": trainer.X,
            "X_val": trainer.Q,
            "penalty": trainer.fit.penalty,
            "0 0.weight": W[:-1].T,
            "0 0.bias": W[-1],
        }
    else:
        p, arrays = problem(data, perceptron, "cpu", "benchmark"), {"X": data.X, "X_val": data.X_val, "penalty": 0.0}
        for run in range(runs):
            net = p.make(run, 0)
            for _ in Run(net, p.loss, p.x, p.y, RECIPE, seed=spawned(0, run)):
                pass
            arrays |= {f"{run} {name}": w.detach().numpy() for name, w in net.named_parameters()}
    np.savez(file, y=data.codes, y_val=data.codes_val, **arrays)
    return file


def of(model: str, call: argparse.Namespace) -> tuple[da.Dataset, np.ndarray]:
    """Its rows, and which of them have a wrong label."""
    data = texts(2 * call.train // 5, 2 * call.val // 5) if model == "transformer" else rows(call.path, call.train, call.val)
    return da.plant(data, "uniform", call.wrong, seed=0) if call.wrong else (data, np.zeros(len(data), bool))


def one(call: argparse.Namespace) -> None:
    """A method of ours: its matrix, seconds and memory."""
    model, name = call.one
    data, _ = of(model, call)
    options = dict(OURS[model][name])
    options |= dict(zip(("model", "training"), GIVEN[model], strict=True)) if model != MODELS[0] else {}
    if name.endswith("50 answers"):  # each is a system of its own
        data = data.take_validation(list(range(0, len(data.y_val), len(data.y_val) // 50)))
    before, start, cpu = held("VmRSS"), time.perf_counter(), time.process_time()
    da.value(data, name.split(",")[0], matrix=call.target, progress=False, n_jobs=1, **options)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    print(json.dumps({"seconds": seconds, "cpu": cpu, "GB": held("VmHWM") - before}))


def line(model: str, who: str, name: str, said: dict, judged: str) -> str:
    """Of the table."""
    return f"| {model} | {who} | {name} | {judged} | {said['seconds']:.1f} | {said['cpu']:.1f} | {said['GB']:.2f} |"


def lds_of(matrix: np.ndarray, counts: np.ndarray, answers: np.ndarray) -> str:
    each = lds.scores(matrix, counts, answers[:, :: answers.shape[1] // matrix.shape[1]])
    return f"{each.mean():.3f} ± {each.std(ddof=1) / len(each) ** 0.5:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", type=Path, help="folder with mnist_train.parquet")
    parser.add_argument("--dattri", type=Path, help="the interpreter of an environment with dattri")
    parser.add_argument("--kronfluence", type=Path, help="the interpreter of one with Kronfluence")
    parser.add_argument("--trak", type=Path, help="the interpreter of one with TRAK's own code")
    parser.add_argument("--train", type=int, default=5000)
    parser.add_argument("--val", type=int, default=500)
    parser.add_argument("--masks", type=int, default=100)
    parser.add_argument("--wrong", type=float, default=0.0, help="share of the labels that is wrong; 0: the LDS")
    parser.add_argument("--model", action="append", choices=MODELS, help="may be repeated; default: the first two")
    parser.add_argument("--only", help='lines that contain this: "dattri", "trak, 3"')
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--target", type=Path, default=OUT / "matrix.npy", help=argparse.SUPPRESS)
    call = parser.parse_args()
    OUT.mkdir(exist_ok=True)
    torch.set_num_threads(1)
    if call.one:
        one(call)
        return
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    lines = [
        f"| model | | method | {'AUC' if call.wrong else 'LDS'} | s | CPU s | GB |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for model in call.model or MODELS[:2]:
        data, wrong = of(model, call)
        if not call.wrong:
            counts, answers = truth(data, model, call.masks, OUT)
        sizes = ["--path", str(call.path), "--train", str(call.train), "--val", str(call.val), "--target", str(call.target)]
        sizes += ["--wrong", str(call.wrong)]
        todo = [("datassay", name, [sys.executable, __file__, "--one", model, name, *sizes]) for name in OURS[model]]
        for who, python, names in (
            ("dattri", call.dattri, DATTRI),
            ("kronfluence", call.kronfluence, KRONFLUENCE),
            ("trak", call.trak, TRAK),
        ):
            if python:
                script, models = PEERS / who / "attribution.py", exported(data, model, OUT)
                todo += [
                    (who, name, [str(python), str(script), str(models), str(call.target), name])
                    for name in names.get(model, [])
                ]
        for who, name, words in todo:
            if call.only and call.only not in f"{who} {name}":
                continue
            call.target.unlink(missing_ok=True)
            child = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=3600)
            if child.returncode:
                last = child.stderr.strip().splitlines()[-1:] or [str(child.returncode)]
                lines.append(f"| {model} | {who} | {name} | FAILED: {last[0][:100]} | | | |")
            else:
                said = json.loads(child.stdout.splitlines()[-1])
                matrix = np.load(call.target)
                judged = f"{roc_auc_score(wrong, -matrix.mean(1)):.3f}" if call.wrong else lds_of(matrix, counts, answers)
                lines.append(line(model, who, name, said, judged))
            print(lines[-1], flush=True)
    (OUT / ("attribution-wrong.md" if call.wrong else "attribution.md")).write_text("\n".join(lines) + "\n")
    call.target.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
