import inspect

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris, make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import estimator_checks

import datassay as da
from datassay.checks import DataError
from datassay.sklearn import ValuedClassifier, ValueSampler
from datassay.values import Values

ZERO = "it has a row of zeros, which has no direction for cg-score to compare unless options={'bias': True}"
FAILS = dict.fromkeys(
    (
        "check_estimators_dtypes",
        "check_estimator_sparse_tag",
        "check_estimator_sparse_array",
        "check_estimator_sparse_matrix",
    ),
    ZERO,
)

if "expected_failed_checks" in inspect.signature(estimator_checks.parametrize_with_checks).parameters:  # scikit-learn >= 1.6

    @estimator_checks.parametrize_with_checks([ValuedClassifier()], expected_failed_checks=lambda estimator: FAILS)
    @pytest.mark.filterwarnings("ignore")
    def test_scikit_learn_checks(estimator, check):
        check(estimator)

    @pytest.mark.parametrize("check", FAILS)
    @pytest.mark.filterwarnings("ignore")
    def test_scikit_learn_checks_that_need_a_bias(check):
        getattr(estimator_checks, check)("ValuedClassifier", ValuedClassifier(options={"bias": True}))


def planted(seed=0, share=0.2):
    """Two classes, a fifth of the labels of the training rows turned round; test rows clean."""
    X, y = make_classification(500, 8, n_informative=6, n_redundant=0, flip_y=0, class_sep=1.5, random_state=seed)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.4, random_state=seed, stratify=y)
    wrong = np.random.default_rng(seed).random(len(y)) < share
    return X, np.where(wrong, 1 - y, y), X_test, y_test, wrong


def values(scores, flagged, **columns):
    scores = np.array(scores, float)
    return Values(np.arange(len(scores)), scores, np.array(flagged, bool), columns, "random")


# -- to_sample_weight


def test_weights_of_flags_apart_and_among_others():
    apart = values([3, 1, 2, 4], [0, 1, 1, 0])
    np.testing.assert_array_equal(apart.to_sample_weight(), [1, 0.01, 0.01, 1])
    np.testing.assert_array_equal(apart.to_sample_weight(least=0), [1, 0, 0, 1])
    among = values([1, 2, 3, 4, 5], [1, 0, 1, 0, 0])  # isotonic: 0, then 1 and 0 pooled
    np.testing.assert_allclose(among.to_sample_weight(0), [0, 0.5, 0.5, 1, 1])
    np.testing.assert_array_equal(values([2, 1], [0, 0]).to_sample_weight(), [1, 1])
    np.testing.assert_array_equal(values([2, 1], [1, 1]).to_sample_weight(), [0.01, 0.01])


def test_weights_by_probability_wrong_where_an_audit_gave_it():
    v = values([3, 1, 2], [0, 0, 0], probability_wrong=np.array([0.1, 0.9, 0.3]))
    np.testing.assert_allclose(v.to_sample_weight(), [0.9, 0.1, 0.7])


@pytest.mark.parametrize("seed", range(5))
def test_weights_rise_with_the_score_and_follow_the_rows(seed):
    rng = np.random.default_rng(seed)
    scores, flagged = rng.integers(-20, 20, 200) / 4, rng.random(200) < 0.3
    scores[:3] = -np.inf, np.inf, -np.inf
    w = values(scores, flagged).to_sample_weight()
    assert w.shape == (200,)
    assert ((w >= 0.01) & (w <= 1)).all()
    assert (np.diff(w[np.argsort(scores, kind="stable")]) >= 0).all()
    assert all(len(set(w[scores == s])) == 1 for s in scores)
    turned = rng.permutation(200)
    np.testing.assert_array_equal(values(scores[turned], flagged[turned]).to_sample_weight(), w[turned])


def test_least_is_checked():
    for least in (-0.1, 1.5, "a", np.nan):
        with pytest.raises(DataError, match="least"):
            values([1, 2], [0, 1]).to_sample_weight(least)


# -- ValuedClassifier


