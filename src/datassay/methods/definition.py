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
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Unpack, get_args, get_origin, get_type_hints

import numpy as np
from numpy import ndarray

from datassay.checks import Call, DataError, OptionError, annotated
from datassay.data.dataset import Dataset
from datassay.data.encoding import plain
from datassay.engines import machine
from datassay.engines.training_store import Store
from datassay.files import check_paths
from datassay.methods.controlled import controlled
from datassay.values import Finding as Finding
from datassay.values import Values

if TYPE_CHECKING:
    from datassay.methods import Method

P = ParamSpec("P")
NOT_KEPT = ("data", "n_jobs", "progress", "store", "checkpoint")  # nothing about how fast it goes
RAN_AWAY = "numbers ran away: scale the columns and the targets, of the validation rows too, or take milder options"
WRITES, ADDS_TO = ("matrix", "save_model"), ("store", "checkpoint")  # options that name files
READ = ("path", "label", "id", "val", "features", "val_features")  # of `Dataset.source`
DEFAULTS = {
    "device": "auto",
    "seed": 0,
    "progress": True,
    "antithetic": False,
    "reuse": False,
    "flag": "likely",
    "q": 0.1,
}  # of keywords that ``**shared: Unpack[...]`` stands for; of all others None
SMALL = 1e9  # bytes: less than that is there, or swap is enough
NAMED = ("model", "utility", "groups")  # options that may be objects


