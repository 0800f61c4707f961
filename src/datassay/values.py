"""Values: what a method found, one number a row, in a form that outlives the run."""

from __future__ import annotations

import functools
import hashlib
import html
import json
import platform
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypedDict, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.optimize import isotonic_regression

from datassay.checks import DataError
from datassay.files import PARQUET_KEY, check_target, replacing

_KEY = PARQUET_KEY
_DIGEST = PARQUET_KEY + b".digest"
FORMAT = 2  # with a digest of all that is in the file; 1: without
OVERLAP = 3  #: flagged rows for each that is surely wrong, above which they can't be said to be most likely wrong


class WrongLabels(TypedDict, total=False):
    """How many labels (targets) are wrong, in rows."""

    low: int  #: at least
    high: int  #: at most, both with their sampling errors
    likely: int  #: rows that are flagged
    told: bool  #: whether the data can tell: the bounds are near to each other
    random: float  #: expected number, if errors fall at random
    checked: int  #: rows that somebody has checked; then the bounds follow from these


class Stats(TypedDict, total=False):
    """What `Values.stats` holds that means the same for every method; what else is in there is the method's own."""

    seconds: float  #: that it took
    flag_rule: str  #: by what rule rows are flagged, in words
    device: str  #: where it was computed: "cpu", "cuda"
    warning: str  #: why its scores or flags may mean little
    stderr: np.ndarray  #: (n,) standard errors of the scores
    reliability: float  #: by the standard errors: correlation to expect with the scores of a repeat by other random numbers
    trainings: int  #: models that were trained
    wrong_labels: WrongLabels  #: of methods that have predictions without the row
    source: dict[str, Any]  #: how the rows were read, so that a report finds them again


