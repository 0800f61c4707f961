"""What methods that train networks take: passes over rows, in the operations of the default network, and steps."""

from __future__ import annotations

import math

import numpy as np

from datassay.costs import Cost
from datassay.data.dataset import Dataset, is_images
from datassay.engines.machine import Rates

STEP = 1.2e-3  # seconds of a step of a small network that are no arithmetic
START = 1.5  # seconds: torch is imported


def dvgs(data: Dataset, rates: Rates) -> list[Cost]:
    """Three restarts on the validation rows; the gradients of all rows at 100 steps or more; images: two, once an epoch."""
    if _images(data):
        # thirty looks at the last block alone, which takes less than all layers; and at the validation rows
        looks = 18.0 * (1 + _val(data) / len(data))
        return [_cost(data, rates, runs=2, epochs=30, rows=_val(data), looks=looks)]
    at_once = max(1, 2**22 // data.X.shape[1])
    looks = 100.0 * max(1, _val(data) / 500)
    return [_cost(data, rates, runs=3, epochs=100, rows=_val(data), batch=500, looks=looks, at_once=at_once)]


def lossval(data: Dataset, rates: Rates) -> list[Cost]:
    """One run of ten epochs, of 300 steps at least; about twenty passes over n m costs in the first epoch, four in each other."""
    n, m = len(data), _val(data)
    batch = min(32, max(16, n // 50))
    epochs = max(10, math.ceil(300 * batch / n))
    cost = _cost(data, rates, runs=1, epochs=epochs, rows=n, batch=batch)
    held = min(4.0 * n * m, 2**30)
    passes = (20.0 + 4 * epochs) * (
        1 if held < 2**30 else 1 + data.X.shape[1] / 8
    )  # what is not held is made anew each time
    return [cost._replace(seconds=cost.seconds + passes * n * m / rates.values, memory=cost.memory + 3 * held)]


def el2n(data: Dataset, rates: Rates) -> list[Cost]:
    """Five runs of two epochs (images: five), and a forward pass after each."""
    return [_cost(data, rates, runs=5, epochs=5 if _images(data) else 2, rows=len(data), looks=0.25)]


def grand(data: Dataset, rates: Rates) -> list[Cost]:
    """The same, and the norms after each run, which take longer for convolutions."""
    images = _images(data)
    return [_cost(data, rates, runs=5, epochs=5 if images else 2, rows=len(data), looks=1.5 if images else 1.0)]


def forgetting(data: Dataset, rates: Rates) -> list[Cost]:
    """Three runs of six epochs."""
    return [_cost(data, rates, runs=3, epochs=6, rows=len(data))]


def aum(data: Dataset, rates: Rates) -> list[Cost]:
    """Two runs of six epochs."""
    return [_cost(data, rates, runs=2, epochs=6, rows=len(data))]


def tracin(data: Dataset, rates: Rates) -> list[Cost]:
    """One short run, and the rows' gradients at twenty checkpoints."""
    return [_cost(data, rates, runs=1, epochs=6 if _images(data) else 5, rows=len(data), looks=20.0)]


def trak(data: Dataset, rates: Rates, *, runs: int = 3) -> list[Cost]:
    """Runs of twenty epochs; the products of all pairs of gradients, and the factors of that kernel, or of projected gradients'."""
    n, m = len(data), _val(data)
    cost = _cost(data, rates, runs=runs, epochs=20, rows=n, looks=2.0)
    size = float(n if n <= 8_000 else 2_048)
    pairs = n * n / 2 if n <= 8_000 else 0.0
    passes = (
        pairs * (data.X.shape[1] + 300.0) + size**3 / 3 + (n * size**2 if n > 8_000 else size**2) + 2 * size * n * m / 50
    )
    held = 4.0 * (2 * size**2 + (n * size if n > 8_000 else 0.0))
    if n <= 8_000:
        kept = 4.0 * 1.5 * n * (data.X.shape[1] + 600.0)
    else:  # what a pass over 250 rows holds, on each thread
        kept = 4.0 * rates.threads * 250 * (3 * _resnet(data.shown.shape[1:])[1] if _images(data) else 900.0)
    return [cost._replace(seconds=cost.seconds + runs * 2 * passes / rates.product32, memory=cost.memory + held + kept)]


def craig(data: Dataset, rates: Rates) -> list[Cost]:
    """One short run; then a few passes over the distances within each class, which are held if they take a gigabyte at most."""
    cost = _cost(data, rates, runs=1, epochs=8 if _images(data) else 10, rows=len(data), looks=0.25)
    largest = [float(count) ** 2 for count in np.bincount(data.codes)] if data.classes else [float(len(data)) ** 2]
    held = max((4 * pairs for pairs in largest if 4 * pairs <= 2**30), default=0.0)
    return [cost._replace(seconds=cost.seconds + 2 * sum(largest) * rates.threads / rates.values, memory=cost.memory + held)]


def in_run_shapley(data: Dataset, rates: Rates) -> list[Cost]:
    """One short run; at each step the gradients of its rows and a training pass over all validation rows."""
    n, epochs = len(data), 8 if _images(data) else 5
    steps = epochs * n / min(128, max(16, n // 50))
    judged = 0.75 * steps * _val(data) / n
    return [_cost(data, rates, runs=1, epochs=epochs, rows=n, looks=epochs + judged)]


def dvrl(data: Dataset, rates: Rates) -> list[Cost]:
    """Two runs: a network for the validation rows, and 1000 times or more ten steps of a linear predictor and one of the selector."""
    n, d, m = len(data), data.X.shape[1], _val(data)
    k, rows = max(1, len(data.classes)), min(n, max(200, 2 * n // 5), 2000)
    times = max(1000, 100 * n / rows)
    cost = _cost(data, rates, runs=2, epochs=30, rows=m, looks=0.25)
    passes = times * (10 * 4.0 * rows / 2 * d * k + 2.0 * m * d * k + 6.0 * rows * 100 * (d + k + 200))
    moved = times * rows * (10.0 * (d + 4 * k) + 4 * d + 1500)
    seconds = 2 * (passes / (0.6 * rates.product32) + moved / (4 * rates.values) + 10 * times * STEP / 3)
    return [cost._replace(seconds=cost.seconds + seconds, memory=cost.memory + 4.0 * rows * (3 * d + 2000))]


def _images(data: Dataset) -> bool:
    return is_images(data.shown) and math.prod(data.shown.shape[1:]) == data.X.shape[1]


def _val(data: Dataset) -> int:
    return len(data) // 4 if data.codes_val is None else len(data.codes_val)


def _cost(
    data: Dataset,
    rates: Rates,
    *,
    runs: int,
    epochs: int,
    rows: int,
    batch: int = 128,
    looks: float = 0.0,
    at_once: int = 512,
    options: dict | None = None,
) -> Cost:
    """``epochs`` of training on so many rows, and ``looks`` passes over all rows for their gradients, so many at once, in each run."""
    n, d = len(data), data.X.shape[1]
    batch = min(batch, max(16, rows // 50)) if batch == 128 else batch
    images = _images(data)
    forward, numbers = _resnet(data.shown.shape[1:]) if images else (2.0 * (100 * d + 10_000), 600.0)
    rate = rates.product32 * (0.75 if images else 0.6)
    steps = epochs * max(1, rows / batch)
    work = 3 * forward * epochs * rows + 4 * forward * looks * n + (steps + looks) * STEP * rate
    held = min(n, max(batch, 512 if images else at_once)) * numbers * (3 if images else 1.5)
    memory = 4.0 * (n * d + held) + 40.0 * n * runs + 220e6
    return Cost(options or {}, START + runs * work / rate, memory, 0.0, runs)


def _resnet(shape: tuple[int, ...]) -> tuple[float, float]:
    """Operations of a forward pass of the default network, and numbers that it keeps of a row."""
    stride = max(1, min(shape[:2]) // 14)
    pixels = shape[0] * shape[1] / stride**2
    channels = 1 if len(shape) == 2 else shape[2]
    operations = 2 * 9 * pixels * (32 * channels + 2 * 32 * 32 + (32 * 64 + 64 * 64) / 4 + (64 * 128 + 128 * 128) / 16)
    return operations, pixels * 32 * 14
