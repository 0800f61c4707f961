"""Linear datamodelling score: against its definition, with scikit-learn's trainings; what is asked of a method, and what can't be."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression, Ridge

import datassay as da
from datassay.evaluation import lds
from datassay.evaluation.tasks import TASKS, Case, Learner


def rows(n=80, m=12, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n + m) % 3
    X = rng.normal(size=(n + m, 4)) + 1.5 * np.eye(3, 4)[y]
    return da.Dataset(X[:n], y[:n], X[n:], y[n:])


def test_it_is_the_rank_correlation_with_models_of_halves():
    data, model = rows(), LogisticRegression(C=0.5, tol=1e-10, max_iter=10_000)
    rng = np.random.default_rng(1)
    matrix = rng.normal(size=(80, 12))
    counts, said = lds.retrained(data, model, None, 3, masks=20)
    assert (counts.sum(1) == 40).all()
    assert len(np.unique(counts, axis=0)) == 20
    for j in range(20):
        half = np.flatnonzero(counts[j])
        p = model.fit(data.X[half], data.y[half]).predict_proba(data.X_val)[np.arange(12), data.codes_val]
        np.testing.assert_allclose(said[j], np.log(p / (1 - p)), atol=0.02)
    found = lds.scores(matrix, counts, said)
    for q in range(12):
        expected = spearmanr([matrix[half == 1, q].sum() for half in counts], said[:, q]).statistic
        assert found[q] == pytest.approx(expected, abs=1e-12)


def test_in_regression_it_is_about_squared_errors():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y = X @ [1.0, 2.0, 3.0] + rng.normal(size=60)
    data, model = da.Dataset(X[:50], y[:50], X[50:], y[50:], task="regression"), Ridge(alpha=2.0)
    counts, said = lds.retrained(data, model, None, 0, masks=5)
    for mask, found in zip(counts == 1, said, strict=True):
        np.testing.assert_allclose(
            found, -((model.fit(X[:50][mask], y[:50][mask]).predict(X[50:]) - y[50:]) ** 2), rtol=1e-6
        )


def test_values_that_say_what_happens_score_high_and_others_do_not():
    found = da.evaluate(
        {"rows": rows()},
        ["influence", "datamodels n_models=300"],
        task="lds",
        seeds=2,
        train=50,
        val=20,
        test=10,
        progress=False,
    )
    table = found.table("lds")["mean"]
    assert table["influence"] > 0.7
    assert table["datamodels n_models=300"] > 0.7
    noise = np.random.default_rng(0).normal(size=(80, 12))
    counts, said = lds.retrained(rows(), None, None, 0)
    assert abs(lds.scores(noise, counts, said).mean()) < 0.15


def test_a_method_without_a_matrix_is_asked_row_by_row(monkeypatch):
    monkeypatch.setattr(lds, "QUERIES", 3)
    data = rows()
    assert lds.asked(data).tolist() == [0, 6, 11]
    values, matrix = lds.ask(data, "ame", 0, {"n_models": 40, "progress": False})
    assert matrix.shape == (80, 3)
    for column, q in zip(matrix.T, (0, 6, 11), strict=True):
        np.testing.assert_array_equal(column, da.value(data, "ame", n_models=40, query=q, progress=False).scores)
    np.testing.assert_array_equal(values.scores, matrix[:, 0])
    values, matrix = lds.ask(data, "datamodels", 0, {"n_models": 60, "progress": False})
    alone = da.value(data, "datamodels", n_models=60, query=6, progress=False)
    np.testing.assert_allclose(matrix[:, 1], alone.scores, rtol=1e-9, atol=1e-12)


def test_methods_that_judge_by_all_validation_rows_together_are_a_line_with_their_error():
    found = da.evaluate({"rows": rows()}, ["banzhaf"], task="lds", seeds=1, train=50, val=20, test=10, progress=False)
    assert found.failures()["error"].tolist() == ["banzhaf can't be asked about one validation row."]
    with pytest.raises(da.DataError, match="random can't be asked about one validation row"):
        lds.ask(rows(), "random", 0, {})


def test_wrong_labels_are_counted_where_there_are_some():
    found = da.evaluate(
        {"rows": rows()}, ["influence"], task="lds", rates=0.1, seeds=1, train=50, val=20, test=10, progress=False
    )
    assert found.table("auc").loc["influence", "mean"] > 0.7


def test_networks_are_retrained_as_they_were_trained():
    pytest.importorskip("torch")
    data = rows(n=40)
    values, matrix = lds.ask(data, "trak", 0, {"epochs": 3, "runs": 1, "progress": False})
    case = Case(data, np.zeros(40, bool), None, 0, {}, matrix)
    outcome = TASKS["lds"].measure(case, values, Learner())
    assert -1 <= outcome.metrics["lds"] <= 1
    assert values.options["training"]["epochs"] == 3
