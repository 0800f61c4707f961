import copy
import json
import pickle
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
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


def rewritten(path, change, drop=()):
    """The same file with other words beside the table."""
    table = pq.read_table(path)
    meta = json.loads(table.schema.metadata[b"datassay"]) | {"format": 1}  # as files were before they had a digest
    change(meta)
    pq.write_table(table.drop_columns(list(drop)).replace_schema_metadata({b"datassay": json.dumps(meta).encode()}), path)
    return path


@pytest.mark.parametrize("column", ["id", "score", "flagged"])
def test_a_file_without_a_column_is_said(tmp_path, column):
    path = rewritten(small().save(tmp_path / "v.parquet"), lambda meta: None, drop=[column])
    with pytest.raises(DataError, match=rf"v\.parquet' is not whole \(KeyError: .*{column}.*\): write it again"):
        Values.load(path)


@pytest.mark.parametrize("key", ["format", "kinds", "method", "stats", "versions"])
def test_a_file_without_its_words_is_said(tmp_path, key):
    path = rewritten(small().save(tmp_path / "v.parquet"), lambda meta: meta.pop(key))
    with pytest.raises(DataError, match=f"not whole .*{key}"):
        Values.load(path)
    with pytest.raises(DataError, match="not whole"):
        Values.load(rewritten_raw(path, b"no JSON"))
    with pytest.raises(DataError, match="not whole"):
        Values.load(rewritten_raw(path, b"[]"))


def rewritten_raw(path, words):
    pq.write_table(pq.read_table(path).replace_schema_metadata({b"datassay": words}), path)
    return path


def test_a_newer_file_is_said(tmp_path):
    path = rewritten(small().save(tmp_path / "v.parquet"), lambda meta: meta.update(format=3))
    with pytest.raises(DataError, match="newer datassay, in format 3"):
        Values.load(path)


def arrays(values):
    named = [getattr(values, name) for name in ("ids", "scores", "flagged", "given_label", "suggested_label")]
    return named + list(values.columns.values())


def test_values_are_frozen_and_what_was_given_is_not(tmp_path):
    scores, column = np.array([0.5, -1.0, 2.0, -1.0]), np.zeros(4)
    columns = {"cg_score": column}
    values = small(scores=scores, columns=columns)
    loaded = Values.load(values.save(tmp_path / "v.parquet"))
    for one in (values, loaded, copy.deepcopy(values), pickle.loads(pickle.dumps(values)), replace(values, method="x")):
        for array in arrays(one):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = array[1]
        assert isinstance(one.columns, dict)
    assert scores.flags.writeable
    assert column.flags.writeable
    assert columns["cg_score"] is column
    with pytest.raises(FrozenInstanceError):
        values.scores = scores
    bare = small(given_label=None, suggested_label=None)
    assert bare.given_label is None
    frame = values.to_frame()
    frame.loc[0, "score"] = 9.0  # a table is the caller's own
    assert values.scores[0] == 0.5


def test_values_say_where_the_rows_came_from(tmp_path):
    pd.DataFrame({"a": np.arange(8.0), "kind": list("xyxyxyxy")}).to_csv(tmp_path / "rows.csv", index=False)
    data = da.read(tmp_path / "rows.csv", label="kind")
    values = da.value(data, "random")
    assert values.stats["source"] == data.source
    assert values.stats["source"]["label"] == "kind"
    assert da.random(data).stats["source"] == data.source
    assert da.value(data, lambda data: data.X[:, 0]).stats["source"] == data.source
    assert Values.load(values.save(tmp_path / "v.parquet")).stats["source"] == data.source
    assert "source" not in da.value(da.Dataset(data.X, data.y), "random").stats


def test_a_failing_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = small().save(tmp_path / "v.parquet")
    before = path.read_bytes()

    def broken(table, where, **_):
        assert where.name != str(path)  # beside, then renamed
        where.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("datassay.values.pq.write_table", broken)
    with pytest.raises(OSError, match="disk full"):
        small(scores=np.zeros(4)).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["v.parquet"]


