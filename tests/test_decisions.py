"""What was decided about rows, done to data and to files, and whether it helped."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import datassay as da
from command import run
from datassay.checks import DataError
from datassay.decisions.files import records, write_applied
from datassay.decisions.records import by_rule, settled

PETS = (
    b"\xef\xbb\xbfname;weight;kind;remark\r\n"
    b'rex;30;"dog";"good; ""boy"""\r\n'
    b"tom;4;cat;\r\n"
    b"\r\n"
    b"ace;25;cat;two\r\n"
    b"mia;3;cat;'quoted'\r\n"
    b'joe;28;dog;"over\ntwo lines"\r\n'
    b"kim;5;dog;last"
)


@pytest.fixture
def pets(tmp_path):
    path = tmp_path / "pets.csv"
    path.write_bytes(PETS)
    return path, da.read(path, label="kind", id="name", drop=["remark"])


def decisions(**columns):
    return pd.DataFrame(columns)


def test_a_csv_file_stays_byte_for_byte_but_for_what_was_decided(pets, tmp_path):
    path, data = pets
    lines = decisions(id=["ace", "kim", "tom"], action=["relabel", "drop", "keep"], new_label=["dog", "", ""])
    written = write_applied(path, data, settled(lines, data), tmp_path / "clean.csv", label="kind")
    expected = PETS.replace(b"ace;25;cat", b'ace;25;"dog"').replace(b"kim;5;dog;last", b"")
    assert written.read_bytes() == expected
    again = da.read(written, label="kind", id="name", drop=["remark"])
    better = da.apply(data, lines)
    assert again.ids.tolist() == better.ids.tolist() == ["rex", "tom", "ace", "mia", "joe"]
    assert again.y.tolist() == better.y.tolist() == ["dog", "cat", "dog", "cat", "dog"]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_records_are_those_of_the_csv_module(separator):
    import csv
    import io

    rng = np.random.default_rng(0)
    cells = ["", "a", f"b{separator}c", 'say "so"', "two\nlines", "two\r\nlines", " x "]
    table = [[cells[i] for i in rng.integers(0, len(cells), 4)] for _ in range(200)]
    out = io.StringIO()
    csv.writer(out, delimiter=separator, lineterminator="\r\n").writerows(table)
    text = out.getvalue()
    found = [
        [text[a:b][1:-1].replace('""', '"') if text[a:b].startswith('"') else text[a:b] for a, b in fields]
        for _, _, fields in records(text, separator)
    ]
    assert found == table
    assert "".join(text[a:b] for a, b, _ in records(text, separator)) == text


def test_parquet_keeps_its_schema_and_metadata(tmp_path):
    table = pa.table(
        {"x": pa.array([0.0, 1.0, 0.1, 0.9, 0.2]), "kind": pa.array(["a", "b", "b", "b", "a"]).dictionary_encode()},
        metadata={"made": "by hand"},
    )
    path = tmp_path / "rows.parquet"
    pq.write_table(table, path, compression="zstd")
    data = da.read(path, label="kind")
    lines = decisions(id=[2, 4], action=["relabel", "drop"], new_label=["a", None])
    written = write_applied(path, data, settled(lines, data), tmp_path / "clean.parquet", label="kind")
    found = pq.read_table(written)
    assert found.schema.equals(table.schema, check_metadata=True)
    assert found.column("kind").to_pylist() == ["a", "b", "a", "b"]
    assert found.column("x").to_pylist() == [0.0, 1.0, 0.1, 0.9]
    assert pq.ParquetFile(written).metadata.row_group(0).column(0).compression == "ZSTD"


def test_regression_targets_in_csv_and_parquet(tmp_path):
    frame = pd.DataFrame({"x": np.arange(6.0), "y": [0.5, 1.5, 99.0, 3.5, 4.5, 5.5]})
    for name, write in {"r.csv": frame.to_csv, "r.parquet": frame.to_parquet}.items():
        path = tmp_path / name
        write(path, index=False)
        data = da.read(path, label="y")
        lines = decisions(id=["2"], given_label=["99"], action=["relabel"], new_label=["2.5"])
        written = write_applied(path, data, settled(lines, data), tmp_path / f"clean-{name}", label="y")
        assert da.read(written, label="y").y.tolist() == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5]


