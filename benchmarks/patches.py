"""Features of patches: how long they take beside the bare convolution of the same shape, and how much memory.

    python benchmarks/patches.py                                        # random images of 32 x 32 x 3
    python benchmarks/patches.py --cifar10 cifar10_train.parquet --images 2000

Seconds are of the processor, so that other work on the machine counts little; on all threads that BLAS has. The convolution is torch's, of
the same filters over the same images, in batches of the size that is fastest; without torch it is the product of all patches with the
filters, laid out before. Memory is what the process holds at most while it makes the features, above what it held before, less the result.
Writes ``benchmarks/out/patches.md``.
"""

import argparse
import threading
import time
from pathlib import Path

import numpy as np
import psutil
from cg_score import OUT, markdown

from datassay.engines import patches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cifar10", type=Path, help="Parquet file of the images")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--patches", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    images = read(options)
    it = patches.learn(images, k=options.patches)
    ours, bare, wall, product = [], [], [], []
    for _ in range(options.repeats):
        seconds, elapsed = timed(lambda: patches.features(images, it))
        ours.append(seconds)
        wall.append(elapsed)
        bare.append(convolution(images, it))
        product.append(matrices(images, it))
    n = len(images)
    held, result = memory(images, it)
    scale = 50_000 / n
    lines = [
        [
            n, options.patches, f"{1e3 * min(ours) / n:.2f}", f"{1e3 * min(bare) / n:.2f}", f"{1e3 * min(product) / n:.2f}",
            f"{min(ours) / min(bare):.2f}", f"{scale * min(ours):.0f}", f"{scale * min(wall):.0f}", f"{result / 2**20:.0f}",
            f"{held / 2**20:.0f}",
        ]
    ]  # fmt: skip
    text = markdown(HEAD, lines)
    print(text)
    OUT.mkdir(exist_ok=True)
    (OUT / "patches.md").write_text(text + "\n")


HEAD = [
    "images", "patches", "features, CPU ms an image", "bare convolution", "bare product", "ratio to the convolution",
    "50,000 images: CPU seconds", "seconds by the clock", "result, MiB", "memory beside it, MiB",
]  # fmt: skip


def read(options: argparse.Namespace) -> np.ndarray:
    if options.cifar10 is None:
        rough = np.random.default_rng(0).integers(0, 255, (options.images, 34, 34, 3))
        return ((rough[:, :-2, :-2] + rough[:, 1:-1, 1:-1] + rough[:, 2:, 2:]) // 3).astype(np.uint8)
    import datassay as da

    data = da.read(options.cifar10, label="label")
    rows = np.random.default_rng(0).permutation(len(data))[: options.images]
    return np.asarray(data.shown[np.sort(rows)])


def timed(work) -> tuple[float, float]:
    cpu, clock = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - clock


def convolution(images: np.ndarray, it: patches.Dictionary) -> float:
    """CPU seconds of torch's, in the fastest of three batch sizes."""
    try:
        import torch
    except ImportError:
        return matrices(images, it)
    torch.set_num_threads(patches.blas_threads())
    x = torch.tensor(patches.prepared(images, it.low, it.span, it.size)).permute(0, 3, 1, 2).contiguous()
    q = it.patch
    filters = torch.tensor(it.filters.T.reshape(-1, q, q, x.shape[1])).permute(0, 3, 1, 2).contiguous()

    def all_of(size: int) -> None:
        with torch.no_grad():
            for start in range(0, len(x), size):
                torch.nn.functional.conv2d(x[start : start + size], filters)

    return min(timed(lambda size=size: all_of(size))[0] for size in (1, 4, 16))


def matrices(images: np.ndarray, it: patches.Dictionary) -> float:
    """CPU seconds of as many products of (positions, pixels of a patch) with the filters."""
    positions = (it.size[0] - it.patch + 1) * (it.size[1] - it.patch + 1)
    P = np.random.default_rng(0).random((positions, len(it.filters))).astype(np.float32)
    room = np.empty((positions, it.filters.shape[1]), np.float32)
    return timed(lambda: [np.matmul(P, it.filters, out=room) for _ in range(len(images))])[0]


def memory(images: np.ndarray, it: patches.Dictionary) -> tuple[int, int]:
    """Bytes beside the result, and of the result."""
    process, most, done = psutil.Process(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            most[0] = max(most[0], process.memory_info().rss)

    before = process.memory_info().rss
    thread = threading.Thread(target=watch)
    thread.start()
    F = patches.features(images, it)
    most[0] = max(most[0], process.memory_info().rss)
    done.set()
    thread.join()
    return max(0, most[0] - before - F.nbytes), F.nbytes


if __name__ == "__main__":
    main()
