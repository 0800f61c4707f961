"""Many models on subsets of the same rows: trained once, kept in a store, asked again as often as one likes.

What a training says is kept, not the model: for each judged row the log-probabilities of the classes (regression: the
prediction). Any utility is reckoned from that afterwards. A training is known by its content: the study (data, model, options, as
text), how often each row is in, and the seed; so what one method had trained is there for the next.
"""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from joblib import cpu_count, effective_n_jobs, parallel_config
from joblib.parallel import get_active_backend
from numpy import ndarray

from datassay.engines import machine
from datassay.engines.designs import Subsets

WORTH_PROCESSES = 15.0  # seconds of work left from which on other processes are started
TASK = 0.3  # seconds that a task should take, so that sending it costs little
FORMAT = 1  # of a file; 0: written before files had a number, and the same
READ = 256  # trainings that are read at a time


class Said(NamedTuple):
    """What one training says."""

    val: ndarray | None  #: (m, c) of the validation rows; log-probabilities float32, amounts float64
    rows: ndarray | None  #: (n, c) of the training rows, in or out


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

    def __call__(self, counts: ndarray, seeds: Sequence[int], *, val: bool, rows: bool) -> list[Said]:
        """For counts (b, n): what each says of the validation rows, and of all training rows, if these are wanted."""
        ...


