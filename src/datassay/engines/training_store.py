"""A store of trainings on subsets: one SQLite file, or memory.

A training's predictions are kept, not the model: for each row the log-probabilities of the classes (regression: the prediction).
Any utility is computed from them afterwards. A training is known by its content: the study (data, model, options, as text), how
often each row is in, and the seed; so what one method had trained is there for the next.
"""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

from datassay.checks import DataError
from datassay.engines.designs import Subsets

FORMAT = 2  # of a file; 2: with a digest for each training; 1 and 0: without, and read as they are
COLUMNS = "study, key, counts, p, val, rows, shape, seconds, digest"
DIGEST = 16  # bytes, of each of three: what is always there, val, rows
READ = 256  # trainings that are read at a time


class Predictions(NamedTuple):
    """The predictions of one training."""

    val: ndarray | None  #: (m, c) of the validation rows; log-probabilities float32, regression targets float64
    rows: ndarray | None  #: (n, c) of the training rows, in or out


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
    >>> store.put(about, [Training(key, np.array([1, 0, 1], np.uint8), 0.5, Predictions(np.zeros((2, 3), np.float32), None), 0.1)])
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
            rows = self._file.execute("SELECT about, (SELECT count(*) FROM training WHERE study = s.key) FROM study s")
            return [json.loads(about) | {"trainings": count} for about, count in rows]

    def present(self, study: bytes, keys: Sequence[bytes], *, val: bool, rows: bool) -> set[int]:
        """Positions of the keys whose training says all that is wanted."""
        present: set[bytes] = set()
        need = " AND val IS NOT NULL" * val + " AND rows IS NOT NULL" * rows
        for part in _parts(keys):
            marks = ",".join("?" * len(part))
            query = f"SELECT key FROM training WHERE study = ? AND key IN ({marks}){need}"
            with self._whole():
                present.update(key for (key,) in self._file.execute(query, (study, *part)))
        return {i for i, key in enumerate(keys) if key in present}

    def put(self, study: bytes, trainings: Sequence[Training]) -> None:
        """Add these, in one transaction. What is there is kept, and what it did not say yet is added."""
        lines = []
        for t in trainings:
            shapes = {name: array.shape for name, array in t.predictions._asdict().items() if array is not None}
            blobs = [None if a is None else np.ascontiguousarray(a, _kept(a.dtype)).tobytes() for a in t.predictions]
            p = None if np.isnan(t.p) else float(t.p)
            lines.append(_Line(study, t.key, _packed(t.counts), p, blobs[0], blobs[1], json.dumps(shapes), t.seconds, None))
        self._add(lines)

    def _add(self, lines: Sequence[_Line]) -> None:
        with self._whole():
            try:
                self._file.execute("BEGIN IMMEDIATE")
                for line in lines:
                    existing = self._file.execute(
                        f"SELECT {COLUMNS} FROM training WHERE study = ? AND key = ?", (line.study, line.key)
                    ).fetchone()
                    if existing is not None:
                        line = _Line(*existing).checked(self, "val", "rows").joined(line)
                    self._file.execute(
                        f"INSERT OR REPLACE INTO training ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", line.sealed()
                    )
                self._file.execute("COMMIT")
            except BaseException:
                if self._file.in_transaction:  # Ctrl-C may come when it has just been committed
                    self._file.execute("ROLLBACK")
                raise

    def read(self, study: bytes, keys: Sequence[bytes], *, val: bool, rows: bool) -> Iterator[list[Predictions]]:
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
                lines = [_Line(*by_key) for by_key in self._file.execute(query, (study, *part))]
                by_key = {line.key: line.checked(self, *wanted).predictions() for line in lines}
                predictions = [by_key[key] for key in part]
            yield predictions

    def drawn(self, study: bytes, n: int) -> tuple[list[bytes], Subsets]:
        """All trainings whose rows were drawn one by one with a probability p, by key."""
        names = self._columns.replace(" val,", " NULL,").replace(" rows,", " NULL,")
        with self._whole():
            lines = [
                _Line(*line).checked(self)
                for line in self._file.execute(
                    f"SELECT {names} FROM training WHERE study = ? AND p IS NOT NULL AND val IS NOT NULL ORDER BY key",
                    (study,),
                )
            ]
            counts = np.array([_unpacked(line.counts, n) for line in lines], np.uint8).reshape(-1, n)
            return [line.key for line in lines], Subsets(counts, np.array([line.p for line in lines], float))

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
            for number, name in enumerate(("val", "rows"), 1):
                if name in names:
                    right = right and self.digest[number * DIGEST : (number + 1) * DIGEST] == _sum(getattr(self, name))
            if not right:
                raise store._damaged()
        return self

    def joined(self, other: _Line) -> _Line:
        """What this one does not say yet is added."""
        shape = json.dumps(json.loads(other.shape) | json.loads(self.shape))
        pairs = [(getattr(self, name), getattr(other, name)) for name in ("p", "val", "rows")]
        p, val, rows = (new if old is None else old for old, new in pairs)
        return self._replace(p=p, val=val, rows=rows, shape=shape)

    def predictions(self) -> Predictions:
        """The arrays."""
        return _predictions(json.loads(self.shape), self.val, self.rows)

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
    predictions: Predictions
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


def _predictions(shape: dict[str, list[int]], val: bytes | None, rows: bytes | None) -> Predictions:
    arrays: dict[str, ndarray | None] = {}
    for name, blob in (("val", val), ("rows", rows)):
        if blob is None:
            arrays[name] = None
        else:
            arrays[name] = np.frombuffer(blob, "<f8" if len(blob) == 8 * math.prod(shape[name]) else "<f4").reshape(
                shape[name]
            )
    return Predictions(**arrays)


def _kept(dtype: Any) -> str:
    """Log-probabilities in single precision; regression targets may be far from 0 and differ little."""
    return "<f8" if dtype == np.float64 else "<f4"


def _parts(keys: Sequence[bytes], size: int = 500) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(keys), size):
        yield keys[start : start + size]
