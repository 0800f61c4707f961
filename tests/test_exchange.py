"""Suspects out to other tools, and decisions back: forms as Label Studio 1.23, Argilla 2.8 and cleanlab 2.9 have them."""

from __future__ import annotations

import json

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
    config = written[1].read_text()
    assert '<Choice value="good"/>' in config
    assert 'name="text" value="$text"' in config
    assert len({task["predictions"][0]["result"][0]["id"] for task in tasks}) == 5


def answered(choices, **more):
    result = [{"type": "choices", "from_name": "label", "to_name": "text", "value": {"choices": choices}}] if choices else []
    return {"id": 9, "result": result, "was_cancelled": False, "completed_by": 1, "lead_time": 3.5, **more}


def test_answers_of_label_studio(texts, tmp_path):
    _, data = texts
    tasks = [
        {"id": 1, "data": {"datassay_id": "row-3"}, "annotations": [answered(["good"])]},
        {
            "id": 2,
            "data": {"datassay_id": "row-4"},
            "annotations": [answered(["good"], completed_by={"id": 2, "email": "a@b.c"})],
        },
        {"id": 3, "data": {"datassay_id": "row-5"}, "annotations": [answered([], was_cancelled=True)]},
        {"id": 4, "data": {"datassay_id": "row-6"}, "annotations": [answered(["good", "bad"])]},
        {"id": 5, "data": {"datassay_id": "row-7"}, "annotations": []},
        {"id": 6, "data": {"datassay_id": "row-8"}, "annotations": [answered(["bad"]), answered(["good"], completed_by=2)]},
    ]
    path = tmp_path / "export.json"
    path.write_text(json.dumps(tasks))
    found = read_answers(path, data)
    assert found["id"].tolist() == ["row-3", "row-4", "row-5", "row-6", "row-8", "row-8"]
    assert found["action"].tolist() == ["relabel", "keep", "unsure", "unsure", "relabel", "keep"]
    assert found["new_label"].tolist() == ["good", "", "", "", "bad", ""]
    assert found["who"].tolist() == ["1", "a@b.c", "1", "1", "1", "2"]
    assert found["note"].tolist() == ["", "", "skipped", "2 choices", "", ""]
    better = da.apply(data, found)
    assert better.y[3] == "good"
    assert better.y[8] == data.y[8]  # two people disagree


def test_flat_answers_of_label_studio(texts, tmp_path):
    _, data = texts
    lines = [
        {
            "datassay_id": "row-3",
            "id": 1,
            "label": "good",
            "annotator": 1,
            "lead_time": 2.0,
            "updated_at": "2026-11-01T00:00:00Z",
        },
        {"datassay_id": "row-4", "id": 2, "label": {"choices": ["good", "bad"]}, "annotator": 1},
        {"datassay_id": "row-5", "id": 3, "annotator": 1},
    ]
    (tmp_path / "min.json").write_text(json.dumps(lines))
    frame = pd.DataFrame(lines)
    frame["label"] = [json.dumps(x) if isinstance(x, dict) else x for x in frame["label"]]
    frame.to_csv(tmp_path / "min.csv", index=False)
    for name in ("min.json", "min.csv"):
        found = read_answers(tmp_path / name, data)
        assert found["id"].tolist() == ["row-3", "row-4"]
        assert found["action"].tolist() == ["relabel", "unsure"]


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
    back = read_answers(tmp_path / "issues.csv", data)
    assert set(back["id"]) == set(data.ids[values.flagged])
    export(values, data, "huggingface", tmp_path / "side.parquet")
    side = pd.read_parquet(tmp_path / "side.parquet")
    assert set(side["id"]) == set(data.ids)
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
    for task in tasks[1:]:
        task["annotations"] = []
    (tmp_path / "back.json").write_text(json.dumps(tasks))
    back = run("import", "back.json", "--data", "t.csv", *common, "-o", "d.csv", cwd=tmp_path)
    assert back.returncode == 0, back.stderr
    assert "1 decisions (1 relabel)" in back.stdout
    done = run("apply", "d.csv", "--data", "t.csv", *common, "-o", "c.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "c.csv").read_text() == (tmp_path / "t.csv").read_text().replace(",y,3\n", ",x,3\n")
