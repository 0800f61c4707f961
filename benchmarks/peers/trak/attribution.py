"""TRAK's own code on networks that are given: what every row is worth to each answer, for attribution.py.

python attribution.py models.npz matrix.npy "TRAK"

4,096 numbers of a gradient, in float32, by its projector for processors; else its defaults.
"""

import logging
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch.utils.data import DataLoader, TensorDataset
from trak import TRAKer

sys.path.append(str(Path(__file__).resolve().parents[1]))
from given import network, read, told

torch.set_num_threads(1)


def main(source, target, name):
    X, y, X_val, y_val, trainings, _ = read(source)
    used = trainings if "10" in name else trainings[:1]
    train = DataLoader(TensorDataset(X, y), batch_size=100)
    val = DataLoader(TensorDataset(X_val, y_val), batch_size=100)

    def work():
        with TemporaryDirectory() as folder:
            its = TRAKer(
                model=network(used[0]).eval(), task="image_classification", train_set_size=len(X), save_dir=folder, device="cpu",
                proj_dim=4096, use_half_precision=False, logging_level=logging.ERROR,
            )  # fmt: skip
            for number, weights in enumerate(used):
                its.load_checkpoint(weights, model_id=number)
                for batch in train:
                    its.featurize(batch=batch, num_samples=len(batch[0]))
            its.finalize_features()
            for number, weights in enumerate(used):
                its.start_scoring_checkpoint(exp_name="e", checkpoint=weights, model_id=number, num_targets=len(X_val))
                for batch in val:
                    its.score(batch=batch, num_samples=len(batch[0]))
            return torch.tensor(its.finalize_scores(exp_name="e"))

    told(target, work)


main(*sys.argv[1:])
