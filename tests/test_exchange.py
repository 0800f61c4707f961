"""Suspects out to other tools, and decisions back: forms as Label Studio 1.23.2, Argilla 2.8 and cleanlab 2.9 have them.

Those of Label Studio were seen in what its server exported (`python benchmarks/label_studio.py`).
"""

from __future__ import annotations

import csv
import json
import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

import datassay as da
from command import run
from datassay.checks import DataError
from datassay.decisions.exchange import TOOLS, export, read_answers


@pytest.fixture
def texts():
    rng = np.random.default_rng(0)
    X = np.r_[rng.normal(3, 1, (20, 2)), rng.normal(-3, 1, (20, 2))]
    y = np.repeat(["good", "bad"], 20)
    y[3] = "bad"
    shown = [f"=text {i}, <b>&" for i in range(40)]
    data = da.Dataset(X, y, ids=[f"row-{i}" for i in range(40)]).showing(shown)
    return da.value(data, method="cg-score", progress=False), data


def test_tasks_of_label_studio(texts, tmp_path):
    values, data = texts
    written = export(values, data, "label-studio", tmp_path / "tasks.json", top=5)
    tasks = json.loads(written[0].read_text())
    assert len(tasks) == 5
    first = tasks[0]
    assert first["data"]["datassay_id"] == "row-3"
    assert first["data"]["text"] == "=text 3, <b>&"
    assert first["data"]["given_label"] == "bad"
    result = first["predictions"][0]["result"][0]
    assert result["value"] == {"choices": ["good"]}
    assert (result["from_name"], result["to_name"], result["type"]) == ("label", "text", "choices")
    scores = [task["predictions"][0]["score"] for task in tasks]
    assert scores == sorted(scores)  # the lowest is shown first
    assert 0 <= min(scores) <= max(scores) <= 1
    config = ElementTree.fromstring(written[1].read_text())
    assert [choice.attrib for choice in config.iter("Choice")] == [{"value": "bad"}, {"value": "good"}]
    assert config.find("Text").attrib == {"name": "text", "value": "$text"}
    assert config.find("Header").attrib["value"] == "labelled $given_label"  # else nobody sees what the label was
    assert len({task["predictions"][0]["result"][0]["id"] for task in tasks}) == 5


def test_choices_of_label_studio_are_the_labels_whatever_they_hold(tmp_path):
    """Its interface takes $10 in a value for a field of the task and stores "undefined"; XML makes one space of a line end."""
    labels = ["$10-20", "$text", "5 $", 'a "b" & <c>', "a $x", "two\nlines", "yes, no"]
    data = da.Dataset(np.arange(14.0)[:, None], labels * 2).showing([f"text {i}" for i in range(14)])
    written = export(da.value(data, method="random"), data, "label-studio", tmp_path / "tasks.json")
    choices = [choice.attrib for choice in ElementTree.fromstring(written[1].read_text(encoding="utf-8")).iter("Choice")]
    assert [one.get("alias", one["value"]) for one in choices] == sorted(labels)
    assert [one["value"].replace("\u200b", "") for one in choices] == sorted(labels)
    assert not any(re.search(r"\$[\w\[\].{}]", one["value"]) for one in choices)


def test_addresses_of_pictures(tmp_path):
    names = ["one #1/a b.png", "two & more/c?d.png", "two & more/100%.png", "one #1/ü.png"]
    images = np.arange(4 * 64, dtype=float).reshape(4, 8, 8)
    data = da.Dataset(images, ["one #1", "two & more", "two & more", "one #1"], ids=names)
    values = da.value(data, method="random")
    there = {}
    for prefix in ("/data/local-files/?d=pics/", "https://example.org/", "s3://bucket/", "C:/pics/"):
        export(values, data, "label-studio", tmp_path / "tasks.json", prefix=prefix, force=True)
        tasks = json.loads((tmp_path / "tasks.json").read_text())
        there[prefix] = {task["data"]["datassay_id"]: task["data"]["image"] for task in tasks}
    config = ElementTree.fromstring((tmp_path / "tasks.xml").read_text())
    # the choices stay in sight
    assert config.find("Image").attrib == {"name": "image", "value": "$image", "maxHeight": "50vh"}
    quoted = ["one%20%231/a%20b.png", "two%20%26%20more/c%3Fd.png", "two%20%26%20more/100%25.png", "one%20%231/%C3%BC.png"]
    for prefix, found in there.items():
        ends = quoted if prefix[0] in "/h" else names  # of a bucket's object the name, and no address
        assert found == {name: prefix + end for name, end in zip(names, ends, strict=True)}


