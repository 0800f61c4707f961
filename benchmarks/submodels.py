"""Trainings on random subsets: how many a second beside plain loops, how that grows, and what the store adds.

    python benchmarks/submodels.py speed growth store --mnist mnist_train.parquet
    python benchmarks/submodels.py speed --models 32 --repeats 1                      # a small version; every part has one

Parts: ``speed`` (1,000 digits, subsets from AME's grid: logistic regressions beside a loop over scikit-learn, stacked perceptrons
beside a loop over one torch module at a time and over scikit-learn's, and the floor), ``growth`` (with the rows, the trainings, the
workers), ``store`` (what writing, space and reading cost). Every timing is made in a process of its own with one thread, some
processes a job in turns, the best of them counts. The MNIST file has a column ``image`` (encoded) and a column ``label``; without it
``growth`` stops at the digits' 1,500 rows. Each part writes ``benchmarks/out/submodels_<part>.md``.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
from cg_score import OUT, markdown, read_pixels
from peers import machine as machine_name
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import datassay as da
from datassay.engines import linear, machine, train_subsets
from datassay.engines.designs import Inclusion, Subsets
from datassay.engines.training_store import Predictions, Store, Training, training_key
from datassay.evaluation import plant_wrong_labels
from datassay.subsets.trainers import trainable
from datassay.subsets.utilities import utility_of

GRID = Inclusion("grid", (0.2, 0.4, 0.6, 0.8))
VAL = 200
LAYERS = (64, 100, 100, 10)
AT_ONCE = 25  # made-up trainings that are written together
ONE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def main() -> None:
    parts = {"speed": speed, "growth": growth, "store": store}
    if sys.argv[1:2] == ["once"]:
        print(json.dumps(ONCE[sys.argv[2]](**json.loads(sys.argv[3]))))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="+", choices=list(parts))
    parser.add_argument("--mnist", type=Path, help="Parquet file; for growth")
    parser.add_argument(
        "--rows", type=int, default=1000, help="digits of speed and store, and of growth with models and workers"
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[250, 500, 1000, 2000, 4000], help="rows of growth")
    parser.add_argument(
        "--models", type=int, default=512, help="logistic regressions timed; perceptrons are a quarter of it"
    )
    parser.add_argument("--repeats", type=int, default=5, help="processes for each timing")
    parser.add_argument("--reads", type=int, nargs="+", default=[1000, 10_000], help="trainings that store reads")
    args = parser.parse_args()
    for part in args.parts:
        start = time.perf_counter()
        found = parts[part](args)
        text = f"# {part}\n\n{found}\n\n{machine_name(1)}. {time.perf_counter() - start:.0f} s in all.\n"
        OUT.mkdir(exist_ok=True)
        (OUT / f"submodels_{part}.md").write_text(text, encoding="utf-8")
        print(text, flush=True)


# ------------------------------------------------------------------------------------------------------------- processes


def fresh(job: str, **options: object) -> dict[str, float]:
    """A job of `ONCE` in a process of its own, with one thread."""
    command = [sys.executable, "-W", "ignore", __file__, "once", job, json.dumps(options)]
    done = subprocess.run(command, env=os.environ | ONE, check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    print(job, options, {k: float(f"{v:.4g}") for k, v in found.items()}, flush=True)
    return found


def best(jobs: list[tuple[str, dict[str, object]]], repeats: int) -> list[dict[str, float]]:
    """Of each job the process that took least, all jobs in turns, so that other work on the machine meets them alike."""
    runs = [[fresh(job, **options) for job, options in jobs] for _ in range(repeats)]
    return [min(each, key=lambda found: found["seconds"]) for each in zip(*runs, strict=True)]


def seconds_of(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


# ------------------------------------------------------------------------------------------------------------------ data


def digits(rows: int, val: int = VAL) -> da.Dataset:
    """scikit-learn's digits, pixels from 0 to 1, a fifth of the labels wrong; and validation rows."""
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))[: rows + val]
    X, y = X[order] / 16, y[order]
    return plant_wrong_labels(da.Dataset(X[:rows], y[:rows], X[rows:], y[rows:]), 0.2)[0]


