"""Which way the CG-score goes at what size: exact or approximate, in which precision, in memory or on disk, and why."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from datassay.checks import DataError
from datassay.costs import Cost
from datassay.data.dataset import Dataset
from datassay.engines import machine
from datassay.engines.gp_loo import FEW
from datassay.engines.panels import WHOLE, width

EXACT = 30_000  # rows up to which "auto" is exact: two cores need about two minutes
DOUBLE = 20_000  # rows up to which "auto" is float64
BUFFERS = 150e6  # bytes that BLAS and numpy hold once they work on large matrices
FINE = 100_000  # rows up to which approximations can be fine; above, a minute for each 100,000 rows counts


class Way(NamedTuple):
    """What was chosen."""

    approx: str  #: exact, landmarks or neighbours
    dtype: str
    on_disk: bool
    rank: int
    block: int
    why: str
    device: str = "cpu"


def exact_memory(n: int, d: int, dtype: str, *, on_disk: bool = False) -> float:
    """Bytes: the unit rows, half a matrix (all of it where it is one panel), and a few panels that are worked on."""
    itemsize, panel = np.dtype(dtype).itemsize, width(n)
    if panel == n:
        return (1.3 * n * n + 1.0 * n * d) * itemsize
    return ((0.0 if on_disk else factor_bytes(n, dtype) / itemsize) + 4.0 * n * panel + 1.0 * n * d) * itemsize


def factor_bytes(n: int, dtype: str) -> float:
    """Bytes of all panels, in memory or on disk."""
    return n * (n + width(n)) / 2 * np.dtype(dtype).itemsize


def approximate_memory(n: int, d: int, c: int, rank: int, block: int, jobs: int) -> float:
    """Bytes: features that are kept from the first pass, what each worker holds of its blocks, and columns of results."""
    return (
        2.0 * n * (rank + 64)
        + jobs * (12.0 * block * (block + rank) + 16_384 * (2.0 * rank + 4.0 * d))
        + 4.0 * 4096 * (4096 + d)
        + 60.0 * n * c
    )


def auto_rank(n: int) -> int:
    return 2048 if n <= FINE else 1024


def auto_block(n: int) -> int:
    return 6000 if n <= FINE else 2000


def way(
    n: int, m: int, d: int, c: int, approx: str, dtype: str, rank: int | str, block: int | str, no_ridge: bool, folder: bool
) -> Way:
    """For n rows and m trusted ones of d columns, c classes, and the options as they were given.

    Raises
    ------
    DataError
        If the exact score was asked for, or ridge 0 leaves nothing else, and neither memory nor disk are enough.
    """
    r, b = int(auto_rank(n) if rank == "auto" else rank), int(auto_block(n) if block == "auto" else block)
    if approx in ("landmarks", "neighbours"):
        return Way(approx, "float32", False, r, b, f"{approx}, as asked for")
    precision = ("float64" if n + m <= DOUBLE else "float32") if dtype == "auto" else dtype
    have = machine.available_memory()
    need, lean = exact_memory(n + m, d, precision), exact_memory(n + m, d, "float32")
    if dtype == "auto" and precision == "float64" and have and need > have:
        precision, need = "float32", lean
    if approx == "auto" and not no_ridge and not folder:
        if n > EXACT:
            why = (
                f"landmarks, because {n} rows are more than {EXACT}: the exact score would take "
                f"{0.67 * (n + m) ** 3 / 1e15:.2g} x 10^15 operations and {machine.size(lean)}; approx='exact' asks for it"
            )
            return Way("landmarks", "float32", False, r, b, why)
        if have and need > have:
            why = f"landmarks, because the exact score needs {machine.size(need)} and {machine.size(have)} are free"
            return Way("landmarks", "float32", False, r, b, why)
    if not have or need <= have:
        return Way("exact", precision, False, 0, 0, f"exact in {precision}: {n + m} rows, {machine.size(need)}")
    disk = factor_bytes(n + m, precision)
    if folder and exact_memory(n + m, d, precision, on_disk=True) <= have:
        # where the folder is, is checked when it is written; here: what a disk can give at all
        return Way(
            "exact",
            precision,
            True,
            0,
            0,
            f"exact in {precision}, its {machine.size(disk)} on disk: {machine.size(have)} are free",
        )
    ways = ["dtype='float32' (half of it)"] if precision == "float64" and lean <= have else []
    ways += [] if no_ridge else ["approx='landmarks'"]
    ways += ["negatives=1 (the paper's stochastic scheme, one class and as many others at a time)"]
    if not folder:
        ways += [f"checkpoint='folder' ({machine.size(disk)} on disk)"]
    raise DataError(
        f"cg_score needs {machine.size(need)} for {n + m} x {n + m} numbers and this machine has {machine.size(have)} free: use "
        f"{', or '.join([*ways, 'fewer rows'])}."
    )


def on_card(n: int, d: int, dtype: str, device: str, *, required: bool) -> Way | None:
    """Exact on a torch device, where torch holds two matrices; None where they don't fit and nobody insists.

    Raises
    ------
    DataError
        If they don't fit and the device is ``required``.
    """
    have = machine.device_memory(device)
    for precision in (["float64"] * (n <= DOUBLE) + ["float32"]) if dtype == "auto" else [dtype]:
        need = (2.1 * n * n + n * d) * np.dtype(precision).itemsize
        if not have or need <= have:
            why = f"exact in {precision} on {device}: {n} rows, {machine.size(need)}"
            return Way("exact", precision, False, 0, 0, why, device)
    if required:
        raise DataError(
            f"cg_score needs {machine.size(need)} on {device} for two matrices of {n} x {n} numbers, and {machine.size(have)} are "
            "free there: use dtype='float32', device='cpu', or fewer rows."
        )
    return None


def scheme_memory(n: int, m: int, at_once: int, dtype: str) -> None:
    """The stochastic scheme's largest draws, as many at a time as there are workers: do they fit?"""
    need, have = exact_memory(n + m, 0, dtype) * at_once, machine.available_memory()
    if have and need > have:
        ways = ["dtype='float32' (half of it)"] if dtype == "float64" and need < 2 * have else []
        ways += ["fewer jobs"] if at_once > 1 else []
        raise DataError(
            f"cg_score needs {machine.size(need)} for {n} x {n} numbers and this machine has {machine.size(have)} free: use "
            f"{', or '.join([*ways, 'fewer rows'])}."
        )


