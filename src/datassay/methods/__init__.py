"""The methods: one file each, one function each, one line each in `METHODS`."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, NamedTuple

from datassay.checks import DataError, OptionError, needing_torch
from datassay.data.dataset import Dataset
from datassay.engines.machine import Rates
from datassay.values import Values


class Cost(NamedTuple):
    """What a method takes on certain data with certain options, predicted."""

    options: dict[str, Any]  #: to be given to `value`
    seconds: float
    memory: float  #: bytes beyond the data
    disk: float  #: bytes
    trainings: int  #: models that are fitted


@dataclass(frozen=True)
class Method:
    """A line of the table of methods; the module is imported when the method is first used."""

    function: str  #: name of the function, and of its module in this package
    says: str  #: what a low score means
    needs: str
    validation: bool  #: whether it needs validation rows, X_val and y_val
    cost: str
    size: str  #: module and function that reckon what it takes on certain data
    sign: str  #: the paper's own direction; `Values.scores` is always higher = keep
    paper: str

    def load(self) -> Callable[..., Values]:
        """The function itself.

        Raises
        ------
        ImportError
            It needs torch, and that is not installed.
        """
        with needing_torch(self.function):
            found: Callable[..., Values] = getattr(import_module(f"{__name__}.{self.function}"), self.function)
        return found

    def costs(self, data: Dataset, rates: Rates) -> list[Cost]:
        """What it takes on these data, in its several ways, the most exact first."""
        module, function = self.size.split(".")
        found: list[Cost] = getattr(import_module(f"{__name__}.{module}"), function)(data, rates)
        return found


METHODS = {
    "cg-score": Method(
        function="cg_score",
        says="the labels of all other rows speak against this one",
        needs="features and labels; no model, no validation rows (uses them if given)",
        validation=False,
        cost="2/3 n^3 operations, n^2 / 2 numbers in memory; linear in n with approx",
        size="cg_score_size.costs",
        sign="high = suspicious",
        paper="Ki, Choi & Chung, ICLR 2023",
    ),
    "knn-shapley": Method(
        function="knn_shapley",
        says="with this row the nearest neighbours of the validation rows vote worse",
        needs="features, labels and validation rows (or judge='rows'); no model",
        validation=True,
        cost="m n (p + log n) operations for m validation rows and p columns, 32 n numbers in memory",
        size="knn_shapley_size.costs",
        sign="high = worth keeping",
        paper="Jia et al., VLDB 2019",
    ),
    "lava": Method(
        function="lava",
        says="mass moved to it takes the training rows farther from the validation rows",
        needs="features, labels and validation rows; no model; POT; classes only",
        validation=True,
        cost="a few hundred products with the n m costs, and exact transport between 500 rows of each two classes",
        size="lava_size.costs",
        sign="high = suspicious",
        paper="Just et al., ICLR 2023",
    ),
    "dvgs": Method(
        function="dvgs",
        says="its gradient points away from that of the validation rows",
        needs="features, labels, validation rows and a network (or the default one); torch",
        validation=True,
        cost="one forward and backward pass over the rows for each step on the validation rows",
        size="network_size.dvgs",
        sign="high = worth keeping",
        paper="Evans et al., arXiv 2405.08217",
    ),
    "lossval": Method(
        function="lossval",
        says="trained with the network its weight falls: its loss stays high, or it lies far from the validation rows",
        needs="features, labels, validation rows (their features) and a network (or the default one); torch",
        validation=True,
        cost="one training, and a few passes over the distances to the validation rows in each epoch",
        size="network_size.lossval",
        sign="high = worth keeping",
        paper="Wibiral, Belaid, Rabus & Scherp, arXiv 2412.04158",
    ),
    "el2n": Method(
        function="el2n",
        says="early in training the network is far from its label",
        needs="features, labels and a network (or the default one); torch; classes only",
        validation=False,
        cost="5 short trainings and a forward pass over the rows after each",
        size="network_size.el2n",
        sign="high = hard",
        paper="Paul, Ganguli & Dziugaite, NeurIPS 2021",
    ),
    "grand": Method(
        function="grand",
        says="early in training it pulls hard at the weights",
        needs="features, labels and a network (or the default one); torch",
        validation=False,
        cost="5 short trainings and a forward and backward pass over the rows after each",
        size="network_size.grand",
        sign="high = hard",
        paper="Paul, Ganguli & Dziugaite, NeurIPS 2021",
    ),
    "forgetting": Method(
        function="forgetting",
        says="training gets it right and loses it again, or never gets it right",
        needs="features, labels and a network (or the default one); torch; classes only",
        validation=False,
        cost="3 trainings",
        size="network_size.forgetting",
        sign="high = hard",
        paper="Toneva et al., ICLR 2019",
    ),
    "aum": Method(
        function="aum",
        says="while training another class is ahead of the given one",
        needs="features, labels and a network (or the default one); torch; classes only",
        validation=False,
        cost="2 trainings",
        size="network_size.aum",
        sign="high = worth keeping",
        paper="Pleiss et al., NeurIPS 2020",
    ),
    "tracin": Method(
        function="tracin",
        says="training steps on it raise the loss of the validation rows",
        needs="features, labels, validation rows (or influence='self') and a network (or the default one); torch",
        validation=True,
        cost="a short training, and a forward and backward pass over the rows for each of 20 checkpoints",
        size="network_size.tracin",
        sign="high = proponent; influence='self': high = suspicious",
        paper="Pruthi et al., NeurIPS 2020",
    ),
    "craig": Method(
        function="craig",
        says="in a coreset a row stands for it that the network takes for another class",
        needs="features, labels and a network (or the default one); torch; classes only",
        validation=False,
        cost="a short training, and c^2 distances for each class of c rows",
        size="network_size.craig",
        sign="high weight = stands for many rows",
        paper="Mirzasoleiman, Bilmes & Leskovec, ICML 2020",
    ),
    "in-run-shapley": Method(
        function="in_run_shapley",
        says="its share of the training steps raises the validation loss",
        needs="features, labels, validation rows and a network (or the default one); torch",
        validation=True,
        cost="a short training, and a forward and backward pass over the validation rows at each step",
        size="network_size.in_run_shapley",
        sign="negative = lowers the validation loss",
        paper="Wang, Mittal, Song & Jia, arXiv 2406.11011",
    ),
    "ame": Method(
        function="ame",
        says="subsets with it train models that are worse on the validation rows",
        needs="features, labels, validation rows; any model (or a linear one)",
        validation=True,
        cost="1000 trainings on subsets (n_models); an eigendecomposition of the smaller of rows and trainings",
        size="submodel_size.ame",
        sign="high = raises the utility",
        paper="Lin et al., ICML 2022",
    ),
    "shapley": Method(
        function="shapley",
        says="on average over all orders it makes the model worse on the validation rows",
        needs="features, labels, validation rows; any model (or a linear one)",
        validation=True,
        cost="1000 trainings on subsets (n_models); by permutation n trainings an order",
        size="submodel_size.shapley",
        sign="high = worth keeping",
        paper="Ghorbani & Zou, ICML 2019",
    ),
    "beta-shapley": Method(
        function="beta_shapley",
        says="it makes models of few rows (or many) worse on the validation rows",
        needs="features, labels, validation rows; any model (or a linear one)",
        validation=True,
        cost="1000 trainings on subsets (n_models)",
        size="submodel_size.beta_shapley",
        sign="high = worth keeping",
        paper="Kwon & Zou, AISTATS 2022",
    ),
    "banzhaf": Method(
        function="banzhaf",
        says="added to a random half of the rows it makes the model worse on the validation rows",
        needs="features, labels, validation rows; any model (or a linear one)",
        validation=True,
        cost="1000 trainings on subsets (n_models)",
        size="submodel_size.banzhaf",
        sign="high = worth keeping",
        paper="Wang & Jia, AISTATS 2023",
    ),
    "leave-one-out": Method(
        function="leave_one_out",
        says="without it the model is better on the validation rows",
        needs="features, labels, validation rows; any model (or a linear one)",
        validation=True,
        cost="n + 1 trainings; one for ridge regression and least squares",
        size="submodel_size.leave_one_out",
        sign="high = worth keeping",
        paper="Cook, Technometrics 1977",
    ),
    "datamodels": Method(
        function="datamodels",
        says="with it models say less for the labels of the validation rows",
        needs="features, labels, validation rows; any model (or a linear one)",
        validation=True,
        cost="1000 trainings on subsets (n_models), and a LASSO for each validation row",
        size="submodel_size.datamodels",
        sign="high = raises the log-odds",
        paper="Ilyas et al., ICML 2022",
    ),
    "self-confidence": Method(
        function="self_confidence",
        says="a model that was trained without this row holds its label to be improbable",
        needs="features, labels; any model (or a linear one); validation rows for judge='validation'",
        validation=False,
        cost="5 trainings (folds); one for judge='validation'",
        size="submodel_size.self_confidence",
        sign="high = the label is probable",
        paper="Northcutt, Jiang & Chuang, JAIR 2021",
    ),
    "confident-learning": Method(
        function="confident_learning",
        says="models that were trained without this row are confident of another label",
        needs="features, labels; any model (or a linear one), or probabilities; classes only",
        validation=False,
        cost="5 trainings (folds)",
        size="submodel_size.confident_learning",
        sign="high = the label is probable",
        paper="Northcutt, Jiang & Chuang, JAIR 2021",
    ),
    "data-oob": Method(
        function="data_oob",
        says="models of a bagging that did not draw this row say another label",
        needs="features, labels; any model (or trees)",
        validation=False,
        cost="500 trainings of a weak learner (n_models)",
        size="submodel_size.data_oob",
        sign="high = worth keeping",
        paper="Kwon & Zou, ICML 2023",
    ),
    "c-score": Method(
        function="c_score",
        says="models of random subsets of the other rows don't predict its label",
        needs="features, labels; any model (or a linear one); classes only",
        validation=False,
        cost="450 trainings on subsets (n_models)",
        size="submodel_size.c_score",
        sign="high = regular",
        paper="Jiang, Zhang, Talwar & Mozer, ICML 2021",
    ),
    "dvrl": Method(
        function="dvrl",
        says="a selector that is rewarded for what its rows teach a predictor tends to leave it out",
        needs="features, labels, validation rows and a network (or the default one); torch",
        validation=True,
        cost="3 runs of 1000 short trainings of a linear predictor; of more from 20,000 rows on",
        size="network_size.dvrl",
        sign="high = worth keeping",
        paper="Yoon, Arik & Pfister, ICML 2020",
    ),
    "random": Method(
        function="random",
        says="nothing: it is drawn from the seed",
        needs="ids; to compare others with",
        validation=False,
        cost="nothing",
        size="submodel_size.random",
        sign="none",
        paper="none",
    ),
}


def value(data: Dataset, method: str = "cg-score", *, seed: int = 0, **options: Any) -> Values:
    """Value every row of the data with one method.

    Parameters
    ----------
    data
        The rows.
    method
        A name in `METHODS`.
    seed
        All randomness follows from it.
    **options
        The method's own keywords.

    Returns
    -------
    Values
        Of rows from `read`, ``stats["source"]`` says how they were read.

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
    """
    if not isinstance(data, Dataset):
        raise DataError(
            f"value needs a Dataset, got {type(data).__name__}: make one with da.Dataset(X, y) or da.read(path)."
        )
    if method not in METHODS:
        raise DataError(f"there is no method {method!r}{meant(method, METHODS)} There are: {', '.join(METHODS)}.")
    function = METHODS[method].load()
    known = [name for name in inspect.signature(function).parameters if name != "data"]
    for name in options:
        if name not in known:
            raise OptionError(f"{method} has no option {name!r}{meant(name, known)} It takes: {', '.join(known)}.")
    values = function(data, seed=seed, **options)
    return replace(values, stats=values.stats | {"source": data.source}) if data.source else values


def meant(word: str, known: Any) -> str:
    """'; did you mean ...?' where a known name is near."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else "."