def test_npz_and_rows_that_reading_left_out(tmp_path):
    path = tmp_path / "rows.npz"
    X = np.array([[0.0], [np.nan], [0.1], [0.9], [1.0]])
    np.savez(path, X=X, y=np.array([0, 1, 1, 1, 0]), X_val=X[[0, 3]], y_val=np.array([0, 1]))
    data = da.read(path, missing="drop")
    lines = decisions(id=[2, 4], action=["relabel", "drop"], new_label=[0, np.nan])
    written = write_applied(path, data, settled(lines, data), tmp_path / "clean.npz")
    found = np.load(written)
    assert found["y"].tolist() == [0, 1, 0, 1]
    assert found["X_val"].shape == (2, 1)
    np.testing.assert_array_equal(found["X"], X[:4])


LINES = (
    b'\xef\xbb\xbf{"text": "it came late", "kind": "bad",  "n": 1}\r\n'
    b"\n"
    b'{"text": "tr\xc3\xa8s bien", "kind": "good", "n": 2}\n'
    b'{"kind": "good", "text": "broke", "n": 3}\n'
    b'{"kind": "bad", "text": "a joy", "n": 4}'
)


def test_json_lines_stay_but_for_those_that_were_decided(tmp_path):
    path = tmp_path / "said.jsonl"
    path.write_bytes(LINES)
    data = da.read(path, label="kind", id="text")
    lines = decisions(
        id=["très bien", "broke", "a joy"], action=["relabel", "drop", "relabel"], new_label=["bad", "", "good"]
    )
    written = write_applied(path, data, settled(lines, data), tmp_path / "clean.jsonl", label="kind")
    expected = LINES.replace(b'bien", "kind": "good"', b'bien", "kind": "bad"')
    expected = expected.replace(b'{"kind": "good", "text": "broke", "n": 3}\n', b"")
    assert written.read_bytes() == expected.replace(b'{"kind": "bad", "text": "a joy"', b'{"kind": "good", "text": "a joy"')
    assert pd.read_json(written, lines=True, encoding="utf-8-sig")["kind"].tolist() == ["bad", "bad", "good"]
    with pytest.raises(DataError, match="has 3 rows, and 4 were read: it was changed since"):
        write_applied(written, data, settled(lines, data), tmp_path / "other.jsonl", label="kind")


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "npz"])
def test_weights_are_a_column_more(suffix, tmp_path):
    """Also beside decisions, for the rows that stay, and none for a row that was not read."""
    path, cells = tmp_path / f"rows.{suffix}", {"a": [0.5, 1.5, None, 2.5, 3.5], "kind": ["x", "y", "x", "y", "x"]}
    frame = pd.DataFrame(cells)
    if suffix == "csv":
        frame.to_csv(path, index=False)
    elif suffix == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    elif suffix == "parquet":
        frame.to_parquet(path)
    else:
        np.savez(path, X=frame[["a"]].to_numpy(float), y=frame["kind"].to_numpy(str))
    label = None if suffix == "npz" else "kind"
    data = da.read(path, label=label, missing="drop")
    weights = ("weight, of the row", np.array([0.25, 1.0, 1 / 3, 0.01]))
    decided = settled(decisions(id=[1], action=["drop"]), data)
    written = write_applied(path, data, decided, tmp_path / f"out.{suffix}", label=label, weights=weights)
    if suffix == "npz":
        found = np.load(written)[weights[0]]
    else:
        read = {"csv": pd.read_csv, "jsonl": lambda p: pd.read_json(p, lines=True), "parquet": pd.read_parquet}[suffix]
        back = read(written)
        pd.testing.assert_frame_equal(back[["a", "kind"]], frame.drop(index=1).reset_index(drop=True))
        found = back[weights[0]].to_numpy()
    np.testing.assert_allclose(found, [0.25, np.nan, 1 / 3, 0.01], rtol=1e-5)
    taken = "X" if suffix == "npz" else "a"
    with pytest.raises(DataError, match=f"has a column '{taken}' already: give the weights another name"):
        write_applied(path, data, decided, tmp_path / f"again.{suffix}", label=label, weights=(taken, weights[1]))
    assert not (tmp_path / f"again.{suffix}").exists()


