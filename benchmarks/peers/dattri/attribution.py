"""dattri's influence functions, TRAK and TracIn on models that are given: what every row is worth to each answer, for attribution.py.

python attribution.py models.npz matrix.npy "TRAK"
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from dattri.algorithm import (
    IFAttributorCG,
    IFAttributorEKFAC,
    IFAttributorExplicit,
    TracInAttributor,
    TRAKAttributor,
)
from dattri.task import AttributionTask
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.set_num_threads(1)
DAMPING = 0.01  # of networks: without it the inverse is noise


def held(what):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e9 for line in lines if line.startswith(what))


def network(weights):
    """Linear layers of these sizes, with ReLU between them."""
    places = sorted({int(name.split(".")[0]) for name in weights})
    layers = []
    for place in places:
        o, i = weights[f"{place}.weight"].shape
        layers += [nn.Linear(i, o), nn.ReLU()]
    net = nn.Sequential(*layers[:-1])
    net.load_state_dict(weights)
    return net


def main(source, target, name):
    with np.load(source) as kept:
        arrays = {k: kept[k] for k in kept.files}
    X, X_val = (torch.tensor(arrays[k], dtype=torch.float) for k in ("X", "X_val"))
    y, y_val = (torch.tensor(arrays[k], dtype=torch.long) for k in ("y", "y_val"))
    runs = sorted({int(k.split()[0]) for k in arrays if k[0].isdigit()})
    every = [
        {k.split(" ", 1)[1]: torch.tensor(v, dtype=torch.float) for k, v in arrays.items() if k.startswith(f"{r} ")}
        for r in runs
    ]
    net = network(every[0])

    def loss(parameters, row):
        x, label = row
        said = torch.func.functional_call(net, parameters, x.reshape(-1, X.shape[1]))
        return nn.functional.cross_entropy(said, label.reshape(-1))

    def log_odds(parameters, row):
        x, label = row
        said = torch.func.functional_call(net, parameters, x.reshape(1, -1))
        p = torch.exp(-nn.functional.cross_entropy(said, label.reshape(-1)))
        return torch.log(p / (1 - p))

    def probability(parameters, row):
        x, label = row
        said = torch.func.functional_call(net, parameters, x.reshape(1, -1))
        return torch.exp(-nn.functional.cross_entropy(said, label.reshape(-1)))

    used = every if "10" in name else every[:1]
    train = DataLoader(TensorDataset(X, y), batch_size=500)
    val = DataLoader(TensorDataset(X_val, y_val), batch_size=500)
    penalty = float(arrays["penalty"]) / len(X)
    before, start, cpu = held("VmRSS"), time.perf_counter(), time.process_time()
    if name.startswith("TRAK"):
        of = AttributionTask(loss_func=log_odds, model=net, checkpoints=used)
        found = TRAKAttributor(of, probability, projector_kwargs={"proj_dim": 4096}, regularization=0.01)
        found.cache(train)
        matrix = found.attribute(val)
    elif name == "TracIn":
        of = AttributionTask(loss_func=loss, model=net, checkpoints=used)
        found = TracInAttributor(
            of, torch.ones(len(used)), normalized_grad=False, projector_kwargs={"proj_type": "identity"}
        )
        matrix = found.attribute(train, val)
    else:
        of = AttributionTask(loss_func=loss, model=net, checkpoints=used[0])
        if name == "IF EK-FAC":
            by = IFAttributorEKFAC(of, damping=DAMPING)
        else:
            kind = {"IF explicit": IFAttributorExplicit, "IF CG": IFAttributorCG}[name]
            by = kind(of, regularization=penalty or DAMPING)
        by.cache(train)
        matrix = by.attribute(train, val)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    np.save(target, matrix.detach().numpy())
    print(json.dumps({"seconds": seconds, "cpu": cpu, "GB": held("VmHWM") - before}))


main(*sys.argv[1:])
