"""The method noise-model, and probabilities that people have already: arrays, frames, files, the command line."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.tree import DecisionTreeClassifier
from typer.testing import CliRunner

import datassay as da
from datassay.cli import app
from datassay.data.probabilities import by_class
from datassay.engines import noise_model


@pytest.fixture(scope="module")
def case():
    """Digits of five classes by name, with planted errors, and out-of-fold probabilities."""
    X, y = load_digits(n_class=5, return_X_y=True)
    names = np.array(["zero", "one", "two", "three", "four"])
    data, wrong = da.plant(da.Dataset(X[:400] / 16, names[y[:400]]), "uniform", 0.1, seed=3)
    p = cross_val_predict(LogisticRegression(C=0.5, max_iter=5000), data.X, data.y, cv=5, method="predict_proba")
    return data, wrong, p


def test_it_is_the_noise_model_of_these_probabilities(case):
    data, wrong, p = case
    values = da.value(data, "noise-model", probabilities=p)
    model = noise_model.of_probabilities(p, data.codes)
    np.testing.assert_array_equal(values.flagged, model.flagged)
    np.testing.assert_allclose(values.scores, 1 - model.probability)
    assert values.stats["wrong_labels"] == model.wrong_labels()
    assert roc_auc_score(wrong, -values.scores) > 0.98
    assert values.stats["wrong_labels"]["low"] <= wrong.sum() <= values.stats["wrong_labels"]["high"]
    assert (values.suggested_label[values.flagged] != data.y[values.flagged]).all()
    assert values.options["probabilities"] == "given, 400 x 5"


def test_without_probabilities_they_are_out_of_fold(case):
    data, wrong, _ = case
    values = da.value(data, "noise-model", progress=False)
    assert values.stats["trainings"] == 5
    assert roc_auc_score(wrong, -values.scores) > 0.97


def test_frames_and_files_say_the_same_in_any_order(case, tmp_path):
    data, _, p = case
    one = da.value(data, "noise-model", probabilities=p)
    frame = pd.DataFrame(p, columns=data.classes)
    shuffled = frame.assign(id=data.ids)[["id", *data.classes[::-1]]].sample(frac=1, random_state=0)
    frame.to_parquet(tmp_path / "p.parquet")
    shuffled.to_csv(tmp_path / "p.csv", index=False)
    np.save(tmp_path / "p.npy", p)
    for same in (frame, shuffled, *(tmp_path / f"p.{end}" for end in ("parquet", "csv", "npy"))):
        np.testing.assert_allclose(da.value(data, "noise-model", probabilities=same).scores, one.scores, atol=1e-9)
        same_flags = da.value(data, "confident-learning", probabilities=same).flagged
        np.testing.assert_array_equal(same_flags, da.value(data, "confident-learning", probabilities=p).flagged)


def test_a_class_that_no_row_has_may_be_the_right_one(case):
    data, _, p = case
    frame = pd.DataFrame(p * 0.98, columns=data.classes).assign(nine=0.02)
    frame.iloc[7] = [0.0] * 5 + [1.0]
    values = da.value(data, "noise-model", probabilities=frame)
    assert values.flagged[7]
    assert values.suggested_label[7] == "nine"
    with pytest.raises(da.DataError, match="no row has 'nine': leave its column out, or take noise-model"):
        da.value(data, "confident-learning", probabilities=frame)


def test_in_sample_probabilities_are_noticed(case):
    data, _, _ = case
    fitted = DecisionTreeClassifier(random_state=0).fit(data.X, data.y).predict_proba(data.X)
    assert "out-of-sample" in da.value(data, "noise-model", probabilities=fitted).stats["warning"]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: p[:5], r"400 x 5, got shape \(5, 5\)"),
        (lambda p: np.c_[p, p[:, 0] * 0], "columns of classes that no row has need names"),
        (lambda p: p * 2, "sum to 1; those of row 0"),
        (lambda p: pd.DataFrame(p, columns=list("abcde")), "there is none for 'four'"),
        (lambda p: "nowhere.parquet", "there is no file 'nowhere.parquet'"),
        (lambda p: "text", "there is no file"),
        (lambda p: [["a"] * 5] * 400, "must be numbers"),
    ],
)
def test_what_is_no_probability_is_one_sentence(case, make, says):
    data, _, p = case
    with pytest.raises(da.DataError, match=says) as caught:
        da.value(data, "noise-model", probabilities=make(p))
    assert "\n" not in str(caught.value)
    with pytest.raises(da.DataError, match="leave one of them out"):
        da.value(data, "noise-model", model=LogisticRegression(), probabilities=p)


def test_ids_that_do_not_fit(case):
    data, _, p = case
    frame = pd.DataFrame(p, columns=data.classes).assign(id=data.ids)
    with pytest.raises(da.DataError, match="the row with id '3' has none"):
        by_class(data, frame.drop(index=3), "noise-model")
    with pytest.raises(da.DataError, match="ids come twice"):
        by_class(data, frame.assign(id=[0, *data.ids[:-1]]), "noise-model")


def test_the_command_line_takes_a_file_and_says_the_bounds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    iris = load_iris(as_frame=True)
    iris.data.assign(species=iris.target_names[iris.target]).to_csv("train.csv", index=False)
    p = cross_val_predict(LogisticRegression(max_iter=5000), iris.data, iris.target, cv=5, method="predict_proba")
    pd.DataFrame(p, columns=iris.target_names).to_parquet("p.parquet")
    done = CliRunner().invoke(
        app, ["value", "train.csv", "--label", "species", "--probabilities", "p.parquet", "--report", "r.html"]
    )
    assert done.exit_code == 0, done.output
    values = da.Values.load("values.parquet")
    assert values.method == "noise-model"
    said = values.headline()
    assert said
    assert said[1:] in " ".join(done.output.split())
    assert said[1:] in (tmp_path / "r.html").read_text()
    told = json.loads((tmp_path / "r.json").read_text())
    assert told["finding"][1:] == said[1:]
    assert told["wrong_labels"] == values.stats["wrong_labels"]
    same = CliRunner().invoke(
        app, ["value", "train.csv", "--label", "species", "--probabilities", "p.parquet", "-o", "p.parquet"]
    )
    assert isinstance(same.exception, da.DataError)