def test_people_who_disagree_decide_nothing_and_the_last_word_of_one_counts(pets):
    _, data = pets
    lines = decisions(
        id=["ace", "ace", "mia", "mia", "tom", "tom"],
        action=["drop", "relabel", "keep", "drop", "unsure", "drop"],
        new_label=["", "dog", "", "", "", ""],
        who=["ann", "ann", "ann", "bob", "ann", "bob"],
    )
    found = settled(lines, data)
    assert dict(zip(data.ids.tolist(), found.action.tolist(), strict=True)) == {
        "rex": "", "tom": "drop", "ace": "relabel", "mia": "unsure", "joe": "", "kim": "",
    }  # fmt: skip
    assert found.disputed == ["mia"]
    assert found.counts() == {"keep": 0, "relabel": 1, "drop": 1, "unsure": 1, "disputed": 1}


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        ({"id": ["zoe"], "action": ["drop"]}, "which no row has"),
        ({"id": ["ace"], "action": ["burn"]}, "must be one of keep, relabel, drop, unsure"),
        ({"id": ["ace"], "action": ["relabel"]}, "names no new_label"),
        ({"id": ["ace"], "action": ["relabel"], "new_label": ["cow"]}, "no row has the label 'cow'"),
        ({"id": ["ace"], "action": ["drop"], "given_label": ["dog"]}, "of other data"),
        ({"id": ["ace"], "action": ["drop"], "data": ["0" * 32]}, "made on other data"),
        ({"row": ["ace"], "action": ["drop"]}, "no column 'id'"),
    ],
)
def test_decisions_of_other_data_and_wrong_ones_are_refused(pets, columns, match):
    with pytest.raises(DataError, match=match):
        da.apply(pets[1], pd.DataFrame(columns))


def test_a_rule_decides_by_values():
    rng = np.random.default_rng(0)
    true = np.arange(200) % 2
    X = 4 * np.eye(2)[true] + rng.normal(size=(200, 2))
    given = np.where(np.arange(200) < 20, 1 - true, true)
    data = da.Dataset(X, given)
    values = da.value(data, method="cg-score", progress=False)
    dropped = by_rule(values, drop_top=0.1)
    assert len(da.apply(data, dropped)) == 180
    assert set(dropped["id"].astype(int)) == set(values.suspects(20)["id"])
    relabelled = da.apply(data, by_rule(values, relabel_above=0.8))
    assert (relabelled.y != true).sum() < 5
    for wrong in ({}, {"drop_top": 0.1, "relabel_above": 0.5}, {"drop_top": 1.5}, {"relabel_above": 1.0}):
        with pytest.raises(DataError, match="apply"):
            by_rule(values, **wrong)


def noisy(seed, n=240, m=0, rate=0.3):
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 3, n + m)
    X = 2.5 * np.eye(3)[true] + rng.normal(size=(n + m, 3))
    given = true[:n].copy()
    bad = rng.random(n) < rate
    given[bad] = 0  # into one class: such errors cost accuracy
    val = (X[n:], true[n:]) if m else ()
    return da.Dataset(X[:n], given, *val), true[:n]


def test_gain_on_validation_rows_is_the_difference_of_two_models():
    from sklearn.linear_model import LogisticRegression

    before, true = noisy(0, m=300)
    after = before.with_labels(true)
    model = LogisticRegression(max_iter=1000)
    found = da.gain(before, after, model=model, progress=False)
    first, second = (LogisticRegression(max_iter=1000).fit(d.X, d.y) for d in (before, after))
    hit = [(m.predict(before.X_val) == before.y_val).astype(float) for m in (first, second)]
    d = hit[1] - hit[0]
    assert found.before == pytest.approx(hit[0].mean())
    assert found.after == pytest.approx(hit[1].mean())
    assert found.difference == pytest.approx(d.mean())
    assert found.high - found.low == pytest.approx(2 * 1.968 * d.std(ddof=1) / np.sqrt(300), rel=1e-3)
    assert found.difference > 0.02
    assert found.shown
    assert str(found).startswith("Better by")
    assert found.random is None


