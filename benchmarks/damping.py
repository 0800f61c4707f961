"""The damping of influence functions of networks: linear datamodelling scores by shares of the mean eigenvalue, and by what is chosen.

    python benchmarks/damping.py --path folder

Sets of 1,000 rows with their networks; 100 trainings on random halves say what is true (kept in the output folder), of 50 answers. The
folder has mnist_train.parquet and adult.parquet. Writes ``benchmarks/out/damping.md``.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from attribution import OUT, RECIPE, perceptron
from torch import nn

import datassay as da
from datassay.engines.training import Recipe
from datassay.evaluation import lds

SHARES = {"ek-fac": [None, 0.1, 1.0, 10.0], "gauss-newton": [None, 0.1, 10.0, 100.0]}
ANSWERS = 50


def convolutions(seed: int) -> nn.Module:
    """Of the 8 x 8 digits."""
    torch.manual_seed(seed)
    layers = [nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64, 10))


SETS = {  # the set, what its columns are divided by, the network (None: the default), its training
    "mnist": ("mnist", 1, perceptron, RECIPE),
    "adult": ("adult", 1, None, Recipe()),
    "digits": ("digits", 1, None, Recipe()),
    "digits, convolutions": ("digits", 16, convolutions, Recipe(epochs=30, batch_size=32, lr=0.02)),
    "fried": ("fried", 1, None, Recipe()),
}


def rows(name: str, by: float, path: Path) -> da.Dataset:
    """Pixels as columns."""
    d = da.datasets.drawn(name, seed=0, train=1000, val=2 * ANSWERS, test=10, paths={"": path}).data
    X, X_val = (np.asarray(x, np.float32).reshape(len(x), -1) / by for x in (d.X, d.X_val))
    return da.Dataset(X, d.y, X_val, d.y_val, task=d.task) if name in ("mnist", "digits") else d


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", type=Path, required=True)
    parser.add_argument("--set", action="append", choices=SETS, help="may be repeated; default: all")
    parser.add_argument("--hessian", action="append", choices=SHARES, help="may be repeated; default: both")
    call = parser.parse_args()
    OUT.mkdir(exist_ok=True)
    torch.set_num_threads(1)
    lines = ["| set | matrix | damping / mean eigenvalue | LDS | steps |", "| --- | --- | --- | --- | --- |"]
    for title in call.set or SETS:
        name, by, model, recipe = SETS[title]
        data = rows(name, by, call.path)
        model = model or lds.default_network(data)
        file = OUT / f"truth-damping-{title.replace(', ', '-')}.npz"
        if not file.exists():
            counts, said = lds.retrained(data, model, recipe, 0, 100)
            np.savez(file, counts=counts, said=said)
        with np.load(file) as kept:
            counts, said = kept["counts"], kept["said"][:, ::2]
        some = data.take_validation(list(range(0, 2 * ANSWERS, 2)))
        for hessian in call.hessian or SHARES:
            mean = 1.0
            for share in SHARES[hessian]:
                with TemporaryDirectory() as folder:
                    matrix = Path(folder) / "matrix.npy"
                    values = da.value(
                        some, "influence", model=model, training=recipe, hessian=hessian, matrix=matrix, progress=False,
                        damping=None if share is None else share * mean,
                    )  # fmt: skip
                    mean = values.stats["mean_eigenvalue"][0]
                    each = lds.scores(np.load(matrix), counts, said)
                used = f"default: {values.stats['damping'][0] / mean:.2f}" if share is None else f"{share:g}"
                error = each.std(ddof=1) / len(each) ** 0.5
                lines.append(
                    f"| {title} | {hessian} | {used} | {each.mean():.3f} ± {error:.3f} | {values.stats.get('steps', [''])[0]} |"
                )
                print(lines[-1], flush=True)
    (OUT / "damping.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
