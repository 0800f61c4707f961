"""Torch networks as models of methods that retrain on subsets: many copies are trained at once, see `engines.stacked`."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy import ndarray

from datassay.checks import DataError
from datassay.data.dataset import Dataset
from datassay.engines.stacked import block, train_stacked
from datassay.engines.training import Recipe
from datassay.engines.training_store import Predictions
from datassay.networks.problem import Model, Problem, problem
from datassay.networks.recipes import recipe
from datassay.subsets.identity import coded

DEFAULT = Recipe(epochs=10, optimiser="adam", lr=3e-3, weight_decay=1e-4)


def network(data: Dataset, model: Model, method: str, *, training: Recipe | None, device: str) -> tuple[Stacks, str]:
    """The trainer for a torch module or a function from a seed to one, and the text by which its trainings are known.

    Raises
    ------
    DataError
        It is no network, or does not fit the data.
    """
    p = problem(data, model, device, method)
    used = recipe(training, DEFAULT, len(data))
    net = p.make(0, 0)
    digest = hashlib.blake2b(digest_size=16)  # of how it is drawn: two functions may give networks of one form
    for name, tensor in net.state_dict().items():
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    net.eval()
    with torch.no_grad():  # and of what it does with it
        digest.update(net(p.x[torch.arange(min(16, len(data)))]).double().cpu().numpy().round(6).tobytes())
    how = dataclasses.asdict(used) | {"augment": coded(used.augment)}
    return Stacks(p, used, block(net, p.x, used)), f"torch {torch.__version__} {net} {digest.hexdigest()} {how}"


@dataclass(frozen=True)
class Stacks:
    """Trains a stack of copies, each on its subset for as many steps as all rows would take."""

    problem: Problem
    recipe: Recipe
    block: int
    random: bool = True

    def __call__(self, counts: ndarray, seeds: Sequence[int], *, val: bool, rows: bool) -> list[Predictions]:
        p = self.problem
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # the same bits wherever it runs
        try:
            trained = train_stacked(
                lambda seed: p.make(0, seed), p.x, p.y, counts, np.array(seeds, np.int64), p.loss, self.recipe
            )
            each = [self._says(trained.outputs(x)) for x in ([p.x_val] * val + [p.x] * rows)]
        except (ValueError, FloatingPointError) as error:
            raise error if isinstance(error, DataError) else DataError(f"{p.method}: {error}") from error
        finally:
            torch.set_num_threads(threads)
        answers = [
            Predictions(*(next(it) if wanted else None for wanted in (val, rows)))
            for it in map(iter, zip(*each, strict=True))
        ]
        return answers

    def _says(self, outputs: Any) -> ndarray:
        """(b, q, c) log-probabilities, which take half the room as float32, or regression targets in the labels' unit."""
        found = self.problem.log_probabilities(outputs)
        return found.astype(np.float32) if self.problem.data.task == "classification" else found