def test_the_target_is_never_written_to(tmp_path, monkeypatch):
    written, write = [], pq.write_table
    monkeypatch.setattr(
        "datassay.values.pq.write_table", lambda t, where, **o: (written.append(where), write(t, where, **o))
    )
    path = small().save(tmp_path / "v.parquet")
    assert len(written) == 1
    assert written[0].name != str(path)
    assert path.exists()


def test_representations_escape():
    values = small(ids=np.array(["<script>alert(1)</script>", "b", "c", "d"]), scores=np.array([-9.0, 0, 0, 0]))
    assert "<script>" not in values._repr_html_()
    assert "&lt;script&gt;" in values._repr_html_()
    assert repr(values).startswith("Values: 4 rows by cg-score, 2 flagged")


def test_a_flipped_bit_is_an_error_and_never_other_scores(tmp_path):
    path = small().save(tmp_path / "v.parquet")
    was, whole = path.read_bytes(), Values.load(path)
    rng = np.random.default_rng(0)
    same = 0
    for bit in rng.integers(0, 8 * len(was), 400):
        now = bytearray(was)
        now[bit // 8] ^= 1 << bit % 8
        path.write_bytes(now)
        try:
            found = Values.load(path)
        except DataError:
            continue
        pd.testing.assert_frame_equal(found.to_frame(), whole.to_frame(), check_dtype=True)
        assert (found.method, found.options, found.data_hash) == (whole.method, whole.options, whole.data_hash)
        same += 1
    assert same < 200  # in bytes that say nothing, such as statistics


def test_pages_have_checksums_that_any_reader_can_verify(tmp_path, monkeypatch):
    """Our digest aside: flipped bits within the pages of the columns are seen by Arrow too, in ours and in a bench's tables."""
    monkeypatch.setattr("datassay.values._digest", lambda table, about: b"any")
    path = small().save(tmp_path / "v.parquet")
    da.evaluate("iris", "random", rates=0.1, seeds=1, progress=False).save(tmp_path)
    rng = np.random.default_rng(0)
    for file, read in (
        (path, Values.load),
        (tmp_path / "results.parquet", lambda p: pq.read_table(p, page_checksum_verification=True)),
    ):
        was, about = file.read_bytes(), pq.ParquetFile(file).metadata.row_group(0)
        pages = [about.column(i) for i in range(about.num_columns)]
        for column in pages:
            start = column.dictionary_page_offset or column.data_page_offset
            at = start + column.total_compressed_size - 1 - int(rng.integers(3))  # within the last page, behind its header
            now = bytearray(was)
            now[at] ^= 1 << int(rng.integers(8))
            file.write_bytes(now)
            with pytest.raises((DataError, OSError), match=r"CRC checksum|not whole"):
                read(file)


def test_a_file_without_a_digest_is_read_as_before(tmp_path):
    path = rewritten(small().save(tmp_path / "v.parquet"), lambda meta: None)
    assert (Values.load(path).scores == small().scores).all()


@pytest.mark.parametrize(
    ("said", "starts"),
    [
        ({"low": 0, "high": 9, "likely": 1, "told": False}, "1 label looks wrong or is hard to tell; in all at most 9 of 20, check"),
        ({"low": 1, "high": 9, "likely": 3, "told": False}, "3 labels are most likely wrong; in all between 1 and 9 of 20, check"),
        ({"low": 1, "high": 9, "likely": 4, "told": True}, "4 labels look wrong or are hard to tell; in all between 1 and 9 of 20"),
        ({"low": 1, "high": 9, "likely": 4, "told": True, "checked": 7}, "4 labels are most likely wrong; in all between"),
        ({"low": 0, "high": 9, "likely": 0, "told": False}, "no label stands out as wrong; in all at most 9 of 20, check"),
    ],
)  # fmt: skip
def test_the_headline_claims_no_more_than_the_bounds(said, starts):
    values = Values(np.arange(20), np.zeros(20), np.zeros(20, bool), {}, "cg-score", stats={"wrong_labels": said})
    assert values.headline().startswith(starts)
