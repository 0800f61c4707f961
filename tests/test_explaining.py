"""Which rows made a model say this: the question, the method that answers it, and what retraining says of the answer."""

import json

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from torch import nn

import datassay as da
from command import run
from datassay.checks import DataError


def blobs(n=80, m=20, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y = np.array(["ant", "bee", "cat"])[np.arange(n + m) % classes]
    X = rng.normal(size=(n + m, 3)) + 1.5 * np.eye(3)[np.arange(n + m) % classes]
    return da.Dataset(X[:n], y[:n], X[n:], y[n:])


def small(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 3))


def test_one_answer_is_the_methods_own():
    data = blobs()
    found = da.explain(data, query=4)
    np.testing.assert_array_equal(found.scores, da.value(data, "influence", query=4).scores)
    assert found.stats["answer"] == f"the log-odds of {str(data.y_val[4])!r} for validation row 4"
    np.testing.assert_array_equal(found.flagged, found.scores < 0)
    assert found.data_hash == data.hash
    ame = da.explain(data, query=4, method="ame", options={"n_models": 200, "progress": False})
    np.testing.assert_array_equal(ame.scores, da.value(data, "ame", query=4, n_models=200, progress=False).scores)
    assert "forecast" not in ame.stats
    single = da.explain(data, query=4, remove=1)  # of one row the score is a step towards it
    assert single.stats["forecast"] == {"rows": 1, "lost": pytest.approx(found.scores.max(), rel=0.02), "together": True}
    added = da.explain(data, query=4, method="trak", options={"progress": False, "runs": 1}, remove=7)
    assert added.stats["forecast"] == {"rows": 7, "lost": pytest.approx(np.sort(added.scores)[-7:].sum()), "together": False}


def test_all_validation_rows_and_some_of_them():
    data = blobs()
    everything = da.explain(data)
    np.testing.assert_array_equal(everything.scores, da.value(data, "influence", utility="log-likelihood").scores)
    some = da.explain(data, query=[1, 5, 6])
    np.testing.assert_array_equal(
        some.scores, da.value(data.take_validation([1, 5, 6]), "influence", utility="log-likelihood").scores
    )
    assert some.stats["answer"] == "the mean log-likelihood of the labels of 3 validation rows"
    tracin = da.explain(data, small, query=[1, 5], method="tracin", options={"progress": False})
    assert tracin.stats["method"] == "tracin"


def test_another_class_turns_the_scores():
    """Of two classes, what speaks for one speaks against the other; a higher score always speaks for what was asked."""
    data = blobs(classes=2)
    own, other = (da.explain(data, query=0, label=str(label)) for label in ("ant", "bee"))
    np.testing.assert_allclose(own.scores, -other.scores, rtol=1e-9)
    assert own.scores[data.y == "ant"].mean() > 0 > own.scores[data.y == "bee"].mean()
    for method in ("datamodels", "ame"):
        options = {"n_models": 300, "progress": False}
        one = da.explain(data, query=0, label="bee", method=method, options=options)
        assert one.scores[data.y == "bee"].mean() > one.scores[data.y == "ant"].mean()


def test_rows_about_themselves():
    data = blobs().without_validation()
    found = da.explain(data, query=7)
    assert found.stats["answer"] == f"the log-odds of {str(data.y[7])!r} for row 7"
    assert found.scores[7] > 0  # a model that has seen a row says more for its label
    with pytest.raises(DataError, match="query='validation' needs validation rows"):
        da.explain(data)


TREES = HistGradientBoostingClassifier(early_stopping=False, min_samples_leaf=5, max_iter=30)
CHEAPEST = [
    (None, "influence"),
    (LogisticRegression(C=0.2), "influence"),
    (small, "trak"),
    (TREES, "boostin"),
    (GaussianNB(), "ame"),
]


