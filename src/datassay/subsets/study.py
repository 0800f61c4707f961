"""What all methods that retrain on subsets share: options, a study of trainings, stopping rules, a progress bar with interim checks.

The store of trainings itself is `engines.training_store`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import numpy as np
from numpy import ndarray

from datassay.checks import DataError, Jobs, Number, Positive, Seed, Share, whole
from datassay.data.dataset import Dataset
from datassay.engines import designs
from datassay.engines.designs import Draw, Inclusion, Subsets
from datassay.engines.machine import pick_device
from datassay.engines.progress import progress_bar
from datassay.engines.train_subsets import Trainer, keys_of, train, utilities
from datassay.engines.training_store import Store
from datassay.signals import INTERRUPTED, taken
from datassay.subsets.trainers import trainable
from datassay.units import in_seconds

FEWEST = 20  # trainings, for any result
FIRST_CHECK = 200
GROWTH = 1.5  # between interim checks
TOL = 1e-4  # of logistic regressions: their log-probabilities are right to a few thousandths, far below what trainings differ by
SUSPECTS = 0.1  # share of the rows that two interim checks compare

Utility = Callable[[ndarray], ndarray]


class Trained(TypedDict, total=False):
    """Options of every method that trains a model on subsets."""

    training: Any
    device: str
    store: str | Path | None
    seed: Seed
    n_jobs: Jobs | None
    progress: bool


class Stopped(Trained, total=False):
    """And of those that train until there are enough."""

    budget: str | float | None
    stderr: Positive | None
    settled: Annotated[float, Number(above=0, most=1)] | None


class Flagged(Trained, total=False):
    """And of those whose models predict rows that they were not trained on."""

    flag: Literal["likely", "other", "fdr"]
    q: Share


class FlaggedStopped(Stopped, Flagged, total=False):
    """And of those of them that train until there are enough."""


class Drawn(Stopped, total=False):
    """And of those whose subsets are drawn row by row."""

    antithetic: bool
    reuse: bool


@dataclass(frozen=True)
class Study:
    """The trainings of one model on subsets of one data set."""

    method: str  #: for errors
    data: Dataset
    trainer: Trainer
    store: Store
    key: bytes
    seed: int
    place: ndarray  #: (n,) of each row among the columns of a design, by its id
    n_jobs: int | None
    progress: bool
    text: str  #: the model, in words
    same_seed: bool = False  #: all trainings have the same seed, so that they differ by their rows alone
    start: float = field(default_factory=time.perf_counter)

    def drawn(self, draw: Draw) -> Draw:
        """A design's subsets, of rows that are found by their ids: sorting the rows makes no difference."""
        return designs.in_places(draw, self.place)

    def train(self, subsets: Subsets, *, rows: bool = False, bar: Any = None) -> None:
        """Train those that the store lacks, without a stopping rule."""
        for done in self._train(subsets, rows):
            if bar is not None:
                bar.update(done.new)

    def _train(self, subsets: Subsets, rows: bool) -> Any:
        return train(
            self.store,
            self.key,
            subsets,
            self.trainer,
            seed=self.seed,
            same_seed=self.same_seed,
            val=not rows,
            rows=rows,
            n_jobs=self.n_jobs,
        )

    def keys(self, subsets: Subsets) -> list[bytes]:
        """Their keys in the store."""
        return keys_of(subsets, self.trainer, self.seed, self.same_seed)

    def utilities_of(self, subsets: Subsets, utility: Utility, *, rows: bool = False) -> ndarray:
        """(m,) or (m, t) utilities of subsets that were trained."""
        values = utilities(self.store, self.key, self.keys(subsets), utility, rows=rows)
        if not rows and not np.isfinite(values).all():
            raise DataError(
                f"{self.method}: the utility of a training is {values[~np.isfinite(values)][0]}: take another utility."
            )
        return values

    def stored(self, utility: Utility, distribution: Inclusion | None = None) -> tuple[Collected, ndarray]:
        """All trainings of this study whose rows were drawn one by one, by whatever method, and their utilities; of a grid only
        those with its p."""
        keys, subsets = self.store.drawn(self.key, len(self.data))
        if distribution is not None:
            fits = np.isclose(subsets.p[:, None], distribution.parameters).any(axis=1)
            keys, subsets = (
                [k for k, fit in zip(keys, fits, strict=True) if fit],
                Subsets(subsets.counts[fits], subsets.p[fits]),
            )
        if len(keys) < FEWEST:
            raise DataError(
                f"{self.method}: the store has {len(keys)} trainings of this model on random subsets of these rows, {FEWEST} are "
                "needed: run without reuse first."
            )
        return Collected(subsets, "all that the store has", []), utilities(self.store, self.key, keys, utility)

    def out_of_fold(self, folds: int = 5, repeats: int = 1) -> ndarray:
        """(n, c) out-of-fold predictions: log-probabilities (of the mean over repeats); regression: targets."""
        n = len(self.data)
        if n < folds:
            raise DataError(f"{self.method} needs {folds} rows for {folds} folds, got {n}.")
        fold = np.empty((repeats, n), np.int64)
        strata = self.data.codes if self.data.classes else np.zeros(n, np.int64)
        for r in range(repeats):  # each class is dealt out to the folds in turn
            drawn = np.argsort(designs.permutation(n, self.seed, r), kind="stable")[self.place]
            fold[r, np.lexsort((drawn, strata))] = np.arange(n) % folds
        counts = (fold[:, None, :] != np.arange(folds)[None, :, None]).reshape(-1, n).astype(np.uint8)
        subsets = Subsets(counts, np.full(len(counts), np.nan))
        self.train(subsets, rows=True)
        total = np.zeros((n, max(1, len(self.data.classes))))
        keys = self.keys(subsets)
        at = 0
        for part in self.store.read(self.key, keys, val=False, rows=True):
            for predictions in part:
                assert predictions.rows is not None
                out = counts[at] == 0
                total[out] += np.exp(predictions.rows[out]) if self.data.classes else predictions.rows[out]
                at += 1
        return np.log(total / repeats) if self.data.classes else total / repeats

    def suggested(self) -> ndarray:
        """(n,) the label of each row by models that were trained without it, five folds."""
        predictions = self.out_of_fold(min(5, len(self.data)))
        return self.data.labels_of(predictions.argmax(1)) if self.data.classes else predictions[:, 0]

    def ends(self, utility: Utility) -> tuple[float, float]:
        """The utilities of no rows and of all rows."""
        n = len(self.data)
        both = Subsets(np.stack([np.zeros(n, np.uint8), np.ones(n, np.uint8)]), np.full(2, np.nan))
        self.train(both)
        none, everything = self.utilities_of(both, utility)
        return float(none), float(everything)

    def collect(
        self,
        draw: Draw,
        stop: Stop,
        *,
        rows: bool = False,
        look: Callable[[Subsets], tuple[ndarray, ndarray]] | None = None,
    ) -> Collected:
        """Train one subset of the design after the other, until it is time to stop.

        ``look``, the interim check, gives scores and their standard errors from the trainings so far. Interrupted (Ctrl-C), the run
        ends as if only these had been requested.
        """
        block = self.trainer.block
        subsets = draw(0, 0)
        looks: list[dict[str, float]] = []
        last: ndarray | None = None
        done, reason, seconds_checking = 0, "as many trainings as were asked for", 0.0
        bar = progress_bar(
            f"{self.method}, {len(self.data)} rows, {stop.n_models} trainings", stop.n_models, progress=self.progress
        )
        with bar:
            for upto in _check_points(stop.n_models, block):
                try:
                    more = draw(len(subsets.p), upto)
                    subsets = Subsets(np.concatenate([subsets.counts, more.counts]), np.concatenate([subsets.p, more.p]))
                    with closing(self._train(subsets, rows)) as parts:
                        for part in parts:
                            done = max(done, min(part.done, stop.n_models))
                            bar.update(done - bar.n)
                            if self.elapsed > stop.seconds and done < stop.n_models:
                                reason = "the time was up"
                                break
                except KeyboardInterrupt:
                    taken()
                    if done < FEWEST:
                        raise
                    reason = INTERRUPTED
                if reason in ("the time was up", INTERRUPTED):
                    break
                if look is None or done < FEWEST:
                    continue
                check_now = stop.wants_checks or (not bar.disable and seconds_checking < 0.05 * self.elapsed)
                if done == stop.n_models or not check_now:
                    continue
                begun = time.perf_counter()
                try:
                    scores, stderr = look(_first(subsets, done))
                except KeyboardInterrupt:
                    taken()
                    reason = INTERRUPTED
                    break
                seconds_checking += time.perf_counter() - begun
                seen = {"trainings": float(done), "stderr": float(np.median(stderr) / max(scores.std(), 1e-300))}
                seen["same_suspects"] = _overlap(scores, last)
                last = scores
                looks.append(seen)
                bar.set_postfix_str(
                    f", standard error {seen['stderr']:.2f} of the spread, suspects {seen['same_suspects']:.0%} as before"
                )
                if stop.stderr is not None and seen["stderr"] <= stop.stderr:
                    reason = f"the standard error was below {stop.stderr:g} of the scores' standard deviation"
                    break
                if stop.settled is not None and seen["same_suspects"] >= stop.settled:
                    reason = f"the worst tenth of the rows was {stop.settled:.0%} the same as at the look before"
                    break
        if done < min(FEWEST, stop.n_models):
            raise DataError(
                f"{self.method}: the time was up after {done} trainings, and {FEWEST} are needed: give a larger budget."
            )
        return Collected(_first(subsets, done), reason, looks)

    def sample(
        self,
        distribution: Inclusion,
        stop: Stop,
        utility: Utility,
        *,
        antithetic: bool = False,
        look: Callable[[Subsets, ndarray], tuple[ndarray, ndarray]] | None = None,
    ) -> tuple[Collected, ndarray]:
        """Trainings on subsets whose rows are drawn one by one, and their utilities."""
        draw = self.drawn(lambda a, b: distribution.draw(len(self.data), self.seed, a, b, antithetic=antithetic))
        collected = self.collect(
            draw, stop, look=None if look is None else lambda some: look(some, self.utilities_of(some, utility))
        )
        return collected, self.utilities_of(collected.subsets, utility)

    def about(self, collected: Collected) -> dict[str, Any]:
        """For `Values.stats`: the model, and how many trainings there are and why no more."""
        return {
            "model": self.text,
            "trainings": len(collected.subsets.p),
            "stopped": collected.stopped,
            "looks": collected.looks,
        }

    @property
    def elapsed(self) -> float:
        return time.perf_counter() - self.start


