"""`curate`: a rule decides, and is judged by rows that it has not seen."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import datassay as da
from datassay.checks import DataError
from datassay.cli import app
from datassay.decisions import curate as module
from datassay.decisions.curate import decide
from datassay.decisions.records import settled
from datassay.evaluation.planting import plant_wrong_labels
from datassay.terminal.exits import run

MODEL = LogisticRegression(C=100.0, max_iter=200)  # follows single rows


def digits(n=600, wrong=0.15, seed=0):
    """Handwritten digits, some of them with a wrong label; the right ones beside."""
    found = load_digits()
    pick = np.random.default_rng(seed).permutation(len(found.target))[:n]
    X, true = found.data[pick] / 16, found.target[pick]
    if not wrong:
        return X, true.copy(), true
    data, _ = plant_wrong_labels(da.Dataset(X, true), wrong, seed=seed)
    return X, data.y.copy(), true


def test_the_rule_takes_probable_suggestions_and_drops_other_flagged_rows():
    values = da.Values(
        ids=np.arange(8), scores=np.array([-9.0, -8, -7, -6, 1, 2, 3, 4]), flagged=np.arange(8) < 4,
        columns={"probability_wrong": np.array([0.99, 0.8, 0.95, 0.99, 0, 0, 0, 0])}, method="cg-score",
        given_label=np.array(list("aaaabbbb")), suggested_label=np.array(list("baabbbbb")),
    )  # fmt: skip
    lines = decide(values, "relabel")
    assert lines[["id", "action", "new_label"]].to_numpy().tolist() == [["0", "relabel", "b"], ["1", "drop", ""]]
    assert decide(values, "drop")["action"].tolist() == ["drop", "drop"]  # no more than half of a class


def test_sure_labels_get_the_suggestion_and_no_other_row_is_touched():
    values = da.Values(
        ids=np.arange(8), scores=np.array([-9.0, -8, -7, -6, 1, 2, 3, 4]), flagged=np.arange(8) < 4,
        columns={"probability_wrong": np.array([0.99, 0.8, 0.95, 0.99, 0, 0, 0, 0.9]),
                 "probability_wrong_least": np.array([0.9, 0.8, 0.6, 0.4, 0, 0, 0, 0.7])},
        method="cg-score", given_label=np.array(list("aaaabbbb")), suggested_label=np.array(list("babbbbba")),
    )  # fmt: skip
    lines = decide(values, "sure")
    assert lines[["id", "action", "new_label"]].to_numpy().tolist() == [
        ["0", "relabel", "b"],
        ["2", "relabel", "b"],
        ["7", "relabel", "a"],
    ]


def test_without_a_lower_promise_only_very_probable_ones_are_sure():
    values = da.Values(
        ids=np.arange(4), scores=np.array([-2.0, -1, 1, 2]), flagged=np.array([True, True, False, False]),
        columns={"probability_wrong": np.array([0.95, 0.8, 0.0, 0.0])}, method="lava",
        given_label=np.array(list("aabb")), suggested_label=np.array(list("bbbb")),
    )  # fmt: skip
    assert decide(values, "sure")["id"].tolist() == ["0"]
    without = da.Values(values.ids, values.scores, values.flagged, {}, "lava", given_label=values.given_label)
    assert len(decide(without, "sure")) == 0
    assert decide(without, "relabel")["action"].tolist() == ["drop"]  # no more than half of a class


def test_where_right_labels_overlap_hardly_any_is_sure():
    rng = np.random.default_rng(0)
    y = np.arange(400) % 2
    X = rng.normal(size=(400, 3)) + 1.2 * np.c_[y, y, 0 * y]
    values = da.value(da.Dataset(X, y), "cg-score", progress=False)
    assert values.flagged.sum() > 20
    assert len(decide(values, "sure")) == 0
    assert len(decide(values, "relabel")) > 20


def test_the_better_of_two_rules_is_taken_and_its_interval_is_wider_for_the_choice():
    X, y, _ = digits(300)
    data = da.Dataset(X, y)
    best, *each = (da.curate(data, rule=r, folds=3, model=MODEL, progress=False) for r in ("best", "relabel", "sure"))
    differences = [one.gain.difference for one in each]
    chosen = each[differences.index(best.gain.difference)]
    assert best.decisions.equals(chosen.decisions)
    assert best.rule == chosen.rule
    assert best.gain.after == chosen.gain.after
    width = (best.gain.high - best.gain.low) / (chosen.gain.high - chosen.gain.low)
    assert 1.12 < width < 1.16  # the quantile of 1 - .0125 by that of 1 - .025


def test_a_rule_that_helps_is_shown_to_help():
    X, y, true = digits()
    found = da.curate(da.Dataset(X, y), model=MODEL, progress=False)
    assert found.shown
    assert 0 < found.gain.low < found.gain.difference < found.gain.high
    assert found.gain.random < found.gain.difference
    assert found.gain.test_rows == 600
    assert found.gain.relabelled + found.gain.dropped == len(found.decisions)
    ids = found.data.ids
    assert (found.data.y == true[ids]).mean() > (y == true).mean() + 0.05
    after = da.apply(da.Dataset(X, y), found.decisions)
    assert after.y.tolist() == found.data.y.tolist()


def test_no_row_that_judges_takes_part_in_what_is_judged(monkeypatch):
    """Each valuation but the last sees one fold less, and models are asked about that fold."""
    X, y, _ = digits(300)
    seen, asked = [], []
    value, trained = module.value, module.Trained

    def spy(data, **options):
        seen.append(set(data.ids.tolist()))
        return value(data, **options)

    def spy_trained(data, X_test, *rest):
        asked.append((set(data.ids.tolist()), len(X_test)))
        return trained(data, X_test, *rest)

    monkeypatch.setattr(module, "value", spy)
    monkeypatch.setattr(module, "Trained", spy_trained)
    da.curate(da.Dataset(X, y), folds=3, model=MODEL, progress=False)
    assert [len(ids) for ids in seen] == [300, 200, 200, 200]
    assert asked == [(ids, 100) for ids in seen[1:]]
    assert set.union(*(set(range(300)) - ids for ids in seen[1:])) == set(range(300))


def test_validation_rows_judge_and_decide_nothing():
    X, y, true = digits(600)
    data = da.Dataset(X[:400], y[:400], X[400:], true[400:])
    found = da.curate(data, rule="relabel", model=MODEL, progress=False)
    assert found.gain.held_out == "validation rows"
    assert found.gain.test_rows == 200
    alone = da.curate(da.Dataset(X[:400], y[:400]), rule="relabel", model=MODEL, folds=2, progress=False)
    assert found.decisions.equals(alone.decisions)
    assert found.data.X_val is not None


def test_labels_that_are_right_are_left_alone():
    """No gain is claimed where nothing was wrong."""
    for seed in range(4):
        X, y, _ = digits(300, wrong=0.0, seed=seed)
        assert not da.curate(da.Dataset(X, y), model=MODEL, progress=False).shown


def test_nothing_to_decide():
    X = np.r_[np.full((20, 2), 5.0), np.full((20, 2), -5.0)] + np.random.default_rng(0).normal(size=(40, 2))
    found = da.curate(da.Dataset(X, np.repeat([0, 1], 20)), progress=False)
    assert len(found.decisions) == 0
    assert found.gain is None
    assert not found.shown


def test_regression():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2))
    y = X @ [1.0, 2.0] + 0.1 * rng.normal(size=300)
    y[:6] += 5
    found = da.curate(da.Dataset(X, y), rule="drop", progress=False)
    assert found.gain.dropped == len(found.decisions) < 150
    assert set(found.decisions["id"]) >= {str(i) for i in range(6)}
    better = da.curate(da.Dataset(X, y), progress=False)
    relabelled = better.decisions[better.decisions["action"] == "relabel"]
    assert len(relabelled) > 0
    assert better.gain.relabelled == len(relabelled)
    assert {float(y) for y in relabelled["new_label"]} <= set(better.data.y.tolist())


@pytest.mark.parametrize(
    ("options", "match"), [({"rule": "burn"}, "rule must be"), ({"folds": 1}, "folds"), ({"method": "no"}, "no method")]
)
def test_wrong_calls(options, match):
    X, y, _ = digits(60)
    with pytest.raises(DataError, match=match):
        da.curate(da.Dataset(X, y), **options)
    with pytest.raises(DataError, match="needs a Dataset"):
        da.curate(X)


def table(path, **options):
    X, y, true = digits(**options)
    frame = pd.DataFrame(np.round(X[:, 10:54], 4)).rename(columns="x{}".format).assign(kind=[f"k{c}" for c in y])
    frame.to_csv(path, index=False)
    return true


def test_one_line_from_a_file_to_a_clean_one(tmp_path, capsys):
    true = table(tmp_path / "rows.csv")
    arguments = ["curate", str(tmp_path / "rows.csv"), "--label", "kind", "-o", str(tmp_path / "clean.csv")]
    assert run(lambda: app([*arguments, "--decisions", str(tmp_path / "decisions.csv")])) == 0
    said = capsys.readouterr().out
    assert "Better by +" in said
    assert "that the rule had not seen" in said
    before = da.read(tmp_path / "rows.csv", label="kind")
    lines = pd.read_csv(tmp_path / "decisions.csv")
    assert set(lines["data"]) == {before.hash}
    kept = np.setdiff1d(np.arange(600), lines.loc[lines["action"] == "drop", "id"])
    after = pd.read_csv(tmp_path / "clean.csv")
    assert len(after) == len(kept)
    assert (after["kind"] == [f"k{c}" for c in true[kept]]).mean() > (before.y == [f"k{c}" for c in true]).mean() + 0.05
    assert sum(settled(lines, before).counts().values()) == len(lines)


def test_nothing_is_written_where_no_gain_can_be_shown(tmp_path, capsys):
    table(tmp_path / "rows.csv", n=150, wrong=0.02)
    arguments = ["curate", str(tmp_path / "rows.csv"), "--label", "kind", "-o", str(tmp_path / "clean.csv")]
    assert run(lambda: app(arguments)) == 0
    said = capsys.readouterr().out
    assert "No gain can be shown" in said
    assert "Nothing was written" in said
    assert [p.name for p in tmp_path.iterdir()] == ["rows.csv"]
    assert run(lambda: app([*arguments, "--anyway"])) == 0
    assert "No gain can be shown" in capsys.readouterr().out
    assert len(pd.read_csv(tmp_path / "clean.csv")) > 100


def test_a_file_of_others_is_not_replaced(tmp_path, capsys):
    table(tmp_path / "rows.csv", n=60)
    assert run(lambda: app(["curate", str(tmp_path / "rows.csv"), "--label", "kind", "-o", str(tmp_path / "rows.csv")])) == 2
    assert "overwrite" in capsys.readouterr().err