class Store:
    """Trainings in one SQLite file, or in memory: only ever added to.

    Parameters
    ----------
    path
        Of the file, made if it is not there; None: memory. Each training is written as it ends; a process that is killed loses
        what was in hand. Several processes can use one file.

    Raises
    ------
    ValueError
        The file is something else, or of a later format.

    Examples
    --------
    >>> store = Store()
    >>> about, key = store.study({"data": "abc"}), training_key(np.array([1, 0, 1], np.uint8), 0)
    >>> store.put(about, [Training(key, np.array([1, 0, 1], np.uint8), 0.5, Said(np.zeros((2, 3), np.float32), None), 0.1)])
    >>> store.present(about, [key], val=True, rows=False), store.present(about, [key], val=True, rows=True), len(store)
    ({0}, set(), 1)
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = None if path is None else Path(path)
        try:
            name = ":memory:" if path is None else str(path)
            # one thread at a time uses it, but the garbage collector may close it in another
            self._file = sqlite3.connect(name, timeout=60, isolation_level=None, check_same_thread=False)
        except sqlite3.OperationalError as error:
            raise ValueError(
                f"{str(path)!r} can't be opened ({error}): give a file in a folder that can be written to."
            ) from None
        try:
            tables = {name for (name,) in self._file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if tables and not {"study", "training"} <= tables:
                raise ValueError(f"{path} is a database of another kind, with tables {', '.join(sorted(tables))}.")
            (version,) = self._file.execute("PRAGMA user_version").fetchone()
            if version > FORMAT:
                raise ValueError(
                    f"{path} is a store of format {version}, and this version of datassay reads formats up to {FORMAT}: install a "
                    "newer one, or give another file."
                )
            if path is not None:
                self._file.execute("PRAGMA journal_mode = WAL")  # a writer that is killed leaves whole trainings only
                self._file.execute("PRAGMA synchronous = NORMAL")
            self._file.execute("CREATE TABLE IF NOT EXISTS study (key BLOB PRIMARY KEY, about TEXT NOT NULL)")
            self._file.execute(
                "CREATE TABLE IF NOT EXISTS training (study BLOB, key BLOB, counts BLOB NOT NULL, p REAL, "
                "val BLOB, rows BLOB, shape TEXT, seconds REAL, PRIMARY KEY (study, key))"
            )
            if version < FORMAT:
                self._file.execute(f"PRAGMA user_version = {FORMAT}")
        except sqlite3.DatabaseError as error:
            self._file.close()
            raise ValueError(
                f"{str(path)!r} is no store of trainings that can be written to ({error}): give another."
            ) from None
        except ValueError:
            self._file.close()
            raise

    def study(self, about: dict[str, Any]) -> bytes:
        """The key of what these trainings are about; the text itself is kept beside it."""
        text = json.dumps(about, sort_keys=True, default=str)
        key = hashlib.blake2b(text.encode(), digest_size=16).digest()
        self._file.execute("INSERT OR IGNORE INTO study VALUES (?, ?)", (key, text))
        return key

    def studies(self) -> list[dict[str, Any]]:
        """What there are trainings of, and how many: a dict each, with "trainings"."""
        found = self._file.execute("SELECT about, (SELECT count(*) FROM training WHERE study = s.key) FROM study s")
        return [json.loads(about) | {"trainings": count} for about, count in found]

    def present(self, study: bytes, keys: Sequence[bytes], *, val: bool, rows: bool) -> set[int]:
        """Positions of the keys whose training says all that is wanted."""
        found: set[bytes] = set()
        need = " AND val IS NOT NULL" * val + " AND rows IS NOT NULL" * rows
        for part in _parts(keys):
            marks = ",".join("?" * len(part))
            query = f"SELECT key FROM training WHERE study = ? AND key IN ({marks}){need}"
            found.update(key for (key,) in self._file.execute(query, (study, *part)))
        return {i for i, key in enumerate(keys) if key in found}

    def put(self, study: bytes, trainings: Sequence[Training]) -> None:
        """Add these, in one transaction. What is there is kept, and what it did not say yet is added."""
        lines = []
        for t in trainings:
            shapes = {name: array.shape for name, array in t.said._asdict().items() if array is not None}
            blobs = [None if a is None else np.ascontiguousarray(a, _kept(a.dtype)).tobytes() for a in t.said]
            p = None if np.isnan(t.p) else float(t.p)
            lines.append((study, t.key, _packed(t.counts), p, *blobs, json.dumps(shapes), t.seconds))
        try:
            self._file.execute("BEGIN IMMEDIATE")
            self._file.executemany(
                "INSERT INTO training VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (study, key) DO UPDATE SET "
                "val = coalesce(val, excluded.val), rows = coalesce(rows, excluded.rows), p = coalesce(p, excluded.p), "
                "shape = json_patch(shape, excluded.shape)",
                lines,
            )
            self._file.execute("COMMIT")
        except BaseException:
            if self._file.in_transaction:  # Ctrl-C may come when it has just been committed
                self._file.execute("ROLLBACK")
            raise

    def read(self, study: bytes, keys: Sequence[bytes], *, val: bool, rows: bool) -> Iterator[list[Said]]:
        """What the trainings of these keys say, in their order, some at a time."""
        wanted = f"{'val' if val else 'NULL'}, {'rows' if rows else 'NULL'}"
        for part in _parts(keys, READ):
            marks = ",".join("?" * len(part))
            found = {
                key: _said(json.loads(shape), v, r)
                for key, shape, v, r in self._file.execute(
                    f"SELECT key, shape, {wanted} FROM training WHERE study = ? AND key IN ({marks})", (study, *part)
                )
            }
            yield [found[key] for key in part]

    def drawn(self, study: bytes, n: int) -> tuple[list[bytes], Subsets]:
        """All trainings whose rows were drawn one by one with a probability p, by key."""
        found = self._file.execute(
            "SELECT key, counts, p FROM training WHERE study = ? AND p IS NOT NULL AND val IS NOT NULL ORDER BY key",
            (study,),
        ).fetchall()
        counts = np.array([_unpacked(c, n) for _, c, _ in found], np.uint8).reshape(-1, n)
        return [key for key, _, _ in found], Subsets(counts, np.array([p for _, _, p in found], float))

    def seconds(self, study: bytes) -> float:
        """Time of all trainings of a study, each on one core."""
        return float(self._file.execute("SELECT total(seconds) FROM training WHERE study = ?", (study,)).fetchone()[0])

    def merge(self, path: str | Path) -> int:
        """Add the trainings of another file; how many were new."""
        if not Path(path).is_file():
            raise ValueError(f"there is no file {str(path)!r} to take trainings from.")
        with closing(Store(path)):  # is it one?
            pass
        before = len(self)
        self._file.execute("ATTACH ? AS other", (str(path),))
        try:
            self._file.execute("INSERT OR IGNORE INTO study SELECT * FROM other.study")
            self._file.execute(
                "INSERT INTO training SELECT * FROM other.training WHERE true ON CONFLICT (study, key) DO UPDATE SET "
                "val = coalesce(val, excluded.val), rows = coalesce(rows, excluded.rows), p = coalesce(p, excluded.p), "
                "shape = json_patch(shape, excluded.shape)"
            )
        finally:
            self._file.execute("DETACH other")
        return len(self) - before

    def __len__(self) -> int:
        return int(self._file.execute("SELECT count(*) FROM training").fetchone()[0])

    def close(self) -> None:
        """Nothing is lost without it; the file can be moved after it."""
        self._file.close()

    def __del__(self) -> None:
        if hasattr(self, "_file"):  # it could be opened
            self._file.close()


class Training(NamedTuple):
    """A line of the store."""

    key: bytes
    counts: ndarray  #: (n,) uint8
    p: float
    said: Said
    seconds: float


def training_key(counts: ndarray, seed: int) -> bytes:
    """16 bytes over how often each row is in, and the seed."""
    return hashlib.blake2b(_packed(counts) + seed.to_bytes(8, "little"), digest_size=16).digest()


def _packed(counts: ndarray) -> bytes:
    """A bit a row, or a byte where a row is in more than once; of four rows or more these differ in length."""
    return (np.packbits(counts) if counts.max(initial=0) <= 1 else counts).tobytes()


def _unpacked(blob: bytes, n: int) -> ndarray:
    bytes_ = np.frombuffer(blob, np.uint8)
    return bytes_ if len(bytes_) == n and n > 1 else np.unpackbits(bytes_, count=n)


def _said(shape: dict[str, list[int]], val: bytes | None, rows: bytes | None) -> Said:
    arrays: dict[str, ndarray | None] = {}
    for name, blob in (("val", val), ("rows", rows)):
        if blob is None:
            arrays[name] = None
        else:
            arrays[name] = np.frombuffer(blob, "<f8" if len(blob) == 8 * math.prod(shape[name]) else "<f4").reshape(
                shape[name]
            )
    return Said(**arrays)


def _kept(dtype: Any) -> str:
    """Log-probabilities in single precision; amounts may be far from 0 and differ little."""
    return "<f8" if dtype == np.float64 else "<f4"


def _parts(keys: Sequence[bytes], size: int = 500) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(keys), size):
        yield keys[start : start + size]


class Trained(NamedTuple):
    """A part of what was asked for is there."""

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
    """Train what the store does not have; after each task say how far it is. Stop asking, and nothing more is trained.

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
        What each training has to say: of the validation rows, of the training rows.
    n_jobs
        Workers, or as `joblib.parallel_config` says. None and nothing around: processes, if that is worth it.
    """
    keys = keys_of(subsets, trainer, seed, same_seed)
    there = store.present(study, keys, val=val, rows=rows)
    m, size = len(keys), trainer.block
    blocks = [range(a, min(a + size, m)) for a in range(0, m, size)]
    missing = [b for b in blocks if not there.issuperset(b)]
    seeds = [seed % 2**32 if same_seed else int.from_bytes(key[:4], "little") for key in keys]

    def keep(block: range, said: list[Said], seconds: float) -> int:
        share = seconds / len(block)
        new = [i for i in block if i not in there]
        lines = [Training(keys[i], subsets.counts[i], float(subsets.p[i]), said[i - block.start], share) for i in new]
        store.put(study, lines)
        return len(new)

    def task(group: list[range]) -> Any:
        each = [(subsets.counts[b.start : b.stop], seeds[b.start : b.stop]) for b in group]
        return machine.task(_train, trainer, each, val, rows)

    yield Trained(missing[0].start if missing else m, 0)
    in_threads, jobs = getattr(get_active_backend()[0], "uses_threads", False), effective_n_jobs(None)
    here = (n_jobs is None and (jobs == 1 or in_threads)) or (n_jobs is not None and effective_n_jobs(n_jobs) == 1)
    took: list[float] = []
    with machine.one_thread():  # once for all blocks: to look for the libraries takes longer than some trainings
        while missing and (here or not took):  # one block is done here in any case, to know how long a task should be
            block, start = missing[0], time.perf_counter()
            ((said, seconds),) = _train(
                trainer, [(subsets.counts[block.start : block.stop], seeds[block.start : block.stop])], val, rows
            )
            took.append(time.perf_counter() - start)
            new = keep(block, said, seconds)
            missing = missing[1:]
            yield Trained(missing[0].start if missing else m, new)
            left = len(missing) * min(took[-3:])
            if here and n_jobs is None and not in_threads and jobs == 1 and left > WORTH_PROCESSES and cpu_count() > 1:
                break
    if not missing:
        return
    many = max(1, min(round(TASK / max(min(took), 1e-6)), -(-len(missing) // (4 * max(2, machine.workers(n_jobs))))))
    groups = [missing[a : a + many] for a in range(0, len(missing), many)]
    processes = in_threads or (n_jobs is None and jobs == 1)  # threads would wait for one another
    with parallel_config("loky", n_jobs=n_jobs or min(cpu_count(), len(groups))) if processes else nullcontext():
        results = machine.spread(None if processes else n_jobs, map(task, groups))
        with closing(results):  # type: ignore[type-var]
            for g, found in enumerate(results):
                new = sum(keep(block, said, seconds) for block, (said, seconds) in zip(groups[g], found, strict=True))
                yield Trained(groups[g + 1][0].start if g + 1 < len(groups) else m, new)


def _train(
    trainer: Trainer, blocks: list[tuple[ndarray, list[int]]], val: bool, rows: bool
) -> list[tuple[list[Said], float]]:
    """Each block, and how long it took."""
    results = []
    with machine.one_thread():
        for counts, seeds in blocks:
            start = time.perf_counter()
            said = trainer(counts, seeds, val=val, rows=rows)
            results.append((said, time.perf_counter() - start))
    return results


Utility = Callable[[ndarray], ndarray]  #: what trainings say, (k, q, c), to what that is worth, (k,) or (k, t)


def utilities(store: Store, study: bytes, keys: Sequence[bytes], utility: Utility, *, rows: bool = False) -> ndarray:
    """(m,) or (m, t) utilities of trainings that are in the store."""
    parts = store.read(study, keys, val=not rows, rows=rows)
    return np.concatenate([utility(np.stack([(s.rows if rows else s.val) for s in part])) for part in parts])  # type: ignore[misc]


def keys_of(subsets: Subsets, trainer: Trainer, seed: int, same_seed: bool = False) -> list[bytes]:
    """By which the store knows the trainings of these subsets: where nothing is random the seed makes no difference."""
    told = (2 * seed + same_seed) if trainer.random else 0
    return [training_key(c, told) for c in subsets.counts]