class Collected(NamedTuple):
    """Trainings that were collected."""

    subsets: Subsets
    stopped: str  #: why there are no more
    looks: list[dict[str, float]]


class Stop(NamedTuple):
    """When there are enough trainings."""

    n_models: int
    seconds: float
    stderr: float | None
    settled: float | None

    @property
    def wants_checks(self) -> bool:
        return self.stderr is not None or self.settled is not None


def stop_when(method: str, n_models: int, shared: Stopped) -> Stop:
    """Checked: when there are enough trainings."""
    whole(method, FEWEST, n_models=n_models)
    budget = shared.get("budget")
    seconds = np.inf if budget is None else in_seconds(budget, "budget")
    return Stop(int(n_models), seconds, shared.get("stderr"), shared.get("settled"))


def study(
    method: str,
    data: Dataset,
    model: Any,
    *,
    training: Any,
    device: str,
    store: str | Path | None,
    seed: int,
    n_jobs: int | None,
    progress: bool,
    tol: float = TOL,
    few: bool = False,
    same_seed: bool = False,
) -> Study:
    """Check what a method was given, and open the store.

    Raises
    ------
    DataError
        A model that is none, a store that is something else.
    """
    seed = int(seed)
    if store is not None and (not isinstance(store, (str, Path)) or str(store) == ""):
        raise DataError(f"{method}: store must be the name of a file, got {store!r}.")
    try:
        pick_device(device, worthwhile=False)
    except ValueError as error:
        raise DataError(f"{method}: {error}") from None
    trainable_model = trainable(data, model, method, training=training, device=device, tol=tol, few=few)
    try:
        opened_store = Store(store)
    except (ValueError, OSError) as error:
        raise DataError(f"{method}: {error}") from None
    about = {
        "data": data.hash,
        "model": trainable_model.text,
        "rows": len(data),
        "tol": tol,
        "datassay": version("datassay"),
    } | ({"few": True} if few else {})  # the last digits are others
    place = designs.places(data.ids.tolist())
    return Study(
        method,
        data,
        trainable_model.trainer,
        opened_store,
        opened_store.study(about),
        seed,
        place,
        n_jobs,
        progress,
        trainable_model.text,
        same_seed,
    )


