"""The methods: one file each, one function each, one entry each in `METHODS`; installed packages bring more.

A package brings a method by an entry point of the group ``datassay.methods``, whose name is the method's and which names a function
``f(data, *, seed, ...) -> Values | array`` or a `Method`. It is loaded when the table is first read.
"""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Literal

import numpy as np

from datassay.checks import DataError, OptionError, annotated, needing_torch
from datassay.costs import Cost
from datassay.costs import cg_score as cg_score_costs
from datassay.costs import kairos as kairos_costs
from datassay.costs import knn_shapley as knn_shapley_costs
from datassay.costs import lava as lava_costs
from datassay.costs import networks as network_costs
from datassay.costs import subsets as subset_costs
from datassay.data.dataset import Dataset
from datassay.data.encoding import plain
from datassay.engines.machine import Rates
from datassay.methods.definition import common_stats, enough_memory, numbers_that_fit, require, sources
from datassay.values import Values

GROUP = "datassay.methods"  #: of entry points
Need = Literal["validation", "classes", "torch", "ot"]
EXTRAS = {"torch": ("torch", "torch"), "ot": ("ot", "POT")}  # extra: the module it installs, and what people call it
MODELS = {
    "none": "no model",
    "network": "a network (or the default one)",
    "linear": "any model (or a linear one)",
    "trees": "any model (or trees)",
    "unknown": "",
}


def unknown_cost(data: Dataset, rates: Rates) -> list[Cost]:
    """Nothing is known of what it takes."""
    return []


@dataclass(frozen=True)
class Method:
    """An entry of the table of methods; the module of one of our own is imported when the method is first used."""

    function: (
        str | Callable[..., Any]
    )  #: of ours the name of the function and of its module in this package; else the function
    says: str = "what its author says"  #: what a low score means
    model: Literal["none", "network", "linear", "trees", "unknown"] = "unknown"  #: which models it takes
    requires: frozenset[Need] = frozenset()  #: validation rows, classes (no regression), an extra that has to be installed
    unless: Mapping[str, Any] = field(default_factory=dict)  #: values of options with which it needs no validation rows
    regression: str = ""  #: where it is about classes: what takes regression in its place
    note: str = ""  #: exceptions
    cost: str = "not known"
    costs: Callable[..., list[Cost]] = (
        unknown_cost  #: of data and `Rates`, and of some options: its ways, the most exact first
    )
    sign: str = "high = worth keeping"  #: the paper's own direction; `Values.scores` is always higher = keep
    paper: str = "none"

    @property
    def validation(self) -> bool:
        """Whether it needs validation rows, X_val and y_val."""
        return "validation" in self.requires

    @property
    def needs(self) -> str:
        """What it needs, in words."""
        rows = "features, labels, validation rows" if self.validation else "features, labels"
        extras = [f"pip install 'datassay[{extra}]'" for extra in EXTRAS if extra in self.requires]
        free = [f"{option}={value!r} needs no validation rows" for option, value in self.unless.items()]
        words = [rows, MODELS[self.model], "classes only" if "classes" in self.requires else "", *extras, *free, self.note]
        return "; ".join(word for word in words if word)

    def missing(self) -> str:
        """The extra that is not installed and that it needs; empty if nothing is missing."""
        return next((e for e in EXTRAS if e in self.requires and importlib.util.find_spec(EXTRAS[e][0]) is None), "")

    def load(self) -> Callable[..., Any]:
        """The function itself.

        Raises
        ------
        ImportError
            It needs torch, or another extra, and that is not installed.
        """
        if callable(self.function):
            if extra := self.missing():
                raise ImportError(f"the method needs {EXTRAS[extra][1]}: pip install 'datassay[{extra}]'")
            return self.function
        with needing_torch(self.function):
            found: Callable[..., Any] = getattr(import_module(f"{__name__}.{self.function}"), self.function)
        return found