def costs(data: Dataset, rates: machine.Rates, *, negatives: float | None = None, inverse: bool = True) -> list[Cost]:
    """Exact, low rank with large blocks, with small ones, neighbours: where each makes sense. There is no plan of the paper's
    stochastic scheme (``negatives``), which looks at the memory itself, nor of CG' (no ``inverse``)."""
    if negatives is not None or not inverse:
        return []
    n, d = data.X.shape
    c = 1 if data.task == "regression" else len(data.classes)
    m = 0 if data.codes_val is None else len(data.codes_val)
    # bias or not, then four ridges of the trusted rows, each an eigendecomposition of few rows and a likelihood at 40 ridges; the ridge
    # by some three inverses of more
    few, more = min(n, FEW) / 1000, min(n, 1000) / 1000
    chosen = rates.choice * (1.6 * (2 + 4 * (m > 0)) * few**3 + 0.7 * (n > FEW) * more**3) + 0.01
    found = []
    for dtype in ("float64", "float32") if n <= 2 * DOUBLE else ("float32",):
        seconds, memory = exact_seconds(n, m, d, dtype, rates), BUFFERS + exact_memory(n + m, d, dtype)
        found.append(Cost({"approx": "exact", "dtype": dtype}, chosen + seconds, memory, 0.0, 0))
    have = machine.available_memory()
    if have and exact_memory(n + m, d, "float32") > have:  # then panels are read back from the folder
        read = 2 * factor_bytes(n + m, "float32") * (n + m) / (3 * width(n + m)) / rates.disk
        memory = BUFFERS + exact_memory(n + m, d, "float32", on_disk=True)
        options = {"approx": "exact", "dtype": "float32", "checkpoint": "cg-score-panels"}
        found.append(Cost(options, chosen + seconds + read, memory, factor_bytes(n + m, "float32"), 0))
    if n >= 5000:
        for rank, block in ((2048, 6000), (1024, 2000)):
            seconds = chosen + landmarks_seconds(n + m, d, min(rank, n), min(block, n), rates)
            memory = BUFFERS + approximate_memory(n + m, d, c, min(rank, n), min(block, n), rates.threads)
            found.append(Cost({"approx": "landmarks", "rank": rank, "block": block}, seconds, memory, 0.0, 0))
        seconds = chosen + neighbours_seconds(n + m, d, 64, rates)
        found.append(Cost({"approx": "neighbours"}, seconds, neighbours_memory(n + m, d, c, rates.threads), 0.0, 0))
    return found