def task(number, key, annotations, given="good", **more):
    """As Label Studio's full export has it."""
    data = {
        "text": "a text",
        "datassay_id": key,
        "given_label": given,
        "datassay_score": -1.5,
        "datassay_rank": 1,
        "flagged": True,
    }
    return {
        "id": number, "annotations": annotations, "file_upload": "8f0f9f33-tasks.json", "drafts": [], "predictions": [number],
        "data": data, "meta": {}, "inner_id": number, "total_annotations": len(annotations), **more,
    }  # fmt: skip


def answered(choices, by=1, minute=0, **more):
    at = f"2026-11-30T03:{minute:02}:55.963433Z"
    result = {"value": {"choices": choices}, "id": "datassay-1", "from_name": "label", "to_name": "text", "type": "choices"}
    return {
        "id": 9, "completed_by": by, "result": [result | {"origin": "prediction-changed"}] if choices else [], "was_cancelled": False,
        "ground_truth": False, "created_at": at, "updated_at": at, "lead_time": 5.685, "parent_prediction": 1, **more,
    }  # fmt: skip


def test_answers_of_label_studio(texts, tmp_path):
    _, data = texts
    tasks = [
        task(1, "row-3", [answered(["good"])], given="bad"),
        task(2, "row-4", [answered(["good"], by={"id": 2, "email": "a@b.c"})]),
        task(3, "row-5", [answered(["bad"], was_cancelled=True)]),  # who skips leaves the suggestion in the result
        task(4, "row-6", [answered(["good", "bad"])]),
        task(5, "row-7", []),
        task(6, "row-8", [answered(["bad"]), answered(["good"], by=2, minute=1)]),
        task(7, "row-9", [answered(["bad"]), answered([], by=2)]),  # sent without a choice
        task(
            8, "row-10", [], drafts=[{"id": 1, "user": "a@b.c", "result": answered(["bad"])["result"], "annotation": None}]
        ),
        task(9, "row-11", [answered(["bad"]), answered(["good"], minute=1)]),  # the same person again
        task(10, "row-12", [answered(["bad"], minute=2), answered(["good"], minute=1)]),  # the first was changed last
    ]
    path = tmp_path / "export.json"
    path.write_text(json.dumps(tasks))
    found = read_answers(path, data)
    ids = ["row-3", "row-4", "row-5", "row-6", "row-8", "row-8", "row-9", "row-9", "row-11", "row-11", "row-12", "row-12"]
    assert found["id"].tolist() == ids
    said = [
        "relabel",
        "keep",
        "unsure",
        "unsure",
        "relabel",
        "keep",
        "relabel",
        "unsure",
        "relabel",
        "keep",
        "keep",
        "relabel",
    ]
    assert found["action"].tolist() == said
    assert found["new_label"].tolist() == ["good", "", "", "", "bad", "", "bad", "", "bad", "", "", "bad"]
    assert found["who"].tolist()[:6] == ["1", "a@b.c", "1", "1", "1", "2"]
    assert found["note"].tolist()[:8] == ["", "", "skipped", "2 choices", "", "", "", "0 choices"]
    assert found["seconds"].tolist()[0] == "5.685"
    better = da.apply(data, found)
    changed = {row: better.y[row] for row in range(40) if better.y[row] != data.y[row]}
    assert changed == {3: "good", 9: "bad", 12: "bad"}  # about row 8 two people disagree


FLAT = (
    ("row-3", "bad", "good", 1, 0), ("row-4", "good", {"choices": ["good", "bad"]}, 1, 0), ("row-5", "good", None, 1, 0),
    ("row-8", "good", "good", 2, 1), ("row-8", "good", "bad", 1, 0), ("row-11", "good", "good", 1, 1), ("row-11", "good", "bad", 1, 0),
)  # fmt: skip