def study_of(
    method: str,
    data: Dataset,
    model: Any,
    shared: Trained,
    *,
    tol: float = TOL,
    few: bool = False,
    same_seed: bool = False,
) -> Study:
    """The study of a method that was called with these options; ``few`` trainings."""
    return study(
        method,
        data,
        model,
        training=shared["training"],
        device=shared["device"],
        store=shared["store"],
        seed=shared["seed"],
        n_jobs=shared["n_jobs"],
        progress=shared["progress"],
        tol=tol,
        few=few,
        same_seed=same_seed,
    )


def grid(method: str, inclusion: float | Sequence[float]) -> Inclusion:
    """Checked: each row is in a subset with one of these probabilities, or with this one."""
    try:
        return Inclusion("grid", tuple(float(p) for p in np.ravel(np.array(inclusion, float))))
    except (ValueError, TypeError) as error:
        raise DataError(f"{method}: inclusion: {error}") from None


def symmetric(method: str, distribution: Inclusion) -> None:
    """What antithetic subsets need: else their probabilities would be other ones."""
    if not distribution.symmetric:
        raise DataError(
            f"{method}: antithetic=True leaves out what the subset before had, so that rows are in with probability 1 - p, too: it "
            f"needs probabilities that are symmetric about 1/2, got {distribution.parameters}."
        )


def _first(subsets: Subsets, m: int) -> Subsets:
    return Subsets(subsets.counts[:m], subsets.p[:m])


def _check_points(n_models: int, block: int) -> list[int]:
    """Numbers of trainings after which there is an interim check, in whole blocks, so that they hold the same subsets whatever
    ``n_models``. The last is all of them."""
    at, m = [], float(FIRST_CHECK)
    while m < n_models:
        at.append(-(-int(m) // block) * block)
        m *= GROWTH
    return [*dict.fromkeys(a for a in at if a < n_models), -(-n_models // block) * block]


def _overlap(scores: ndarray, last: ndarray | None) -> float:
    """Share of the worst tenth that was in it at the interim check before."""
    if last is None:
        return 0.0
    k = max(1, round(SUSPECTS * len(scores)))
    first, before = (set(np.argsort(s, kind="stable")[:k].tolist()) for s in (scores, last))
    return len(first & before) / k