class Table(Mapping[str, Method]):
    """Name: method. Our own, then those that installed packages bring."""

    def __init__(self, own: dict[str, Method]) -> None:
        self._own = own

    def __getitem__(self, name: str) -> Method:
        return self._own[name] if name in self._own else installed()[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._own
        yield from (name for name in installed() if name not in self._own)

    def __len__(self) -> int:
        return len(list(iter(self)))


@cache
def installed() -> dict[str, Method]:
    """The methods of installed packages; one that can't be loaded is left out with a warning."""
    found: dict[str, Method] = {}
    for point in entry_points(group=GROUP):
        try:
            thing = point.load()
        except Exception as error:  # whatever somebody's package does
            warnings.warn(f"the method {point.name!r} of {point.value} can't be loaded: {error}", stacklevel=2)
            continue
        if not isinstance(thing, Method) and not callable(thing):
            warnings.warn(f"the method {point.name!r} of {point.value} is neither a function nor a Method.", stacklevel=2)
            continue
        found[point.name] = thing if isinstance(thing, Method) else Method(thing, says=summary(thing))
    return found


def summary(function: Callable[..., Any]) -> str:
    """The first line of its docstring."""
    return (inspect.getdoc(function) or "what its author says").splitlines()[0]


def find(method: str | Callable[..., Any]) -> tuple[str, Method]:
    """Its name, and its entry: of a name in `METHODS`, or of a function ``f(data, *, seed, ...) -> Values | array``.

    Raises
    ------
    DataError
        There is no such method, or the function can't be called like that.
    """
    if isinstance(method, str):
        if method not in METHODS:
            raise DataError(f"there is no method {method!r}{meant(method, METHODS)} There are: {', '.join(METHODS)}.")
        return method, METHODS[method]
    if not callable(method) or isinstance(method, type):
        raise DataError(
            f"method must be a name or a function f(data, *, seed, ...) that returns Values or one number a row, got {method!r}."
        )
    name = getattr(method, "__name__", type(method).__name__)
    return next(
        ((n, m) for n, m in OWN.items() if m.function == name and method.__module__ == f"{__name__}.{name}"),
        (name, Method(method, says=summary(method))),
    )


OWN = {
    "cg-score": Method(
        function="cg_score",
        says="the labels of all other rows speak against this one",
        model="none",
        note="validation rows are used where they are given",
        cost="2/3 n^3 operations, n^2 / 2 numbers in memory; linear in n with approx",
        costs=cg_score_costs.costs,
        sign="high = suspicious",
        paper="Ki, Choi & Chung, ICLR 2023",
    ),
    "knn-shapley": Method(
        function="knn_shapley",
        says="with this row the nearest neighbours of the validation rows vote worse",
        model="none",
        requires=frozenset({"validation"}),
        unless={"judge": "rows"},
        cost="m n (p + log n) operations for m validation rows and p columns, 32 n numbers in memory",
        costs=knn_shapley_costs.costs,
        sign="high = worth keeping",
        paper="Jia et al., VLDB 2019",
    ),
    "lava": Method(
        function="lava",
        says="mass moved to it takes the training rows farther from the validation rows",
        model="none",
        requires=frozenset({"validation", "classes", "ot"}),
        regression="lossval with transport_power takes regression targets",
        cost="a few hundred products with the n m costs, and exact transport between 500 rows of each two classes",
        costs=lava_costs.costs,
        sign="high = suspicious",
        paper="Just et al., ICLR 2023",
    ),
    "kairos": Method(
        function="kairos",
        says="it takes the training rows farther from the validation rows, or its label is not what they lead to expect",
        model="none",
        requires=frozenset({"validation"}),
        cost="n (n / 2 + m) exponentials for m validation rows, and eigenvectors of m x m numbers",
        costs=kairos_costs.costs,
        sign="high = suspicious",
        paper="Zhu et al., NeurIPS 2025",
    ),
    "dvgs": Method(
        function="dvgs",
        says="its gradient points away from that of the validation rows",
        model="network",
        requires=frozenset({"validation", "torch"}),
        cost="one forward and backward pass over the rows for each step on the validation rows; of images once an epoch",
        costs=network_costs.dvgs,
        sign="high = worth keeping",
        paper="Evans et al., arXiv 2405.08217",
    ),
    "lossval": Method(
        function="lossval",
        says="trained with the network its weight falls: its loss stays high, or it lies far from the validation rows",
        model="network",
        requires=frozenset({"validation", "torch"}),
        cost="one training, and a few passes over the distances to the validation rows in each epoch",
        costs=network_costs.lossval,
        sign="high = worth keeping",
        paper="Wibiral, Belaid, Rabus & Scherp, arXiv 2412.04158",
    ),
    "el2n": Method(
        function="el2n",
        says="early in training the network is far from its label",
        model="network",
        requires=frozenset({"classes", "torch"}),
        cost="5 short trainings and a forward pass over the rows after each",
        costs=network_costs.el2n,
        sign="high = hard",
        paper="Paul, Ganguli & Dziugaite, NeurIPS 2021",
    ),
    "grand": Method(
        function="grand",
        says="early in training it pulls hard at the weights",
        model="network",
        requires=frozenset({"torch"}),
        cost="5 short trainings and a forward and backward pass over the rows after each",
        costs=network_costs.grand,
        sign="high = hard",
        paper="Paul, Ganguli & Dziugaite, NeurIPS 2021",
    ),
    "forgetting": Method(
        function="forgetting",
        says="training gets it right and loses it again, or never gets it right",
        model="network",
        requires=frozenset({"classes", "torch"}),
        cost="3 trainings",
        costs=network_costs.forgetting,
        sign="high = hard",
        paper="Toneva et al., ICLR 2019",
    ),
    "aum": Method(
        function="aum",
        says="while training another class is ahead of the given one",
        model="network",
        requires=frozenset({"classes", "torch"}),
        cost="2 trainings",
        costs=network_costs.aum,
        sign="high = worth keeping",
        paper="Pleiss et al., NeurIPS 2020",
    ),
    "tracin": Method(
        function="tracin",
        says="training steps on it raise the loss of the validation rows",
        model="network",
        requires=frozenset({"validation", "torch"}),
        unless={"influence": "self"},
        cost="a short training, and a forward and backward pass over the rows for each of 20 checkpoints",
        costs=network_costs.tracin,
        sign="high = proponent; influence='self': high = suspicious",
        paper="Pruthi et al., NeurIPS 2020",
    ),
    "craig": Method(
        function="craig",
        says="in a coreset a row stands for it that the network takes for another class",
        model="network",
        requires=frozenset({"classes", "torch"}),
        cost="a short training, and c^2 distances for each class of c rows",
        costs=network_costs.craig,
        sign="high weight = stands for many rows",
        paper="Mirzasoleiman, Bilmes & Leskovec, ICML 2020",
    ),
    "in-run-shapley": Method(
        function="in_run_shapley",
        says="its share of the training steps raises the validation loss",
        model="network",
        requires=frozenset({"validation", "torch"}),
        cost="a short training, and a forward and backward pass over the validation rows at each step",
        costs=network_costs.in_run_shapley,
        sign="negative = lowers the validation loss",
        paper="Wang, Mittal, Song & Jia, arXiv 2406.11011",
    ),
    "ame": Method(
        function="ame",
        says="subsets with it train models that are worse on the validation rows",
        model="linear",
        requires=frozenset({"validation"}),
        cost="1000 trainings on subsets (n_models); an eigendecomposition of the smaller of rows and trainings",
        costs=subset_costs.ame,
        sign="high = raises the utility",
        paper="Lin et al., ICML 2022",
    ),
    "shapley": Method(
        function="shapley",
        says="on average over all orders it makes the model worse on the validation rows",
        model="linear",
        requires=frozenset({"validation"}),
        cost="1000 trainings on subsets (n_models); by permutation n trainings an order",
        costs=subset_costs.shapley,
        sign="high = worth keeping",
        paper="Ghorbani & Zou, ICML 2019",
    ),
    "beta-shapley": Method(
        function="beta_shapley",
        says="it makes models of few rows (or many) worse on the validation rows",
        model="linear",
        requires=frozenset({"validation"}),
        cost="1000 trainings on subsets (n_models)",
        costs=subset_costs.beta_shapley,
        sign="high = worth keeping",
        paper="Kwon & Zou, AISTATS 2022",
    ),
    "banzhaf": Method(
        function="banzhaf",
        says="added to a random half of the rows it makes the model worse on the validation rows",
        model="linear",
        requires=frozenset({"validation"}),
        cost="1000 trainings on subsets (n_models)",
        costs=subset_costs.banzhaf,
        sign="high = worth keeping",
        paper="Wang & Jia, AISTATS 2023",
    ),
    "leave-one-out": Method(
        function="leave_one_out",
        says="without it the model is better on the validation rows",
        model="linear",
        requires=frozenset({"validation"}),
        cost="n + 1 trainings; one for ridge regression and least squares",
        costs=subset_costs.leave_one_out,
        sign="high = worth keeping",
        paper="Cook, Technometrics 1977",
    ),
    "influence": Method(
        function="influence",
        says="without it the fitted model would say more for the labels of the validation rows",
        model="linear",
        requires=frozenset({"validation"}),
        unless={"influence": "self"},
        note="linear models and networks",
        cost="one fit, and a factorisation of its Hessian; of a network one training, and passes over at most 4,096 rows",
        costs=subset_costs.influence,
        sign="high = worth keeping",
        paper="Koh & Liang, ICML 2017; Rubinstein & Hopkins, NeurIPS 2025",
    ),
    "trak": Method(
        function="trak",
        says="without it the network would say more for the labels of the validation rows",
        model="network",
        requires=frozenset({"validation", "torch"}),
        cost="3 trainings (runs), and after each a system of n equations; of 4,096 beyond 8,000 rows",
        costs=network_costs.trak,
        sign="high = raises the log-odds",
        paper="Park et al., ICML 2023",
    ),
    "boostin": Method(
        function="boostin",
        says="without it boosted trees would say more for the labels of the validation rows",
        model="trees",
        requires=frozenset({"validation"}),
        cost="one fit of boosted trees, and a pass over their leaves",
        costs=subset_costs.boostin,
        sign="high = raises the log-odds",
        paper="Brophy, Hammoudeh & Lowd, JMLR 2023",
    ),
    "datamodels": Method(
        function="datamodels",
        says="with it models say less for the labels of the validation rows",
        model="linear",
        requires=frozenset({"validation"}),
        cost="1000 trainings on subsets (n_models), and a LASSO for each validation row",
        costs=subset_costs.datamodels,
        sign="high = raises the log-odds",
        paper="Ilyas et al., ICML 2022",
    ),
    "self-confidence": Method(
        function="self_confidence",
        says="a model that was trained without this row holds its label to be improbable",
        model="linear",
        note="judge='validation' needs validation rows",
        cost="5 trainings (folds); one for judge='validation'",
        costs=subset_costs.self_confidence,
        sign="high = the label is probable",
        paper="Northcutt, Jiang & Chuang, JAIR 2021",
    ),
    "noise-model": Method(
        function="noise_model",
        says="its label is most likely wrong, by a noise model on out-of-sample predictions",
        model="linear",
        requires=frozenset({"classes"}),
        note="probabilities= in place of a model",
        cost="5 trainings (folds); none with probabilities=",
        costs=subset_costs.self_confidence,
        sign="high = the label is right",
        paper="Natarajan et al., NeurIPS 2013; Patrini et al., CVPR 2017",
    ),
    "confident-learning": Method(
        function="confident_learning",
        says="models that were trained without this row are confident of another label",
        model="linear",
        requires=frozenset({"classes"}),
        note="probabilities= in place of a model",
        cost="5 trainings (folds)",
        costs=subset_costs.confident_learning,
        sign="high = the label is probable",
        paper="Northcutt, Jiang & Chuang, JAIR 2021",
    ),
    "data-oob": Method(
        function="data_oob",
        says="models of a bagging that did not draw this row say another label",
        model="trees",
        cost="500 trainings of a weak learner (n_models)",
        costs=subset_costs.data_oob,
        sign="high = worth keeping",
        paper="Kwon & Zou, ICML 2023",
    ),
    "c-score": Method(
        function="c_score",
        says="models of random subsets of the other rows don't predict its label",
        model="linear",
        requires=frozenset({"classes"}),
        cost="450 trainings on subsets (n_models)",
        costs=subset_costs.c_score,
        sign="high = regular",
        paper="Jiang, Zhang, Talwar & Mozer, ICML 2021",
    ),
    "dvrl": Method(
        function="dvrl",
        says="a selector that is rewarded for what its rows teach a predictor tends to leave it out",
        model="network",
        requires=frozenset({"validation", "torch"}),
        cost="3 runs of 1000 short trainings of a linear predictor; of more from 20,000 rows on",
        costs=network_costs.dvrl,
        sign="high = worth keeping",
        paper="Yoon, Arik & Pfister, ICML 2020",
    ),
    "random": Method(
        function="random",
        says="nothing: it is drawn from the seed",
        model="none",
        note="to compare others with",
        cost="nothing",
        costs=subset_costs.random,
        sign="none",
        paper="none",
    ),
}

METHODS: Mapping[str, Method] = Table(OWN)


def value(data: Dataset, method: str | Callable[..., Any] = "cg-score", *, seed: int = 0, **options: Any) -> Values:
    """Value every row of the data with one method.

    Parameters
    ----------
    data
        The rows.
    method
        A name in `METHODS`, or a function ``f(data, *, seed, ...)`` that returns `Values`, or one number a row, higher = worth keeping.
    seed
        All randomness follows from it.
    **options
        The method's own keywords.

    Raises
    ------
    DataError
        If there is no such method, or the data is not what the method needs.
    OptionError
        A TypeError: the method has no such option.

    Examples
    --------
    >>> import datassay as da
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> values = da.value(da.Dataset(X, y), method="cg-score")
    >>> values.scores.shape, int(values.flagged.sum())
    ((150,), 3)
    >>> da.value(da.Dataset(X, y), method="cg-score", rigde=0.1)
    Traceback (most recent call last):
    datassay.checks.OptionError: cg-score has no option 'rigde'; did you mean 'ridge'? It takes: ridge, bias, ...
    >>> def near_its_class(data, *, seed=0):
    ...     centres = np.stack([data.X[data.codes == c].mean(0) for c in range(len(data.classes))])
    ...     return -np.linalg.norm(data.X - centres[data.codes], axis=1)
    >>> import numpy as np
    >>> da.value(da.Dataset(X, y), near_its_class).suspects(3)["id"].tolist()
    [106, 118, 117]
    """
    if not isinstance(data, Dataset):
        raise DataError(
            f"value needs a Dataset, got {type(data).__name__}: make one with da.Dataset(X, y) or da.read(path)."
        )
    name, entry = find(method)
    function = entry.load()
    known = names_that_it_has(name, entry, options)
    if isinstance(entry.function, str):
        values: Values = function(data, seed=seed, **options)
        return values
    require(name, entry, data, options)
    enough_memory(name, entry, data, options)
    return _checked(function, name, data, {"seed": seed, **options} if known is None or "seed" in known else options)


def names_that_it_has(name: str, entry: Method, options: Mapping[str, Any]) -> list[str] | None:
    """Names of a method's options, after a look at those that were given; None if it takes any.

    Raises
    ------
    OptionError
        It has no such option.
    """
    known = options_of(entry)
    if known is not None:
        former = former_names(entry)
        for option in options:
            if option not in known and option not in former:
                raise OptionError(f"{name} has no option {option!r}{meant(option, known)} It takes: {', '.join(known)}.")
    return known


def check_options(name: str, entry: Method, options: Mapping[str, Any]) -> None:
    """What can be said of the options of a method before there are data.

    Raises
    ------
    OptionError
        It has no such option.
    DataError
        An option is none of what its annotation lists.
    """
    names_that_it_has(name, entry, options)
    function = entry.load()
    if hints := getattr(function, "hints", None):
        former = former_names(entry)
        annotated(name, {former.get(option, option): chosen for option, chosen in options.items()}, hints())


def _checked(function: Callable[..., Any], name: str, data: Dataset, options: dict[str, Any]) -> Values:
    """What somebody's function found, as `Values`.

    Raises
    ------
    DataError
        It returned something else than `Values` of these rows, or one finite number a row.
    """
    start = time.perf_counter()
    with numbers_that_fit(name):
        found = function(data, **options)
    if isinstance(found, Values):
        if len(found) != len(data) or not np.array_equal(found.ids, data.ids):
            raise DataError(f"{name} must return Values of the {len(data)} rows that it was given, in their order.")
        return replace(
            found,
            method=name,
            data_hash=data.hash,
            stats=found.stats | common_stats(name, data, found.scores, found.stats) | sources(data),
        )
    try:
        scores = np.array(found, np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{name} must return Values or one number a row, got {type(found).__name__}.") from None
    if scores.shape != (len(data),):
        raise DataError(f"{name} must return one number for each of {len(data)} rows, got shape {scores.shape}.")
    stats = {"seconds": time.perf_counter() - start, "flag_rule": "none: the method gives scores alone"} | sources(data)
    stats |= common_stats(name, data, scores, {})
    given = {option: plain(value) for option, value in options.items()}
    return Values(data.ids, scores, np.zeros(len(data), bool), {}, name, given, stats, data.y, None, data.hash)


def options_of(method: Method) -> list[str] | None:
    """Names of its keywords; None if it takes any."""
    parameters = inspect.signature(method.load()).parameters.values()
    if any(p.kind == p.VAR_KEYWORD for p in parameters):
        return None
    return [p.name for p in list(parameters)[1:]]


def former_names(method: Method) -> Mapping[str, str]:
    """Names that its keywords once had, and what they are called now."""
    renamed: Mapping[str, str] = getattr(method.load(), "renamed", {})
    return renamed


def takes(option: str, method: str | Callable[..., Any]) -> bool:
    """Whether the method has an option of that name, or once had one.

    >>> takes("query", "ame"), takes("query", "random")
    (True, False)
    """
    entry = find(method)[1]
    return option in (options_of(entry) or []) or option in former_names(entry)


def meant(word: str, known: Any) -> str:
    """'; did you mean ...?' where a known name is near."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else "."
