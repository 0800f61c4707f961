"""What all methods that train networks have in common: their options, several trainings under one bar, a folder to go on from."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from datassay.checks import DataError, jobs, one_of, whole
from datassay.data.encoding import plain
from datassay.engines.progress import progress_bar
from datassay.engines.training import Recipe, Tick, each_run
from datassay.networks.problem import Problem

T = TypeVar("T")
Optimiser = Literal["sgd", "adam"]


class Place(NamedTuple):
    """Where a run is written down."""

    file: Path | None
    key: str


def recipe(
    given: Recipe | None,
    default: Recipe,
    n: int,
    *,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    optimiser: Optimiser | None = None,
) -> Recipe:
    """The given recipe, or the default with about 50 steps an epoch, but batches of 16 to 128; with what is named changed.

    Raises
    ------
    DataError
        If a number can't be.

    Examples
    --------
    >>> recipe(None, Recipe(), 2000).batch_size, recipe(Recipe(batch_size=7), Recipe(), 2000, lr=0.5).batch_size
    (40, 7)
    """
    if given is not None and not isinstance(given, Recipe):
        raise DataError(
            f"training must be a Recipe, got {type(given).__name__}: from datassay.engines.training import Recipe."
        )
    named = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "optimiser": optimiser}
    start = given or dataclasses.replace(default, batch_size=min(default.batch_size, max(16, n // 50)))
    try:
        return dataclasses.replace(start, **{name: value for name, value in named.items() if value is not None})  # type: ignore[arg-type]
    except ValueError as error:
        raise DataError(str(error)) from None


def options_of(given: dict[str, Any], recipe: Recipe) -> dict[str, Any]:
    """What `Values.options` keeps of a method's keywords: no data, nothing about how fast it goes; the recipe as it was used."""
    left_out = ("data", "n_jobs", "progress", "checkpoint")
    options = {name: plain(value) for name, value in given.items() if name not in left_out}
    options["model"] = None if given["model"] is None else _named(given["model"])
    used = dataclasses.asdict(recipe) | {"augment": None if recipe.augment is None else _named(recipe.augment)}
    options["training"] = {name: plain(value) for name, value in used.items()}
    for name in ("epochs", "batch_size", "lr", "optimiser"):
        if name in options:
            options[name] = options["training"][name]
    return options


def _named(thing: Any) -> str:
    return f"{getattr(thing, '__qualname__', type(thing).__name__)}"


def do(
    work: Callable[[int, Tick, Place], T],
    runs: int,
    p: Problem,
    options: dict[str, Any],
    *,
    units: int,
    checkpoint: str | Path | None,
    n_jobs: int | None,
    progress: bool,
) -> list[T]:
    """``work(run, tick, place)`` for each run; ``tick`` moves the bar, which stands at ``units`` after a run.

    Raises
    ------
    DataError
        The loss ran away, or the folder holds other runs.
    """
    whole(p.method, 1, runs=runs)
    jobs(p.method, n_jobs)
    one_of(p.method, (True, False), progress=progress)
    folder = None if checkpoint is None else Path(checkpoint)
    key = ""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        key = hashlib.blake2b(f"{p.method} {p.data.hash} {options}".encode(), digest_size=16).hexdigest()
    bar = progress_bar(
        f"{p.method}, {len(p.data)} rows" + (f", {runs} runs" if runs > 1 else ""), runs * units, progress=progress
    )
    with bar:
        try:
            return each_run(partial(_placed, work, folder, key), runs, n_jobs, p.device, bar.update, units)
        except (ValueError, FloatingPointError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{p.method}: {error}") from error


def _placed(work: Callable[[int, Tick, Place], T], folder: Path | None, key: str, run: int, tick: Tick) -> T:
    return work(run, tick, Place(None if folder is None else folder / f"run-{run}.pt", key))