ALL = {
    "data": "n rows; where the method needs them, validation rows whose labels are right.",
    "seed": "All randomness follows from it.",
    "n_jobs": "Workers; any number gives the same bits. None: one, or what ``joblib.parallel_config`` says.",
    "progress": "A bar on stderr, where that is a terminal.",
    "q": 'For ``flag="fdr"``: at most this share of the flagged rows is expected to be right. The validation rows are valued along with '
    "the training rows, and must be right and come from where these come from; columns ``conformal_p`` and ``false_share_most``, the share "
    "of right rows among the suspects down to this one, at most (95 %, wherever one cuts); `stats['wrong_labels']` is tightened.",
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
SEMIVALUES = SUBSETS | {
    "n_models": "Trainings: more make all values more certain. If there are no more subsets than that at all, all are trained, and the "
    "values are exact.",
    "estimator": '"ridge": a regression on which rows are in, standardised; "differences": each row for itself, unbiased; "msr-adjusted": '
    "the regression's own values, and such differences of what it leaves: unbiased, with standard errors that count everything. Subsets "
    "then come in pairs with what they leave out, where that changes no probability.",
    "standardise": '"ridge" as if what a row adds to subsets of one size were in proportion to what it adds to others: biased where that '
    "is not so, but nearer to the value than unbiased estimates until there are many times n trainings.",
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


def method(
    name: str, shared: Mapping[str, str] = ALL, renamed: Mapping[str, str] | None = None
) -> Callable[[Callable[P, Finding]], Callable[P, Values]]:
    """Make a method of a function that takes a `Dataset` and named options, and returns a `Finding`.

    ``shared`` explains the options that its docstring leaves out. ``renamed``: former names of options, and what they are called now;
    they still work, with a FutureWarning. ``**shared: Unpack[...]`` in the function stands for the keywords of a TypedDict: they are in
    the signature of what is made, and their defaults are DEFAULTS, or None.
    """

    def decorate(f: Callable[P, Finding]) -> Callable[P, Values]:
        return _door(f, name, shared, renamed or {})

    return decorate


def network_method(
    name: str, renamed: Mapping[str, str] | None = None
) -> Callable[[Callable[Concatenate[Call, P], Finding]], Callable[P, Values]]:
    """As `method`, of a function that trains networks: it takes the `Call` before all else, since checkpoints go by the options."""

    def decorate(f: Callable[Concatenate[Call, P], Finding]) -> Callable[P, Values]:
        return _door(f, name, NETWORKS, renamed or {}, takes_call=True)

    return decorate


def _door(
    f: Callable[..., Finding], name: str, shared: Mapping[str, str], renamed: Mapping[str, str], takes_call: bool = False
) -> Callable[..., Values]:
    signature = spelled_out(f, drop=takes_call)

    @functools.cache
    def hints() -> dict[str, Any]:
        return all_hints(f)

    @functools.wraps(f)
    def call(*args: Any, **kwargs: Any) -> Values:
        start = time.perf_counter()
        bound = signature.bind(*args, **current(name, kwargs, renamed))
        bound.apply_defaults()
        given = dict(bound.arguments)
        data = given["data"]
        if not isinstance(data, Dataset):
            raise DataError(
                f"{name} needs a Dataset, got {type(data).__name__}: make one with da.Dataset(X, y) or da.read(path)."
            )
        large = annotated(name, given, hints())
        given |= large
        bound.arguments.update(large)
        from datassay.methods import OWN  # which imports this module

        if name in OWN:
            require(name, OWN[name], data, given)
            enough_memory(name, OWN[name], data, given)
        work = functools.partial(f, Call(name, given, renamed)) if takes_call else f
        own_files(given, data.source)
        with numbers_that_fit(name), no_empty_store(given.get("store")):
            if given.get("flag") == "fdr":
                found = controlled(name, data, given["q"], lambda rows: f(**given | {"data": rows, "flag": "likely"}))
            else:
                found = work(*bound.args, **bound.kwargs)
        stats = found.stats | common_stats(name, data, found.scores, found.stats)
        stats |= {"seconds": time.perf_counter() - start} | sources(data)
        return Values(
            data.ids,
            found.scores,
            found.flagged,
            found.columns,
            name,
            stored_options(given) | found.options,
            stats,
            data.y,
            found.suggested,
            data.hash,
        )

    call.__signature__ = signature.replace(return_annotation="Values")  # type: ignore[attr-defined]
    call.renamed = dict(renamed)  # type: ignore[attr-defined]
    call.hints = hints  # type: ignore[attr-defined]
    call.__doc__ = with_shared_docs(inspect.getdoc(f) or "", list(signature.parameters), shared)
    return call


def all_hints(f: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of its parameters, those of ``**shared: Unpack[...]`` too."""
    hints = get_type_hints(f, include_extras=True)
    packed = next((hint for hint in hints.values() if get_origin(hint) is Unpack), None)
    return hints if packed is None else hints | get_type_hints(get_args(packed)[0], include_extras=True)


def spelled_out(f: Callable[..., Any], drop: bool = False) -> inspect.Signature:
    """Its signature with the keywords that ``**shared: Unpack[...]`` stands for; without the first parameter."""
    parameters = list(inspect.signature(f).parameters.values())[drop:]
    if parameters[-1].kind is inspect.Parameter.VAR_KEYWORD:
        packed = get_args(get_type_hints(f, include_extras=True)[parameters.pop().name])[0]
        for option, hint in packed.__annotations__.items():
            words = getattr(hint, "__forward_arg__", hint)  # as in the code, like those of all other parameters
            kind, default = inspect.Parameter.KEYWORD_ONLY, DEFAULTS.get(option)
            parameters.append(inspect.Parameter(option, kind, default=default, annotation=words))
    return inspect.Signature(parameters)


def sources(data: Dataset) -> dict[str, Any]:
    """For `Values.stats`: how the rows were read, so that a report finds them again, and on which features they were valued."""
    return ({"source": data.source} if data.source else {}) | dict(data.features)


def require(name: str, entry: Method, data: Dataset, options: Mapping[str, Any]) -> None:
    """What the entry of a method says that the data must have.

    Raises
    ------
    DataError
        It has no validation rows, or no classes.
    """
    free = [f"{option}={value!r}" for option, value in entry.unless.items() if options.get(option) != value]
    if entry.validation and data.X_val is None and len(free) == len(entry.unless):
        without = f"; with {' or '.join(free)} it needs none" if free else ""
        raise DataError(f"{name} needs validation rows, X_val and y_val (file: --val), by which rows are judged{without}.")
    if "classes" in entry.requires and data.task == "regression":
        instead = f": {entry.regression}" if entry.regression else ""
        raise DataError(f"{name} is about classes, and this is regression{instead}.")


def planned_memory(entry: Method, data: Dataset, options: Mapping[str, Any]) -> float | None:
    """Bytes beyond the data that the leanest of its ways takes by the plan, with these options; None where no plan says so."""
    takes = {p.name for p in inspect.signature(entry.costs).parameters.values() if p.kind is p.KEYWORD_ONLY}
    if any(options.get(stop) is not None for stop in ("budget", "stderr", "settled")):  # n_models is then a limit alone
        takes.discard("n_models")
    counted = {k: v for k, v in options.items() if v is not None and k in takes}
    lines = entry.costs(data, machine.unmeasured(), **counted)
    asked = {name: options.get(name) for line in lines for name in line.options}
    fit = [
        line.memory
        for line in lines
        if all(asked[o] in (None, "auto", value) or o in ADDS_TO for o, value in line.options.items())
    ]
    return min(fit, default=None)


def enough_memory(name: str, entry: Method, data: Dataset, options: Mapping[str, Any]) -> None:
    """Before any work: the plan's memory beside what is free. Plans below SMALL are not looked at.

    Raises
    ------
    DataError
        There is not enough.
    """
    need = planned_memory(entry, data, options) or 0.0
    if need <= SMALL or not 0 < (have := machine.available_memory()) < need:
        return
    n, d = data.X.shape
    ways = ["fewer n_models"] if options.get("n_models") else []
    ways += ["store='trainings.sqlite'"] if "store" in options and options["store"] is None else []
    raise DataError(
        f"{name} takes {machine.size(need)} of memory for {n:,} rows x {d:,} columns by its plan, and {machine.size(have)} are free: "
        f"take {', '.join([*ways, 'fewer rows or columns'])}, or a method that fits (`datassay plan` lists them)."
    )


def current(name: str, options: Mapping[str, Any], renamed: Mapping[str, str]) -> dict[str, Any]:
    """The options under their present names.

    Raises
    ------
    OptionError
        One came under both names.

    Examples
    --------
    >>> current("dvgs", {"seed": 1}, {"restarts": "runs"})
    {'seed': 1}
    """
    for old in [option for option in options if option in renamed]:
        new = renamed[old]
        if new in options:
            raise OptionError(f"{name}: {old} is the former name of {new}, and both came: pass {new} alone.")
        warnings.warn(f"{name}: the option {old} is now called {new}; its former name will go.", FutureWarning, stacklevel=3)
    return {renamed.get(option, option): value for option, value in options.items()}


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
        there = [v for v in writes if Path(v).parent.is_dir()]  # else the method says so, or makes the folder
        check_paths(read, there, adds_to=adds_to)


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


def common_stats(name: str, data: Dataset, scores: ndarray, stats: Mapping[str, Any]) -> dict[str, Any]:
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
    told = reliability(scores, stats.get("stderr"))
    if len(scores) > 1 and (scores == scores[0]).all():
        warnings = [stats["warning"]] if "warning" in stats else []
        return {"warning": "; ".join([*warnings, f"all scores are {scores[0]:g}, so they say nothing about the rows"])}
    return {} if told is None else {"reliability": told}


def reliability(scores: ndarray, stderr: Any) -> float | None:
    """What is left of the scores' variance without that of their errors: the correlation to expect between these and a repeat's.

    Where the errors count what pulls scores towards one another, as those of regressions do, it is more. None: no errors.

    >>> reliability(np.array([0.0, 2.0]), np.array([0.5, 0.5]))
    0.75
    """
    errors = np.asarray(stderr, float) if stderr is not None else np.zeros(0)
    if errors.shape != scores.shape or not np.isfinite(errors).all() or not 0 < (variance := float(np.var(scores))) < np.inf:
        return None
    return max(0.0, float(1 - np.mean(errors**2) / variance))


def stored_options(given: Mapping[str, Any]) -> dict[str, Any]:
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


def with_shared_docs(text: str, parameters: list[str], shared: Mapping[str, str]) -> str:
    """A docstring with all parameters explained, in their order behind its own, and what it raises.

    >>> text = "Title.\\n\\nParameters\\n----------\\nq\\n    Its own.\\n\\nReturns\\n-------\\nx\\n\\nRaises\\n------\\ny"
    >>> print(with_shared_docs(text, ["q", "seed"], {"seed": "Draws."}).split("\\n\\n")[1])
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
    missing_entries = [f"{p}\n    {shared[p]}" for p in parameters if p not in there and p in shared]
    if "\nRaises\n------\n" not in rest:
        listed = {e: says for e, says in RAISES.items() if e == "DataError" or shared is not ALL}
        raises = "Raises\n------\n" + "\n".join(f"{error}\n    {says}" for error, says in listed.items())
        found, examples, shown = rest.partition("\n\nExamples\n--------\n")
        rest = f"{found}\n\n{raises}{examples}{shown}"
    parameters_text = "\n".join([body.rstrip(), *missing_entries] if body.strip() else missing_entries)
    return f"{head}\nParameters\n----------\n{parameters_text}{rule}{rest}"