@pytest.mark.parametrize(
    ("estimator", "drop"),
    # a tree that is grown to the last row fits rows of small weight too: weights are not for it
    [(None, 0.2), (None, "flagged"), (None, "weigh")]
    + [(DecisionTreeClassifier(random_state=0), d) for d in (0.2, "flagged")],
)
def test_not_worse_on_clean_rows_with_wrong_labels_planted(drop, estimator):
    X, y, X_test, y_test, _ = planted()
    plain = clone(estimator) if estimator else make_pipeline(StandardScaler(), LogisticRegression())
    assert ValuedClassifier(estimator, drop=drop).fit(X, y).score(X_test, y_test) >= plain.fit(X, y).score(X_test, y_test)


def test_drops_the_worst_by_value():
    X, y, _, _, wrong = planted()
    model = ValuedClassifier(drop=0.1).fit(X, y)
    expected = da.value(da.Dataset(X, y), "cg-score", progress=False)
    np.testing.assert_array_equal(model.values_.scores, expected.scores)
    np.testing.assert_array_equal(~model.kept_, expected.ranks() <= 30)
    assert wrong[~model.kept_].mean() > 0.8
    by_hand = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(X[model.kept_], y[model.kept_])
    np.testing.assert_array_equal(model.predict_proba(X), by_hand.predict_proba(X))
    np.testing.assert_array_equal(ValuedClassifier(drop=30).fit(X, y).kept_, model.kept_)
    np.testing.assert_array_equal(~ValuedClassifier(drop="flagged").fit(X, y).kept_, expected.flagged)
    assert ValuedClassifier(drop=0).fit(X, y).kept_.all()


def test_weighs_by_the_sample_weight_of_the_values():
    X, y, _, _, _ = planted()
    model = ValuedClassifier(drop="weigh").fit(X, y)
    by_hand = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    by_hand.fit(X, y, logisticregression__sample_weight=model.values_.to_sample_weight())
    np.testing.assert_array_equal(model.predict_proba(X), by_hand.predict_proba(X))
    assert model.kept_.all()
    ValuedClassifier(make_pipeline(make_pipeline(StandardScaler(), LogisticRegression())), drop="weigh").fit(X, y)
    with pytest.raises(DataError, match="KNeighborsClassifier"):
        ValuedClassifier(make_pipeline(KNeighborsClassifier()), drop="weigh").fit(X, y)


@pytest.mark.parametrize("drop", [1.0, 1000, 0.99])
def test_no_class_is_emptied(drop):
    X, y = load_iris(return_X_y=True)
    model = ValuedClassifier(drop=drop).fit(X, y)
    assert np.bincount(y[model.kept_]).min() >= 2
    assert model.kept_.sum() == 6
    for c in range(3):  # the best of the class are left
        of_class = model.values_.ranks()[y == c]
        assert set(of_class[model.kept_[y == c]]) == set(np.sort(of_class)[-2:])


@pytest.mark.parametrize("drop", [-1, -0.1, 1.1, True, None, "worst", np.nan])
def test_drop_is_checked(drop):
    X, y = load_iris(return_X_y=True)
    with pytest.raises(DataError, match="drop must be a share"):
        ValuedClassifier(drop=drop).fit(X, y)
    with pytest.raises(DataError, match="drop must be a share"):
        ValueSampler(drop=drop).fit_resample(X, y)


def test_validation_rows_where_the_method_needs_them():
    X, y, X_test, y_test, _ = planted()
    model = ValuedClassifier(method="knn-shapley")
    with pytest.raises(DataError, match="validation rows"):
        model.fit(X, y)
    model.fit(X, y, X_val=X_test, y_val=y_test)
    expected = da.value(da.Dataset(X, y, X_test, y_test), "knn-shapley", progress=False)
    np.testing.assert_array_equal(model.values_.scores, expected.scores)
    assert ValuedClassifier(method="knn-shapley", options={"judge": "rows"}).fit(X, y).values_.options["judge"] == "rows"
    with pytest.raises(TypeError, match="no option 'rigde'"):
        ValuedClassifier(options={"rigde": 1}).fit(X, y)


