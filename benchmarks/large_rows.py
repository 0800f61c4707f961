"""A million rows: MNIST images, shifted and with noise, a fifth of their labels wrong.

    python benchmarks/large_rows.py make --mnist mnist_train.parquet --rows 1000000 --out large
    python benchmarks/large_rows.py make --mnist mnist_train.parquet --rows 1000000 --out large --parquet

``make`` writes to the folder ``X.npy`` (uint8, rows x 784), ``y.npy`` (the labels, some wrong), ``wrong.npy`` (which) and
with ``--parquet`` also ``rows.parquet`` (columns ``pixels``, a list of 784 numbers a row, and ``label``). The same seed
makes the same rows. A million of them take 0.8 GB for X.npy; the memory needed does not grow with their number.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import datassay as da

BLOCK = 10_000  # rows made at a time, and rows in a group of the Parquet file
SHIFT = 2  # pixels, at most, in each direction
NOISE = 8.0  # standard deviation, of 255


def read_images(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(n, 28, 28) uint8 and (n,) labels of a Parquet file with columns image (encoded) and label; others are left out."""
    names = pq.read_schema(path).names
    data = da.read(path, label="label", drop=[name for name in names if name not in ("image", "label")])
    return np.asarray(data.shown), data.y.astype(np.int64)


def varied(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each image moved by up to two pixels both ways, zeros where nothing was, and noise; (n, height * width) uint8."""
    n, height, width = images.shape
    framed = np.pad(images, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)))
    down, right = rng.integers(0, 2 * SHIFT + 1, size=(2, n))
    rows = down[:, None, None] + np.arange(height)[:, None]
    columns = right[:, None, None] + np.arange(width)
    moved = framed[np.arange(n)[:, None, None], rows, columns].reshape(n, -1)
    noise = rng.standard_normal(moved.shape, dtype=np.float32)
    return np.clip(np.round(moved + np.float32(NOISE) * noise), 0, 255).astype(np.uint8)


def plant(labels: np.ndarray, share: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Labels of which exactly this share is wrong, each of the other classes alike, and which they are."""
    classes, codes = np.unique(labels, return_inverse=True)
    wrong = np.zeros(len(labels), bool)
    wrong[rng.choice(len(labels), size=round(share * len(labels)), replace=False)] = True
    codes[wrong] = (codes[wrong] + rng.integers(1, len(classes), size=wrong.sum())) % len(classes)
    return classes[codes], wrong


def make(mnist: Path, rows: int, out: Path, wrong_share: float, seed: int, parquet: bool) -> None:
    """Write the rows block by block."""
    images, labels = read_images(mnist)
    rng = np.random.default_rng(seed)
    picked = rng.integers(len(images), size=rows)
    y, wrong = plant(labels[picked], wrong_share, rng)
    out.mkdir(parents=True, exist_ok=True)
    np.save(out / "y.npy", y)
    np.save(out / "wrong.npy", wrong)
    d = images[0].size
    X = np.lib.format.open_memmap(out / "X.npy", "w+", np.uint8, (rows, d))
    for start in range(0, rows, BLOCK):
        X[start : start + BLOCK] = varied(images[picked[start : start + BLOCK]], rng)
    X.flush()
    print(f"{out / 'X.npy'}: {rows:,} x {d}; {wrong.sum():,} labels wrong")
    if parquet:
        schema = pa.schema([("pixels", pa.list_(pa.uint8(), d)), ("label", pa.int64())])
        with pq.ParquetWriter(out / "rows.parquet", schema) as writer:
            for start in range(0, rows, BLOCK):
                block = slice(start, min(start + BLOCK, rows))
                pixels = pa.FixedSizeListArray.from_arrays(pa.array(X[block].ravel()), d)
                writer.write_table(pa.table([pixels, pa.array(y[block])], schema=schema), row_group_size=BLOCK)
        print(f"{out / 'rows.parquet'}: the same")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make", help="write the rows")
    making.add_argument("--mnist", type=Path, required=True, help="Parquet file with columns image (encoded) and label")
    making.add_argument("--rows", type=int, default=1_000_000)
    making.add_argument("--out", type=Path, required=True, help="the folder to write to")
    making.add_argument("--wrong", type=float, default=0.2, help="share of the labels to plant wrong (0.2)")
    making.add_argument("--seed", type=int, default=0)
    making.add_argument("--parquet", action="store_true", help="also write rows.parquet")
    asked = parser.parse_args()
    make(asked.mnist, asked.rows, asked.out, asked.wrong, asked.seed, asked.parquet)


if __name__ == "__main__":
    main()
