"""dattri's influence functions, TRAK and TracIn on models that are given: what every row is worth to each answer, for attribution.py.

python attribution.py models.npz matrix.npy "TRAK"
"""

import sys
from pathlib import Path

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

sys.path.append(str(Path(__file__).resolve().parents[1]))
from given import network, read, told

torch.set_num_threads(1)
DAMPING = 0.01  # of networks: without it the inverse is noise


def main(source, target, name):
    X, y, X_val, y_val, every, penalty = read(source)
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
    penalty /= len(X)

    def work():
        if name.startswith("TRAK"):
            of = AttributionTask(loss_func=log_odds, model=net, checkpoints=used)
            found = TRAKAttributor(of, probability, projector_kwargs={"proj_dim": 4096}, regularization=0.01)
            found.cache(train)
            return found.attribute(val)
        if name == "TracIn":
            of = AttributionTask(loss_func=loss, model=net, checkpoints=used)
            found = TracInAttributor(
                of, torch.ones(len(used)), normalized_grad=False, projector_kwargs={"proj_type": "identity"}
            )
            return found.attribute(train, val)
        of = AttributionTask(loss_func=loss, model=net, checkpoints=used[0])
        if name == "IF EK-FAC":
            by = IFAttributorEKFAC(of, damping=DAMPING)
        else:
            kind = {"IF explicit": IFAttributorExplicit, "IF CG": IFAttributorCG}[name]
            by = kind(of, regularization=penalty or DAMPING)
        by.cache(train)
        return by.attribute(train, val)

    told(target, work)


main(*sys.argv[1:])
