"""What KNN-Shapley takes: a distance, a place in an order and a few passes for each pair of a row and a judge."""

from __future__ import annotations

from datassay.costs import Cost
from datassay.data.dataset import Dataset
from datassay.engines.machine import Rates

VOTE = 7000.0  # passes for a row's part in a weighted vote of ten


def costs(data: Dataset, rates: Rates) -> list[Cost]:
    """Judged by the validation rows; where there are none, by the training rows. Of classes also the weighted vote, which takes longer."""
    n, p = data.X.shape
    rows = data.codes_val is None
    m = n if rows else len(data.codes_val)  # type: ignore[arg-type]
    c = 1 if data.task == "regression" else len(data.classes)
    pair = 2.0 * p / (0.7 * rates.product64) + 1.0 / rates.sort + 3.0 / rates.values
    # 32 distances a row, a few numbers a row for each thread, sums a class; where there are few rows, as many distances as fit in 8 MB
    memory = 8.0 * n * (32 + 8 * rates.threads + 2 * c) + 120e6
    options = {"judge": "rows"} if rows else {}
    found = [Cost(options, 0.1 + m * (n * pair + 3e-5), memory, 0.0, 0)]
    if data.task == "classification":
        seconds = found[0].seconds + m * n * VOTE * rates.threads / rates.values  # on one thread
        found.append(Cost(options | {"form": "weighted"}, seconds, memory + 64e6 * rates.threads, 0.0, 0))
    return found
