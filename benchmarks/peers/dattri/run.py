"""dattri: TracIn, TRAK and KNN-Shapley. Positive = lowers the loss of a validation row, so higher = keep.

All but KNN-Shapley look at checkpoints of one training, which is part of the time: the network and the training that datassay's tracin
has by default (network.py). Batches are as large as takes least time here: for each, the validation rows' gradients are computed anew.
"""

import sys
from pathlib import Path

import torch
from dattri.algorithm import KNNShapleyAttributor, TracInAttributor, TRAKAttributor
from dattri.task import AttributionTask
from torch.utils.data import DataLoader, TensorDataset

sys.path.append(str(Path(__file__).resolve().parents[1]))
from adapter import Found, main
from network import RATE, trained


def tensors(rows):
    X, X_val = (torch.tensor(part, dtype=torch.float) for part in (rows.X, rows.X_val))
    return X, torch.tensor(rows.y), X_val, torch.tensor(rows.y_val)


def loaders(rows, batch=None):
    X, y, X_val, y_val = tensors(rows)
    val = DataLoader(TensorDataset(X_val, y_val), batch_size=len(X_val))
    return DataLoader(TensorDataset(X, y), batch_size=batch or len(X)), val


def task(rows, seed, last=False):
    """The network, its checkpoints (or the last alone), and the loss of a row."""
    X, y, *_ = tensors(rows)
    net, checkpoints = trained(X, y, seed)

    def loss(parameters, row):
        x, label = row
        said = torch.func.functional_call(net, parameters, x.reshape(-1, X.shape[1]))
        return torch.nn.functional.cross_entropy(said, label.reshape(-1))

    kept = checkpoints[-1:] if last else checkpoints
    return net, loss, kept, AttributionTask(loss_func=loss, model=net, checkpoints=kept)


def tracin_by(**projection):
    def tracin(rows, seed, trainings):
        *_, kept, of = task(rows, seed)
        rates = torch.full((len(kept),), RATE)
        found = TracInAttributor(of, rates, normalized_grad=False, projector_kwargs=projection or None)
        return Found(found.attribute(*loaders(rows, 250)).mean(1).numpy(), trainings=1)

    return tracin


def trak(rows, seed, trainings):
    """Its default projection to 512 numbers, at the end of the training; 0.01 on the diagonal."""
    net, _, kept, _ = task(rows, seed, last=True)

    def log_odds(parameters, row):
        x, label = row
        said = torch.func.functional_call(net, parameters, x.reshape(1, -1))
        p = torch.exp(-torch.nn.functional.cross_entropy(said, label.reshape(-1)))
        return torch.log(p / (1 - p))

    def probability(parameters, row):
        x, label = row
        said = torch.func.functional_call(net, parameters, x.reshape(1, -1))
        return torch.exp(-torch.nn.functional.cross_entropy(said, label.reshape(-1)))

    of = AttributionTask(loss_func=log_odds, model=net, checkpoints=kept)
    found = TRAKAttributor(of, probability, regularization=0.01)
    train, val = loaders(rows)
    found.cache(train)
    return Found(found.attribute(val).mean(1).detach().numpy(), trainings=1)


def knn_shapley(rows, seed, trainings):
    return Found(KNNShapleyAttributor(k_neighbors=10).attribute(*loaders(rows)).mean(0).numpy())


METHODS = {
    "tracin": tracin_by(proj_type="identity"),
    "tracin-default": tracin_by(),
    "trak": trak,
    "knn-shapley": knn_shapley,
}
main(METHODS, "dattri", "torch", "numpy")