@dataclass(frozen=True, eq=False, repr=False)
class Values:
    """The values of n rows by one method.

    The arrays can't be written to: they are read-only views of those given, which stay as they are. To change one, copy it and
    make new values with `dataclasses.replace`.

    Examples
    --------
    >>> import numpy as np
    >>> v = Values(
    ...     ids=np.array(["a", "b", "c"]), scores=np.array([.2, -3., .5]), flagged=np.array([False, True, False]),
    ...     columns={"cg_score": np.array([-.2, 3., -.5])}, method="cg-score",
    ... )
    >>> v.suspects(1)[["id", "score", "rank", "flagged"]]
      id  score  rank  flagged
    1  b   -3.0     1     True
    """

    ids: np.ndarray  #: (n,) as in the data
    scores: np.ndarray  #: (n,) float64, higher = more worth keeping, for every method
    flagged: np.ndarray  #: (n,) bool, the method's own verdict; ``stats["flag_rule"]`` names the rule
    columns: dict[str, np.ndarray]  #: what the paper defines, under its name and in its sign, (n,) each
    method: str  #: name in `METHODS`
    options: dict[str, Any] = field(default_factory=dict)  #: every option of the method, defaults too
    stats: dict[str, Any] = field(default_factory=dict)  #: `Stats`, and what the method chose; arrays are (n,)
    given_label: np.ndarray | None = None  #: (n,) labels as they came
    suggested_label: np.ndarray | None = None  #: (n,) labels the method would give, where it can say
    data_hash: str = ""  #: `Dataset.hash` of what was valued
    versions: dict[str, str] = field(default_factory=dict)  #: of Python and of the libraries that computed it

    def __post_init__(self) -> None:
        if not self.versions:
            object.__setattr__(self, "versions", _versions())
        self._freeze()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy, or what came from another process, is frozen too."""
        self.__dict__.update(state)
        self._freeze()

    def _freeze(self) -> None:
        for name in ("ids", "scores", "flagged", "given_label", "suggested_label"):
            if (array := getattr(self, name)) is not None:
                object.__setattr__(self, name, _read_only(array))
        object.__setattr__(self, "columns", {name: _read_only(column) for name, column in self.columns.items()})

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def common(self) -> Stats:
        """The part of `stats` that means the same for every method."""
        return cast(Stats, {name: value for name, value in self.stats.items() if name in Stats.__annotations__})

    def ranks(self) -> np.ndarray:
        """(n,) 1 = most suspicious; equal scores keep the order of the rows."""
        ranks = np.empty(len(self), np.int64)
        ranks[np.argsort(self.scores, kind="stable")] = np.arange(1, len(self) + 1)
        return ranks

    def to_frame(self) -> pd.DataFrame:
        """id, score, rank, flagged, given_label, suggested_label, then the method's columns; in the order of the data."""
        frame = pd.DataFrame({"id": self.ids, "score": self.scores, "rank": self.ranks(), "flagged": self.flagged})
        n = len(self)
        frame["given_label"] = self.given_label if self.given_label is not None else np.full(n, None)
        frame["suggested_label"] = self.suggested_label if self.suggested_label is not None else np.full(n, None)
        for name, column in self.columns.items():
            frame[name] = column
        return frame

    def suspects(self, k: int = 20) -> pd.DataFrame:
        """The k most suspicious rows, worst first."""
        if k < 0:
            raise DataError(f"suspects needs k >= 0, got {k}.")
        return self.to_frame().sort_values("rank").head(k)

    def to_sample_weight(self, least: float = 0.01) -> np.ndarray:
        """(n,) weights for the ``sample_weight`` of any estimator: how likely a row of such a score is right.

        The weight is the isotonic regression on the scores of what is known of each row: 1 less ``probability_wrong``, where
        there is such a column (an audit adds it), else 1 for rows that are not flagged and 0 for those that are. So a higher
        score never has a lower weight, equal scores have equal weights, and the weights depend on the order of the scores
        only. Where all flagged rows score below the others, they get ``least`` and the others 1; where flagged rows
        lie among others, all of them get the share that is not flagged. Nothing is divided by the mean: a row that is
        trusted counts as one row, as if the others had been dropped.

        Parameters
        ----------
        least
            No weight is less, so that no class vanishes; from 0 to 1.

        Raises
        ------
        DataError
            If ``least`` is not such a number.

        Examples
        --------
        >>> v = Values(
        ...     ids=np.arange(5), scores=np.array([.2, -3., .5, .1, .9]), columns={}, method="cg-score",
        ...     flagged=np.array([True, True, False, False, False]),
        ... )
        >>> v.to_sample_weight()
        array([0.5 , 0.01, 1.  , 0.5 , 1.  ])
        """
        if not isinstance(least, (int, float)) or not 0 <= least <= 1:
            raise DataError(f"to_sample_weight: least must be a number from 0 to 1, got {least!r}.")
        wrong = np.asarray(self.columns.get("probability_wrong", self.flagged), np.float64)
        _, level, count = np.unique(self.scores, return_inverse=True, return_counts=True)
        right = 1 - np.bincount(level, weights=wrong) / count
        fitted: np.ndarray = isotonic_regression(right, weights=count).x[level]
        return np.clip(fitted, least, 1)

    def headline(self, what: str = "label") -> str:
        """What is known of wrong labels (regression: "target"), in one sentence; empty where the method does not say.

        Examples
        --------
        >>> said = {"low": 60, "high": 450, "likely": 140, "told": False}
        >>> v = Values(np.arange(5000), np.zeros(5000), np.zeros(5000, bool), {}, "cg-score", stats={"wrong_labels": said})
        >>> v.headline()
        '140 labels are most likely wrong; in all between 60 and 450 of 5,000, check 60 rows to know'

        Where far more rows are flagged than are surely wrong, classes overlap, and flagged rows may be right:

        >>> said["low"] = 5
        >>> v.headline()
        '140 labels look wrong or are hard to tell; in all between 5 and 450 of 5,000, check 60 rows to know'
        """
        found: WrongLabels = self.stats.get("wrong_labels", {})
        if not found:
            return ""
        low, high, n, likely = found["low"], found["high"], len(self), found["likely"]
        one = likely == 1
        if likely > OVERLAP * low and not found.get("checked"):
            said = f"{likely:,} {what}{' looks' if one else 's look'} wrong or {'is' if one else 'are'} hard to tell"
        else:
            said = f"{likely:,} {what}{' is' if one else 's are'} most likely wrong"
        if likely == 0:
            said = f"no {what} stands out as wrong"
        all_in_all = f"in all {f'between {low:,} and {high:,}' if low else f'at most {high:,}'} of {n:,}"
        if low == high:
            all_in_all = f"in all {low:,} of {n:,}"
        if found.get("checked"):
            return f"{said}; {all_in_all}, by {found['checked']:,} checked rows"
        return f"{said}; {all_in_all}" + ("" if found["told"] else f", check {min(60, n)} rows to know")

    def save(self, path: str | Path, *, force: bool = False) -> Path:
        """Write one Parquet file with everything inside; written beside and renamed, never half there.

        A file that is there is replaced if datassay wrote it, or with ``force``.

        Raises
        ------
        DataError
            If labels or ids are of a kind that a file can't hold (numbers, text, truth values and tuples of these can), or a file
            of others would be replaced.
        """
        path = Path(path)
        if not path.parent.is_dir():
            raise DataError(f"the folder {str(path.parent)!r} does not exist: make it first.")
        check_target(path, force=force, or_force=", or pass force=True")
        table: dict[str, Any] = {"score": self.scores, "rank": self.ranks(), "flagged": self.flagged}
        kinds: dict[str, str] = {}
        for name in ("ids", "given_label", "suggested_label"):
            values = getattr(self, name)
            if values is not None:
                table["id" if name == "ids" else name], kinds[name] = _to_column(values, name)
        stats = dict(self.stats)
        for name, column in self.columns.items():
            table[f"column.{name}"] = column
        for name in [k for k, v in stats.items() if isinstance(v, np.ndarray) and v.shape == (len(self),)]:
            table[f"stats.{name}"] = stats.pop(name)
        meta = {
            "format": FORMAT,
            "method": self.method,
            "options": self.options,
            "stats": stats,
            "kinds": kinds,
            "data_hash": self.data_hash,
            "versions": self.versions,
        }
        arrow = pa.table(table)
        about = json.dumps(meta, default=_plain)
        arrow = arrow.replace_schema_metadata({_KEY: about.encode(), _DIGEST: _digest(arrow, about)})
        with replacing(path) as beside, beside.open("wb") as file:  # Arrow itself opens no file whose name is no UTF-8
            pq.write_table(arrow, file, compression="zstd", write_page_checksum=True)
        return path

    @classmethod
    def load(cls, path: str | Path) -> Values:
        """Read what `save` wrote; no code is run from the file.

        Raises
        ------
        DataError
            If the file is not there, was not written by `save`, or is not as it was written.
        """
        if not Path(path).is_file():
            raise DataError(f"there is no file {str(path)!r}.")
        content = Path(path).read_bytes()
        again = "write it again with `datassay value -o` or Values.save"
        if not content.startswith(b"PAR1"):
            raise DataError(f"{str(path)!r} is not a Parquet file: a file written by `datassay value -o` is needed.")
        try:
            table = pq.read_table(pa.BufferReader(content), page_checksum_verification=True)
            table.validate(full=True)
        except MemoryError:
            raise DataError(f"{str(path)!r} is not whole: {again}.") from None
        except Exception as error:  # Arrow has many words for it
            raise DataError(f"{str(path)!r} is not whole ({type(error).__name__}): {again}.") from error
        if _KEY not in (table.schema.metadata or {}):
            raise DataError(
                f"{str(path)!r} holds no values: a file written by `datassay value -o` or Values.save is needed."
            )
        about = table.schema.metadata[_KEY]
        try:
            meta = json.loads(about)
            if meta["format"] in (1, FORMAT):
                if meta["format"] == FORMAT and table.schema.metadata.get(_DIGEST) != _digest(table, about.decode()):
                    raise DataError(f"{str(path)!r} is not whole (it is not as it was written): {again}.")
                return cls(**_parts(table, meta))
        except DataError:
            raise
        except Exception as error:  # a file that somebody else put together, too
            raise DataError(f"{str(path)!r} is not whole ({type(error).__name__}: {error}): {again}.") from error
        raise DataError(f"{str(path)!r} was written by a newer datassay, in format {meta['format']}: update datassay.")

    def __repr__(self) -> str:
        rule = f" ({self.common['flag_rule']})" if "flag_rule" in self.common else ""
        return (
            f"Values: {len(self)} rows by {self.method}, {int(self.flagged.sum())} flagged{rule}\n"
            f"{self.suspects(5).iloc[:, :6].to_string(index=False)}"
        )

    def _repr_html_(self) -> str:
        head = html.escape(repr(self).splitlines()[0])
        return f"<p>{head}; the most suspicious:</p>{self.suspects(10).to_html(index=False, escape=True)}"