def test_gain_without_validation_rows_asks_rows_that_were_left_as_they_are():
    before, true = noisy(1)
    rows = np.flatnonzero(before.y == true)
    after = before.take(rows)
    found = da.gain(before, after, repeats=2, progress=False)
    assert found.dropped == len(before) - len(rows)
    assert found.relabelled == 0
    assert found.test_rows == len(rows)
    assert found.difference > found.random
    assert found.low > 0
    assert "left as they are" in found.held_out
    assert "a rule that saw these labels is given too much" in str(found)


def test_where_nothing_helps_no_gain_is_shown():
    """Rows dropped at random: the interval holds 0 about as often as it should."""
    held = 0
    for seed in range(20):
        before, _ = noisy(seed, n=120, m=150, rate=0.0)
        stays = np.random.default_rng(seed).random(120) > 0.1
        found = da.gain(before, before.take(stays), progress=False)
        held += found.low <= 0 <= found.high
    assert held >= 17


def test_gain_refuses_what_can_not_be_compared():
    before, _ = noisy(0)
    with pytest.raises(DataError, match="nothing was changed"):
        da.gain(before, before.with_labels(before.y), progress=False)
    other = da.Dataset(before.X, before.y, ids=[f"r{i}" for i in range(len(before))])
    with pytest.raises(DataError, match="ids of the same rows"):
        da.gain(before, other, progress=False)
    with pytest.raises(DataError, match="give validation rows"):
        da.gain(before.take(np.arange(60)), before.take(np.arange(19)), progress=False)


def test_from_a_file_to_a_cleaned_file_with_a_proven_gain(tmp_path):
    before, _ = noisy(3, n=300, m=0)
    frame = pd.DataFrame(np.round(before.X, 4), columns=list("abc"))
    frame["kind"], frame["id"] = before.y, np.arange(300)
    frame.to_csv(tmp_path / "train.csv", index=False)
    common = ["--label", "kind", "--id", "id"]
    assert run("value", "train.csv", *common, "-m", "cg-score", "-o", "v.parquet", cwd=tmp_path).returncode == 0
    dry = run("apply", "v.parquet", "--data", "train.csv", "--relabel", "above=.6", "-o", "c.csv", "--dry-run", cwd=tmp_path)
    assert dry.returncode == 0, dry.stderr
    assert "Nobody looked at these rows" in " ".join(dry.stdout.split())
    assert not (tmp_path / "c.csv").exists()
    done = run("apply", "v.parquet", "--data", "train.csv", "--relabel", "above=.6", "-o", "c.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    again = pd.read_csv(tmp_path / "c.csv")
    assert (again.drop(columns="kind") == frame.drop(columns="kind")).all().all()
    assert (again["kind"] != frame["kind"]).sum() > 20
    weighed = run("apply", "v.parquet", "--data", "train.csv", "--weights", "w", "-o", "w.csv", cwd=tmp_path)
    assert weighed.returncode == 0, weighed.stderr
    again = pd.read_csv(tmp_path / "w.csv")
    pd.testing.assert_frame_equal(again.drop(columns="w"), pd.read_csv(tmp_path / "train.csv"))
    np.testing.assert_allclose(again["w"], da.Values.load(tmp_path / "v.parquet").to_sample_weight(), rtol=1e-5)
    found = run("gain", "--before", "train.csv", "--after", "c.csv", *common, cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert "rows have another label, 0 are gone" in found.stdout
    for call in (
        ["apply", "v.parquet", "--data", "train.csv", "-o", "d.csv"],
        ["apply", "v.parquet", "--data", "train.csv", "--drop-top", "many", "-o", "d.csv"],
        ["apply", "train.csv", "--data", "train.csv", "-o", "d.csv", *common],
        ["apply", "v.parquet", "--data", "train.csv", "--weights", "kind", "-o", "d.csv"],
        ["apply", "v.parquet", "--data", "c.csv", "--weights", "w", "-o", "d.csv"],
        ["apply", "v.parquet", "--data", "train.csv", "--drop-top", "2%", "-o", "train.csv"],
        ["gain", "--before", "train.csv", "--after", "train.csv", *common],
    ):
        failed = run(*call, cwd=tmp_path)
        assert failed.returncode == 2, call
        assert len(failed.stderr.strip().split(". ")) <= 3
        assert not (tmp_path / "d.csv").exists()
