"""datassay: what each training row is worth, and which rows are wrong.

Everything public is an attribute of this package and is imported when it is first used. Every method is here as a function too,
under its name with underscores: ``da.cg_score(data, ridge=0)``.

Examples
--------
>>> import datassay as da
>>> data = da.Dataset([[0.0], [0.1], [1.0], [1.1]], ["a", "a", "b", "b"])
>>> bool((da.random(data, seed=1).scores == da.value(data, "random", seed=1).scores).all())
True
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datassay import methods as methods
    from datassay.checks import DataError as DataError
    from datassay.checks import OptionError as OptionError
    from datassay.data.dataset import Dataset as Dataset
    from datassay.data.read import read as read
    from datassay.decisions.apply import apply as apply
    from datassay.decisions.curate import Curated as Curated
    from datassay.decisions.curate import curate as curate
    from datassay.decisions.gain import Gain as Gain
    from datassay.decisions.gain import gain as gain
    from datassay.engines.training import Recipe as Recipe
    from datassay.engines.training_store import Store as Store
    from datassay.evaluation import datasets as datasets
    from datassay.evaluation.audit import Audit as Audit
    from datassay.evaluation.audit import audit as audit
    from datassay.evaluation.bench import Evaluation as Evaluation
    from datassay.evaluation.bench import evaluate as evaluate
    from datassay.evaluation.checking import check_sample as check_sample
    from datassay.evaluation.checking import checked as checked
    from datassay.evaluation.planting import plant as plant
    from datassay.explaining import explain as explain
    from datassay.methods import value as value
    from datassay.methods.ame import ame as ame
    from datassay.methods.aum import aum as aum
    from datassay.methods.banzhaf import banzhaf as banzhaf
    from datassay.methods.beta_shapley import beta_shapley as beta_shapley
    from datassay.methods.boostin import boostin as boostin
    from datassay.methods.c_score import c_score as c_score
    from datassay.methods.cg_score import cg_score as cg_score
    from datassay.methods.confident_learning import confident_learning as confident_learning
    from datassay.methods.craig import craig as craig
    from datassay.methods.data_oob import data_oob as data_oob
    from datassay.methods.datamodels import datamodels as datamodels
    from datassay.methods.dvgs import dvgs as dvgs
    from datassay.methods.dvrl import dvrl as dvrl
    from datassay.methods.el2n import el2n as el2n
    from datassay.methods.forgetting import forgetting as forgetting
    from datassay.methods.grand import grand as grand
    from datassay.methods.in_run_shapley import in_run_shapley as in_run_shapley
    from datassay.methods.influence import influence as influence
    from datassay.methods.kairos import kairos as kairos
    from datassay.methods.knn_shapley import knn_shapley as knn_shapley
    from datassay.methods.lava import lava as lava
    from datassay.methods.leave_one_out import leave_one_out as leave_one_out
    from datassay.methods.lossval import lossval as lossval
    from datassay.methods.noise_model import noise_model as noise_model
    from datassay.methods.random import random as random
    from datassay.methods.self_confidence import self_confidence as self_confidence
    from datassay.methods.shapley import shapley as shapley
    from datassay.methods.tracin import tracin as tracin
    from datassay.methods.trak import trak as trak
    from datassay.networks.features import network_features as network_features
    from datassay.planning import Plan as Plan
    from datassay.planning import plan as plan
    from datassay.reporting import report as report
    from datassay.values import Values as Values
else:

    def __getattr__(name):
        if name.startswith("_"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}.")
        if name in _MODULES:
            found = import_module(_MODULES[name])
        elif name in _HOMES:
            from datassay.checks import needing_torch

            with needing_torch(name):
                found = getattr(import_module(_HOMES[name]), name)
        else:
            from datassay.methods import meant

            methods = _methods()
            if name not in methods:
                raise AttributeError(f"module {__name__!r} has no attribute {name!r}{meant(name, __dir__())}")
            found = methods[name].load()
        globals()[name] = found
        return found


# what `from datassay import *` brings: nothing that needs an extra
__all__ = [
    "Audit",
    "Curated",
    "DataError",
    "Dataset",
    "Evaluation",
    "Gain",
    "OptionError",
    "Plan",
    "Store",
    "Values",
    "apply",
    "audit",
    "check_sample",
    "checked",
    "curate",
    "datasets",
    "evaluate",
    "explain",
    "gain",
    "methods",
    "plan",
    "plant",
    "read",
    "report",
    "value",
]
__version__ = "0.1.0"

_MODULES = {"datasets": "datassay.evaluation.datasets", "methods": "datassay.methods"}
_HOMES = {
    "Audit": "datassay.evaluation.audit",
    "Curated": "datassay.decisions.curate",
    "DataError": "datassay.checks",
    "Dataset": "datassay.data.dataset",
    "Evaluation": "datassay.evaluation.bench",
    "Gain": "datassay.decisions.gain",
    "OptionError": "datassay.checks",
    "Plan": "datassay.planning",
    "Recipe": "datassay.engines.training",
    "Store": "datassay.engines.training_store",
    "Values": "datassay.values",
    "apply": "datassay.decisions.apply",
    "audit": "datassay.evaluation.audit",
    "check_sample": "datassay.evaluation.checking",
    "checked": "datassay.evaluation.checking",
    "curate": "datassay.decisions.curate",
    "evaluate": "datassay.evaluation.bench",
    "explain": "datassay.explaining",
    "gain": "datassay.decisions.gain",
    "network_features": "datassay.networks.features",
    "plan": "datassay.planning",
    "plant": "datassay.evaluation.planting",
    "read": "datassay.data.read",
    "report": "datassay.reporting",
    "value": "datassay.methods",
}


def _methods():  # type: ignore[no-untyped-def]
    """Methods by the names of their functions."""
    from datassay.methods import METHODS

    return {name.replace("-", "_"): method for name, method in METHODS.items()}


def __dir__() -> list[str]:
    return sorted({"__all__", "__doc__", "__file__", "__name__", "__path__", "__version__", *_MODULES, *_HOMES, *_methods()})
