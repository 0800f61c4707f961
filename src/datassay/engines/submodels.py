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
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from joblib import cpu_count, effective_n_jobs
from joblib.parallel import get_active_backend
from numpy import ndarray

from datassay.checks import DataError
from datassay.engines import machine
from datassay.engines.designs import Subsets

WORTH_PROCESSES = 15.0  # seconds of work left from which on other processes are started
TASK = 0.3  # seconds that a task should take, so that sending it costs little
FORMAT = 2  # of a file; 2: with a digest for each training; 1 and 0: without, and read as they are
COLUMNS = "study, key, counts, p, val, rows, shape, seconds, digest"
DIGEST = 16  # bytes, of each of three: what is always there, val, rows
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
        self._columns = COLUMNS
        name = ":memory:" if path is None else str(path)
        try:
            self._open(name)
        except sqlite3.OperationalError as error:
            if (
                self.path is not None
                and self.path.is_file()
                and ("readonly" in str(error) or "unable to open" in str(error))
            ):
                self._open_to_read(self.path)
            else:
                raise ValueError(
                    f"{str(path)!r} can't be opened ({error}): give a file in a folder that can be written to."
                ) from None

    def _open_to_read(self, path: Path) -> None:
        """A file that can't be written to: what it holds is used."""
        self._file = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None, check_same_thread=False
        )
        with self._whole():
            columns = {line[1] for line in self._file.execute("PRAGMA table_info(training)")}
        if "shape" not in columns:
            raise ValueError(f"{str(path)!r} is no store of trainings, and can't be written to: give another.")
        if "digest" not in columns:
            self._columns = COLUMNS.replace("digest", "NULL")

    def _open(self, name: str) -> None:
        path = self.path
        # one thread at a time uses it, but the garbage collector may close it in another
        self._file = sqlite3.connect(name, timeout=60, isolation_level=None, check_same_thread=False)
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
                "val BLOB, rows BLOB, shape TEXT, seconds REAL, digest BLOB, PRIMARY KEY (study, key))"
            )
            if version < FORMAT:
                if "digest" not in {line[1] for line in self._file.execute("PRAGMA table_info(training)")}:
                    self._file.execute("ALTER TABLE training ADD COLUMN digest BLOB")
                self._file.execute(f"PRAGMA user_version = {FORMAT}")
        except sqlite3.DatabaseError as error:
            self._file.close()
            if "readonly" in str(error) or "unable to open" in str(error):
                raise
            raise ValueError(f"{str(path)!r} is no store of trainings that can be used: {_trouble(error)}.") from None
        except ValueError:
            self._file.close()
            raise

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """What SQLite says of a file that is not as it was written, in a sentence."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise DataError(f"{self._named}: {_trouble(error)}.") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, DataError):
                raise
            raise self._damaged() from error

    @property
    def _named(self) -> str:
        return f"the store {'in memory' if self.path is None else repr(str(self.path))}"

    def _damaged(self) -> DataError:
        return DataError(f"{self._named} is damaged: a training is not as it was written. Delete the file, or give another.")

    def study(self, about: dict[str, Any]) -> bytes:
        """The key of what these trainings are about; the text itself is kept beside it."""
        text = json.dumps(about, sort_keys=True, default=str)
        key = hashlib.blake2b(text.encode(), digest_size=16).digest()
        with self._whole():
            if not self._file.execute("SELECT 1 FROM study WHERE key = ?", (key,)).fetchone():
                self._file.execute("INSERT OR IGNORE INTO study VALUES (?, ?)", (key, text))
        return key

    def studies(self) -> list[dict[str, Any]]:
        """What there are trainings of, and how many: a dict each, with "trainings"."""
        with self._whole():
            found = self._file.execute("SELECT about, (SELECT count(*) FROM training WHERE study = s.key) FROM study s")
            return [json.loads(about) | {"trainings": count} for about, count in found]

    def present(self, study: bytes, keys: Sequence[bytes], *, val: bool, rows: bool) -> set[int]:
        """Positions of the keys whose training says all that is wanted."""
        found: set[bytes] = set()
        need = " AND val IS NOT NULL" * val + " AND rows IS NOT NULL" * rows
        for part in _parts(keys):
            marks = ",".join("?" * len(part))
            query = f"SELECT key FROM training WHERE study = ? AND key IN ({marks}){need}"
            with self._whole():
                found.update(key for (key,) in self._file.execute(query, (study, *part)))
        return {i for i, key in enumerate(keys) if key in found}

    def put(self, study: bytes, trainings: Sequence[Training]) -> None:
        """Add these, in one transaction. What is there is kept, and what it did not say yet is added."""
        lines = []
        for t in trainings:
            shapes = {name: array.shape for name, array in t.said._asdict().items() if array is not None}
            blobs = [None if a is None else np.ascontiguousarray(a, _kept(a.dtype)).tobytes() for a in t.said]
            p = None if np.isnan(t.p) else float(t.p)
            lines.append(_Line(study, t.key, _packed(t.counts), p, blobs[0], blobs[1], json.dumps(shapes), t.seconds, None))
        self._add(lines)

    def _add(self, lines: Sequence[_Line]) -> None:
        with self._whole():
            try:
                self._file.execute("BEGIN IMMEDIATE")
                for line in lines:
                    there = self._file.execute(
                        f"SELECT {COLUMNS} FROM training WHERE study = ? AND key = ?", (line.study, line.key)
                    ).fetchone()
                    if there is not None:
                        line = _Line(*there).checked(self, "val", "rows").joined(line)
                    self._file.execute(
                        f"INSERT OR REPLACE INTO training ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", line.sealed()
                    )
                self._file.execute("COMMIT")
            except BaseException:
                if self._file.in_transaction:  # Ctrl-C may come when it has just been committed
                    self._file.execute("ROLLBACK")
                raise

    def read(self, study: bytes, keys: Sequence[bytes], *, val: bool, rows: bool) -> Iterator[list[Said]]:
        """What the trainings of these keys say, in their order, some at a time.

        Raises
        ------
        DataError
            A training is not as it was written.
        """
        names = self._columns if val else self._columns.replace(" val,", " NULL,")
        names = names if rows else names.replace(" rows,", " NULL,")
        wanted = ["val"] * val + ["rows"] * rows
        for part in _parts(keys, READ):
            marks = ",".join("?" * len(part))
            with self._whole():
                query = f"SELECT {names} FROM training WHERE study = ? AND key IN ({marks})"
                lines = [_Line(*found) for found in self._file.execute(query, (study, *part))]
                found = {line.key: line.checked(self, *wanted).said() for line in lines}
                each = [found[key] for key in part]
            yield each

    def drawn(self, study: bytes, n: int) -> tuple[list[bytes], Subsets]:
        """All trainings whose rows were drawn one by one with a probability p, by key."""
        names = self._columns.replace(" val,", " NULL,").replace(" rows,", " NULL,")
        with self._whole():
            found = [
                _Line(*line).checked(self)
                for line in self._file.execute(
                    f"SELECT {names} FROM training WHERE study = ? AND p IS NOT NULL AND val IS NOT NULL ORDER BY key",
                    (study,),
                )
            ]
            counts = np.array([_unpacked(line.counts, n) for line in found], np.uint8).reshape(-1, n)
            return [line.key for line in found], Subsets(counts, np.array([line.p for line in found], float))

    def seconds(self, study: bytes) -> float:
        """Time of all trainings of a study, each on one core."""
        with self._whole():
            query = "SELECT total(seconds) FROM training WHERE study = ?"
            return float(self._file.execute(query, (study,)).fetchone()[0])

    def merge(self, path: str | Path) -> int:
        """Add the trainings of another file; how many were new."""
        if not Path(path).is_file():
            raise ValueError(f"there is no file {str(path)!r} to take trainings from.")
        before = len(self)
        with closing(Store(path)) as other, other._whole():
            with self._whole():
                self._file.executemany(
                    "INSERT OR IGNORE INTO study VALUES (?, ?)", other._file.execute("SELECT * FROM study")
                )
            trainings = other._file.execute(f"SELECT {other._columns} FROM training")
            while part := trainings.fetchmany(READ):
                self._add([_Line(*line).checked(other, "val", "rows") for line in part])
        return len(self) - before

    def __len__(self) -> int:
        with self._whole():
            return int(self._file.execute("SELECT count(*) FROM training").fetchone()[0])

    def close(self) -> None:
        """Nothing is lost without it; the file can be moved after it."""
        self._file.close()

    def __del__(self) -> None:
        if hasattr(self, "_file"):  # it could be opened
            self._file.close()


def _trouble(error: sqlite3.DatabaseError) -> str:
    """SQLite's error, and what to do."""
    text = str(error)
    if "locked" in text or "busy" in text:
        return "it is locked by another program: wait for that, or give another file"
    if "readonly" in text or "read-only" in text:
        return "it can't be written to: make it writable, or give another file"
    if "full" in text:
        return "the disk is full: make room; what was trained before is kept"
    if "malformed" in text or "not a database" in text or "corrupt" in text:
        return f"it is damaged ({text}): delete it, or give another file"
    return f"{text}: give another file"


