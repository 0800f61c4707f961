"""Transformers that people bring make the numbers of a table: fitted on the training rows alone, without their labels."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler, TargetEncoder
from sklearn.utils.validation import check_is_fitted

import datassay as da
from datassay.checks import DataError

Y = np.array(["a", "b"] * 15)


def frame(seed=0, n=30):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "row": range(n),
            "age": rng.normal(40, 9, n),
            "pay": rng.normal(3e4, 5e3, n),
            "town": rng.choice(["Ulm", "Bonn"], n),
        }
    )


def columns(**options):
    return ColumnTransformer(
        [("number", StandardScaler(), ["age", "pay"]), ("town", OneHotEncoder(sparse_output=False), ["town"])], **options
    )


def test_it_is_fitted_on_the_training_rows_alone():
    train, val, given = frame(0), frame(1), columns()
    data = da.Dataset(train, Y, val, Y, encoder=given)
    by_hand = columns().fit(train)
    np.testing.assert_array_equal(data.X, by_hand.transform(train))
    np.testing.assert_array_equal(data.X_val, by_hand.transform(val))
    assert np.abs(data.X_val - columns().fit_transform(val)).max() > 0.01
    assert data.columns == ["number__age", "number__pay", "town__town_Bonn", "town__town_Ulm"]
    assert data.encoding == {"ColumnTransformer": "made by ColumnTransformer, 4 columns"}
    assert data.shown.equals(train)
    with pytest.raises(NotFittedError):
        check_is_fitted(given)
    assert da.value(data, "cg-score", progress=False).stats["features"] == {"ColumnTransformer": 1.0}


def test_it_never_sees_labels():
    """Numbers that are made from a row's own label vouch for it."""

    class Spy(FunctionTransformer):
        def fit(self, X, y=None):
            assert y is None
            return super().fit(X)

    da.Dataset(frame()[["age"]], Y, encoder=Spy())
    with pytest.raises(
        DataError, match=r"TargetEncoder can't be fitted on the training rows, which it gets without their labels"
    ):
        da.Dataset(frame()[["town"]], Y, encoder=TargetEncoder())


@pytest.mark.parametrize("make", ["array", "sparse", "pandas", "polars"])
def test_whatever_kind_of_table_it_makes(make):
    if make == "polars":
        pytest.importorskip("polars")
    given = {"array": columns(), "sparse": OneHotEncoder()}.get(make) or columns().set_output(transform=make)
    table = frame()[["town"]] if make == "sparse" else frame()
    data = da.Dataset(table, Y, table[:4], Y[:4], encoder=given)
    expected = columns().fit_transform(frame())
    assert sp.issparse(data.X) == (make == "sparse")
    X, X_val = (M.toarray() if sp.issparse(M) else M for M in (data.X, data.X_val))
    np.testing.assert_array_equal(X, expected[:, 2:] if make == "sparse" else expected)
    np.testing.assert_array_equal(X_val, X[:4])
    assert [name.split("__")[-1] for name in data.columns[-2:]] == ["town_Bonn", "town_Ulm"]


def test_small_numbers_stay_small_and_arrays_are_taken():
    X = np.random.default_rng(0).normal(size=(30, 5))
    halves = FunctionTransformer(lambda X: pd.DataFrame(X.astype(np.float32)).assign(b=X[:, 0] > 0))
    data = da.Dataset(X, Y, encoder=halves)
    assert data.X.dtype == np.float32
    assert da.Dataset(X, Y, encoder=PCA(2)).columns == ["pca0", "pca1"]
    nameless = make_pipeline(FunctionTransformer(lambda X: X[:, :2]), PCA(1), FunctionTransformer(lambda X: X))
    assert da.Dataset(X, Y, encoder=nameless).columns == ["Pipeline0"]


def test_gaps_that_it_leaves():
    table = frame().assign(pay=lambda f: f.pay.where(f.row != 7), town=lambda f: f.town.where(f.row != 5))
    with pytest.raises(DataError, match=r"nan in row 7 .*'number__pay' \(1 such cells\)"):
        da.Dataset(table, Y, encoder=columns())
    assert da.Dataset(table, Y, encoder=columns(), missing="drop").dropped.tolist() == [7]
    filled = da.Dataset(table, Y, encoder=columns(), missing="mean")
    assert filled.X[7, 1] == pytest.approx(0, abs=1e-12)
    by_itself = make_pipeline(SimpleImputer(), StandardScaler())
    assert np.isfinite(da.Dataset(table[["age", "pay"]], Y, encoder=by_itself).X).all()