@dataclass(frozen=True)
class Finding:
    """What a method found, of n rows."""

    scores: np.ndarray  #: (n,) higher = more worth keeping
    flagged: np.ndarray  #: (n,) bool
    columns: dict[str, np.ndarray]  #: what the paper defines, under its name and in its sign
    suggested: np.ndarray | None = None  #: (n,) labels
    stats: dict[str, Any] = field(default_factory=dict)  #: with ``flag_rule``
    options: dict[str, Any] = field(default_factory=dict)  #: those that were chosen while it ran


def _read_only(array: np.ndarray) -> np.ndarray:
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view


@functools.cache
def _versions() -> dict[str, str]:
    names = ("datassay", "numpy", "scipy", "scikit-learn")
    return {"python": platform.python_version()} | {name: version(name) for name in names}


def _digest(table: pa.Table, about: str) -> bytes:
    """Of the columns, by what is in them and not by how Parquet has it, and of what stands beside them."""
    found = hashlib.blake2b(about.encode(), digest_size=16)
    for name in table.column_names:
        column = table.column(name)
        found.update(repr((name, str(column.type), len(column), column.null_count)).encode())
        if pa.types.is_string(column.type) or column.null_count:
            found.update(json.dumps(column.to_pylist(), default=str).encode())
        else:
            found.update(np.ascontiguousarray(column.to_numpy()).tobytes())
    return found.hexdigest().encode()


