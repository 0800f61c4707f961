"""The one door of every method: it checks the options, times, and builds `Values` from what the method found.

    @method("banzhaf", SUBSETS)
    def banzhaf(data, model=None, *, by: Literal["ridge", "msr"] = "ridge", ...) -> Finding: ...

What an annotation says of an option (Literal, bool) is checked here, and not again in the method. Options that many methods share
are explained once, below: each docstring has its own, and is completed from here.
"""

from __future__ import annotations

import functools
import inspect
import os
import re
import time
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, ParamSpec, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy import ndarray

from datassay.checks import DataError, one_of
from datassay.data.dataset import Dataset
from datassay.data.encoding import plain
from datassay.engines.submodels import Store
from datassay.files import check_paths
from datassay.values import Values

P = ParamSpec("P")
NOT_KEPT = ("data", "n_jobs", "progress", "store", "checkpoint")  # nothing about how fast it goes
RAN_AWAY = "numbers ran away: scale the columns and the targets, of the validation rows too, or take milder options"
WRITES, ADDS_TO = ("matrix", "save_model"), ("store", "checkpoint")  # options that name files
READ = ("path", "label", "id", "val", "features", "val_features")  # of `Dataset.source`
NAMED = ("model", "utility", "groups")  # options that may be objects


@dataclass(frozen=True)
class Finding:
    """What a method found, of n rows."""

    scores: ndarray  #: (n,) higher = more worth keeping
    flagged: ndarray  #: (n,) bool
    columns: dict[str, ndarray]  #: what the paper defines, under its name and in its sign
    suggested: ndarray | None = None  #: (n,) labels
    stats: dict[str, Any] = field(default_factory=dict)  #: with ``flag_rule``
    options: dict[str, Any] = field(default_factory=dict)  #: those that were chosen while it ran


ALL = {
    "data": "n rows; where the method needs them, validation rows whose labels are right.",
    "seed": "All randomness follows from it.",
    "n_jobs": "Workers; any number gives the same bits. None: one, or what ``joblib.parallel_config`` says.",
    "progress": "A bar on stderr, where that is a terminal.",
    "device": '"auto", "cpu", "cuda": where a network is trained.',
}
SUBSETS = ALL | {
    "model": "A scikit-learn estimator, a torch `nn.Module` (drawn anew for each training), or a function from a seed to one. None: "
    "logistic regression, or ridge regression for regression targets.",
    "n_models": "Trainings: more make all values more certain.",
    "utility": 'What a training is worth on the validation rows. Classification: "margin" (mean log-odds of the labels), "accuracy", '
    '"log-likelihood", "probability"; regression: "squared-error". Or any scikit-learn scorer, by name or as scorer(model, X, y), '
    "which gets the validation rows' positions as X and may only ask the model about them.",
    "antithetic": "Every second subset is what the one before it left out.",
    "budget": 'Stop before n_models after this time ("10 min", or seconds).',
    "stderr": "Stop when the median standard error is below this share of the scores' standard deviation.",
    "settled": "Stop when the worst tenth of the rows is to this share the same as at the interim check before (after 200, 300, 450, ... "
    "trainings).",
    "training": "Of a torch module: a `Recipe`.",
    "store": "A file in which trainings are kept, for this and all other methods that train on subsets; trainings that are there are not "
    "done again.",
    "reuse": "Train nothing: use all trainings of this model and these rows that the store has.",
    "folds": "Folds of a partition.",
    "repeats": "Repetitions with other seeds, which are averaged.",
}
NETWORKS = ALL | {
    "model": "A torch `nn.Module`, drawn anew for each run (all that has ``reset_parameters``), or a function from a seed to one, which is "
    "used as it comes. None: a perceptron for tables, a small ResNet for images.",
    "runs": "Trainings from other initial weights; their spread gives the standard error.",
    "epochs": "Passes over the rows in a training.",
    "batch_size": "Rows in a step of the training.",
    "lr": "Learning rate of the training.",
    "optimiser": '"sgd" or "adam".',
    "training": "A whole `Recipe`, in which the options beside it change what they name.",
    "checkpoint": "A folder in which a killed run finds what is done, and goes on.",
}
RAISES = {
    "DataError": "An option or the data is not what the method needs: the sentence says what is needed, what came, what to do.",
    "ImportError": "A network is to be trained, and torch is not installed.",
}