@pytest.mark.parametrize(("model", "method"), CHEAPEST)
def test_the_cheapest_method_and_what_retraining_says(model, method):
    """Without the rows that speak for an answer it is lower than without as many others."""
    data = blobs(m=6)
    options = {"ame": {"n_models": 200, "progress": False}, "boostin": {}}.get(method, {"progress": False})
    found = da.explain(data, model, query=2, verify=True, remove=12, options=options)
    assert found.stats["method"] == method
    said = found.stats["verified"]
    assert said["rows"] == 12
    assert said["after"] < said["after_random"]
    if model is None or isinstance(model, LogisticRegression):
        lost, forecast = said["before"] - said["after"], found.stats["forecast"]["lost"]
        assert np.sort(found.scores)[-12:].sum() < forecast  # what rows do together is more than the sum
        assert forecast == pytest.approx(lost, rel=1e-4)


def test_a_forecast_for_least_squares_is_what_retraining_says():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 4))
    y = X @ [1.0, 2.0, 3.0, -1.0] + rng.normal(size=90)
    data = da.Dataset(X[:60], y[:60], X[60:], y[60:], task="regression")
    for model in (None, Ridge(alpha=20.0)):
        for query in (3, "validation"):
            found = da.explain(data, model, query=query, verify=True, remove=20)
            said = found.stats["verified"]
            assert found.stats["forecast"]["lost"] == pytest.approx(said["before"] - said["after"], rel=1e-5)


def test_a_forecast_for_another_class_has_its_sign():
    data = blobs(m=6)
    other = next(c for c in data.classes if c != data.y_val[2])
    found = da.explain(data, query=2, label=other, verify=True, remove=12)
    lost = found.stats["verified"]["before"] - found.stats["verified"]["after"]
    assert lost > 0
    assert found.stats["forecast"]["lost"] == pytest.approx(lost, rel=1e-4)


def test_without_nearly_all_rows_the_forecast_is_still_what_retraining_says():
    data = blobs(m=6)
    found = da.explain(data, query=2, remove=len(data), verify=True)
    said, forecast = found.stats["verified"], found.stats["forecast"]
    assert forecast["rows"] == len(data) - 1
    assert forecast["lost"] == pytest.approx(said["before"] - said["after"], rel=1e-3)


def test_regression():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y = X @ [1.0, 2.0, 3.0] + rng.normal(size=60)
    data = da.Dataset(X[:50], y[:50], X[50:], y[50:], task="regression")
    found = da.explain(data, query=1, verify=True, remove=5)
    assert found.stats["answer"] == "the prediction for validation row 1"
    assert found.stats["verified"]["after"] < found.stats["verified"]["before"]
    assert da.explain(data).stats["answer"].startswith("the mean squared error, with a minus,")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"query": 20}, "query must be the position of a validation row, from 0 to 19, or several, got 20"),
        ({"query": True}, "query must be"),
        ({"query": []}, "query must be"),
        ({"query": "row"}, "query must be 'validation' or positions"),
        ({"query": [1, 2], "label": "ant"}, "label is for a question about one row"),
        ({"query": 1, "label": "dog"}, "label must be one of the classes"),
        ({"method": "cg-score"}, "explain needs a method that trains a model and judges by validation rows"),
        ({"method": "infuence"}, "got 'infuence'"),
        ({"query": 1, "label": "ant", "method": "banzhaf"}, "can't be asked about one class"),
        ({"options": {"model": None}}, "model is an argument of explain itself"),
        ({"remove": 0}, "remove must be a whole number from 1 on"),
        ({"verify": 1}, "verify must be True or False"),
    ],
)
def test_what_can_not_be_asked(options, says):
    with pytest.raises(DataError, match=says):
        da.explain(blobs(), **options)