def _parts(table: pa.Table, meta: dict[str, Any]) -> dict[str, Any]:
    """What `Values` is made of, from a table and what stands beside it."""
    column = {name: table.column(name) for name in table.column_names}

    def rows(prefix: str) -> dict[str, np.ndarray]:
        return {name[len(prefix) :]: c.to_numpy() for name, c in column.items() if name.startswith(prefix)}

    def labels(name: str, attribute: str) -> np.ndarray | None:
        return _from_column(column[name], meta["kinds"][attribute]) if name in column else None

    kinds = {"method": str, "options": dict, "stats": dict, "kinds": dict, "data_hash": str, "versions": dict}
    for name, kind in kinds.items():
        if not isinstance(meta[name], kind):
            raise TypeError(f"{name} is {meta[name]!r}")
    for name, c in column.items():
        dtype = c.type
        number = pa.types.is_floating(dtype) or pa.types.is_integer(dtype) or pa.types.is_boolean(dtype)
        right = {
            "score": pa.types.is_floating(dtype),
            "flagged": pa.types.is_boolean(dtype),
            "rank": pa.types.is_integer(dtype),
        }
        if not right.get(name, number or not name.startswith(("column.", "stats."))):
            raise TypeError(f"column {name!r} is of type {dtype}")
        if c.null_count and name in right:
            raise TypeError(f"column {name!r} has gaps")
    return {
        "ids": _from_column(column["id"], meta["kinds"]["ids"]),
        "scores": column["score"].to_numpy(),
        "flagged": column["flagged"].to_numpy(),
        "columns": rows("column."),
        "method": meta["method"],
        "options": meta["options"],
        "stats": meta["stats"] | rows("stats."),
        "given_label": labels("given_label", "given_label"),
        "suggested_label": labels("suggested_label", "suggested_label"),
        "data_hash": meta["data_hash"],
        "versions": meta["versions"],
    }


def _to_column(values: np.ndarray, name: str) -> tuple[Any, str]:
    """An Arrow-ready column and the numpy dtype to go back to; mixed labels travel as JSON text."""
    if values.dtype.kind in "biufUM":
        return values.astype(str) if values.dtype.kind == "U" else values, str(values.dtype)
    if all(isinstance(v, str) for v in values):
        return pa.array(values.tolist(), pa.string()), "object"
    try:
        return pa.array([json.dumps(_tagged(v)) for v in values], pa.string()), "json"
    except TypeError as error:
        what = name.replace("_", " ")
        raise DataError(f"{what} can't be saved: {error}; turn them into text or numbers first.") from None


def _from_column(column: pa.ChunkedArray, kind: str) -> np.ndarray:
    if kind == "json":
        values = [_untagged(json.loads(v)) for v in column.to_pylist()]
    elif kind == "object":
        values = column.to_pylist()
    else:
        return column.to_numpy().astype(kind)
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out


def _tagged(value: Any) -> Any:
    """JSON that keeps a tuple a tuple."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, tuple):
        return {"tuple": [_tagged(v) for v in value]}
    if isinstance(value, date):  # a datetime is one
        return {type(value).__name__ if type(value) in (date, datetime) else "datetime": value.isoformat()}
    raise TypeError(f"a label of type {type(value).__name__}, {value!r}, has no place in a file")


def _untagged(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "tuple" in value:
        return tuple(_untagged(v) for v in value["tuple"])
    return date.fromisoformat(value["date"]) if "date" in value else datetime.fromisoformat(value["datetime"])


def _plain(value: Any) -> Any:
    """numpy numbers, arrays and paths in stats and options, for JSON."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (date, timedelta)):
        return str(value)
    raise TypeError(f"{type(value).__name__} can't be saved: {value!r}")