@pytest.mark.parametrize("form", ["export.json", "export.csv", "tsv.csv"])
def test_flat_answers_of_label_studio(texts, tmp_path, form):
    """One line an answer, the newest first; what was skipped is not there; TSV is called .csv, too."""
    _, data = texts
    lines = []
    for number, (key, given, label, who, minute) in enumerate(FLAT, 1):
        at = f"2026-11-30T03:{minute:02}:55.963433Z"
        line = {
            "text": "a\ntext, two",
            "datassay_id": key,
            "given_label": given,
            "datassay_rank": 1,
            "flagged": True,
            "id": number,
        }
        line |= {} if label is None else {"label": label}
        lines.append(line | {"annotator": who, "annotation_id": 9, "created_at": at, "updated_at": at, "lead_time": 2.0})
    if form == "export.json":
        (tmp_path / form).write_text(json.dumps(lines))
    else:
        frame = pd.DataFrame(lines)
        frame["label"] = [json.dumps(x) if isinstance(x, dict) else x for x in frame["label"]]
        frame.to_csv(tmp_path / form, index=False, sep="\t" if form == "tsv.csv" else ",", quoting=csv.QUOTE_NONNUMERIC)
    found = read_answers(tmp_path / form, data)
    assert found["id"].tolist() == ["row-3", "row-4", "row-8", "row-8", "row-11", "row-11"]
    assert found["action"].tolist() == ["relabel", "unsure", "relabel", "keep", "relabel", "keep"]
    better = da.apply(data, found)
    assert {row: better.y[row] for row in range(40) if better.y[row] != data.y[row]} == {3: "good"}


def test_ids_and_labels_of_label_studio_are_as_they_are(tmp_path):
    """An apostrophe before what a spreadsheet would run is taken off again only in files that `export` wrote."""
    ids, labels = ["'=id", "=id", "007", "1e5"], ["'=a", '{"choices": ["q"]}', "001", " b"]
    data = da.Dataset(np.arange(8.0)[:, None], labels * 2, ids=[*ids, "e", "f", "g", "h"])
    other = labels[1:] + labels[:1]
    lines = pd.DataFrame({"datassay_id": ids, "given_label": labels, "label": other, "annotator": 1, "updated_at": "2026"})
    lines.to_csv(tmp_path / "export.csv", index=False, quoting=csv.QUOTE_NONNUMERIC)
    lines.to_json(tmp_path / "export.json", orient="records")
    for form in ("export.csv", "export.json"):
        found = read_answers(tmp_path / form, data)
        assert found["id"].tolist() == ids
        assert found["new_label"].tolist() == other
        assert da.apply(data, found).y.tolist() == other + labels


def test_records_of_argilla_and_back(texts, tmp_path):
    values, data = texts
    export(values, data, "argilla", tmp_path / "records.json", top=2)
    first = json.loads((tmp_path / "records.json").read_text())[0]
    assert first["id"] == "row-3"
    assert first["suggestions"]["label"]["value"] == "good"
    assert set(first["fields"]) == {"text"}
    flat = [
        {"id": "row-3", "label.responses": ["good", "bad"], "label.responses.users": ["u1", "u2"],
         "label.responses.status": ["submitted", "draft"]},
        {"id": "row-4", "label.responses": ["bad"], "label.responses.users": ["u1"], "label.responses.status": ["discarded"]},
        {"id": "row-5", "label.responses": None},
    ]  # fmt: skip
    (tmp_path / "flat.json").write_text(json.dumps(flat))
    found = read_answers(tmp_path / "flat.json", data)
    assert found[["id", "action", "new_label", "who"]].to_numpy().tolist() == [["row-3", "relabel", "good", "u1"]]


def test_tables(texts, tmp_path):
    values, data = texts
    export(values, data, "cleanlab", tmp_path / "issues.csv")
    issues = pd.read_csv(tmp_path / "issues.csv")
    assert issues.columns.tolist() == ["id", "is_label_issue", "label_score", "given_label", "predicted_label"]
    assert issues["label_score"].between(0, 1).all()
    assert issues["id"].tolist() == data.ids.tolist()  # CleanLearning.fit(label_issues=) goes by the place
    assert issues["label_score"].rank().tolist() == values.ranks().tolist()
    back = read_answers(tmp_path / "issues.csv", data)
    assert set(back["id"]) == set(data.ids[values.flagged])
    export(values, data, "huggingface", tmp_path / "side.parquet")
    side = pd.read_parquet(tmp_path / "side.parquet")
    assert side["id"].tolist() == data.ids.tolist()
    export(values, data, "cleanlab", tmp_path / "few.csv", top=3)
    few = pd.read_csv(tmp_path / "few.csv")["id"].tolist()
    assert (
        few == data.ids[np.sort(np.argsort(values.scores)[:3])].tolist() != data.ids[np.argsort(values.scores)[:3]].tolist()
    )
    with pytest.raises(DataError, match="shows pictures"):
        export(values, data, "fiftyone", tmp_path / "f.csv")


