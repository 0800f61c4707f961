"""What methods that train on subsets take: passes over the rows for the default models, and what all trainings say, in memory."""

from __future__ import annotations

import math

from datassay.data import Dataset
from datassay.engines.machine import Rates
from datassay.methods import Cost

ITERATIONS = 12  # of a logistic regression that begins near where others ended
SKINNY = 0.06  # of the speed of large products
EACH = 1.5e-3  # seconds of a training that are no arithmetic
CHOICE = 30  # trainings on 1000 rows at most, by which the default model's penalty is chosen
PROCESSES = 15.0  # seconds from which on other processes help


def data_oob(data: Dataset, rates: Rates) -> list[Cost]:
    """500 trees: at each level of a tree all its rows, in the order of each of a few columns."""
    n, d = data.X.shape
    columns = d / 3 if data.task == "regression" else math.sqrt(d)
    tree = EACH + n * (4e-8 * columns * math.log2(n) + 1e-6)
    return [Cost({}, 0.5 + _spread(500 * tree, rates), _memory(data, 500, n), 0.0, 500)]


def c_score(data: Dataset, rates: Rates) -> list[Cost]:
    """450 trainings on half of the rows, on average."""
    return [_cost(data, rates, 450, asked=len(data))]


def self_confidence(data: Dataset, rates: Rates) -> list[Cost]:
    """Five folds."""
    return [_cost(data, rates, 5, share=0.8, asked=len(data))]


def confident_learning(data: Dataset, rates: Rates) -> list[Cost]:
    """Five folds, and for each pair of classes an order of the rows of one."""
    cost = _cost(data, rates, 5, share=0.8, asked=len(data))
    return [cost._replace(seconds=cost.seconds + len(data) * max(1, len(data.classes)) / rates.sort)]


def random(data: Dataset, rates: Rates) -> list[Cost]:
    """A digest of each id."""
    return [Cost({}, 4e-6 * len(data), 300.0 * len(data), 0.0, 0)]


def _cost(data: Dataset, rates: Rates, trainings: int, *, share: float = 0.5, asked: int, more: float = 0.0) -> Cost:
    """Trainings of the default linear model on a share of the rows, each asked about so many; and ``more`` seconds."""
    n, d, c = *data.X.shape, max(1, len(data.classes))
    rate = SKINNY * rates.product64 / rates.threads

    def seconds(rows: float) -> float:
        if data.task == "regression":
            return EACH + 2.0 * rows * d**2 / rate
        return EACH + 4.0 * ITERATIONS * rows * d * c / rate

    each = seconds(share * n) + 2.0 * asked * d * c / rate + asked * c * rates.threads / rates.values
    chosen = CHOICE * seconds(min(n, 1000))
    return Cost({}, 0.5 + chosen + _spread(trainings * each, rates) + more, _memory(data, trainings, asked), 0.0, trainings)


def _memory(data: Dataset, trainings: int, asked: int) -> float:
    """Of what trainings say, of some copies of the rows, of numbers that are held while it is read."""
    c = max(1, len(data.classes))
    return 4.0 * trainings * asked * c + 24.0 * math.prod(data.X.shape) + 150.0 * len(data) * c + 200e6


def _spread(seconds: float, rates: Rates) -> float:
    """Time on all cores, if it is worth other processes."""
    return seconds if seconds < PROCESSES else 2.0 + seconds / rates.threads
