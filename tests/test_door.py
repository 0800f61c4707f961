"""The door of the methods: former names of options, what the data must have, and that no method is built on another."""

import ast
import dataclasses
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_iris

import datassay as da
from datassay import methods
from datassay.checks import OptionError
from datassay.methods import METHODS, OWN
from datassay.subsets.study import study
from datassay.values import Stats

FOLDER = Path(methods.__file__).parent

RENAMED = [
    ("ame", "regression", "estimator", "lasso", {"n_models": 40, "bootstrap": 0}),
    ("shapley", "by", "estimator", "differences", {"n_models": 40}),
    ("beta-shapley", "by", "estimator", "differences", {"n_models": 40}),
    ("banzhaf", "by", "estimator", "msr", {"n_models": 40}),
    ("banzhaf", "p", "inclusion", 0.3, {"n_models": 40}),
    ("datamodels", "alpha", "inclusion", 0.3, {"n_models": 40}),
    ("c-score", "ratios", "inclusion", (0.3, 0.6), {"n_models": 40}),
    ("self-confidence", "rank", "rank_by", "normalized_margin", {}),
    ("confident-learning", "rank", "rank_by", "normalized_margin", {}),
    ("knn-shapley", "tolerance", "max_error", 0.1, {}),
]


@pytest.fixture(scope="module")
def irises():
    X, y = load_iris(return_X_y=True)
    return da.Dataset(X[::2], y[::2], X[1::4], y[1::4])


@pytest.mark.parametrize(("method", "old", "new", "value", "options"), RENAMED)
def test_former_names_of_options(method, old, new, value, options, irises):
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        present = da.value(irises, method, **options, **{new: value}, progress=False)
    with pytest.warns(FutureWarning, match=f"^{method}: the option {old} is now called {new}"):
        former = da.value(irises, method, **options, **{old: value}, progress=False)
    np.testing.assert_array_equal(former.scores, present.scores)
    assert former.options == present.options
    with pytest.raises(OptionError, match=f"{old} is the former name of {new}"):
        da.value(irises, method, **options, **{old: value, new: value})


@pytest.mark.parametrize("method", [name for name in OWN if not OWN[name].missing()])
def test_what_the_entry_requires_is_asked_for_at_the_door(method, irises):
    alone, amounts = irises.without_validation(), irises.X[:, 0]
    regression = da.Dataset(irises.X, amounts, irises.X_val, irises.X_val[:, 0], task="regression")
    if OWN[method].validation:
        with pytest.raises(da.DataError, match=f"^{method} needs validation rows, X_val and y_val") as caught:
            da.value(alone, method)
        for option, value in OWN[method].unless.items():
            assert f"with {option}={value!r} it needs none" in str(caught.value)
    if "classes" in OWN[method].requires:
        with pytest.raises(da.DataError, match=f"^{method} is about classes, and this is regression"):
            da.value(regression, method)


def test_an_option_can_make_validation_rows_needless(irises):
    assert len(da.value(irises.without_validation(), "knn-shapley", judge="rows", progress=False)) == len(irises)


@pytest.mark.parametrize("method", OWN)
def test_no_method_imports_a_method(method):
    others = {f"datassay.methods.{entry.function}" for entry in OWN.values()}
    tree = ast.parse((FOLDER / f"{OWN[method].function}.py").read_text())
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not names & others


def test_a_study_can_not_be_edited(irises):
    s = study("ame", irises, None, training=None, device="cpu", store=None, seed=0, n_jobs=1, progress=False)
    with pytest.raises(dataclasses.FrozenInstanceError):
        s.seed = 1


KINDS = {
    "seconds": float,
    "flag_rule": str,
    "device": str,
    "warning": str,
    "stderr": np.ndarray,
    "reliability": float,
    "trainings": int,
    "wrong_labels": dict,
}
QUICK = {"ame": {"n_models": 40}, "data-oob": {"n_models": 40}, "banzhaf": {"n_models": 40}, "cg-score": {}, "random": {}}


@pytest.mark.parametrize("method", QUICK)
def test_what_is_common_to_stats_is_typed(method, irises):
    common = da.value(irises, method, **QUICK[method]).common
    assert set(KINDS) | {"source"} == set(Stats.__annotations__)
    assert {"seconds", "flag_rule"} <= set(common)
    assert all(isinstance(common[name], KINDS[name]) for name in common)
    if "stderr" in common:
        assert common["stderr"].shape == (len(irises),)
    assert METHODS[method].function in ("random", "cg_score") or common["trainings"] >= 40


@pytest.mark.parametrize(
    ("method", "option", "others"),
    [("cg-score", "ridge", {}), ("lava", "class_weight", {})],
)
def test_a_whole_number_beyond_64_bits_is_a_number_like_others(method, option, others, irises):
    """SciPy's functions in C take no such integers."""
    as_whole, as_float = (da.value(irises, method, **others, **{option: large}) for large in (10**20, 1e20))
    np.testing.assert_array_equal(as_whole.scores, as_float.scores)
    assert as_whole.options == as_float.options


def test_a_number_that_scipy_does_not_take_is_a_sentence(irises):
    with pytest.raises(da.DataError, match=r"^beta-shapley: numbers ran away"):
        da.value(irises, "beta-shapley", n_models=20, alpha=99999999999999999999)


@pytest.mark.parametrize("wrong", [False, 3, "layer.weight", {"a": 1}])
def test_an_option_that_is_a_list(irises, wrong):
    with pytest.raises(da.DataError, match=r"^dvgs: grad_params must be None or a list, got "):
        da.value(irises, "dvgs", grad_params=wrong)
    with pytest.raises(da.DataError, match="no parameter 'no'"):
        da.value(irises, "dvgs", grad_params=["no"], epochs=1)
    if not isinstance(wrong, int):
        with pytest.raises(da.DataError, match=r"^c-score: inclusion must be"):
            da.value(irises, "c-score", inclusion=wrong)
