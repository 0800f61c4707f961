"""What LAVA takes: a few hundred products with the matrix of costs, and exact transport between the rows of each two classes."""

from __future__ import annotations

import numpy as np

from datassay.costs import Cost
from datassay.data.dataset import Dataset
from datassay.engines.machine import Rates
from datassay.engines.transport import HELD

STEPS = 250  # a product for each side
EXACT = 3e-7  # seconds of exact transport for each pair of rows


def costs(data: Dataset, rates: Rates) -> list[Cost]:
    """One way; costs beyond a gigabyte are made anew at each step."""
    n, p = data.X.shape
    m, c = (n // 4 if data.codes_val is None else len(data.codes_val)), max(1, len(data.classes))
    size = 4 if data.X.dtype == np.float32 else 8
    held = size * n * m <= HELD
    once = 2.0 * n * m * p / rates.product32 + 8.0 * n * m / rates.values
    seconds = 0.2 + once * (1 if held else 2 * STEPS) + 2 * STEPS * n * m / rates.values / 5
    rows = min(500, n / c) * min(500, m / c)
    return [
        Cost(
            {},
            seconds + c * c * rows * EXACT,
            size * (3.0 * n * m if held else 4 * 2**24) + 2.0 * size * n * p + 90e6,
            0.0,
            0,
        )
    ]
