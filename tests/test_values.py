import json

import numpy as np
import pandas as pd
import pytest

import datassay as da
from datassay.checks import DataError
from datassay.values import Values


def small(**changes):
    given = {
        "ids": np.array(["a", "b", "c", "d"]),
        "scores": np.array([0.5, -1.0, 2.0, -1.0]),
        "flagged": np.array([False, True, False, True]),
        "columns": {"cg_score": np.array([-0.5, np.inf, -2.0, 1.0])},
        "method": "cg-score",
        "options": {"ridge": "auto", "seed": 0},
        "stats": {"seconds": 0.25, "stderr": np.array([0.1, 0.2, 0.3, 0.4]), "conflicting_rows": [["b", "d"]]},
        "given_label": np.array([0, 1, 1, 0]),
        "suggested_label": np.array([0, 0, 1, 1]),
        "data_hash": "00ff",
    }
    return Values(**(given | changes))


def test_frame_and_suspects():
    frame = small().to_frame()
    assert list(frame.columns) == ["id", "score", "rank", "flagged", "given_label", "suggested_label", "cg_score"]
    assert list(frame["rank"]) == [3, 1, 4, 2]  # equal scores keep the order of the rows
    assert list(small().suspects(2)["id"]) == ["b", "d"]


OBJECTS = np.empty(4, dtype=object)
OBJECTS[:] = [("x", 1), "two", None, 3.5]


@pytest.mark.parametrize("labels", [np.array([0, 1, 1, 0]), np.array(list("abba")), np.array([True, False] * 2), OBJECTS])
def test_save_and_load_is_the_same(tmp_path, labels):
    values = small(given_label=labels, suggested_label=labels[::-1])
    back = Values.load(values.save(tmp_path / "v.parquet"))
    for name in ("ids", "scores", "flagged", "given_label", "suggested_label"):
        np.testing.assert_array_equal(getattr(back, name), getattr(values, name))
        assert getattr(back, name).dtype == getattr(values, name).dtype
    np.testing.assert_array_equal(back.columns["cg_score"], values.columns["cg_score"])
    np.testing.assert_array_equal(back.stats.pop("stderr"), values.stats.pop("stderr"))
    assert (back.stats, back.options, back.method) == (values.stats, values.options, values.method)
    assert (back.data_hash, back.versions) == (values.data_hash, values.versions)
    assert back.versions["datassay"] == da.__version__
    assert sorted(p.name for p in tmp_path.iterdir()) == ["v.parquet"]


def test_a_whole_run_survives_the_file(tmp_path):
    X = np.random.default_rng(0).normal(size=(30, 3))
    data = da.Dataset(X, ["a", "b", "c"] * 10, ids=[f"r{i}" for i in range(30)])
    values = da.value(data)
    back = Values.load(values.save(tmp_path / "v.parquet"))
    pd.testing.assert_frame_equal(back.to_frame(), values.to_frame(), check_dtype=False)
    assert back.data_hash == data.hash
    assert back.stats == values.stats


def test_no_pickle_inside(tmp_path):
    path = small(given_label=OBJECTS).save(tmp_path / "v.parquet")
    assert b"pickle" not in path.read_bytes()
    assert json.dumps("two") in pd.read_parquet(path)["given_label"].tolist()


def test_what_can_t_be_saved_is_said_and_leaves_nothing(tmp_path):
    odd = OBJECTS.copy()
    odd[0] = frozenset("x")
    with pytest.raises(DataError, match="given label can't be saved: a label of type frozenset"):
        small(given_label=odd).save(tmp_path / "v.parquet")
    with pytest.raises(DataError, match="does not exist"):
        small().save(tmp_path / "nowhere" / "v.parquet")
    assert list(tmp_path.iterdir()) == []


def test_what_can_t_be_loaded_is_said(tmp_path):
    with pytest.raises(DataError, match="there is no file"):
        Values.load(tmp_path / "v.parquet")
    (tmp_path / "v.parquet").write_text("text")
    with pytest.raises(DataError, match="not a Parquet file"):
        Values.load(tmp_path / "v.parquet")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "v.parquet")
    with pytest.raises(DataError, match="holds no values"):
        Values.load(tmp_path / "v.parquet")


def test_a_failing_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = small().save(tmp_path / "v.parquet")
    before = path.read_bytes()

    def broken(table, where, **_):
        assert where != path  # beside, then renamed
        where.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("datassay.values.pq.write_table", broken)
    with pytest.raises(OSError, match="disk full"):
        small(scores=np.zeros(4)).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["v.parquet"]


def test_the_target_is_never_written_to(tmp_path, monkeypatch):
    import pyarrow.parquet as pq

    written, write = [], pq.write_table
    monkeypatch.setattr(
        "datassay.values.pq.write_table", lambda t, where, **o: (written.append(where), write(t, where, **o))
    )
    path = small().save(tmp_path / "v.parquet")
    assert len(written) == 1
    assert path not in written
    assert path.exists()


def test_representations_escape():
    values = small(ids=np.array(["<script>alert(1)</script>", "b", "c", "d"]), scores=np.array([-9.0, 0, 0, 0]))
    assert "<script>" not in values._repr_html_()
    assert "&lt;script&gt;" in values._repr_html_()
    assert repr(values).startswith("Values: 4 rows by cg-score, 2 flagged")
