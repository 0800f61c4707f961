"""What KAIROS takes: half of the training rows' kernel matrix and that with the validation rows, and eigenvectors of the latter's own."""

from __future__ import annotations

import numpy as np

from datassay.costs import Cost
from datassay.data.dataset import Dataset
from datassay.engines.machine import Rates
from datassay.engines.mmd import BLOCK, MOST


def costs(data: Dataset, rates: Rates) -> list[Cost]:
    """One way; the kernel matrix is made in blocks."""
    n, p = data.X.shape
    m = n // 4 if data.codes_val is None else len(data.codes_val)
    size = 4 if data.X.dtype == np.float32 else 8
    pairs, few = n * n / 2 + 2.0 * n * m + m * m / 2, min(m, MOST)
    seconds = 0.1 + 2 * pairs * p / rates.product32 + 3 * pairs / rates.values + 20.0 * few**3 / rates.product64
    return [Cost({}, seconds, 3.0 * size * BLOCK + 32.0 * few**2 + 2.0 * size * (n + m) * p + 60e6, 0.0, 0)]
