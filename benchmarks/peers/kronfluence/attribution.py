"""Kronfluence's EK-FAC on a network that is given: what every row is worth to each answer, for attribution.py.

python attribution.py models.npz matrix.npy "EK-FAC"

The damping is its heuristic, a tenth of a layer's mean eigenvalue.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from kronfluence.analyzer import Analyzer, prepare_model
from kronfluence.arguments import FactorArguments, ScoreArguments
from kronfluence.task import Task
from torch import nn
from torch.utils.data import TensorDataset

sys.path.append(str(Path(__file__).resolve().parents[1]))
from given import network, read, told

torch.set_num_threads(1)


class Classification(Task):
    """Cross-entropy, of labels that the network draws for the curvature, and log-odds for the answers."""

    def compute_train_loss(self, batch, model, sample=False):
        x, y = batch
        said = model(x)
        if sample:
            y = torch.multinomial(said.detach().softmax(1), 1)[:, 0]
        return nn.functional.cross_entropy(said, y, reduction="sum")

    def compute_measurement(self, batch, model):
        x, y = batch
        log_p = model(x).log_softmax(1)
        own = log_p.gather(1, y[:, None])[:, 0]
        return (own - log_p.scatter(1, y[:, None], -torch.inf).logsumexp(1)).sum()


def main(source, target, name):
    X, y, X_val, y_val, trainings, _ = read(source)
    task = Classification()
    net = prepare_model(network(trainings[0]), task)
    train, val = TensorDataset(X, y), TensorDataset(X_val, y_val)

    def work():
        with TemporaryDirectory() as folder:
            its = Analyzer("a", net, task, cpu=True, disable_tqdm=True, log_level=40, output_dir=folder)
            its.fit_all_factors("f", train, per_device_batch_size=500, factor_args=FactorArguments(strategy="ekfac"))
            its.compute_pairwise_scores(
                "s", "f", val, train, per_device_query_batch_size=500, per_device_train_batch_size=500,
                score_args=ScoreArguments(damping_factor=None),
            )  # fmt: skip
            # where more weight on a row lowers the answer, its removal raises it
            return -its.load_pairwise_scores("s")["all_modules"].T

    told(target, work)


main(*sys.argv[1:])