def method(name: str, shared: Mapping[str, str] = ALL) -> Callable[[Callable[P, Finding]], Callable[P, Values]]:
    """Make a method of a function that takes a `Dataset` and named options, and returns a `Finding`.

    ``shared`` explains the options that its docstring leaves out.
    """

    def decorate(f: Callable[P, Finding]) -> Callable[P, Values]:
        signature = inspect.signature(f)

        @functools.cache
        def hints() -> dict[str, Any]:
            return get_type_hints(f)

        @functools.wraps(f)
        def call(*args: P.args, **kwargs: P.kwargs) -> Values:
            start = time.perf_counter()
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            given = dict(bound.arguments)
            data = given["data"]
            if not isinstance(data, Dataset):
                raise DataError(
                    f"{name} needs a Dataset, got {type(data).__name__}: make one with da.Dataset(X, y) or da.read(path)."
                )
            check(name, given, hints())
            own_files(given, data.source)
            with numbers_that_fit(name), no_empty_store(given.get("store")):
                found = f(*args, **kwargs)
            stats = (
                found.stats
                | told(name, data, found.scores, found.stats)
                | {"seconds": time.perf_counter() - start}
                | sources(data)
            )
            options = kept(given) | found.options
            return Values(
                data.ids,
                found.scores,
                found.flagged,
                found.columns,
                name,
                options,
                stats,
                data.y,
                found.suggested,
                data.hash,
            )

        call.__signature__ = signature.replace(return_annotation="Values")  # type: ignore[attr-defined]
        call.__doc__ = completed(inspect.getdoc(f) or "", list(signature.parameters), shared)
        return call

    return decorate


def sources(data: Dataset) -> dict[str, Any]:
    """For `Values.stats`: how the rows were read, so that a report finds them again."""
    return {"source": data.source} if data.source else {}


def own_files(given: Mapping[str, Any], source: Mapping[str, Any] | None) -> None:
    """Files that options name are none of those that the rows came from, nor one another.

    Raises
    ------
    DataError
        One would be overwritten.
    """
    for option in (*WRITES, *ADDS_TO):
        if (path := given.get(option)) is not None and (not isinstance(path, (str, Path)) or not str(path).strip()):
            raise DataError(
                f"{option} must be the name of a {'folder' if option == 'checkpoint' else 'file'}, got {path!r}."
            )
    if isinstance(folder := given.get("checkpoint"), (str, Path)) and os.path.lexists(folder) and not Path(folder).is_dir():
        raise DataError(f"checkpoint: {str(folder)!r} is a file: give the name of a folder.")
    writes, adds_to = ([v for o in names if isinstance(v := given.get(o), (str, Path))] for names in (WRITES, ADDS_TO))
    if writes or adds_to:
        read = [
            v for o in READ if isinstance(v := (source or {}).get(o), str) and os.path.isabs(v)
        ]  # a column's name is no file
        check_paths(read, writes, adds_to=adds_to)


@contextmanager
def numbers_that_fit(name: str) -> Iterator[None]:
    """Numbers that are too large or too small for the arithmetic end in a sentence.

    Raises
    ------
    DataError
        In place of numpy's errors.
    """
    try:
        yield
    except (np.linalg.LinAlgError, FloatingPointError, OverflowError, ZeroDivisionError) as error:
        raise DataError(f"{name}: {RAN_AWAY} ({type(error).__name__}: {error}).") from error
    except ValueError as error:  # numpy's and scikit-learn's, of what they can't work with
        if isinstance(error, DataError) or not re.search(r"\b(infs?|NaNs?|infinity)\b", str(error)):
            raise
        raise DataError(f"{name}: {RAN_AWAY} ({str(error).splitlines()[0]}).") from error


@contextmanager
def no_empty_store(path: Any) -> Iterator[None]:
    """A wrong call leaves no new store without trainings behind."""
    fresh = isinstance(path, (str, Path)) and not os.path.lexists(path)
    try:
        yield
    except (DataError, TypeError):
        if fresh and Path(path).is_file():
            with suppress(OSError, ValueError):
                with closing(Store(path)) as store:
                    empty = len(store) == 0
                for end in ("", "-wal", "-shm") if empty else ():
                    Path(f"{path}{end}").unlink(missing_ok=True)
        raise


