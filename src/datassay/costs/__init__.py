"""What each method takes in time, memory and disk, predicted before anything runs."""

from __future__ import annotations

from typing import Any, NamedTuple


class Cost(NamedTuple):
    """What a method takes on certain data with certain options, predicted."""

    options: dict[str, Any]  #: to be given to `value`
    seconds: float
    memory: float  #: bytes beyond the data
    disk: float  #: bytes
    trainings: int  #: models that are fitted
