"""For each peer's attribution.py: the networks that it is given, and a call's matrix, seconds and memory."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

Weights = dict[str, Tensor]


class Given(NamedTuple):
    """What attribution.py exports."""

    X: Tensor
    y: Tensor
    X_val: Tensor
    y_val: Tensor
    trainings: list[Weights]
    penalty: float


def read(source: str) -> Given:
    with np.load(source) as kept:
        arrays = {k: kept[k] for k in kept.files}
    X, X_val = (torch.tensor(arrays[k], dtype=torch.float) for k in ("X", "X_val"))
    y, y_val = (torch.tensor(arrays[k], dtype=torch.long) for k in ("y", "y_val"))
    runs = sorted({int(k.split()[0]) for k in arrays if k[0].isdigit()})
    trainings = [
        {k.split(" ", 1)[1]: torch.tensor(v, dtype=torch.float) for k, v in arrays.items() if k.startswith(f"{r} ")}
        for r in runs
    ]
    return Given(X, y, X_val, y_val, trainings, float(arrays["penalty"]))


def network(weights: Weights) -> nn.Module:
    """Linear layers of these sizes, with ReLU between them."""
    layers: list[nn.Module] = []
    for place in sorted({int(name.split(".")[0]) for name in weights}):
        o, i = weights[f"{place}.weight"].shape
        layers += [nn.Linear(i, o), nn.ReLU()]
    net = nn.Sequential(*layers[:-1])
    net.load_state_dict(weights)
    return net


def told(target: str, work: Callable[[], Tensor]) -> None:
    """The (n, m) matrix that ``work`` makes is written, and what that took is printed."""
    before, start, cpu = _held("VmRSS"), time.perf_counter(), time.process_time()
    matrix = work()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    np.save(target, matrix.detach().numpy())
    print(json.dumps({"seconds": seconds, "cpu": cpu, "GB": _held("VmHWM") - before}))


def _held(what: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e9 for line in lines if line.startswith(what))