def told(name: str, data: Dataset, scores: ndarray, stats: Mapping[str, Any]) -> dict[str, Any]:
    """What every method's scores have to be, and for ``stats`` a warning where they say nothing.

    Raises
    ------
    DataError
        A score is not finite.
    """
    scores = np.asarray(scores)
    if len(bad := np.flatnonzero(~np.isfinite(scores))):
        raise DataError(
            f"{name}: the score of row {bad[0]} (id {plain(data.ids[bad[0]])!r}) is {scores[bad[0]]}: {RAN_AWAY}."
        )
    if len(scores) > 1 and (scores == scores[0]).all():
        warnings = [stats["warning"]] if "warning" in stats else []
        return {"warning": "; ".join([*warnings, f"all scores are {scores[0]:g}, so they say nothing about the rows"])}
    return {}


def require(name: str, requires: frozenset[str], data: Dataset) -> None:
    """What the entry of a method says that the data must have.

    Raises
    ------
    DataError
        It has no validation rows, or no classes.
    """
    if "validation" in requires and data.X_val is None:
        raise DataError(f"{name} needs validation rows, X_val and y_val (file: --val).")
    if "classes" in requires and data.task == "regression":
        raise DataError(f"{name} is about classes, and this is regression.")


def check(name: str, given: Mapping[str, Any], hints: Mapping[str, Any]) -> None:
    """Options whose annotation lists what they may be.

    Raises
    ------
    DataError
        An option is none of these.
    """
    for option, value in given.items():
        hint = hints.get(option)
        parts = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
        known: list[Any] = []
        for part in parts:
            if get_origin(part) is Literal:
                known += get_args(part)
            elif part is bool:
                known += [True, False]
            elif part is type(None):
                known.insert(0, None)
            else:  # anything of a type: the method looks itself
                known = []
                break
        if known:
            one_of(name, tuple(known), **{option: value})


def kept(given: Mapping[str, Any]) -> dict[str, Any]:
    """What `Values.options` keeps of the options: no data, objects by their names, a recipe by its numbers."""
    options = {option: plain(value) for option, value in given.items() if option not in NOT_KEPT}
    for option in NAMED:
        thing = given.get(option)
        if thing is not None and not isinstance(thing, str):
            named = getattr(thing, "__qualname__", type(thing).__name__)
            options[option] = repr(thing) if hasattr(thing, "get_params") else named
    if hasattr(recipe := given.get("training"), "__dict__"):
        options["training"] = {k: plain(v) for k, v in vars(recipe).items() if k != "augment"}
    return {option: str(value) if isinstance(value, Path) else value for option, value in options.items()}


def completed(text: str, parameters: list[str], shared: Mapping[str, str]) -> str:
    """A docstring with all parameters explained, in their order behind its own, and what it raises.

    >>> text = "Title.\\n\\nParameters\\n----------\\nq\\n    Its own.\\n\\nReturns\\n-------\\nx\\n\\nRaises\\n------\\ny"
    >>> print(completed(text, ["q", "seed"], {"seed": "Draws."}).split("\\n\\n")[1])
    Parameters
    ----------
    q
        Its own.
    seed
        Draws.
    """
    own, rule, rest = text.partition("\n\nReturns\n-------\n")
    if not rule:
        return text
    head, _, body = own.partition("\nParameters\n----------\n")
    there = {p.strip() for line in body.splitlines() if re.match(r"\w", line) for p in line.split(",")}
    more = [f"{p}\n    {shared[p]}" for p in parameters if p not in there and p in shared]
    if "\nRaises\n------\n" not in rest:
        listed = {e: says for e, says in RAISES.items() if e == "DataError" or shared is not ALL}
        raises = "Raises\n------\n" + "\n".join(f"{error}\n    {says}" for error, says in listed.items())
        found, examples, shown = rest.partition("\n\nExamples\n--------\n")
        rest = f"{found}\n\n{raises}{examples}{shown}"
    parameters_text = "\n".join([body.rstrip(), *more] if body.strip() else more)
    return f"{head}\nParameters\n----------\n{parameters_text}{rule}{rest}"
