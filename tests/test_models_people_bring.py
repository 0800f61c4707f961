"""Models as people have them: recurrent networks, outputs that are no tensor, classes, estimators with wishes of their own."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from torch import nn

import datassay as da
from datassay.checks import DataError
from datassay.engines import gradients
from datassay.engines.gradients import RowGradients
from datassay.subsets.trainers import trainable

GRADIENTS = ("dvgs", "grand", "tracin", "in-run-shapley")
QUICK = {"progress": False}


def rows(n=40, d=6, labels=("no", "yes")):
    rng = np.random.default_rng(0)
    y = np.arange(n) % len(labels)
    X = rng.normal(size=(n, d)) + 2 * y[:, None]
    names = np.array(labels)[y]
    m = n // 4
    return da.Dataset(X[m:], names[m:], X[:m], names[:m])


# ------------------------------------------------------------------------------------------------------------- networks


class Recurrent(nn.Module):
    """Rows as sequences of two numbers at a time."""

    def __init__(self, kind=nn.GRU, **options):
        super().__init__()
        self.body, self.head = kind(2, 5, batch_first=True, **options), nn.Linear(5, 2)

    def forward(self, x):
        return self.head(self.body(x.unflatten(1, (-1, 2)))[0][:, -1])


class Tuple(nn.Module):
    def __init__(self, pack=lambda out, seen: (out, seen)):
        super().__init__()
        self.head, self.pack = nn.Linear(6, 2), pack

    def forward(self, x):
        return self.pack(self.head(x), x)


PACKED = {
    "tuple": lambda out, seen: (out, seen),
    "list": lambda out, seen: [out, seen],
    "logits": lambda out, seen: SimpleNamespace(loss=None, logits=out),
    "dictionary": lambda out, seen: {"loss": None, "logits": out},
}


@pytest.mark.parametrize("method", GRADIENTS)
@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM, nn.RNN])
def test_recurrent_networks(method, kind):
    values = da.value(rows(), method, model=lambda seed: Recurrent(kind), epochs=1, **QUICK)
    assert np.isfinite(values.scores).all()
    assert values.scores.std() > 0


def test_rows_one_by_one_where_vmap_can_not():
    torch.manual_seed(0)
    net, x, y = Recurrent().double().eval(), torch.randn(7, 6, dtype=torch.float64), torch.arange(7) % 2

    def loss(out, y):
        return nn.functional.cross_entropy(out, y, reduction="none")

    found = RowGradients(net, loss, x, y)
    each = []
    for i in range(7):
        g = torch.autograd.grad(loss(net(x[i : i + 1]), y[i : i + 1])[0], list(net.parameters()))
        each.append(torch.cat([part.flatten() for part in g]))
    right = torch.stack(each)
    assert torch.allclose(found.products(found), right @ right.T)
    assert torch.allclose(found.squared_norms(), (right**2).sum(1))


def test_a_network_that_branches_on_its_rows_goes_one_by_one(monkeypatch):
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.tensor([1.0, 2.0]))

        def forward(self, x):
            return torch.stack([row @ self.w if bool(row.sum() > 0) else 3 * row @ self.w for row in x])[:, None]

    net, x = Branches(), torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0]])
    monkeypatch.setattr(gradients, "CHUNK", 2)
    found = RowGradients(net, lambda out, y: out[:, 0], x, torch.zeros(3))
    assert found.squared_norms().tolist() == [1.0, 9.0, 4.0]


@pytest.mark.parametrize("pack", PACKED)
@pytest.mark.parametrize("method", ["grand", "dvgs", "forgetting", "c-score"])
def test_the_logits_are_found_in_what_a_forward_gives(pack, method):
    few = {"n_models": 21} if method == "c-score" else {"epochs": 1}
    values = da.value(rows(), method, model=lambda seed: Tuple(PACKED[pack]), **few, **QUICK)
    plain = da.value(rows(), method, model=lambda seed: Tuple(lambda out, seen: out), **few, **QUICK)
    assert np.array_equal(values.scores, plain.scores)


def test_features_of_a_network_that_gives_a_tuple():
    assert da.network_features(rows(), lambda seed: Tuple(), epochs=1, progress=False).X.shape == (30, 6)


def test_an_output_in_which_nothing_looks_like_logits_is_one_sentence():
    with pytest.raises(DataError, match=r"must give 2 logits.*a tensor, a tuple that begins with one.*SimpleNamespace") as e:
        da.value(rows(), "grand", model=Tuple(lambda out, seen: SimpleNamespace(answer=out)), **QUICK)
    assert "\n" not in str(e.value)


class Plain(nn.Module):
    def __init__(self, hidden=4):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, hidden), nn.ReLU(), nn.Linear(hidden, 2))

    def forward(self, x):
        return self.body(x)


class Seeded(nn.Module):
    def __init__(self, seed):
        super().__init__()
        self.seed, self.body = seed, nn.Linear(6, 2)

    def forward(self, x):
        return self.body(x)


@pytest.mark.parametrize("method", ["grand", "c-score"])
def test_a_class_stands_for_what_it_makes(method):
    few = {"n_models": 21} if method == "c-score" else {"epochs": 1}
    for model, function in ((Plain, lambda seed: Plain()), (Seeded, Seeded), (lambda: Plain(), lambda seed: Plain())):
        values = da.value(rows(), method, model=model, **few, **QUICK)
        assert np.array_equal(values.scores, da.value(rows(), method, model=function, **few, **QUICK).scores)


class Wants(Plain):
    def __init__(self, inputs, outputs):
        super().__init__()


@pytest.mark.parametrize("model", [Wants, lambda a, b: Plain(), dict, GaussianNB])
@pytest.mark.parametrize("method", ["grand", "c-score"])
def test_a_class_or_function_that_can_not_be_called_is_one_sentence(model, method):
    with pytest.raises(DataError, match=r"model must be|function given as model|a function from a seed") as e:
        da.value(rows(), method, model=model, **QUICK)
    assert "\n" not in str(e.value)


def test_an_error_inside_the_function_is_said():
    def broken(seed):
        raise KeyError("hidden")

    with pytest.raises(DataError, match=r"grand: the function given as model failed \(KeyError: 'hidden'\)"):
        da.value(rows(), "grand", model=broken, **QUICK)


# ------------------------------------------------------------------------------------------------------------- estimators


class Picky(ClassifierMixin, BaseEstimator):
    """As XGBoost: wants codes 0 to k - 1."""

    def fit(self, X, y):
        classes = np.unique(y)
        if not (classes.dtype.kind in "iu" and np.array_equal(classes, np.arange(len(classes)))):
            raise ValueError(f"Invalid classes inferred from unique values of `y`.  Expected: [0 1], got {classes}")
        self.inner_ = GaussianNB().fit(X, y)
        self.classes_ = self.inner_.classes_
        return self

    def predict_proba(self, X):
        return self.inner_.predict_proba(X)

    def predict(self, X):
        return self.inner_.predict(X)


@pytest.mark.parametrize("labels", [("cat", "dog", "rat"), (3, 5, 9), (0, 1, 2), (True, False)])
def test_codes_for_a_classifier_that_wants_codes(labels):
    data = rows(60, labels=labels)
    a, b = (da.value(data, "c-score", model=m, n_models=21, **QUICK) for m in (Picky(), GaussianNB()))
    assert np.array_equal(a.scores, b.scores)
    assert np.array_equal(a.flagged, b.flagged)


def test_codes_where_a_subset_lacks_a_class():
    data = rows(60, labels=("cat", "dog", "rat"))
    counts = (data.codes != 0).astype(np.uint8)[None]
    a, b = (trainable(data, m, "m").trainer(counts, [0], val=True, rows=True)[0] for m in (Picky(), GaussianNB()))
    assert np.array_equal(a.val, b.val)
    assert np.array_equal(a.rows, b.rows)


class Column(ClassifierMixin, BaseEstimator):
    """As CatBoost: of three classes predictions have shape (n, 1)."""

    def fit(self, X, y):
        self.inner_ = GaussianNB().fit(X, y)
        self.classes_ = self.inner_.classes_
        return self

    def predict(self, X):
        return self.inner_.predict(X)[:, None]


def test_predictions_in_one_column_are_predictions():
    data = rows(60, labels=("cat", "dog", "rat"))
    counts = np.ones((1, len(data)), np.uint8)
    (said,) = trainable(data, Column(), "m").trainer(counts, [0], val=True, rows=False)
    assert said.val.shape == (15, 3)
    assert (said.val.argmax(1) == GaussianNB().fit(data.X, data.codes).predict(data.X_val)).all()


class Spelled(Picky):
    """As CatBoost of truth values: classes are said as text, or not at all."""

    def __init__(self, tell=True):
        self.tell = tell

    def fit(self, X, y):
        self.inner_ = GaussianNB().fit(X, y)
        if self.tell:
            self.classes_ = self.inner_.classes_.astype(str)
        return self


@pytest.mark.parametrize("tell", [True, False])
def test_classes_that_are_said_as_text_or_not_at_all(tell):
    data = rows(60, labels=(True, False))
    counts = np.ones((1, len(data)), np.uint8)
    a, b = (trainable(data, m, "m").trainer(counts, [0], val=True, rows=False)[0] for m in (Spelled(tell), GaussianNB()))
    assert np.array_equal(a.val, b.val)


def people(n=60):
    rng = np.random.default_rng(1)
    y = np.arange(n) % 2
    frame = pd.DataFrame({"age": rng.normal(30 + 10 * y), "town": np.where(rng.random(n) < 0.2 + 0.6 * y, "Bonn", "Ulm")})
    return da.Dataset(frame[15:], y[15:], frame[:15], y[:15])


def named(*, by=("age", "town")):
    steps = [("n", StandardScaler(), [by[0]]), ("t", OneHotEncoder(handle_unknown="ignore"), [by[1]])]
    return make_pipeline(ColumnTransformer(steps), LogisticRegression())


@pytest.mark.parametrize("method", ["self-confidence", "c-score", "shapley"])
def test_a_pipeline_that_names_columns_gets_the_frame(method):
    few = {} if method == "self-confidence" else {"n_models": 21}
    values = da.value(people(), method, model=named(), **few, **QUICK)
    assert np.isfinite(values.scores).all()
    assert values.scores.std() > 0


def test_the_frame_is_given_in_whatever_order_its_columns_stand_and_with_those_that_are_left_out():
    rng = np.random.default_rng(0)
    age, town = rng.normal(40, 10, 60), rng.choice(["Ulm", "Bonn", "Kiel"], 60)
    key = [f"k{i * 7919:06d}" for i in range(60)]
    data = da.Dataset(
        pd.DataFrame({"key": key, "town": town, "age": age}), np.where(age + (town == "Ulm") * 8 > 42, "b", "a")
    )
    values = da.value(data, "self-confidence", model=named(), **QUICK)
    assert values.scores.std() > 0


def test_the_frame_is_what_the_pipeline_says_it_is():
    data, model = people(), named()
    (said,) = trainable(data, model, "m").trainer(np.ones((1, len(data)), np.uint8), [0], val=True, rows=True)
    model.fit(data.shown, data.y)
    assert np.allclose(said.val, model.predict_log_proba(data.shown_val), atol=1e-5)
    assert np.allclose(said.rows, model.predict_log_proba(data.shown), atol=1e-5)


def test_a_function_that_reads_columns_by_name_gets_the_frame():
    model = make_pipeline(FunctionTransformer(_ages), GaussianNB())
    assert np.isfinite(da.value(people(), "self-confidence", model=model, **QUICK).scores).all()


def _ages(frame):
    return frame[["age"]]


def test_a_column_that_is_not_there_is_said_by_the_model_itself():
    with pytest.raises(DataError, match=r"could not be fitted on a subset of \d+ rows.*salary") as e:
        da.value(people(), "self-confidence", model=named(by=("salary", "town")), **QUICK)
    assert "\n" not in str(e.value)


def test_features_that_are_valued_are_not_replaced_by_the_frame():
    data = people()
    data = data.with_features(np.asarray(data.X, float), np.asarray(data.X_val, float))
    with pytest.raises(DataError, match="could not be fitted on a subset"):
        da.value(data, "self-confidence", model=named(), **QUICK)


class Broken(ClassifierMixin, BaseEstimator):
    def __init__(self, at="fit"):
        self.at = at

    def fit(self, X, y):
        if self.at == "fit" and len(y) < 100:
            raise ZeroDivisionError("no rows of weight\nand a long story")
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        raise AttributeError("nothing here")

    def predict(self, X):
        return self.predict_proba(X)


def test_a_models_own_exception_is_shown_with_the_subset():
    data = rows()
    with pytest.raises(DataError) as e:
        da.value(data, "self-confidence", model=Broken(), **QUICK)
    assert "Broken could not be fitted on a subset of 24 rows" in str(e.value)
    assert "24 rows ('no' 12, 'yes' 12; ids " in str(e.value)
    assert "ZeroDivisionError: no rows of weight)" in str(e.value)
    assert "\n" not in str(e.value)
    assert isinstance(e.value.__cause__, ZeroDivisionError)
    with pytest.raises(DataError, match=r"could not say anything after a subset of 24 rows.*AttributeError: nothing here"):
        da.value(data, "self-confidence", model=Broken("predict"), **QUICK)
