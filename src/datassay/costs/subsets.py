"""What methods that train on subsets take: passes over the rows for the default models, and what all trainings say, in memory."""

from __future__ import annotations

import math
from typing import Any

from datassay.costs import Cost
from datassay.data.dataset import Dataset
from datassay.engines.linear import BLOCK, MANY
from datassay.engines.machine import Rates
from datassay.engines.training_store import READ
from datassay.subsets.default_model import PREDICTIONS, WARM

ITERATIONS = 12  # of a logistic regression that begins near where others ended
STEPS = 26  # of one of many classes
CHOICE_OF_SOME = 200  # trainings where they are more than a few
CHOICE_OF_MANY = 2  # such trainings of many classes
FIRST_OF_MANY = 2  # such trainings on all rows, where the others begin
PASSES = 34  # columns of which the products take as long as the passes over all rows and classes that are none
SINGLE = 0.85  # of the speed of large products in single precision
AFTER = 60  # passes over all rows and classes that are no training: of the store, of the noise model
SKINNY = 0.3  # of the speed of large products
EACH = 2.5e-4  # seconds of a training that are no arithmetic
CHOICE = 30  # trainings on 1000 rows at most, by which the default model's penalty is chosen
METRICS = 25  # Hessians that are inverted for that, of one class; for the trainings, LEVELS of each class
LEVELS = 2
PLACE = 4e-6  # seconds of a digest of an id
TREE = 1e-3  # seconds of a tree that are not its rows
FOLDS = 5  # trainings for suggested labels
PROCESSES = 15.0  # seconds from which on other processes help


def ame(data: Dataset, rates: Rates, *, n_models: int = 1000, store: Any = None) -> list[Cost]:
    """1000 trainings, and two ridge regressions on their masks: of the effects, and with knockoffs."""
    cost = _cost(data, rates, n_models + FOLDS, asked=_val(data), more=3 * _regression(data, rates, n_models), store=store)
    return [
        cost._replace(memory=cost.memory + 8.0 * n_models * len(data) * 10)
    ]  # masks beside their knockoffs, in a few copies


def shapley(data: Dataset, rates: Rates, *, n_models: int = 1000, store: Any = None) -> list[Cost]:
    """1000 trainings, and a ridge regression on their masks."""
    return _by_regression(data, rates, n_models, store)


def beta_shapley(data: Dataset, rates: Rates, *, n_models: int = 1000, store: Any = None) -> list[Cost]:
    """The same; subsets are smaller by default."""
    return _by_regression(data, rates, n_models, store, share=0.2)


def banzhaf(data: Dataset, rates: Rates, *, n_models: int = 1000, store: Any = None) -> list[Cost]:
    """The same as Shapley's."""
    return shapley(data, rates, n_models=n_models, store=store)


def leave_one_out(data: Dataset, rates: Rates, *, store: Any = None) -> list[Cost]:
    """A training on all other rows for each row, to a fine tolerance; ridge regression: one fit."""
    n = len(data)
    trainings = 1 if data.task == "regression" else n
    cost = _cost(data, rates, trainings + FOLDS, share=1.0, asked=_val(data), store=store)
    masks = (
        8.0 * n * _val(data) if trainings == 1 else n**2 / 8 + min(n**2, 3 * 256 * 2**20)
    )  # kept as bits, worked on as bytes
    return [cost._replace(memory=cost.memory + masks)]


def datamodels(data: Dataset, rates: Rates, *, n_models: int = 1000, store: Any = None) -> list[Cost]:
    """1000 trainings, and for each validation row the path of a LASSO."""
    n = len(data)
    slow = 1 + 3 * min(1.0, n / n_models) ** 2  # with few trainings for each row the descent takes many more steps
    paths = _val(data) * (0.003 + 100.0 * slow * n * min(n, n_models) * 8 / rates.product64)
    grams = max(1, _val(data) / 64) * 2.0 * n_models * n**2 / rates.product64
    cost = _cost(data, rates, n_models + FOLDS, asked=_val(data), more=paths + grams, store=store)
    masks = (
        8.0 * n_models * n * 4 + 20.0 * n**2 + 8.0 * n * _val(data)
    )  # copies of them; products, in both precisions; theta
    return [cost._replace(memory=cost.memory + masks)]


def influence(data: Dataset, rates: Rates) -> list[Cost]:
    """A training to a fine tolerance; the Hessian of all classes, its inverse, and each row's leverage by it."""
    (n, d), c = data.X.shape, max(1, len(data.classes))
    columns = min(n, d) + 1
    P, pairs = columns * c, c * (c + 1) / 2
    work = 4.0 * pairs * n * columns**2 + P**3
    cost = _cost(data, rates, 2, share=1.0, asked=len(data), more=work / rates.product64 + 40.0 * n * c**2 / rates.values)
    return [cost._replace(memory=cost.memory + 8.0 * (4 * P**2 + 4 * n * c**2 + 3 * n * columns) + 100e6)]