def data_of(source: str, rows: int, path: str = "") -> da.Dataset:
    """So many rows: "digits", "mnist" (784 columns), or "means", MNIST's over squares of 4 x 4 (49 columns)."""
    if source == "digits":
        return digits(rows)
    with np.load(path) as kept:
        X, y = kept["X"][: rows + VAL], kept["y"][: rows + VAL]
    if source == "means":
        X = X.reshape(-1, 7, 4, 7, 4).mean((2, 4))
    X = X.reshape(len(X), -1)
    return plant_wrong_labels(da.Dataset(X[:rows], y[:rows], X[rows:], y[rows:]), 0.2)[0]


def drawn(path: Path, rows: int, folder: str) -> str:
    """An npz of so many random images and validation rows of a Parquet file, which takes less time to read."""
    data = read_pixels(path)
    order = np.random.default_rng(0).permutation(len(data))[: rows + VAL]
    np.savez(Path(folder, "images.npz"), X=np.asarray(data.X[order]).reshape(-1, 28, 28), y=data.y[order])
    return str(Path(folder, "images.npz"))


def perceptron(columns: int) -> Callable[[int], object]:
    """A function from a seed to columns-100-100-10."""
    from torch import nn

    def make(seed: int) -> nn.Module:
        a, b, c = LAYERS[1:]
        return nn.Sequential(nn.Linear(columns, a), nn.ReLU(), nn.Linear(a, b), nn.ReLU(), nn.Linear(b, c))

    return make


def model_of(name: str, columns: int) -> object:
    """None is the default logistic regression, whose C and scale are chosen."""
    return {
        "default": lambda: None,
        "C=1": lambda: LogisticRegression(C=1.0),
        "C=0.1": lambda: LogisticRegression(C=0.1),
        "perceptron": lambda: perceptron(columns),
    }[name]()


# ----------------------------------------------------------------------------------------------------------------- speed


