"""Train a model on many subsets of the same rows: each subset once, what the store has is not trained again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, nullcontext
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from joblib import cpu_count, effective_n_jobs
from joblib.parallel import get_active_backend
from numpy import ndarray

from datassay.engines import machine
from datassay.engines.designs import Subsets
from datassay.engines.training_store import Predictions, Store, Training, training_key

WORTH_PROCESSES = 15.0  # seconds of work left from which on other processes are started
TASK = 0.3  # seconds that a task should take, so that sending it costs little


@runtime_checkable
class Trainer(Protocol):
    """Trains several subsets, the same bits for the same block; travels to other processes."""

    @property
    def block(self) -> int:
        """Subsets in one call."""
        ...

    @property
    def random(self) -> bool:
        """Whether the seed makes a difference."""
        ...

    def __call__(self, counts: ndarray, seeds: Sequence[int], *, val: bool, rows: bool) -> list[Predictions]:
        """For counts (b, n): the predictions of the validation rows, and of all training rows, where requested."""
        ...


class Trained(NamedTuple):
    """Progress of a request."""

    done: int  #: subsets from the first on whose trainings are in the store
    new: int  #: of these, trained now


def train(
    store: Store,
    study: bytes,
    subsets: Subsets,
    trainer: Trainer,
    *,
    seed: int = 0,
    val: bool = True,
    rows: bool = False,
    same_seed: bool = False,
    n_jobs: int | None = None,
) -> Iterator[Trained]:
    """Train what the store does not have; yields the progress after each task. Where the iteration stops, no more is trained.

    Parameters
    ----------
    store, study
        Where the trainings are, and what they are about.
    subsets
        m of them.
    trainer
        Is given its ``block`` of consecutive subsets, whole blocks also where some of them are there: so the bits don't depend
        on where a run was stopped.
    seed
        Each training's own seed follows from this one and from which rows are in.
    same_seed
        All trainings have the same seed instead, so that they differ by their rows alone.
    val, rows
        The predictions that each training needs: of the validation rows, of the training rows.
    n_jobs
        Workers, or as `joblib.parallel_config` says. None and nothing around: processes, if that is worth it.
    """
    keys = keys_of(subsets, trainer, seed, same_seed)
    present = store.present(study, keys, val=val, rows=rows)
    m, size = len(keys), trainer.block
    blocks = [range(a, min(a + size, m)) for a in range(0, m, size)]
    missing = [b for b in blocks if not present.issuperset(b)]
    seeds = [seed % 2**32 if same_seed else int.from_bytes(key[:4], "little") for key in keys]

    def keep(block: range, predictions: list[Predictions], seconds: float) -> int:
        share = seconds / len(block)
        new = [i for i in block if i not in present]
        lines = [Training(keys[i], subsets.counts[i], float(subsets.p[i]), predictions[i - block.start], share) for i in new]
        store.put(study, lines)
        return len(new)

    def task(group: list[range]) -> Any:
        each = [(subsets.counts[b.start : b.stop], seeds[b.start : b.stop]) for b in group]
        return machine.task(_train, trainer, each, val, rows)

    def named(number: int) -> str:
        group = groups[number]
        first, last = group[0].start, group[-1].stop
        which = f"subset {first + 1}" if last - first == 1 else f"subsets {first + 1} to {last}"
        inside = np.count_nonzero(subsets.counts[first:last], axis=1)
        return f"{which} of {m} ({inside.min()} to {inside.max()} rows in each)"

    yield Trained(missing[0].start if missing else m, 0)
    in_threads, jobs = getattr(get_active_backend()[0], "uses_threads", False), effective_n_jobs(None)
    here = (n_jobs is None and (jobs == 1 or in_threads)) or (n_jobs is not None and effective_n_jobs(n_jobs) == 1)
    durations: list[float] = []
    with machine.one_thread():  # once for all blocks: to look for the libraries takes longer than some trainings
        while missing and (here or not durations):  # one block is done here in any case, to know how long a task should be
            block, start = missing[0], time.perf_counter()
            ((predictions, seconds),) = _train(
                trainer, [(subsets.counts[block.start : block.stop], seeds[block.start : block.stop])], val, rows
            )
            durations.append(time.perf_counter() - start)
            new = keep(block, predictions, seconds)
            missing = missing[1:]
            yield Trained(missing[0].start if missing else m, new)
            left = len(missing) * min(durations[-3:])
            if here and n_jobs is None and not in_threads and jobs == 1 and left > WORTH_PROCESSES and cpu_count() > 1:
                break
    if not missing:
        return
    blocks_in_task = max(
        1, min(round(TASK / max(min(durations), 1e-6)), -(-len(missing) // (4 * max(2, machine.workers(n_jobs)))))
    )
    groups = [missing[a : a + blocks_in_task] for a in range(0, len(missing), blocks_in_task)]
    processes = in_threads or (n_jobs is None and jobs == 1)  # threads would wait for one another
    with machine.loky(n_jobs or min(cpu_count(), len(groups))) if processes else nullcontext():
        results = machine.spread(None if processes else n_jobs, map(task, groups), named)
        with closing(results):
            for g, results_of_group in enumerate(results):
                new = sum(
                    keep(block, predictions, seconds)
                    for block, (predictions, seconds) in zip(groups[g], results_of_group, strict=True)
                )
                yield Trained(groups[g + 1][0].start if g + 1 < len(groups) else m, new)


def _train(
    trainer: Trainer, blocks: list[tuple[ndarray, list[int]]], val: bool, rows: bool
) -> list[tuple[list[Predictions], float]]:
    """Each block, and how long it took."""
    results = []
    with machine.one_thread():
        for counts, seeds in blocks:
            start = time.perf_counter()
            predictions = trainer(counts, seeds, val=val, rows=rows)
            results.append((predictions, time.perf_counter() - start))
    return results


Utility = Callable[[ndarray], ndarray]  #: from predictions, (k, q, c), to utilities, (k,) or (k, t)


def utilities(store: Store, study: bytes, keys: Sequence[bytes], utility: Utility, *, rows: bool = False) -> ndarray:
    """(m,) or (m, t) utilities of trainings that are in the store."""
    parts = store.read(study, keys, val=not rows, rows=rows)
    return np.concatenate([utility(np.stack([(s.rows if rows else s.val) for s in part])) for part in parts])  # type: ignore[misc]


def keys_of(subsets: Subsets, trainer: Trainer, seed: int, same_seed: bool = False) -> list[bytes]:
    """Keys of these subsets' trainings in the store: where nothing is random the seed makes no difference."""
    seed_of_key = (2 * seed + same_seed) if trainer.random else 0
    return [training_key(c, seed_of_key) for c in subsets.counts]