def test_clone_search_and_pipelines():
    X, y, X_test, y_test, _ = planted()
    model = ValuedClassifier(LogisticRegression(C=0.5), drop=0.1, options={"ridge": 0.1}, seed=3)
    assert clone(model).get_params() | {"estimator": 0} == model.get_params() | {"estimator": 0}
    assert model.get_params()["estimator__C"] == 0.5
    assert cross_val_score(model, X, y, cv=3).min() > 0.6
    search = GridSearchCV(model, {"drop": [0, 0.1, "flagged", "weigh"]}, cv=3).fit(X, y)
    assert search.best_estimator_.score(X_test, y_test) > 0.7
    assert make_pipeline(StandardScaler(), ValuedClassifier()).fit(X, y).score(X_test, y_test) > 0.7
    assert not hasattr(ValuedClassifier(LinearSVC()), "predict_proba")
    assert hasattr(ValuedClassifier(LinearSVC()).fit(X, y), "decision_function")
    assert not hasattr(ValuedClassifier(DecisionTreeClassifier()), "decision_function")


def test_frames_and_sparse_rows_reach_the_estimator_as_they_are():
    X, y, _, _, _ = planted()
    frame = pd.DataFrame(X, columns=list("abcdefgh"), index=np.arange(len(X)) + 1000)
    frame["kind"] = np.where(y == 1, "p", "q")
    inner = make_pipeline(make_column_transformer((OneHotEncoder(), ["kind"])), LogisticRegression())
    labels = pd.Series(np.where(y == 1, "yes", "no"), index=frame.index)
    for drop in (0.1, "weigh"):
        model = ValuedClassifier(inner, drop=drop).fit(frame, labels)
        assert model.score(frame, labels) == 1
        assert list(model.feature_names_in_) == list(frame.columns)
        assert list(model.classes_) == ["no", "yes"]
    model = ValuedClassifier().fit(sp.csr_array(X), y)
    assert model.predict(sp.csr_array(X)).shape == y.shape


# -- ValueSampler


def test_sampler_keeps_what_the_classifier_keeps():
    X, y, _, _, _ = planted()
    sampler = ValueSampler(drop=0.1)
    X_kept, y_kept = sampler.fit_resample(X, y)
    kept = ValuedClassifier(drop=0.1).fit(X, y).kept_
    np.testing.assert_array_equal(sampler.sample_indices_, np.flatnonzero(kept))
    np.testing.assert_array_equal(X_kept, X[kept])
    np.testing.assert_array_equal(y_kept, y[kept])
    assert len(sampler.values_) == len(X)
    assert hasattr(sampler, "fit_resample")
    assert not hasattr(sampler, "transform")
    S, _ = sampler.fit_resample(sp.coo_array(X), y)
    np.testing.assert_array_equal(S.toarray(), X[kept])
    assert clone(sampler).get_params() == sampler.get_params()
    with pytest.raises(DataError, match="drop must be a share"):
        ValueSampler(drop="weigh").fit_resample(X, y)
    with pytest.raises(DataError, match="validation rows"):
        ValueSampler("knn-shapley").fit_resample(X, y)


def test_sampler_leaves_frames_frames():
    X, y, _, _, _ = planted()
    frame = pd.DataFrame(X, columns=list("abcdefgh"), index=np.arange(len(X)) + 1000)
    labels = pd.Series(y, index=frame.index, name="label")
    sampler = ValueSampler(drop="flagged")
    frame_kept, labels_kept = sampler.fit_resample(frame, labels)
    pd.testing.assert_frame_equal(frame_kept, frame.iloc[sampler.sample_indices_])
    pd.testing.assert_series_equal(labels_kept, labels.iloc[sampler.sample_indices_])


@pytest.mark.filterwarnings("ignore")
def test_sampler_in_the_pipeline_of_imbalanced_learn():
    pipeline = pytest.importorskip("imblearn.pipeline")
    X, y, X_test, y_test, _ = planted()
    model = pipeline.make_pipeline(StandardScaler(), ValueSampler(drop=0.2), LogisticRegression()).fit(X, y)
    plain = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    assert model.predict(X_test).shape == y_test.shape  # nothing is dropped while predicting
    assert model.score(X_test, y_test) >= plain.score(X_test, y_test)
    assert len(model[1].sample_indices_) == 240
    GridSearchCV(model, {"valuesampler__drop": [0, 0.1, "flagged"]}, cv=3).fit(X, y)


def test_frames_whose_index_has_doubles_go_by_position():
    X, y = load_iris(return_X_y=True)
    frame = pd.DataFrame(X, columns=[f"c{j}" for j in range(X.shape[1])], index=np.arange(len(X)) // 2)
    model = ValuedClassifier(drop=3).fit(frame, y)
    assert model.values_.ids.tolist() == list(range(len(X)))