def test_on_the_command_line(tmp_path):
    data = blobs(60)
    frame = pd.DataFrame(data.X, columns=list("abc")).assign(kind=data.y, name=[f"r{i}" for i in range(60)])
    frame.to_csv(tmp_path / "t.csv", index=False)
    common = ["explain", "t.csv", "--label", "kind", "--id", "name"]
    done = run(*common, "--row", "r7", "--verify", "--remove", "5", "--top", "3", "-o", "e.parquet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert f"Asked: the log-odds of '{data.y[7]}' for row 'r7', by influence" in said
    assert "Trained again:" in said
    assert "The row itself" in said
    values = da.Values.load(tmp_path / "e.parquet")
    np.testing.assert_allclose(
        values.scores, da.explain(da.read(tmp_path / "t.csv", label="kind", id="name"), query=7).scores
    )
    order = np.argsort(-values.scores)
    assert next(values.ids[i] for i in order if i != 7) in done.stdout
    for wrong in (
        ["--row", "r99"],
        ["--row", "r1", "--class", "dog"],
        [],
        ["--row", "r1", "-m", "cg-score"],
        ["--row", "r1", "-o", "t.csv"],
    ):
        failed = run(*common, *wrong, cwd=tmp_path)
        assert failed.returncode == 2, wrong
        assert "Traceback" not in failed.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["e.parquet", "t.csv"]


def table(n=60):
    rng = np.random.default_rng(0)
    y = np.array(["no", "yes"])[np.arange(n) % 2]
    frame = pd.DataFrame(
        {"a<b>": rng.normal(size=n) + 2 * (y == "yes"), "kind": np.array(["<i>x</i>", "plain"])[np.arange(n) % 2]}
    )
    return frame, y


@pytest.mark.parametrize("kind", ["images", "table", "group", "sparse", "regression", "itself"])
def test_the_page_shows_the_rows_in_the_order_of_their_scores(kind, tmp_path):
    rng = np.random.default_rng(0)
    query: object = 2
    if kind == "images":
        data = da.datasets.drawn("digits", train=80, val=20, test=10).data
    elif kind in ("table", "group", "itself"):
        frame, y = table()
        validation = () if kind == "itself" else (frame[:12], y[:12])
        data, query = da.Dataset(frame, y, *validation), [0, 2, 4] if kind == "group" else 2
    elif kind == "sparse":
        X = scipy.sparse.random_array((60, 40), density=0.2, rng=rng, format="csr")
        data = da.Dataset(X, np.arange(60) % 2, X[:9], np.arange(9) % 2)
    else:
        X = rng.normal(size=(60, 3))
        data = da.Dataset(X, X @ [1.0, 2.0, 0.0] + 0.1 * rng.normal(size=60), X[:9], X[:9, 0])
    found = da.explain(data, query=query, verify=kind == "table")
    page = da.report(found, data, tmp_path / "why.html", top=10)
    html, content = page.read_text(), json.loads((tmp_path / "why.json").read_text())
    assert content["question"] == found.stats["answer"]
    assert found.stats["answer"].replace("'", "&#39;") in html
    order = np.argsort(-found.scores, kind="stable")
    skip = {2} if kind == "itself" else set()
    best = [r for r in order if found.scores[r] > 0 and r not in skip][:5]
    worst = [r for r in order[::-1] if found.scores[r] < 0 and r not in skip][:5]
    for name, expected in (("for", best), ("against", worst)):
        side = content["sides"][name]
        assert [one["id"] for one in side["shown"]] == [int(data.ids[r]) for r in expected]
        assert [one["score"] for one in side["shown"]] == pytest.approx(found.scores[expected].tolist())
        assert side["rows"] == (found.scores > 0).sum() if name == "for" else (found.scores < 0).sum()
        assert bool(side["tables"]) == (kind in ("table", "sparse", "regression", "itself"))
    asked = content["asked"]
    assert [one["label"] for one in asked] == [
        (data.y if kind == "itself" else data.y_val)[q].item() for q in np.atleast_1d(query)
    ]
    assert html.count("<img") == (len(asked) + len(best) + len(worst) if kind == "images" else 0)
    assert "<i>x" not in html
    assert "<b>a" not in html
    assert "<script" not in html
    assert ("trained on all rows" in html) == (kind == "table")


def test_the_page_on_the_command_line(tmp_path):
    frame, y = table()
    frame.assign(y=y).to_csv(tmp_path / "t.csv", index=False)
    done = run("explain", "t.csv", "--label", "y", "--row", "7", "--report", "why.html", "-o", "e.parquet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first = (tmp_path / "why.html").read_text()
    assert "row 7" in first
    again = run("report", "e.parquet", "--data", "t.csv", "-o", "again.html", "--top", "48", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again.html").read_text() == first