def test_a_column_that_hides_the_others_is_named():
    plain = ColumnTransformer([("number", "passthrough", ["pay", "age"]), ("town", OneHotEncoder(), ["town"])])
    (note,) = da.Dataset(frame(), Y, encoder=plain).notes
    assert note.startswith("column 'number__pay' of the encoder ColumnTransformer has the standard deviation 4.")
    scaled = da.Dataset(frame(), Y, encoder=plain, standardise=True)
    assert scaled.notes == ()
    assert scaled.standardised
    np.testing.assert_allclose(scaled.X.std(axis=0), 1)
    assert da.Dataset(frame(), Y, encoder=columns()).notes == ()


def test_read_and_cut_anew(tmp_path):
    frame().assign(y=Y).to_csv(tmp_path / "train.csv", index=False)
    frame(1).assign(y=Y).to_csv(tmp_path / "val.csv", index=False)
    data = da.read(tmp_path / "train.csv", label="y", val=tmp_path / "val.csv", encoder=columns())
    np.testing.assert_allclose(data.X_val, columns().fit(frame()).transform(frame(1)))
    split = da.datasets.divided(data.without_validation(), train=12, val=6, test=12, seed=0)
    expected = columns().fit(frame().iloc[split.rows])
    np.testing.assert_allclose(split.data.X, expected.transform(frame().iloc[split.rows]))
    np.testing.assert_allclose(split.X_test, expected.transform(frame().iloc[split.rows_test]))


def test_large_tables_of_numbers_have_their_names(tmp_path, monkeypatch):
    monkeypatch.setattr("datassay.data.out_of_core.LARGE", 100)
    table = frame().drop(columns="town").assign(y=Y)
    table.to_parquet(tmp_path / "rows.parquet")
    given = ColumnTransformer([("age", StandardScaler(), ["age"])])
    data = da.read(tmp_path / "rows.parquet", label="y", val=tmp_path / "rows.parquet", encoder=given)
    np.testing.assert_allclose(data.X, given.fit_transform(table), atol=1e-6)
    np.testing.assert_array_equal(data.X_val, data.X)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("TableVectorizer", "encoder needs a transformer.*got a str"),
        (StandardScaler, "got the class StandardScaler"),
        (columns(remainder="passthrough").set_params(town="passthrough"), "leaves text as it is, such as '(Ulm|Bonn)'"),
        (columns().set_params(town="passthrough").set_output(transform="pandas"), "leaves column 'town__town' as it is"),
        (StandardScaler(), "StandardScaler can't be fitted on the training rows"),
        (ColumnTransformer([("no", StandardScaler(), ["height"])]), "can't be fitted.*height"),
        (FunctionTransformer(lambda X: np.ones((2, 2))), r"one row for each of the 30 training rows.*\(2, 2\)"),
    ],
)
def test_what_is_no_encoder_of_these_rows(given, says):
    with pytest.raises(DataError, match=says):
        da.Dataset(frame(), Y, encoder=given)


def test_validation_rows_that_it_can_not_take():
    val = frame(1).assign(town="Kiel")
    given = OrdinalEncoder()
    with pytest.raises(DataError, match=r"OrdinalEncoder can't take the validation rows.*Kiel"):
        da.Dataset(frame()[["town"]], Y, val[["town"]], Y, encoder=given)


def test_tables_only():
    with pytest.raises(DataError, match="these rows are images"):
        da.Dataset(np.ones((4, 8, 8)), Y[:4], encoder=StandardScaler())
    with pytest.raises(DataError, match="with encoder= it is the encoder that takes them"):
        da.Dataset(frame(), Y, encoder=columns(), text=["town"])


def test_table_vectorizer_of_skrub():
    skrub = pytest.importorskip("skrub")
    table = frame().assign(when=pd.date_range("2024-01-01", periods=30).astype(str))
    data = da.Dataset(table, Y, table[:5], Y[:5], encoder=skrub.TableVectorizer(numeric=StandardScaler()))
    assert "town_Ulm" in data.columns
    assert "when_month" in data.columns
    np.testing.assert_allclose(data.X_val, data.X[:5], atol=1e-6)
    assert len(da.value(data, "cg-score", progress=False)) == 30