class _Line(NamedTuple):
    """A line of the table of trainings, as it is written."""

    study: bytes
    key: bytes
    counts: bytes
    p: float | None
    val: bytes | None
    rows: bytes | None
    shape: str
    seconds: float
    digest: bytes | None  #: None: written by a version that had none

    def sealed(self) -> _Line:
        """With its digest."""
        return self._replace(digest=self._head() + _sum(self.val) + _sum(self.rows))

    def checked(self, store: Store, *names: str) -> _Line:
        """Itself, if what was read of it is as it was written."""
        if self.digest is not None:
            typed = all(isinstance(b, bytes) for b in (self.study, self.key, self.counts, self.digest))
            right = typed and len(self.digest) == 3 * DIGEST and self.digest[:DIGEST] == self._head()
            for place, name in enumerate(("val", "rows"), 1):
                if name in names:
                    right = right and self.digest[place * DIGEST : (place + 1) * DIGEST] == _sum(getattr(self, name))
            if not right:
                raise store._damaged()
        return self

    def joined(self, other: _Line) -> _Line:
        """What this one does not say yet is added."""
        shape = json.dumps(json.loads(other.shape) | json.loads(self.shape))
        pairs = [(getattr(self, name), getattr(other, name)) for name in ("p", "val", "rows")]
        p, val, rows = (new if old is None else old for old, new in pairs)
        return self._replace(p=p, val=val, rows=rows, shape=shape)

    def said(self) -> Said:
        """The arrays."""
        return _said(json.loads(self.shape), self.val, self.rows)

    def _head(self) -> bytes:
        shapes = [] if self.shape is None else sorted(json.loads(self.shape).items())
        about = repr((self.study, self.key, self.p, shapes, self.seconds)).encode()
        return hashlib.blake2b(about + bytes(self.counts), digest_size=DIGEST).digest()


def _sum(blob: bytes | None) -> bytes:
    return bytes(DIGEST) if blob is None else hashlib.blake2b(blob, digest_size=DIGEST).digest()


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

    def named(number: int) -> str:
        group = groups[number]
        first, last = group[0].start, group[-1].stop
        which = f"subset {first + 1}" if last - first == 1 else f"subsets {first + 1} to {last}"
        inside = np.count_nonzero(subsets.counts[first:last], axis=1)
        return f"{which} of {m} ({inside.min()} to {inside.max()} rows in each)"

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
    with machine.loky(n_jobs or min(cpu_count(), len(groups))) if processes else nullcontext():
        results = machine.spread(None if processes else n_jobs, map(task, groups), named)
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