def boostin(data: Dataset, rates: Rates) -> list[Cost]:
    """100 iterations of a tree for each class, with 31 leaves each; two passes over the rows for every tree."""
    n, d = data.X.shape
    c = len(data.classes) if len(data.classes) > 2 else 1
    m = _val(data)
    seconds = 0.3 + 100.0 * c * (3e-3 + 2e-9 * n * d + 3e-7 * (n + m))
    return [Cost({}, seconds, 8.0 * (n + m) * (2 * d + 300.0 * c) + 150e6, 0.0, 1)]


def data_oob(data: Dataset, rates: Rates, *, n_models: int = 500, store: Any = None) -> list[Cost]:
    """500 trees: at each level of a tree all its rows, in each of a few columns."""
    n, d = data.X.shape
    columns = d if data.task == "regression" else math.sqrt(d)
    tree = TREE + n * (8e-9 * columns * math.log2(n) + 8e-7)
    return [Cost({}, 0.5 + _spread(n_models * tree, rates), _memory(data, n_models, n, store), 0.0, n_models)]


def c_score(data: Dataset, rates: Rates, *, n_models: int = 450, store: Any = None) -> list[Cost]:
    """450 trainings on half of the rows, on average."""
    return [_cost(data, rates, n_models, asked=len(data), store=store)]


def self_confidence(data: Dataset, rates: Rates) -> list[Cost]:
    """Five folds."""
    return [_cost(data, rates, 5, share=0.8, asked=len(data))]


def confident_learning(data: Dataset, rates: Rates) -> list[Cost]:
    """Five folds, and for each pair of classes an order of the rows of one."""
    cost = _cost(data, rates, 5, share=0.8, asked=len(data))
    return [cost._replace(seconds=cost.seconds + len(data) * max(1, len(data.classes)) / rates.sort)]


def random(data: Dataset, rates: Rates) -> list[Cost]:
    """A digest of each id."""
    return [Cost({}, PLACE * len(data), 300.0 * len(data), 0.0, 0)]


def _cost(
    data: Dataset, rates: Rates, trainings: int, *, share: float = 0.5, asked: int, more: float = 0.0, store: Any = None
) -> Cost:
    """Trainings of the default linear model on a share of the rows, each asked about so many; and ``more`` seconds. What they say is
    in memory, unless there is a ``store``."""
    (n, d), c = data.X.shape, max(1, len(data.classes))
    rate = SKINNY * rates.product64 / rates.threads

    def seconds(rows: float, columns: int) -> float:
        if data.task == "regression":
            return EACH + 2.0 * rows * columns**2 / rate
        if c > MANY:
            return EACH + 4.0 * STEPS * rows * (columns + PASSES) * c * rates.threads / (SINGLE * rates.product32)
        return EACH + 4.0 * ITERATIONS * rows * columns * c / rate

    def inverse(rows: float, columns: int) -> float:
        return 0.0 if data.task == "regression" or columns > BLOCK else columns**2 * (rows + 2.0 * columns) / rates.product64

    some, inside = min(n, 1000), min(n, d)  # more columns than rows are turned into the space of the rows
    each = seconds(share * n, inside) + 2.0 * asked * d * c / rate + asked * c * rates.threads / rates.values
    chosen = CHOICE * seconds(some, min(some, d)) + METRICS * inverse(some, min(some, d))
    if WARM < c <= MANY:
        chosen = CHOICE_OF_SOME * seconds(some, min(some, d))
    if c > MANY:
        some = min(n, max(some, PREDICTIONS // c))
        chosen = CHOICE_OF_MANY * seconds(some, min(some, d)) + FIRST_OF_MANY * seconds(n, inside)
        chosen += AFTER * n * c * rates.threads / rates.values
    chosen += LEVELS * c * inverse(n, inside)
    return Cost(
        {},
        0.1 + PLACE * n + chosen + _spread(trainings * each, rates) + more,
        _memory(data, trainings, asked, store),
        0.0,
        trainings,
    )


def _by_regression(data: Dataset, rates: Rates, n_models: int, store: Any, share: float = 0.5) -> list[Cost]:
    more = _regression(data, rates, n_models)
    cost = _cost(data, rates, n_models + FOLDS, share=share, asked=_val(data), more=more, store=store)
    return [cost._replace(memory=cost.memory + 8.0 * n_models * len(data) * 5)]


def _regression(data: Dataset, rates: Rates, n_models: int) -> float:
    """Seconds of an eigendecomposition of the smaller of the trainings and the rows, on masks of both."""
    small, large = min(len(data), n_models), max(len(data), n_models)
    return rates.choice * (small / 1000) ** 3 + 4.0 * small**2 * large / rates.product64


def _val(data: Dataset) -> int:
    return len(data) // 4 if data.codes_val is None else len(data.codes_val)


def _memory(data: Dataset, trainings: int, asked: int, store: Any = None) -> float:
    """Of predictions, of some copies of the rows, of numbers that are held while these are read."""
    c = max(1, len(data.classes))
    held = trainings if store is None else min(trainings, READ)
    return 4.0 * held * asked * c + 24.0 * math.prod(data.X.shape) + 150.0 * len(data) * c + 100e6


def _spread(seconds: float, rates: Rates) -> float:
    """Time on all cores, if it is worth other processes."""
    return seconds if seconds < PROCESSES else 2.0 + seconds / rates.threads
