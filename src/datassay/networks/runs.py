"""What all methods that train networks share: their options, several trainings under one progress bar, a checkpoint folder."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypedDict, TypeVar

import numpy as np
from numpy import ndarray
from torch import Tensor, nn

from datassay.checks import Call, Count, DataError, FromZero, Jobs, Seed, Whole, jobs, one_of, whole
from datassay.data.encoding import plain
from datassay.engines.gradients import Loss
from datassay.engines.progress import progress_bar
from datassay.engines.training import Recipe, Rows, Run, Tick, each_run, spawned
from datassay.networks.problem import Problem
from datassay.networks.recipes import recipe

T = TypeVar("T")
NOT_KEPT = ("data", "n_jobs", "progress", "checkpoint")  # what does not change the numbers


class OneTraining(TypedDict, total=False):
    """Options of every method that trains a network."""

    epochs: Annotated[int, Whole(0)] | None
    batch_size: Count | None
    lr: FromZero | None
    training: Recipe | None
    device: str
    checkpoint: str | Path | None
    seed: Seed
    progress: bool


class Trainings(OneTraining, total=False):
    """And of those that train several."""

    n_jobs: Jobs | None


@dataclass(frozen=True)
class One:
    """One of the trainings of a call."""

    p: Problem
    recipe: Recipe
    seed: int  #: of the call
    number: int  #: of the training, from 0 on
    tick: Tick  #: moves the bar
    file: Path | None  #: its checkpoint
    key: str  #: identifies the checkpoint

    @property
    def own(self) -> int:
        """Its own seed."""
        return spawned(self.seed, self.number)

    def net(self) -> nn.Module:
        """The network as it is at first."""
        return self.p.make(self.number, self.seed)

    def start(
        self,
        x: Rows,
        y: Tensor,
        net: nn.Module | None = None,
        *,
        loss: Loss | None = None,
        state: dict[str, Tensor] | None = None,
        watch: bool = False,
        reduce: Callable[[Tensor, Tensor], Tensor] | None = None,
        dropout: bool = True,
    ) -> Run:
        """The training as a `Run`: on these rows, of this network or a fresh one; the other options as for `Run`."""
        return Run(
            net or self.net(),
            loss or self.p.loss,
            x,
            y,
            self.recipe,
            seed=self.own,
            state=state,
            checkpoint=self.file,
            key=self.key,
            watch=watch,
            reduce=reduce,
            dropout=dropout,
        )


def chosen(shared: OneTraining, default: Recipe, n: int, *, exact: bool = False) -> Recipe:
    """The recipe that the options name; ``exact``: without one, the batch size is the default's, however few rows there are."""
    return recipe(
        shared["training"] or (default if exact else None),
        default,
        n,
        epochs=shared["epochs"],
        batch_size=shared["batch_size"],
        lr=shared["lr"],
    )


def options_of(call: Call, recipe: Recipe) -> dict[str, Any]:
    """A method's keywords as `Values.options` stores them: no data, nothing that only changes the speed; the recipe as it was used."""
    options = {name: plain(value) for name, value in call.given.items() if name not in NOT_KEPT}
    options["model"] = None if call.given["model"] is None else _name_of(call.given["model"])
    used = dataclasses.asdict(recipe) | {"augment": None if recipe.augment is None else _name_of(recipe.augment)}
    options["training"] = {name: plain(value) for name, value in used.items()}
    for name in ("epochs", "batch_size", "lr"):
        options[name] = options["training"][name]
    return options


def _name_of(thing: Any) -> str:
    return f"{getattr(thing, '__qualname__', type(thing).__name__)}"


def run_all(
    work: Callable[[One], T],
    call: Call,
    p: Problem,
    used: Recipe,
    options: Mapping[str, Any] | None = None,
    *,
    runs: int = 1,
    units: int | None = None,
) -> list[T]:
    """``work`` for each of the trainings; its ``tick`` moves the bar, which stands at ``units`` (None: the epochs) after one.

    Of the call count seed, n_jobs, progress, and checkpoint: a folder in which the ``options`` tell the runs of one call from others.

    Raises
    ------
    DataError
        The training diverged, or the folder holds other runs.
    """
    n_jobs, progress, checkpoint = (call.given.get(option) for option in ("n_jobs", "progress", "checkpoint"))
    whole(p.method, 1, runs=runs)
    jobs(p.method, n_jobs)
    one_of(p.method, (True, False), progress=progress)
    folder = None if checkpoint is None else Path(checkpoint)
    key = ""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        text = f"{p.method} {p.data.hash} {call.former(options or {})}"
        key = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    units = used.epochs if units is None else units
    title = f"{p.method}, {len(p.data)} rows" + (f", {runs} runs" if runs > 1 else "")
    bar = progress_bar(title, runs * units, progress=bool(progress))
    one = partial(_one, work, p, used, call.given["seed"], folder, key)
    with bar:
        try:
            return each_run(one, runs, n_jobs, p.device, bar.update, units)
        except (ValueError, FloatingPointError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{p.method}: {error}") from error


def _one(
    work: Callable[[One], T], p: Problem, used: Recipe, seed: int, folder: Path | None, key: str, run: int, tick: Tick
) -> T:
    return work(One(p, used, seed, run, tick, None if folder is None else folder / f"run-{run}.pt", key))


def averaged(each: Sequence[ndarray] | ndarray) -> tuple[ndarray, dict[str, Any]]:
    """(n,) mean over the runs, and for `Values.stats` its standard error, where there are several.

    >>> averaged([np.array([1.0, 2.0]), np.array([3.0, 2.0])])
    (array([2., 2.]), {'stderr': array([1., 0.])})
    """
    several = np.asarray(each)
    stderr = {"stderr": several.std(0, ddof=1) / np.sqrt(len(each))} if len(each) > 1 else {}
    return several.mean(0), stderr