def speed(args: argparse.Namespace) -> str:
    logistic, network = {"rows": args.rows, "models": args.models}, {"rows": args.rows, "models": max(1, args.models // 4)}
    few = network | {"models": max(1, args.models // 16)}
    jobs: list[tuple[str, dict[str, object]]] = []
    for model in ("default", "C=1"):
        jobs += [("ours", logistic | {"model": model})]
        jobs += [("sklearn", network | {"model": model, "solver": "lbfgs"})]
        jobs += [("sklearn", few | {"model": model, "solver": "newton-cholesky"})]
    jobs += [("ours", network | {"model": "perceptron"}), ("loop", few), ("classifier", few)]
    found = best(jobs, args.repeats)
    floors = {model: best([("floor", {"rows": args.rows, "model": model})], 1)[0] for model in ("default", "C=1")}
    floors["perceptron"] = best([("network_floor", {"rows": args.rows})], 1)[0]
    titles = {"lbfgs": "loop over LogisticRegression", "newton-cholesky": 'the same, solver="newton-cholesky"'}
    lines, network_lines = [], []
    for (job, options), line in zip(jobs, found, strict=True):
        per = line["seconds"] / line["models"]
        model = str(options.get("model", "perceptron"))
        floor = floors[model]
        mine = job == "ours"
        distance = [floor["floor"] * 1e3, f"{per / floor['floor']:.1f}"] if mine else ["", f"{per / floor['floor']:.1f}"]
        if model == "perceptron":
            title = {"ours": "stacked", "loop": "loop, one torch module at a time", "classifier": "loop over MLPClassifier"}[
                job
            ]
            network_lines.append([title, 1 / per, per * 1e3, round(line["steps"]), *distance, f"{line['accuracy']:.3f}"])
        else:
            title = "engines.linear" if mine else titles[str(options["solver"])]
            steps = floor["evaluations"] if mine else line["steps"]
            lines.append([model, title, 1 / per, per * 1e3, round(steps, 1), *distance, f"{line['off']:.0e}"])
    chosen = next(line for (job, options), line in zip(jobs, found, strict=True) if options.get("model") == "default")
    header = ["trainings/s", "ms each"]
    tail = ["floor, ms", "times the floor"]
    d, o, p = floors["default"], floors["C=1"], floors["perceptron"]
    return f"""{args.rows:,} digits, 64 columns, 10 classes, {VAL} validation rows; subsets with p from .2, .4, .6, .8; one thread.
The best of {args.repeats} processes; each training with its log-probabilities for the validation rows.

## Logistic regression

C and scale as chosen by the default (C = {chosen["C"]:.3g}; choosing and preparing once took {chosen["setup"]:.2g} s and is not counted),
and C = 1 on the pixels; all in a table's half are of the same rows, C and scale. Steps: evaluations of loss and gradient (ours), or
scikit-learn's iterations at its default tolerance. Off: the largest difference of a validation row's probability from that of
a fit to a gradient of 1e-9, of 16 trainings.

{markdown(["C", "", *header, "steps", *tail, "off"], lines)}

Floor: the products of the steps that ours takes, {d["gflop"] * 1e3:.0f} (C = 1: {o["gflop"] * 1e3:.0f}) Mflop a training,
{d["share32"]:.0%} ({o["share32"]:.0%}) of them in float32, at the rates of large products ({d["product64"] / 1e9:.1f} Gflop/s in
float64, {d["product32"] / 1e9:.1f} in float32, measured in the same run), and {d["exps"] / 1e3:.0f} (C = 1: {o["exps"] / 1e3:.0f}) thousand
exponentials at numpy's {d["exp_rate64"] / 1e6:.0f} and {d["exp_rate32"] / 1e6:.0f} million a second. Products as small and narrow as
these reach {d["shape64"] / 1e9:.1f} and {d["shape32"] / 1e9:.1f} Gflop/s. scikit-learn calculates in float64.

## Perceptron 64-100-100-10

{p["epochs"]:.0f} epochs of all rows in steps, Adam, batches of {p["batch"]:.0f}: the same recipe and number of steps for all
(scikit-learn: whole epochs of its rows, to the nearest number). Accuracy: mean on the validation rows.

{markdown(["", *header, "steps", *tail, "accuracy"], network_lines)}

Floor: {p["gflop"]:.2f} Gflop a training at {p["product32"] / 1e9:.1f} Gflop/s (float32), and {p["adam"] / 1e6:.0f} MB of weights, gradients
and moments that Adam reads or writes, at {p["bandwidth"] / 1e9:.1f} GB/s, a copy's rate within the cache. Batched products as small as
these reach {p["shape32"] / 1e9:.1f} Gflop/s.
"""


def ours_once(rows: int, models: int, model: str) -> dict[str, float]:
    """Seconds of so many trainings by the library's trainer, block by block; preparations apart."""
    data = digits(rows)
    counts, seeds = GRID.draw(rows, 0, 0, models).counts, list(range(models))
    start = time.perf_counter()
    trainer = trainable(data, model_of(model, 64), "benchmark", device="cpu").trainer
    whole = [slice(a, min(a + trainer.block, models)) for a in range(0, models, trainer.block)]
    if model == "perceptron":
        trainer(counts[:1], seeds[:1], val=True, rows=False)
    else:
        trainer(counts[whole[0]], seeds[whole[0]], val=True, rows=False)
    line = {"setup": time.perf_counter() - start, "models": models}
    said: list[Predictions] = []
    start = time.perf_counter()
    for part in whole:
        said += trainer(counts[part], seeds[part], val=True, rows=False)
    line["seconds"] = time.perf_counter() - start
    val = np.stack([s.val for s in said])
    line["accuracy"] = float(utility_of(data, "accuracy", "benchmark")(val).mean())
    if model == "perceptron":
        return line | {"steps": trainer.recipe.epochs * -(-rows // trainer.recipe.batch_size)}
    return line | {"off": off(trainer, counts[:16], val[:16]), "C": C_of(trainer)}


def C_of(trainer: object) -> float:
    return float(1 / (trainer.fit.ridge * trainer.fit.unit**2))


def off(trainer: object, counts: np.ndarray, said: np.ndarray) -> float:
    """Largest difference of probabilities from those of a far more exact fit."""
    exact = linear.log_probabilities(trainer.Q, trainer.fit(counts, tol=1e-9))
    return float(np.abs(np.exp(exact) - np.exp(said.astype(np.float64))).max())


def sklearn_once(rows: int, models: int, model: str, solver: str) -> dict[str, float]:
    """The same trainings by scikit-learn, one after the other."""
    data = digits(rows)
    trainer = trainable(data, model_of(model, 64), "benchmark").trainer
    X, Q, y, C = trainer.X, trainer.Q, data.codes, C_of(trainer)
    counts = GRID.draw(rows, 0, 0, models).counts
    said, steps = [], []

    def one(c: np.ndarray) -> None:
        inside = np.flatnonzero(c)
        fitted = LogisticRegression(C=C, solver=solver, max_iter=10_000).fit(X[inside], y[inside])
        out = np.full((len(Q), len(data.classes)), -np.inf)
        out[:, fitted.classes_] = fitted.predict_log_proba(Q)
        said.append(out)
        steps.append(float(np.max(fitted.n_iter_)))

    one(counts[0])
    said.clear()
    seconds = seconds_of(lambda: [one(c) for c in counts])
    few = min(16, models)
    return {
        "seconds": seconds,
        "models": models,
        "steps": float(np.mean(steps)),
        "off": off(trainer, counts[:few], np.stack(said[:few])),
    }


def floor_once(rows: int, model: str) -> dict[str, float]:
    """Operations of a training, counted while 32 are trained, and how fast this machine could do them."""
    data = digits(rows)
    trainer = trainable(data, model_of(model, 64), "benchmark").trainer
    b = 2 * trainer.block
    counts = GRID.draw(rows, 0, 0, b).counts
    trainer(counts[: trainer.block], list(range(trainer.block)), val=True, rows=False)
    flops, exps, evaluations = {"float64": 0.0, "float32": 0.0}, {"float64": 0.0, "float32": 0.0}, 0
    evaluate, lower = linear._Side.evaluate, linear._Side.lower

    def counted(self: linear._Side, W: np.ndarray, which: np.ndarray | None = None) -> object:
        nonlocal evaluations
        for problem in self.problems if which is None else [self.problems[i] for i in which]:
            D, m = problem.X.shape
            flops[str(problem.X.dtype)] += 4 * W.shape[1] * D * m
            exps[str(problem.X.dtype)] += W.shape[1] * m
            evaluations += 1
        return evaluate(self, W, which)

    def counted_lower(self: linear._Side, G: np.ndarray) -> object:
        for problem in self.problems:
            flops[str(problem.P.P.dtype)] += 2 * problem.P.P.size
        return lower(self, G)

    linear._Side.evaluate, linear._Side.lower = counted, counted_lower
    trainer(counts, list(range(b)), val=True, rows=False)
    linear._Side.evaluate, linear._Side.lower = evaluate, lower
    flops, exps = ({k: v / b for k, v in some.items()} for some in (flops, exps))
    flops["float64"] += 2 * trainer.Q.size * len(data.classes)
    rates = machine.probe()
    c, (D, n) = len(data.classes), trainer.fit.X.shape
    line = {"evaluations": evaluations / b, "gflop": sum(flops.values()) / 1e9, "exps": sum(exps.values()), "floor": 0.0}
    for bits, product in (("64", rates.product64), ("32", rates.product32)):
        dtype = np.dtype(f"float{bits}")
        V, X = np.ones((c, D), dtype), np.ascontiguousarray(trainer.fit.X[:, : n // 2], dtype)
        Z, G, E, F = (
            np.empty((c, n // 2), dtype),
            np.empty((c, D), dtype),
            np.zeros((c, 2000), dtype),
            np.empty((c, 2000), dtype),
        )

        def products(V: np.ndarray = V, X: np.ndarray = X, Z: np.ndarray = Z, G: np.ndarray = G) -> None:
            for _ in range(200):
                np.matmul(V, X, out=Z)
                np.matmul(Z, X.T, out=G)

        exp_rate = 100 * E.size / min(seconds_of(lambda E=E, F=F: [np.exp(E, out=F) for _ in range(100)]) for _ in range(5))
        line[f"share{bits}"] = flops[dtype.name] / sum(flops.values())
        line |= {f"product{bits}": product, f"exp_rate{bits}": exp_rate}
        line[f"shape{bits}"] = 200 * 4 * V.size * X.shape[1] / min(seconds_of(products) for _ in range(5))
        line["floor"] += flops[dtype.name] / product + exps[dtype.name] / exp_rate
    return line | {"seconds": line["floor"]}


def loop_once(rows: int, models: int) -> dict[str, float]:
    """One torch module after the other: as many steps of the same recipe, rows drawn before the clock of a step."""
    import torch
    import torch.nn.functional as F

    data = digits(rows)
    stacks = trainable(data, perceptron(64), "benchmark", device="cpu").trainer
    recipe, make = stacks.recipe, perceptron(64)
    x, y, q = stacks.problem.x, stacks.problem.y, stacks.problem.x_val
    counts = GRID.draw(rows, 0, 0, models).counts
    steps, B = recipe.epochs * -(-rows // recipe.batch_size), recipe.batch_size

    def one(c: np.ndarray, seed: int) -> np.ndarray:
        torch.manual_seed(seed)
        net, rng = make(seed), np.random.default_rng(seed)
        own = np.flatnonzero(c)
        order = np.concatenate([rng.permutation(own) for _ in range(-(-steps * B // len(own)))])[: steps * B]
        optimiser = recipe.optimise(net)
        for now in torch.from_numpy(order).view(steps, B):
            loss = F.cross_entropy(net(x[now]), y[now])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            return net(q).log_softmax(1).numpy()

    one(counts[0], 0)
    said: list[np.ndarray] = []
    seconds = seconds_of(lambda: said.extend(one(c, seed) for seed, c in enumerate(counts)))
    accuracy = float(utility_of(data, "accuracy", "benchmark")(np.stack(said)).mean())
    return {"seconds": seconds, "models": models, "steps": steps, "accuracy": accuracy}


def classifier_once(rows: int, models: int) -> dict[str, float]:
    """scikit-learn's perceptron with the same recipe, as near as whole epochs come to the number of steps."""
    from sklearn.neural_network import MLPClassifier

    data = digits(rows)
    recipe = trainable(data, perceptron(64), "benchmark", device="cpu").trainer.recipe
    X, Q, y = np.asarray(data.X), np.asarray(data.X_val), data.codes
    counts = GRID.draw(rows, 0, 0, models).counts
    wanted = recipe.epochs * -(-rows // recipe.batch_size)
    right, steps = [], []

    def one(c: np.ndarray, seed: int) -> None:
        own = np.flatnonzero(c)
        epoch = -(-len(own) // recipe.batch_size)
        options = {"learning_rate_init": recipe.lr, "alpha": recipe.weight_decay, "tol": 0.0, "n_iter_no_change": 10**9}
        epochs = max(1, round(wanted / epoch))
        model = MLPClassifier(LAYERS[1:-1], batch_size=recipe.batch_size, max_iter=epochs, random_state=seed, **options)
        fitted = model.fit(X[own], y[own])
        fitted.predict_log_proba(Q)
        steps.append(fitted.n_iter_ * epoch)
        right.append(float((fitted.predict(Q) == data.codes_val).mean()))

    one(counts[0], 0)
    right.clear()
    seconds = seconds_of(lambda: [one(c, seed) for seed, c in enumerate(counts)])
    return {"seconds": seconds, "models": models, "steps": float(np.mean(steps)), "accuracy": float(np.mean(right))}


def network_floor_once(rows: int) -> dict[str, float]:
    """Products of all steps at the rate of a large one, and what Adam reads and writes at the rate of a copy."""
    import torch

    data = digits(rows)
    stacks = trainable(data, perceptron(64), "benchmark", device="cpu").trainer
    recipe, pairs = stacks.recipe, list(pairwise(LAYERS))
    B, steps, b = recipe.batch_size, recipe.epochs * -(-rows // recipe.batch_size), stacks.block
    weights = sum(i * o + o for i, o in pairs)
    forward = (
        2 * B * sum(i * o for i, o in pairs)
    )  # gradients of the weights cost as much; of the inputs, all but the first layer's
    flops = steps * (2 * forward + forward - 2 * B * LAYERS[0] * LAYERS[1])
    adam = steps * 7 * 4 * weights  # weight, gradient and two moments in; weight and two moments out
    source = torch.randn(2**18)  # 1 MB
    target = torch.empty_like(source)
    copies = min(seconds_of(lambda: [target.copy_(source) for _ in range(100)]) for _ in range(5))
    x, W = torch.randn(b, B, LAYERS[1]), torch.randn(b, LAYERS[1], LAYERS[2])
    bmm = min(seconds_of(lambda: [torch.bmm(x, W) for _ in range(20)]) for _ in range(5))
    rate, bandwidth = machine.probe().product32, 100 * 2 * source.numel() * 4 / copies
    floor = flops / rate + adam / bandwidth
    line = {"floor": floor, "seconds": floor, "gflop": flops / 1e9, "adam": adam, "bandwidth": bandwidth, "product32": rate}
    return line | {"shape32": 20 * 2 * x.numel() * LAYERS[2] / bmm, "epochs": recipe.epochs, "batch": B}


# ---------------------------------------------------------------------------------------------------------------- growth


def exponent(x: list[int], seconds: list[float]) -> str:
    return f"{np.polyfit(np.log(x), np.log(seconds), 1)[0]:.2f}" if len(x) > 1 else "-"


def growth(args: argparse.Namespace) -> str:
    many = {"C=0.1": max(1, args.models // 4), "perceptron": max(1, args.models // 8)}
    repeats = max(1, args.repeats // 2)
    sources = [("digits", ("C=0.1", "perceptron"))]
    if args.mnist:
        sources += [("means", ("C=0.1", "perceptron")), ("mnist", ("C=0.1",))]
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        path = drawn(args.mnist, max(args.sizes), folder) if args.mnist else ""
        for source, models in sources:
            sizes = [n for n in sorted(args.sizes) if source != "digits" or n <= 1500]
            for model in models:
                options = {"source": source, "path": path, "model": model, "models": many[model]}
                found = best([("grown", options | {"rows": n}) for n in sizes], repeats)
                ms = [1e3 * line["seconds"] / many[model] for line in found]
                shown = dict(zip(sizes, ms, strict=True))
                lines.append([source, model, *(shown.get(n, "") for n in sorted(args.sizes)), exponent(sizes, ms)])
    rows = markdown(["rows of", "model", *(f"n = {n}" for n in sorted(args.sizes)), "n^"], lines)

    asked = [args.models // 8, args.models // 4, args.models // 2, args.models, 2 * args.models]
    lines = []
    for model in many:
        ks = [max(2, k if model == "C=0.1" else k // 4) for k in asked]
        found = best([("grown", {"source": "digits", "rows": args.rows, "model": model, "models": k}) for k in ks], repeats)
        lines += [[model, k, line["seconds"], 1e3 * line["seconds"] / k] for k, line in zip(ks, found, strict=True)]
        lines.append([model, "models^", exponent(ks, [line["seconds"] for line in found]), ""])
    models = markdown(["model", "trainings", "seconds", "ms each"], lines)

    lines = []
    for model, k in (("C=0.1", 4 * args.models), ("perceptron", args.models // 2)):
        jobs = [
            ("grown", {"source": "digits", "rows": args.rows, "model": model, "models": k, "workers": w}) for w in (1, 2)
        ]
        one, two = best(jobs, repeats)
        same = "yes" if one["digest"] == two["digest"] else "NO"
        ratio = f"{one['seconds'] / two['seconds']:.2f}"
        lines.append([model, k, one["seconds"], two["seconds"], ratio, two["first"], same])
    header = [
        "model",
        "trainings",
        "1 worker, s",
        "2 workers (loky), s",
        "times as fast",
        "with their start, s",
        "same bits",
    ]
    workers = markdown(header, lines)
    return f"""Trainings by `engines.train_subsets.train` into a store in memory, one thread each, what is prepared once apart; best of
{repeats} processes. Logistic regression with C = 0.1 on pixels from 0 to 1, perceptron d-100-100-10 ("means": MNIST's over squares
of 4 x 4, 49 columns; "mnist": 784 columns).

## With the rows: milliseconds a training

{rows}

The perceptron does 10 epochs of all rows in steps, of batches of n / 50 rows, 16 at the least: 500 steps from n = 800 on.

## With the trainings

{models}

## With the workers

The second call in a process, and the first, in which the workers start and import what they need.

{workers}
"""


def grown_once(source: str, rows: int, model: str, models: int, path: str = "", workers: int = 0) -> dict[str, float]:
    """Seconds of so many trainings into a store in memory, after one block that pays for what is prepared once; with ``workers``
    of a second time so many."""
    data = data_of(source, rows, path)
    trainer = trainable(data, model_of(model, data.X.shape[1]), "benchmark", device="cpu").trainer
    block = trainer.block if model == "C=0.1" else 2
    line = {
        "setup": seconds_of(lambda: trainer(GRID.draw(rows, 2, 0, block).counts, list(range(block)), val=True, rows=False))
    }
    kept = Store()
    key = kept.study({"about": "benchmark"})
    for name, seed in (("first", 0), ("seconds", 1)) if workers else (("seconds", 0),):
        subsets = GRID.draw(rows, seed, 0, models)
        line[name] = seconds_of(lambda s=subsets: list(train_subsets.train(kept, key, s, trainer, n_jobs=max(1, workers))))
    digest = hashlib.blake2b(digest_size=6)
    for part in kept.read(key, train_subsets.keys_of(subsets, trainer, 0), val=True, rows=False):
        for said in part:
            digest.update(said.val.tobytes())
    return line | {"digest": int.from_bytes(digest.digest())}


# ----------------------------------------------------------------------------------------------------------------- store


def store(args: argparse.Namespace) -> str:
    jobs = [("kept", {"rows": args.rows, "models": args.models, "where": where}) for where in ("nowhere", "memory", "file")]
    found = best(jobs, args.repeats)
    each = [1e3 * line["seconds"] / args.models for line in found]
    trained = [
        [name, ms, ms - each[0]]
        for name, ms in zip(("trainer alone", "store in memory", "store in a file"), each, strict=True)
    ]
    lines = []
    for val in (200, 1000):
        for count in args.reads:
            line = best([("written", {"rows": args.rows, "val": val, "count": count})], max(1, args.repeats // 2))[0]
            ms = [1e3 * line[name] / count for name in ("put", "present")]
            size = line["bytes"] / count
            lines.append([val, count, *ms, size / 1e3, f"{size / line['raw']:.2f}", line["read"], line["seconds"]])
    header = ["validation rows", "trainings", "put, ms each", "looked up, ms each", "KB each", "times the numbers"]
    header += ["read, s", "read and margin, s"]
    return f"""## What the store adds to a training

{args.models} logistic regressions (C = 1) on subsets of {args.rows:,} digits, {VAL} validation rows, one thread; best of {args.repeats}
processes.

{markdown(["", "ms each", "more than the trainer"], trained)}

## Writing, space, reading

Made-up trainings on {args.rows:,} rows, 10 classes, written {AT_ONCE} at a time as the trainer of logistic regressions does. The numbers:
4 bytes a class and validation row, and a bit a row. Read: all that they say; and what a method does, the mean log-odds of each.

{markdown(header, lines)}
"""


def kept_once(rows: int, models: int, where: str) -> dict[str, float]:
    """Seconds of so many logistic regressions that are kept here or there."""
    data = digits(rows)
    trainer = trainable(data, model_of("C=1", 64), "benchmark").trainer
    subsets = GRID.draw(rows, 0, 0, models)
    trainer(subsets.counts[: trainer.block], list(range(trainer.block)), val=True, rows=False)
    if where == "nowhere":
        work = [subsets.counts[a : a + trainer.block] for a in range(0, models, trainer.block)]
        return {"seconds": seconds_of(lambda: [trainer(c, list(range(len(c))), val=True, rows=False) for c in work])}
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=OUT) as folder:
        kept = Store(None if where == "memory" else Path(folder, "store.sqlite"))
        key = kept.study({"about": "benchmark"})
        seconds = seconds_of(lambda: list(train_subsets.train(kept, key, subsets, trainer, n_jobs=1)))
        kept.close()
    return {"seconds": seconds}


def written_once(rows: int, val: int, count: int) -> dict[str, float]:
    """Seconds and bytes of a file of made-up trainings."""
    data = digits(rows)
    rng = np.random.default_rng(0)
    counts = (rng.random((count, rows)) < 0.5).astype(np.uint8)
    subsets = Subsets(counts, np.full(count, 0.5))
    said = rng.normal(-3, 1, (64, val, 10)).astype(np.float32)
    codes = rng.integers(10, size=val)
    keys = [training_key(c, 0) for c in counts]
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=OUT) as folder:
        path = Path(folder, "store.sqlite")
        kept = Store(path)
        key = kept.study({"about": data.hash})
        start = time.perf_counter()
        for a in range(0, count, AT_ONCE):
            some = range(a, min(a + AT_ONCE, count))
            kept.put(key, [Training(keys[i], counts[i], 0.5, Predictions(said[i % 64], None), 0.0) for i in some])
        put = time.perf_counter() - start
        kept.close()
        kept = Store(path)
        present = seconds_of(lambda: kept.present(key, keys, val=True, rows=False))
        read = seconds_of(lambda: [None for part in kept.read(key, keys, val=True, rows=False) for _ in part])
        from datassay.subsets.utilities import log_odds, of_labels

        margin = seconds_of(
            lambda: train_subsets.utilities(kept, key, keys, lambda s: log_odds(of_labels(s, codes)).mean(1))
        )
        kept.close()
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
    raw = val * 10 * 4 + len(subsets.counts[0]) / 8
    return {"seconds": margin, "put": put, "present": present, "read": read, "bytes": size, "raw": raw}


ONCE = {
    "ours": ours_once, "sklearn": sklearn_once, "floor": floor_once, "loop": loop_once, "classifier": classifier_once,
    "network_floor": network_floor_once, "grown": grown_once, "kept": kept_once, "written": written_once,
}  # fmt: skip

if __name__ == "__main__":
    main()
