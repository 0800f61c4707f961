"""Columns of free text: what is one, what becomes of it, beside other columns, and in every method."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

import datassay as da
from datassay.checks import DataError
from datassay.data.prose import WIDTH, Prose
from datassay.methods import METHODS

GOOD = ["lovely", "works", "well", "happy", "great", "perfect", "fast", "delivery", "thanks", "recommend"]
BAD = ["broken", "late", "refund", "awful", "returned", "poor", "never", "again", "useless", "waste"]
COMMON = ["the", "it", "was", "and", "i", "this", "product", "order", "box", "came", "with", "my", "in", "a", "day"]


def reviews(n=120, wrong=0.0, seed=0):
    rng = np.random.default_rng(seed)
    y = np.array(["good", "bad"])[np.arange(n) % 2]
    texts = [" ".join(rng.permutation([*rng.choice(GOOD if k == "good" else BAD, 3), *rng.choice(COMMON, 6)])) for k in y]
    given = y.copy()
    flipped = rng.choice(n, round(wrong * n), replace=False)
    given[flipped] = np.where(given[flipped] == "good", "bad", "good")
    return texts, given, np.isin(np.arange(n), flipped)


def test_a_csv_of_texts_needs_no_option(tmp_path, monkeypatch):
    texts, y, wrong = reviews(wrong=0.1)
    texts[:24:2] = ["lovely great perfect"] * 12  # a text that is common, beside which all others are rare
    pd.DataFrame({"review": texts, "sentiment": y}).to_csv(tmp_path / "reviews.csv", index=False)
    monkeypatch.chdir(tmp_path)
    from datassay.cli import app

    asked = ["value", "reviews.csv", "--label", "sentiment", "-m", "cg-score", "--report", "r.html"]
    ran = CliRunner().invoke(app, asked)
    assert ran.exit_code == 0, ran.output
    assert "Note: column 'review' is text, TF-IDF of " in " ".join(ran.output.split())
    values = da.Values.load("values.parquet")
    assert roc_auc_score(wrong, -values.scores) > 0.97
    assert values.stats["features"] == {"tfidf": 1.0}
    first = json.loads((tmp_path / "r.json").read_text())["suspects"][0]
    assert first["cells"][0]["value"] in texts
    assert not first["cells"][0]["unusual"]
    ran = CliRunner().invoke(app, ["report", "values.parquet", "--data", "reviews.csv", "-o", "again.html"])
    assert ran.exit_code == 0, ran.output


def test_all_words_where_they_are_few():
    few = ["a b", "b c", "a c", "b a c"] * 3
    data = da.Dataset(pd.DataFrame({"t": few}), list("xy") * 6, text=["t"])
    form = {"ngram_range": (1, 2), "sublinear_tf": True, "token_pattern": r"(?u)\b\w+\b"}
    expected = TfidfVectorizer(**form).fit_transform(few).toarray()
    np.testing.assert_allclose(data.X[:, :-1], expected, atol=1e-12)
    assert not data.X[:, -1].any()
    assert data.columns[:2] == ["t: a", "t: a b"]
    assert data.encoding == {"t": f"text, TF-IDF of {expected.shape[1]} words and pairs of words"}


def test_an_svd_of_many_words_keeps_most_of_their_products():
    texts = [" ".join(rng.choice(COMMON + GOOD + BAD, 12)) for rng in map(np.random.default_rng, range(400))]
    it = Prose()
    X = it.fit(texts)
    assert X.shape == (400, WIDTH + 1)
    assert it.how.endswith(f"in {WIDTH} columns by SVD")
    form = {"ngram_range": (1, 2), "sublinear_tf": True, "token_pattern": r"(?u)\b\w+\b", "min_df": 2}
    T = TfidfVectorizer(**form).fit_transform(texts).toarray()
    u, s, v = np.linalg.svd(T, full_matrices=False)
    best = (u[:, :WIDTH] * s[:WIDTH]) @ v[:WIDTH]
    lost, least = (np.linalg.norm(T @ T.T - A @ A.T) for A in (X / it.scale, best))
    assert lost < 1.5 * least + 1e-9 < 0.5 * np.linalg.norm(T @ T.T)
    np.testing.assert_allclose(np.mean((X**2).sum(axis=1)), 1)
    np.testing.assert_allclose(it.transform(texts), X, atol=1e-12)


def test_a_text_counts_as_much_as_all_other_columns():
    texts, y, _ = reviews()
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"stars": rng.normal(size=120), "n": rng.normal(size=120), "shop": rng.choice(list("abc"), 120)})
    table = da.Dataset(frame, y)
    data = da.Dataset(frame.assign(review=texts), y)
    np.testing.assert_array_equal(data.X[:, :5], table.X)
    assert list(data.encoding) == ["stars", "n", "shop", "review"]
    assert (data.X[:, 5:] ** 2).sum() == pytest.approx((table.X**2).sum())
    assert len(data.columns) == data.X.shape[1]
    assert data.features == {"features": {"table": 0.5, "tfidf": 0.5}}
    two = da.Dataset(frame.assign(review=texts, again=texts[::-1]), y)
    assert two.features["features"] == pytest.approx({"table": 1 / 3, "tfidf": 2 / 3})
    assert len(two.prose) == 2


def test_validation_rows_go_through_the_same_words():
    texts, y, _ = reviews()
    frame = pd.DataFrame({"review": texts, "n": np.arange(120.0) % 7})
    data = da.Dataset(frame, y, frame[:30], y[:30])
    np.testing.assert_allclose(data.X_val, data.X[:30], atol=1e-12)
    other = da.Dataset(frame, y, pd.DataFrame({"review": ["qqqq zzzz wwww"], "n": [3.0]}), ["good"])
    assert other.X_val[0, -1] != 0
    assert not other.X_val[0, 1:-1].any()


def test_empty_long_and_foreign_texts():
    texts, y, wrong = reviews(wrong=0.1)
    texts[3], texts[7], texts[5] = None, "   ", "lovely box " * 10_000
    frame = pd.DataFrame({"review": texts})
    data = da.Dataset(frame, y)
    assert data.X[3, -1] == data.X[7, -1] != 0
    values = da.value(data, progress=False)
    assert np.isfinite(values.scores).all()
    assert roc_auc_score(wrong, -values.scores) > 0.9
    assert da.Dataset(frame, y, missing="drop").dropped.tolist() == [3]
    foreign = {word: chr(0x4E00 + 7 * i) + chr(0x4E03 + 7 * i) for i, word in enumerate(GOOD + BAD + COMMON)}
    chinese = ["".join(foreign[word] for word in text.split()) for text in reviews(wrong=0.1)[0]]
    data = da.Dataset(pd.DataFrame({"review": chinese}), y)
    assert "letters" in data.encoding["review"]
    assert roc_auc_score(wrong, -da.value(data, progress=False).scores) > 0.95
    greek = [text.translate({ord("a") + i: chr(0x3B1 + i) for i in range(24)}) for text in reviews()[0]]
    assert "words" in da.Dataset(pd.DataFrame({"review": greek}), y).encoding["review"]
    nothing = da.Dataset(pd.DataFrame({"t": ["!", "?", "...", ""] * 5, "n": np.arange(20) % 3}), list("ab") * 10, text="t")
    assert np.isfinite(da.value(nothing, progress=False).scores).all()


def test_names_are_left_out_and_rare_kinds_are_one():
    texts, y, _ = reviews()
    rng = np.random.default_rng(0)
    keys = [f"K{rng.integers(10**9)}" for _ in texts]
    towns = rng.choice([f"town{i}" for i in range(90)], 120)
    frame = pd.DataFrame({"key": keys, "town": towns, "review": texts})
    data = da.Dataset(frame, y)
    assert data.encoding["key"] == "left out: another name in nearly each row"
    assert any("'key'" in note and keys[0] in note for note in data.notes)
    assert not any("key" in column for column in data.columns)
    (kinds,) = data.one_hot
    assert kinds.stop - kinds.start == 50
    np.testing.assert_array_equal(data.X[:, kinds].sum(axis=1), 1)
    assert data.columns[kinds.stop - 1] == "town: another"
    val = da.Dataset(frame, y, frame.assign(town="elsewhere")[:3], y[:3])
    np.testing.assert_array_equal(val.X_val[:, kinds][:, -1], 1)
    with pytest.raises(DataError, match=r"is text with 120 different values.*make it the id"):
        da.Dataset(frame[["key"]], y)


def test_short_names_of_kinds_stay_kinds():
    frame = pd.DataFrame({"a": ["light red", "dark blue"] * 6, "b": ["very dark red", "light and blue"] * 6})
    data = da.Dataset(frame, list("xy") * 6)
    assert set(data.encoding.values()) == {"text, one-hot, 2 values"}
    assert data.prose == {}
    assert data.features == {}


def test_the_hash_is_of_the_texts():
    texts, y, _ = reviews()
    frame = pd.DataFrame({"review": texts, "n": np.arange(120.0) % 7})
    data = da.Dataset(frame, y, frame[:5], y[:5])
    assert da.Dataset(frame.copy(), y, frame[:5], y[:5]).hash == data.hash
    changed = frame.copy()
    changed.loc[3, "review"] += " indeed"
    assert da.Dataset(changed, y, frame[:5], y[:5]).hash != data.hash
    assert da.Dataset(frame, y, changed[1:6], y[1:6]).hash != data.hash
    few, again = data.take(range(100)), da.Dataset(frame[:100], y[:100], frame[:5], y[:5])
    assert few.hash not in (data.hash, again.hash)
    assert data.with_features(np.ones((120, 2)), np.ones((5, 2))).hash != data.hash
    assert data.with_features("table").hash == data.hash
    assert data.take_validation([0, 1]).hash != data.hash
    only = da.Dataset(frame[["review"]], y)
    assert only.hash == da.Dataset(frame[["review"]], y).hash != only.take(range(60)).hash


def test_texts_and_table_weighed_by_the_likelihood():
    texts, y, _ = reviews()
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(120, 6)), columns=list("abcdef")).assign(review=texts)
    data = da.Dataset(frame, y).with_features({"table": "table", "tfidf": "tfidf"}, progress=False)
    weights = data.features["features"]
    assert weights["table"] < 0.2 < weights["tfidf"]
    alone = da.Dataset(frame, y).with_features("tfidf")
    assert alone.features == {"features": {"tfidf": 1.0}}
    assert alone.X.shape[1] == da.Dataset(frame, y).X.shape[1] - 6
    with pytest.raises(DataError, match="need a column of free text"):
        da.Dataset(frame[list("abc")], y).with_features("tfidf")
    with pytest.raises(DataError, match="need other columns"):
        da.Dataset(frame[["review"]], y).with_features({"table": "table", "tfidf": "tfidf"})


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("dvrl", "lossval", "lava")])
def test_every_method_takes_texts(name):
    texts, y, _ = reviews(40)
    frame = pd.DataFrame({"review": texts, "n": np.arange(40.0) % 7})
    data = da.Dataset(frame, y, frame[:10], y[:10])
    if METHODS[name].missing():
        pytest.skip("an extra")
    options = {"epochs": 1} if METHODS[name].model == "network" else {}
    few = {"ame", "shapley", "beta-shapley", "banzhaf", "datamodels", "data-oob", "c-score"}
    options |= {"n_models": 20} if name in few else {}
    values = da.value(data, name, **options)
    assert np.isfinite(values.scores).all()


def test_what_is_no_column_of_text():
    with pytest.raises(DataError, match="no column 'b' \\(text\\); X has 'a'"):
        da.Dataset(pd.DataFrame({"a": ["x y"] * 4}), list("uvuv"), text=["b"])
    with pytest.raises(DataError, match="X is none"):
        da.Dataset(np.ones((4, 2)), list("uvuv"), text=["b"])
