"""Default training recipes, and how the named options change them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from datassay.checks import DataError
from datassay.engines.training import Recipe
from datassay.networks.problem import Problem

Optimiser = Literal["sgd", "adam"]

WATCHED = Recipe(
    epochs=6, optimiser="adam", lr=1e-3, weight_decay=0.0
)  #: for methods that watch each row throughout the training


def early(p: Problem) -> Recipe:
    """A training that ends while wrong labels are still wrong to the network: they stand out then."""
    return dataclasses.replace(WATCHED, epochs=5 if len(p.shape) > 1 else 2)


def small_steps(p: Problem, tables: int, images: int) -> Recipe:
    """SGD without momentum and weight decay for so many epochs; a convolutional network needs larger steps."""
    of_images = len(p.shape) > 1
    return Recipe(epochs=images if of_images else tables, lr=0.05 if of_images else 0.01, momentum=0.0, weight_decay=0.0)


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
        An invalid number.

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


def recorded(kept: Any) -> Recipe | None:
    """The recipe that `Values.options` keeps of a training, without what it does to pictures; None where it keeps none.

    >>> import dataclasses
    >>> recorded(dataclasses.asdict(Recipe(epochs=3))) == Recipe(epochs=3)
    True
    """
    return Recipe(**{k: v for k, v in kept.items() if k != "augment"}) if isinstance(kept, Mapping) else None