def test_a_sheet_is_filled_in_and_no_cell_is_a_formula(tmp_path):
    names = ["=cmd()", "+1+1", "-2", "@x", "'quoted", "plain"]
    X = np.array([[0.0], [0.1], [0.2], [5.0], [5.1], [5.2]])
    data = da.Dataset(X, ["=a", "=a", "=a", "b", "b", "b"], ids=names)
    values = da.value(data, method="random")
    export(values, data, "csv", tmp_path / "sheet.csv")
    sheet = pd.read_csv(tmp_path / "sheet.csv", dtype=str, keep_default_na=False)
    assert all(not cell.startswith(("=", "+", "@")) for cell in sheet["id"])
    assert "-2" in set(sheet["id"])  # a number is none
    sheet.loc[sheet["id"] == "'=cmd()", ["action", "new_label"]] = ["relabel", "b"]
    sheet.loc[sheet["id"] == "''quoted", "action"] = "drop"
    sheet.to_csv(tmp_path / "sheet.csv", index=False)
    found = read_answers(tmp_path / "sheet.csv", data)
    assert found[["id", "action", "new_label"]].to_numpy().tolist() in (
        [["=cmd()", "relabel", "b"], ["'quoted", "drop", ""]],
        [["'quoted", "drop", ""], ["=cmd()", "relabel", "b"]],
    )
    assert da.apply(data, found).y.tolist() == ["b", "=a", "=a", "b", "b"]
    # as spreadsheets of many countries save it
    sheet.to_csv(tmp_path / "sheet.csv", index=False, sep=";", encoding="utf-8-sig")
    pd.testing.assert_frame_equal(read_answers(tmp_path / "sheet.csv", data), found)


def test_what_does_not_belong_together_is_refused(texts, tmp_path):
    values, data = texts
    with pytest.raises(DataError, match="of other rows"):
        export(values, data.take(np.arange(2, 40)), "csv", tmp_path / "x.csv")
    with pytest.raises(DataError, match="to must be"):
        export(values, data, "excel", tmp_path / "x.csv")
    for content, match in (
        ('[{"data": {"x": 1}, "annotations": []}]', "no datassay_id"),
        ('[{"x": 1}]', "neither a task"),
        ('[{"datassay_id": "zoe", "label": "good"}]', "about other data"),
        (
            '[{"datassay_id": "row-4", "given_label": "bad", "label": "good"}]',
            "was 'bad', and it is 'good': this is about other data",
        ),
        (json.dumps([task(1, "row-4", [answered(["good"])], given="bad")]), "was 'bad', and it is 'good'"),
        ("{}", "not a list"),
        ("[", "can't be read as JSON"),
    ):
        (tmp_path / "a.json").write_text(content)
        with pytest.raises(DataError, match=match):
            read_answers(tmp_path / "a.json", data)
    assert not (tmp_path / "x.csv").exists()


def test_round_trip_by_the_command_line(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(np.r_[rng.normal(3, 1, (20, 2)), rng.normal(-3, 1, (20, 2))], columns=["a", "b"]).round(3)
    frame["kind"], frame["id"] = np.repeat(["x", "y"], 20), np.arange(40)
    frame.loc[3, "kind"] = "y"
    frame.to_csv(tmp_path / "t.csv", index=False)
    common = ["--label", "kind", "--id", "id"]
    assert run("value", "t.csv", *common, "-m", "cg-score", "-o", "v.parquet", cwd=tmp_path).returncode == 0
    for tool in TOOLS:
        done = run("export", "v.parquet", "--data", "t.csv", "--to", tool, "-o", f"out.{tool}.json", cwd=tmp_path)
        assert done.returncode == (2 if tool == "fiftyone" else 0), done.stderr
    tasks = json.loads((tmp_path / "out.label-studio.json").read_text())
    tasks[0]["annotations"] = [answered(["x"])]
    for one in tasks[1:]:
        one["annotations"] = []
    (tmp_path / "back.json").write_text(json.dumps(tasks))
    back = run("import", "back.json", "--data", "t.csv", *common, "-o", "d.csv", cwd=tmp_path)
    assert back.returncode == 0, back.stderr
    assert "1 decisions (1 relabel)" in back.stdout
    done = run("apply", "d.csv", "--data", "t.csv", *common, "-o", "c.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "c.csv").read_text() == (tmp_path / "t.csv").read_text().replace(",y,3\n", ",x,3\n")