def exact_seconds(n: int, m: int, d: int, dtype: str, rates: machine.Rates) -> float:
    """The factor, the inverse's diagonal, and H twice (the solve's residual needs it again)."""
    product, wide = (rates.product64, 2.0) if dtype == "float64" else (rates.product32, 1.0)
    kernel = (n + m) ** 2 / 2 * (2 * d / product + 2 * wide / rates.values)
    speed = (0.45 if n + m <= WHOLE else 0.8) * product  # one panel is LAPACK's, which gains less from threads
    factor = ((n + m) ** 3 / 3 + n**3 / 3) / speed
    return factor + (2 if n + m > WHOLE else 1) * kernel + 20.0 * n * d / rates.values + 0.3


def landmarks_seconds(n: int, d: int, r: int, b: int, rates: machine.Rates) -> float:
    """All rows, the basis, the sample on which the error is estimated; and above EXACT rows the ridge, found in some six steps."""
    basis = 8.0 * min(4096, n) ** 2 * r / rates.product64
    sample = exact_seconds(4000, 0, d, "float32", rates) * 2
    return n * (_row(d, min(4096, n), r, b, rates) + 60.0 * d / rates.values) + basis + sample + _tuned(n, d, rates) + 0.5


def _tuned(n: int, d: int, rates: machine.Rates) -> float:
    return 6 * 8000 * _row(d, 2048, 512, 2000, rates) + n * 60.0 * d / rates.values if n > EXACT else 0.0


def _row(d: int, M: int, r: int, b: int, rates: machine.Rates) -> float:
    """Kernel values of landmarks and of half the row's block, features, the block's inverse, products of rank r."""
    values = M + b / 2
    operations = 2.0 * d * values + 2.0 * M * r + b * r + 0.67 * b * b + 2.0 * b * r + 2.0 * r * r
    return operations / (0.8 * rates.product32) + 2 * values / rates.values


def neighbours_seconds(n: int, d: int, k: int, rates: machine.Rates) -> float:
    """Row by row: cosines of the rows of eight blocks, the largest of them, and a small system."""
    probed = min(n, 8 * 2048)
    solve = (2 * k * k * d + 20 * k**3) / (0.3 * rates.product32) + 3 * k * k / rates.values
    return (
        n * (2.0 * d * probed / rates.product32 + 0.35 * probed / rates.values + solve + 60.0 * d / rates.values)
        + _tuned(n, d, rates)
        + 1.0
    )


def neighbours_memory(n: int, d: int, c: int, jobs: int) -> float:
    """Projected rows, columns of results, and what each worker holds: candidates, their cosines, neighbours."""
    return 4.0 * n * 32 + 60.0 * n * c + jobs * 4.0 * (2 * 16_384 * d + 3 * 2**22 + 1024 * 16_384)
