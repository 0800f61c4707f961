"""`plan`: what each method would take on these data, before anything runs, and which fits a budget."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import pandas as pd

from datassay.checks import DataError
from datassay.data.dataset import Dataset
from datassay.engines import machine
from datassay.methods import METHODS, Cost, meant, value
from datassay.methods.definition import require
from datassay.units import duration, in_bytes, in_seconds
from datassay.values import Values


@dataclass(frozen=True)
class Plan:
    """What `plan` predicts and chooses."""

    table: (
        pd.DataFrame
    )  #: a line for each method and way: method, options, seconds, memory and disk in bytes, trainings, fits
    method: str | None  #: the first that fits; None if none does
    options: dict[str, Any]  #: its options, for `value`
    rates: machine.Rates  #: what the predictions rest on
    data: Dataset

    def value(self, *, seed: int = 0) -> Values:
        """Value the rows by what was chosen.

        Raises
        ------
        DataError
            If nothing fits.
        """
        if self.method is None:
            quickest = self.table.loc[self.table["seconds"].idxmin()]
            raise DataError(
                f"nothing fits: the quickest, {quickest['method']} {quickest['options']}, takes {duration(quickest['seconds'])} "
                f"and {machine.size(quickest['memory'])}: give a larger budget or fewer rows."
            )
        return value(self.data, self.method, seed=seed, **self.options)

    def shown(self) -> pd.DataFrame:
        """The table for people: 2.5 h, 7.4 GB."""
        t = self.table
        return pd.DataFrame({
            "method": t["method"], "options": [_written(o) for o in t["options"]], "time": [duration(s) for s in t["seconds"]],
            "memory": [machine.size(b) for b in t["memory"]], "disk": [machine.size(b) for b in t["disk"]], "trainings": t["trainings"],
            "fits": ["yes" if fits else "no" for fits in t["fits"]],
        })  # fmt: skip

    def __repr__(self) -> str:
        chosen = "nothing fits" if self.method is None else f"chosen: {self.method} {_written(self.options)}".rstrip()
        return f"{self.shown().to_string(index=False)}\n{chosen}"


def plan(
    data: Dataset,
    method: str | None = None,
    *,
    budget: str | float | None = None,
    memory: str | float | None = None,
    rates: machine.Rates | None = None,
) -> Plan:
    """Predict time, memory and disk of every method on these data, from a probe of a few seconds; nothing is valued.

    Parameters
    ----------
    data
        The rows.
    method
        One of `METHODS`; default: all that these data allow.
    budget
        Time that may be spent: "10 min", "2 h", "90 s", or seconds.
    memory
        Memory that may be used beyond the data: "8 GB", "500 MiB", or bytes; default: what is free now.
    rates
        What `probe` measured before, if it was; the probe runs once in a process otherwise.

    Returns
    -------
    Plan
        The table; and the first line that fits: methods in the order of `METHODS`, each in its most exact way first.

    Raises
    ------
    DataError
        If there is no such method, or budget or memory is not an amount.

    Examples
    --------
    >>> import datassay as da
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> found = da.plan(da.Dataset(X, y), budget="1 min", memory="2 GB")
    >>> found.method, found.options["approx"], bool(found.table["fits"][0])
    ('cg-score', 'exact', True)
    """
    if not isinstance(data, Dataset):
        raise DataError(f"plan needs a Dataset, got {type(data).__name__}: make one with da.Dataset(X, y) or da.read(path).")
    if method is not None and method not in METHODS:
        raise DataError(f"there is no method {method!r}{meant(method, METHODS)} There are: {', '.join(METHODS)}.")
    limit = float("inf") if budget is None else in_seconds(budget, "budget")
    room = machine.available_memory() or float("inf") if memory is None else in_bytes(memory, "memory")
    rates = rates or probed()
    lines: list[tuple[str, Cost]] = [
        (name, cost)
        for name in ([method] if method else METHODS)
        for cost in METHODS[name].costs(data, rates)
        if _can(name, data, cost.options, named=method is not None)
    ]
    if not lines:
        raise DataError(f"{method} has no plan: its costs on these data are not known.")
    table = pd.DataFrame([{"method": name, **cost._asdict()} for name, cost in lines])
    table["fits"] = (table["seconds"] <= limit) & (table["memory"] <= room)
    fitting = [line for line, fits in zip(lines, table["fits"], strict=True) if fits]
    first = next(
        (line for line in fitting if line[0] != "random" or method == "random"), None
    )  # chance is no way to value rows
    return Plan(table, first[0] if first else None, first[1].options if first else {}, rates, data)


def _can(name: str, data: Dataset, options: dict[str, Any], *, named: bool) -> bool:
    """Whether the method can be called on these data, in this environment.

    Raises
    ------
    DataError
        It can't, and is the one that was ``named``.
    ImportError
        It needs an extra that is not installed, and was ``named``.
    """
    entry = METHODS[name]
    try:
        require(name, entry, data, options)
    except DataError:
        if named:
            raise
        return False
    if extra := entry.missing():
        if named:
            entry.load()
        return not extra
    return True


@cache
def probed() -> machine.Rates:
    return machine.probe()


def _written(options: dict[str, Any]) -> str:
    return " ".join(f"{name}={chosen}" for name, chosen in options.items())
