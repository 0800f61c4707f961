"""A review: the record, the order that follows decisions, the server and who may ask it."""

from __future__ import annotations

import asyncio
import csv
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import datassay as da
from command import run
from datassay.checks import DataError
from datassay.cli import app
from datassay.decisions.records import read_decisions, settled
from datassay.engines import gram
from datassay.evaluation.checking import check_sample, checked, wrong_among
from datassay.review import numbers
from datassay.review.groups import Groups
from datassay.review.live import KNOWN, Known, Live, reason_against
from datassay.review.page import page
from datassay.review.record import Decision, Record
from datassay.review.server import application
from datassay.review.session import Session
from datassay.terminal.exits import run as run_command

EVIL = """</script><script>document.title='ran'</script>"><img src=x onerror="document.title='ran'">'{{ 7*7 }}&amp\u202egnp.exe"""


def blobs(n=150, wrong=8, seed=0, K=3, val=0):
    rng = np.random.default_rng(seed)
    true = np.arange(n + val) % K
    X = 3 * np.eye(K)[true] + rng.normal(size=(n + val, K))
    y = true.copy()
    y[:wrong] = (y[:wrong] + 1) % K
    more = {} if not val else {"X_val": X[n:], "y_val": true[n:]}
    return da.Dataset(X[:n], y[:n], **more), true[:n]


@pytest.fixture
def small(tmp_path):
    data, true = blobs()
    values = da.value(data, method="cg-score", progress=False)
    return values, data, tmp_path / "decisions.csv", true


def session(values, data, path, **options):
    s = Session(values, data, Record(path, data), **options)
    s.wait()
    return s


# ------------------------------------------------------------------------------------------------ scores that follow


def afresh(data, values, known):
    """H + R, its inverse, and the scores, from the definition."""
    stats = values.stats
    parts, codes, ridge = [data.X], data.codes, np.full(len(data), stats["ridge"])
    if stats["trusted_ridge"] is not None:
        parts.append(data.X_val)
        codes = np.r_[codes, data.codes_val]
        ridge = np.r_[ridge, np.full(len(data.codes_val), stats["trusted_ridge"])]
    U = np.concatenate([gram.unit_rows(X, bias=stats["bias"]) for X in parts])
    gone = [row for row, what in known.items() if what.dropped]
    for row, what in known.items():
        codes = codes.copy()
        codes[row] = what.code
        ridge[row] = KNOWN
    stay = np.setdiff1d(np.arange(len(codes)), gone)
    A = np.linalg.inv((gram.arc_cosine(U) + np.diag(ridge))[np.ix_(stay, stay)])
    Y = np.where(codes[stay][:, None] == np.arange(len(data.classes)), 1.0, -1.0)
    z, d = A @ Y, np.diag(A)
    inside = stay < len(data)
    return stay[inside], -((z**2).sum(1) / d)[inside], (Y - z / d[:, None])[inside], A, Y


@pytest.mark.parametrize("val", [0, 40])
def test_scores_follow_decisions_as_if_computed_afresh(val):
    data, _ = blobs(val=val)
    values = da.value(data, method="cg-score", progress=False, trusted="auto" if not val else True)
    assert reason_against(values, data) == ""
    live = Live(values, data)
    np.testing.assert_allclose(live.scores(), values.scores, rtol=1e-8)
    rng = np.random.default_rng(1)
    known: dict[int, Known] = {}
    for step in range(40):
        row = int(rng.integers(0, 25))
        if step % 4 == 3 and known:
            row = int(rng.choice(list(known)))
            del known[row]
            live.know(row, None)
        else:
            what = Known(int(rng.integers(0, 3)), bool(rng.random() < 0.3))
            if what.dropped:
                what = Known(int(data.codes[row]), True)
            known[row] = what
            live.know(row, what)
        stay, scores, f, _, _ = afresh(data, values, known)
        np.testing.assert_allclose(live.scores()[stay], scores, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(live.predictions()[stay], f, rtol=1e-6, atol=1e-8)
    for row in list(known):
        live.know(row, None)
    np.testing.assert_allclose(live.scores(), values.scores, rtol=1e-7)


def test_the_terms_are_the_prediction_of_a_matrix_without_the_row():
    data, _ = blobs(60)
    values = da.value(data, method="cg-score", progress=False)
    live = Live(values, data)
    live.know(7, Known(2))
    live.know(9, Known(int(data.codes[9]), True))
    stay, _, f, _, Y = afresh(data, values, {7: Known(2), 9: Known(int(data.codes[9]), True)})
    U = gram.unit_rows(data.X, bias=values.stats["bias"])[stay]
    ridge = np.full(60, values.stats["ridge"])
    ridge[7] = KNOWN
    K = gram.arc_cosine(U) + np.diag(ridge[stay])
    for row in (0, 7, 20):
        at = int(np.flatnonzero(stay == row)[0])
        others = np.delete(np.arange(len(stay)), at)
        w = K[at, others] @ np.linalg.inv(K[np.ix_(others, others)])  # of a prediction that never saw the row
        expected = w * (Y[others, 0] - Y[others, 2])
        terms = live.terms(row, 0, 2)
        np.testing.assert_allclose(terms[stay[others]], expected, atol=1e-8)
        assert terms[row] == 0
        assert terms.sum() == pytest.approx(f[at, 0] - f[at, 2], abs=1e-8)


def test_what_can_t_follow_says_why(small):
    values, data, _, _ = small
    assert "computed once" in reason_against(da.value(data, method="random"), data)
    assert "without a ridge" in reason_against(da.value(data, method="cg-score", ridge=0.0, progress=False), data)
    amounts = da.Dataset(data.X, data.X[:, 0] + 0.5, task="regression")
    assert "computed once" in reason_against(da.value(amounts, method="cg-score", progress=False), amounts)
    assert reason_against(values, data) == ""


# ------------------------------------------------------------------------------------------------------- the record


def test_a_record_is_a_file_of_decisions(small):
    _, data, path, _ = small
    record = Record(path, data)
    record.add(Decision(3, "ann", "relabel", "2", 1.25, 'a "note", =1+1'))
    record.add(Decision(5, "bob", "drop", note="=1+1"))
    assert b",'=1+1," in path.read_bytes()  # no formula in a spreadsheet
    lines = read_decisions(path)
    assert list(lines) == ["id", "given_label", "new_label", "action", "who", "when", "seconds", "note", "data"]
    assert lines.iloc[0][["id", "new_label", "action", "who", "seconds", "note"]].tolist() == [
        "3", "2", "relabel", "ann", "1.2", 'a "note", =1+1',
    ]  # fmt: skip
    assert settled(lines, data).counts()["relabel"] == 1
    again = Record(path, data)
    assert [(d.row, d.who, d.action, d.note) for d in again.decisions] == [
        (3, "ann", "relabel", 'a "note", =1+1'), (5, "bob", "drop", "=1+1"),
    ]  # fmt: skip


def test_a_line_is_on_the_disk_before_it_is_answered(small, monkeypatch):
    _, data, path, _ = small
    record, synced = Record(path, data), []
    monkeypatch.setattr("datassay.review.record.os.fsync", lambda handle: synced.append(path.read_bytes()))
    record.add(Decision(3, "ann", "keep"))
    assert synced[0] == path.read_bytes()
    record.add(Decision(4, "ann", "keep"))
    assert synced[-1] == path.read_bytes()


def test_a_line_that_can_t_be_written_leaves_nothing(small, monkeypatch):
    _, data, path, _ = small
    record = Record(path, data)
    record.add(Decision(3, "ann", "keep"))
    before = path.read_bytes()

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("datassay.review.record.os.fsync", full)
    s = Session(small[0], data, record)
    _, post, _ = client_of(s)
    answer = post("decide", row=5, action="drop")
    assert answer.status_code == 500
    assert "could not be written" in answer.json()["error"]
    assert path.read_bytes() == before
    assert s.verdict(5) == ("", "")
    assert len(record.decisions) == 1


@pytest.mark.parametrize("keep", [0, 5, 60, -1, -5, -40])
def test_half_a_line_is_cut_off_and_whole_ones_stay(small, keep):
    _, data, path, _ = small
    odd = da.Dataset(data.X, data.y, ids=[f'two\nlines, "{i}"' for i in range(len(data))])
    record = Record(path, odd)
    record.add(Decision(1, "ann", "keep"))
    whole = path.read_bytes()
    record.add(Decision(2, "ann", "drop", note="x"))
    last = path.read_bytes()[len(whole) :]
    path.write_bytes(whole + last[: keep % len(last)])
    again = Record(path, odd)
    assert [d.row for d in again.decisions] == [1]
    assert path.read_bytes() == whole
    again.add(Decision(4, "ann", "keep"))
    assert settled(read_decisions(path), odd).counts()["keep"] == 2


def test_half_a_header_is_begun_anew(small):
    _, data, path, _ = small
    path.write_text("id,given_la")
    Record(path, data).add(Decision(1, "ann", "keep"))
    assert len(read_decisions(path)) == 1


def test_files_that_do_not_belong_together_are_refused(small, tmp_path):
    values, data, path, _ = small
    other, _ = blobs(seed=5)
    with pytest.raises(DataError, match="computed on other data"):
        Session(values, other, Record(path, other))
    Record(path, data).add(Decision(1, "ann", "keep"))
    with pytest.raises(DataError, match=r"can't be gone on with: line 1 of the decisions .* was made on other data"):
        Record(path, other)
    (tmp_path / "x.csv").write_text("id,action\n1,keep\n")
    with pytest.raises(DataError, match="is no file of a review"):
        Record(tmp_path / "x.csv", data)
    with pytest.raises(DataError, match="does not exist"):
        Record(tmp_path / "no" / "x.csv", data)
    assert (tmp_path / "x.csv").read_text() == "id,action\n1,keep\n"


def test_decisions_go_with_rows_read_without_validation_rows_and_features(tmp_path):
    """`datassay apply` reads the file alone; the review may have read it with validation rows, on other features."""
    data, _ = blobs(val=30)
    better = data.with_features(np.c_[data.X, data.X**2], np.c_[data.X_val, data.X_val**2])
    Record(tmp_path / "d.csv", better).add(Decision(1, "ann", "drop"))
    lines = read_decisions(tmp_path / "d.csv")
    alone = da.Dataset(data.X, data.y)
    assert lines["data"][0] == alone.hash != better.hash
    for rows in (alone, data, better):
        assert len(da.apply(rows, lines)) == len(data) - 1


# ------------------------------------------------------------------------------------------------------- the session


def test_every_fifth_row_is_drawn_from_all_and_the_others_come_by_suspicion(small):
    values, data, path, true = small
    s = session(values, data, path)
    drawn = check_sample(values, len(values))["id"].tolist()
    seen = []
    for k in range(20):
        row = s.next("ann", "w")
        free = np.setdiff1d(np.arange(len(data)), seen)
        if k % 5 == 4:
            assert row == next(r for r in drawn if r not in seen)
        else:
            assert row == free[np.argmin(s.scores[free])]
        seen.append(row)
        wrong = data.y[row] != true[row]
        s.decide("ann", "w", row, "relabel" if wrong else "keep", label=str(true[row]) if wrong else "", seconds=2)
    told = s.numbers("ann")
    assert told["looked"] == 20
    assert told["found"] == sum(data.y[r] != true[r] for r in seen)
    again = session(values, data, path)  # as after a restart
    assert again.next("ann", "w") == s.next("ann", "w")
    assert again.numbers("ann") == told


def test_the_interval_is_that_of_checked(small):
    values, data, path, true = small
    s = session(values, data, path)
    for row in s.drawn[:30]:
        wrong = data.y[row] != true[row]
        s.decide("ann", "w", row, "drop" if wrong else "keep")
    answers = pd.DataFrame({"id": values.ids[s.drawn[:30]], "wrong": (data.y != true)[s.drawn[:30]]})
    said = checked(values, answers).stats["wrong_labels"]
    told = s.numbers("ann")
    found = told["found"]
    assert told["left"]["by"] == "30 rows drawn from all"
    assert told["left"]["low"] == max(said["low"], found) - found
    assert told["left"]["high"] == min(said["high"], len(data) - (30 - found)) - found
    assert told["left"]["low"] <= (data.y != true).sum() - found <= told["left"]["high"]


def test_rows_that_nobody_is_sure_of_widen_the_interval(small):
    values, _, _, _ = small
    rows = check_sample(values, 40)["id"].tolist()
    sure = numbers.left(values, rows, [0] * 40, 0, 40)
    open_ = numbers.left(values, rows, [None if i % 8 == 0 else 0 for i in range(40)], 0, 35)
    assert open_["low"] <= sure["low"]
    assert open_["high"] > sure["high"]


def test_when_to_stop():
    assert numbers.advice([1] * 10, 30, 9).startswith("Go on: whether to stop shows")
    assert numbers.advice([1] * 10 + [0] * 40, 3, 9).startswith("Go on: of the last 50 suspects 10")
    assert numbers.advice([1] * 4 + [0] * 46, 0, 9).startswith("You may stop: of the last 50 suspects 4")
    assert numbers.advice([], 0, 0) == "No wrong label is left."
    assert numbers.pace([1.0, 2.0]) is None
    assert numbers.pace([0.0, 1.0, 2.0, 9.0]) == 2.0


def test_two_people_share_the_rows_and_where_they_disagree_is_shown(small):
    values, data, path, _ = small
    s = session(values, data, path)
    a, b = s.next("ann", "w1"), s.next("bob", "w2")
    assert a != b
    assert s.next("ann", "w1") == a  # a reload
    s.decide("ann", "w1", a, "keep")
    s.open(a, "w2")
    s.decide("bob", "w2", a, "drop")
    assert s.disputed() == [a]
    assert s.verdict(a) == ("disputed", "")
    assert settled(read_decisions(path), data).disputed == [a]
    assert s.known(a) is None
    s.decide("ann", "w1", a, "drop")
    assert s.disputed() == []
    assert s.known(a).dropped


def test_everybody_looks_at_every_row(small):
    values, data, path, _ = small
    s = session(values, data, path, everybody=True)
    a, b = s.next("ann", "w1"), s.next("bob", "w2")
    assert a == b
    s.decide("ann", "w1", a, "keep")
    assert s.next("bob", "w2") == a
    assert s.next("ann", "w1") != a


def test_undo_takes_back_the_last_decision_of_its_person(small):
    values, data, path, _ = small
    s = session(values, data, path)
    before = s.scores.copy()
    first = s.next("ann", "w1")
    s.decide("ann", "w1", first, "drop")
    other = s.next("bob", "w2")
    s.decide("bob", "w2", other, "keep")
    assert s.undo("ann", "w1") == first
    assert s.next("ann", "w1") == first
    assert s.verdict(first) == ("", "")
    assert s.undo("ann", "w1") is None
    assert settled(read_decisions(path), data).counts() == {"keep": 1, "relabel": 0, "drop": 0, "unsure": 1, "disputed": 0}
    again = session(values, data, path)
    assert again.verdict(first) == ("", "")
    assert s.undo("bob", "w2") == other
    np.testing.assert_allclose(s.scores, before, rtol=1e-9)


def test_a_note_can_t_be_taken_for_a_decision_taken_back(small):
    values, data, path, _ = small
    s = session(values, data, path)
    s.decide("ann", "w", 3, "unsure", note="undone")
    assert session(values, data, path).verdict(3) == ("unsure", "")


def test_all_rows_can_be_looked_at_and_then_there_is_none(small):
    values, data, path, _ = small
    s = session(values, data, path)
    seen = set()
    while (row := s.next("ann", "w")) is not None:
        seen.add(row)
        s.decide("ann", "w", row, "keep")
    assert seen == set(range(len(data)))
    assert s.numbers("ann")["advice"] == "No wrong label is left."


def test_wrong_decisions_are_a_sentence(small):
    values, data, path, _ = small
    s = session(values, data, path)
    for arguments, match in [
        ((3, "burn"), "must be one of keep, relabel, drop, unsure"),
        ((3, "relabel"), "names no new_label"),
        ((-1, "keep"), "no row -1"),
        ((10**6, "keep"), "no row 1000000"),
    ]:
        with pytest.raises(DataError, match=match):
            s.decide("ann", "w", *arguments)
    assert not path.exists()


def test_regression_takes_numbers(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 3))
    y = X @ [1.0, 2.0, 3.0] + 0.1 * rng.normal(size=80)
    y[5] = 40.0
    data = da.Dataset(X, y)
    values = da.value(data, method="cg-score", progress=False)
    s = session(values, data, tmp_path / "d.csv")
    _, post, get = client_of(s)
    card = get("next").json()["card"]
    assert card["row"] == 5
    assert {one["side"] for one in card["evidence"]["rows"]} == {"near"}
    assert post("decide", row=5, action="relabel", label="1e999").status_code == 400
    assert post("decide", row=5, action="relabel", label=card["suggested"]["label"]).status_code == 200
    assert da.apply(data, tmp_path / "d.csv").y[5] == pytest.approx(float(card["suggested"]["label"]))


# ------------------------------------------------------------------------------------------------------ groups at once


def test_equal_rows_with_different_labels_and_confusions_are_groups(tmp_path):
    data, _ = blobs(150, wrong=12)
    X = data.X.copy()
    X[[30, 33, 36]] = X[60]  # rows of one class
    y = data.y.copy()
    y[33] = (y[33] + 1) % 3
    data = da.Dataset(X, y)
    values = da.value(data, method="cg-score", progress=False)
    s = session(values, data, tmp_path / "d.csv")
    groups = Groups(s)
    listed = groups.listed()
    assert listed[0] == {"kind": "equal", "number": 0, "rows": 4}
    assert groups.rows("equal", 0, -1, -1) == [30, 33, 36, 60]
    expected = {}
    for row in np.flatnonzero(values.flagged):
        pair = (int(data.codes[row]), int(s.suggested[row]))
        if pair[0] != pair[1]:
            expected[pair] = expected.get(pair, 0) + 1
    found = {(one["given"], one["suggested"]): one["rows"] for one in listed[1:]}
    assert found == {pair: k for pair, k in expected.items() if k > 1}
    (given, other), k = next(iter(found.items()))
    rows = groups.rows("confusion", -1, given, other)
    assert len(rows) == k
    assert (np.diff(s.scores[rows]) >= 0).all()
    _, post, get = client_of(s)
    shown = get("group", kind="confusion", given=given, suggested=other).json()["rows"]
    assert [one["row"] for one in shown] == rows
    answer = post("decide_all", action="relabel", rows=[{"row": row, "code": other} for row in rows[:2]], seconds=4)
    assert answer.status_code == 200
    lines = read_decisions(tmp_path / "d.csv")
    assert lines["id"].tolist() == [str(row) for row in rows[:2]]
    assert lines["seconds"].tolist() == ["2.0", "2.0"]
    assert da.apply(data, lines).y[rows[:2]].tolist() == [other] * 2
    left = {(one.get("given"), one.get("suggested")): one["rows"] for one in answer.json()["groups"]}
    assert left.get((given, other), 0) in (k - 2, 0)
    assert s.undo("ann", "w") == rows[1]


def test_rows_that_are_nearly_equal_and_have_different_labels_are_a_group(tmp_path):
    data, _ = blobs(150, wrong=12)
    X, y = data.X.copy(), data.y.copy()
    X[33] = X[60] + 1e-4 * np.arange(X.shape[1])
    y[33] = (y[60] + 1) % 3
    data = da.Dataset(X, y)
    s = session(da.value(data, method="cg-score", progress=False), data, tmp_path / "d.csv")
    groups = Groups(s)
    assert groups.listed()[0] == {"kind": "near", "number": 0, "rows": 2}
    assert groups.rows("near", 0, -1, -1) == [33, 60]
    _, post, get = client_of(s)
    shown = get("group", kind="near", number=0).json()["rows"]
    assert {one["row"]: one["given"]["label"] for one in shown} == {33: str(y[33]), 60: str(y[60])}
    answer = post("decide_all", action="drop", rows=[{"row": 33}, {"row": 60}], seconds=1)
    assert "near" not in {one["kind"] for one in answer.json()["groups"]}


def test_a_wrong_group_is_a_sentence_and_decides_nothing(small):
    values, data, path, _ = small
    _, post, get = client_of(session(values, data, path))
    assert get("group", kind="x").status_code == get("group", kind="equal", number=5).status_code == 400
    for rows in ([], "x", [5], [{"row": 3}, {"row": 10**6}], [{"row": 3}, {"row": 3}], [{"row": r} for r in range(30)]):
        assert post("decide_all", action="drop", rows=rows).status_code == 400, rows
    assert post("decide_all", action="relabel", rows=[{"row": 3, "code": 1}, {"row": 4, "code": 9}]).status_code == 400
    assert not path.exists()


def test_how_often_each_source_errs(small):
    values, data, path, true = small
    s = session(values, data, path)
    who = np.array(["careful", "careless"])[(np.arange(len(data)) < 12).astype(int)]
    groups = Groups(s, "annotator", who.tolist())
    before = {one["name"]: one for one in groups.rates()}
    wrong = data.y != true
    for name, one in before.items():
        assert one["by"] == "the values alone"
        assert one["low"] <= wrong[who == name].sum() <= one["high"]
    assert groups.rates()[0]["name"] == "careless"
    for row in s.drawn[:60]:
        s.decide("ann", "w", row, "drop" if wrong[row] else "keep")
    after = {one["name"]: one for one in groups.rates()}
    rows = s.drawn[:60]
    for name, one in after.items():
        assert (one["by"], one["rows"]) == ("drawn rows", (who == name).sum())
        low, high = wrong_among(values, rows, wrong[rows].astype(int).tolist(), inside=who == name)
        found, right = (wrong & (who == name))[rows].sum(), (~wrong & (who == name))[rows].sum()
        assert (one["low"], one["high"]) == (max(low, found), min(high, one["rows"] - right))
        assert one["low"] <= wrong[who == name].sum() <= one["high"]


def test_a_column_with_too_many_kinds_or_too_few_entries_is_refused(small):
    values, data, path, _ = small
    s = session(values, data, path)
    with pytest.raises(DataError, match="150 kinds, and at most 100"):
        Groups(s, "name", list(range(150)))
    with pytest.raises(DataError, match="3 entries for 150 rows"):
        Groups(s, "name", [1, 2, 3])


# -------------------------------------------------------------------------------------------------------- the server


class Answer:
    def __init__(self, messages):
        self.status_code = messages[0]["status"]
        self.headers = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
        self.content = b"".join(m.get("body", b"") for m in messages[1:])
        self.text = self.content.decode()

    def json(self):
        return json.loads(self.content)


class Client:
    """Asks the application as a server would, without one."""

    def __init__(self, app):
        self.app = app

    def ask(self, method, path, headers, content=b""):
        path, _, query = path.partition("?")
        headers = {"host": "127.0.0.1:8765"} | {name.lower(): value for name, value in headers.items()}
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http", "path": path,
            "raw_path": path.encode(), "query_string": query.encode(), "root_path": "", "client": ("127.0.0.1", 5), "state": {},
            "server": ("127.0.0.1", 8765), "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }  # fmt: skip
        sent = []

        async def receive():
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(message):
            sent.append(message)

        asyncio.run(self.app(scope, receive, send))
        return Answer(sent)

    def get(self, path, headers=None, **asked):
        return self.ask("GET", f"{path}?{urlencode(asked)}" if asked else path, headers or {})

    def post(self, path, asked, headers):
        return self.ask("POST", path, {"Content-Type": "application/json"} | headers, json.dumps(asked).encode())


def client_of(s, who="ann", window="w"):
    client = Client(application(s, 8765, "secret", title="t"))
    headers = {"X-Token": "secret"}

    def post(path, **asked):
        return client.post(f"/api/{path}", {"who": who, "window": window} | asked, headers)

    def get(path, **asked):
        return client.get(f"/api/{path}", headers, **{"who": who, "window": window} | asked)

    return client, post, get


def test_a_row_is_shown_with_what_speaks_for_and_against_it(small):
    values, data, path, true = small
    s = session(values, data, path)
    _, post, get = client_of(s)
    assert get("start").json()["classes"] == ["0", "1", "2"]
    card = get("next").json()["card"]
    row = card["row"]
    assert row == np.argmin(values.scores)
    assert (card["given"]["label"], card["suggested"]["label"]) == (str(data.y[row]), str(true[row]))
    assert 0 <= card["given"]["p"] < card["suggested"]["p"] <= 1
    evidence = card["evidence"]
    assert evidence["exact"]
    assert {one["side"] for one in evidence["rows"]} == {"for", "against"}
    assert evidence["total"] == pytest.approx(s.live.terms(row, data.codes[row], s.suggested[row]).sum())
    weights = [one["weight"] for one in evidence["rows"] if one["side"] == "against"]
    assert weights == sorted(weights)
    assert max(weights) < 0
    assert {one["label"] for one in evidence["rows"] if one["side"] == "against"} == {str(true[row])}
    answer = post("decide", row=row, action="relabel", code=card["suggested"]["code"], seconds=2.5, note="clear").json()
    assert answer["done"]["new_label"] == card["suggested"]["label"]
    assert answer["card"]["row"] != row
    assert answer["numbers"]["looked"] == 1
    assert answer["numbers"]["recent"][0]["row"] == row
    assert post("undo").json()["card"]["row"] == row


def test_only_the_page_may_ask(small):
    values, data, path, _ = small
    s = session(values, data, path)
    client, _, _ = client_of(s)
    good = {"X-Token": "secret"}
    asked = {"who": "ann", "window": "w", "row": 3, "action": "keep"}
    refused = [
        {"X-Token": "wrong"},
        {"X-Token": ""},
        {},
        good | {"Host": "evil.example:8765"},
        good | {"Host": "127.0.0.1:80"},
        good | {"Host": "127.0.0.1"},
        good | {"Origin": "http://evil.example"},
        good | {"Origin": "http://127.0.0.1:9999"},
        good | {"Origin": "https://127.0.0.1:8765"},
        good | {"Origin": "null"},
    ]
    for headers in refused:
        assert client.post("/api/decide", asked, headers).status_code == 403, headers
        assert client.get("/api/next", headers, **asked).status_code == 403, headers
    assert not path.exists()
    for headers in ({"Host": "evil.example:8765"}, {"Origin": "http://evil.example"}):
        assert client.get("/?token=secret", headers=headers).status_code == 403
    assert client.get("/").status_code == client.get("/?token=wrong").status_code == 403
    assert client.get("/?token=secret").status_code == 200
    for origin in ("http://127.0.0.1:8765", "http://localhost:8765"):
        assert client.post("/api/decide", asked, good | {"Origin": origin}).status_code == 200
    assert client.post("/api/decide", asked, good | {"Content-Type": "text/plain"}).status_code == 415
    assert len(read_decisions(path)) == 2


def test_the_page_may_load_nothing_and_its_answers_are_not_kept(small):
    values, data, path, _ = small
    client, _, get = client_of(session(values, data, path))
    answer = client.get("/?token=secret")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "http" not in policy
    for one in (answer, get("next")):
        assert one.headers["cache-control"] == "no-store"
        assert one.headers["referrer-policy"] == "no-referrer"
    html, _ = page(EVIL)
    assert "<img" not in html
    assert not re.search(r"(?:src|href)\s*=\s*[\"']?(?:https?:)?//", html)
    script = html[html.rindex("<script>") :]
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|new Function", script)


@pytest.mark.parametrize(
    "asked",
    [
        {"row": "x", "action": "keep"}, {"row": 1e9, "action": "keep"}, {"row": True, "action": "keep"}, {"action": "keep"},
        {"row": 3}, {"row": 3, "action": 5}, {"row": 3, "action": "relabel"}, {"row": 3, "action": "relabel", "code": 99},
        {"row": 3, "action": "relabel", "code": -1}, {"row": 3, "action": "keep", "seconds": "long"},
        {"row": 3, "action": "keep", "note": ["x"]}, {"row": 3, "action": "keep", "who": {"a": 1}}, {"row": 10**30, "action": "keep"},
    ],
)  # fmt: skip
def test_odd_requests_are_a_sentence_and_write_nothing(small, asked):
    values, data, path, _ = small
    _, post, _ = client_of(session(values, data, path))
    answer = post("decide", **asked)
    assert answer.status_code == 400
    assert answer.json()["error"].endswith(".")
    assert not path.exists()


def test_bodies_that_are_none(small):
    values, data, path, _ = small
    client, _, _ = client_of(session(values, data, path))
    headers = {"X-Token": "secret", "Content-Type": "application/json"}
    for body, status in [(b"", 400), (b"[]", 400), (b"{", 400), (b"[" * 60000, 400), (b" " * 70000, 413), (b'"\xff"', 400)]:
        assert client.ask("POST", "/api/decide", headers, body).status_code == status
    assert not path.exists()


def test_a_name_and_a_note_are_one_line(small):
    values, data, path, _ = small
    _, post, _ = client_of(session(values, data, path), who="ann\nfoo\u202e\ud800")
    assert post("decide", row=3, action="keep", note="a\r\nb\x00" + 900 * "x").status_code == 200
    line = read_decisions(path).iloc[0]
    assert line["who"] == "ann foo"
    assert line["note"].startswith("a b xxx")
    assert len(line["note"]) == 500


def hostile(tmp_path, n=40):
    """A file with scripts in every cell, column, label and id."""
    rng = np.random.default_rng(0)
    kind = np.arange(n) % 2
    frame = pd.DataFrame(
        {
            f"id {EVIL}": [f"{i} {EVIL}" for i in range(n)],
            f"x {EVIL}": 4 * kind + rng.normal(size=n),
            f"text {EVIL}": [f"{EVIL} {'alpha beta' if k else 'gamma delta'} {i}" for i, k in enumerate(kind)],
            f"label {EVIL}": np.where(np.arange(n) == 3, f"b {EVIL}", np.where(kind, f"b {EVIL}", f"a {EVIL}")),
        }
    )
    frame.iloc[2, 3] = f"b {EVIL}"
    path = tmp_path / "evil.csv"
    frame.to_csv(path, index=False)
    data = da.read(path, label=f"label {EVIL}", id=f"id {EVIL}")
    values = da.value(data, method="cg-score", progress=False)
    return path, data, values


def test_a_hostile_file_is_text_and_comes_back_unchanged(tmp_path):
    _, data, values = hostile(tmp_path)
    s = session(values, data, tmp_path / "d.csv")
    _, post, get = client_of(s)
    for _ in range(12):
        answer = get("next")
        card = answer.json()["card"]
        assert "\u202e" not in answer.text
        assert "[U+202E]" in card["id"]
        suggested = card["suggested"]
        more = {"action": "relabel", "code": suggested["code"]} if suggested else {"action": "keep"}
        assert post("decide", row=card["row"], note=EVIL, **more).status_code == 200
    lines = read_decisions(tmp_path / "d.csv")
    assert len(lines) == 12
    assert set(lines["id"]) <= set(data.ids)
    counts = settled(lines, data).counts()
    assert counts["relabel"] + counts["keep"] == 12


def test_text_is_shown_whole(tmp_path):
    data, _ = blobs(60)
    texts = [f"row {i} " + "word " * 300 for i in range(60)]
    data = data.showing(texts)
    values = da.value(data, method="cg-score", progress=False)
    _, _, get = client_of(session(values, data, tmp_path / "d.csv"))
    card = get("next").json()["card"]
    assert card["look"]["texts"][0]["value"] == texts[card["row"]]
    assert card["look"]["cells"] == []
    assert len(card["evidence"]["rows"][0]["look"]["texts"][0]["value"]) == 401


def kinds():
    rng = np.random.default_rng(0)
    two = np.arange(30) % 2
    frame = pd.DataFrame({"d": pd.date_range("2020-01-01", periods=30), "t": list("abc") * 10, "m": [None, 1.5] * 15})
    sparse = sp.csr_array(np.abs(rng.normal(size=(30, 20))) * (rng.random((30, 20)) < 0.3) + np.eye(30, 20))
    X = rng.normal(size=(30, 3))
    return {
        "four rows": (da.Dataset(X[:4], [0, 0, 1, 1]), "cg-score", {}),
        "random": (da.Dataset(X, two), "random", {}),
        "sparse": (da.Dataset(sparse, two), "cg-score", {}),
        "no ridge": (da.Dataset(X, two), "cg-score", {"ridge": 0.0}),
        "own class": (da.Dataset(X, two), "cg-score", {"classes": "own"}),
        "landmarks": (da.Dataset(X, two), "cg-score", {"approx": "landmarks"}),
        "tuples": (da.Dataset(X, [(1, "a") if k else (2, "b") for k in two], ids=[f"\u00e9 {i}" for i in range(30)]), "cg-score", {}),
        "pictures": (da.Dataset(rng.integers(0, 255, (30, 9, 7, 3), dtype=np.uint8), two), "cg-score", {}),
        "dates": (da.Dataset(frame, two, missing="mean"), "cg-score", {}),
        "amounts": (da.Dataset(X, X[:, 0] * 3.3), "cg-score", {}),
        "equal rows": (da.Dataset(np.repeat(X[:10], 3, 0), rng.integers(0, 2, 30), ids=np.arange(30) + 0.5), "cg-score", {}),
    }  # fmt: skip


@pytest.mark.parametrize("kind", list(kinds()))
def test_every_kind_of_rows_can_be_reviewed_to_the_end(kind, tmp_path):
    """Every row, decided in every way; each is shown again when it is decided."""
    data, method, options = kinds()[kind]
    s = session(da.value(data, method, **options), data, tmp_path / "d.csv")
    _, post, get = client_of(s)
    card, k, labels = get("next").json()["card"], 0, s.labels
    while card is not None:
        action = ["keep", "drop", "relabel", "unsure"][k % 4]
        more = {} if action != "relabel" else {"label": "1.25"} if s.regression else {"code": k % len(labels)}
        answer = post("decide", row=card["row"], action=action, **more)
        assert answer.status_code == 200, answer.text
        assert get("next", row=card["row"]).json()["card"]["said"][0]["who"] == "ann"
        for group in get("groups").json()["groups"]:
            which = {name: group[name] for name in ("kind", "number", "given", "suggested") if name in group}
            assert len(get("group", **which).json()["rows"]) == min(group["rows"], 24)
        card, k = get("next").json()["card"], k + 1
    assert k == len(data)
    again = session(s.values, data, tmp_path / "d.csv")
    assert [again.verdict(row) for row in range(k)] == [s.verdict(row) for row in range(k)]
    np.testing.assert_allclose(again.scores, s.scores, rtol=1e-6, atol=1e-9)


# -------------------------------------------------------------------------------------------------- the command itself


@pytest.fixture
def files(tmp_path):
    data, _ = blobs()
    frame = pd.DataFrame(data.X, columns=["a", "b", "c"]).assign(kind=[f"k{c}" for c in data.y])
    frame.to_csv(tmp_path / "rows.csv", index=False)
    rows = da.read(tmp_path / "rows.csv", label="kind")
    da.value(rows, method="cg-score", progress=False).save(tmp_path / "values.parquet")
    return tmp_path


class Started:
    """`datassay review` in a process of its own."""

    def __init__(self, folder, *more):
        command = [
            sys.executable, "-m", "datassay", "review", "values.parquet", "--data", "rows.csv", "--no-browser", "--port", "0", *more,
        ]  # fmt: skip
        self.process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        self.address = self.process.stdout.readline().strip()
        found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/\?token=([\w-]{20,})(?:&who=(\w+))?", self.address)
        assert found, self.address + self.process.stderr.read()
        self.port, self.token = int(found[1]), found[2]

    def ask(self, path, **asked):
        url, headers = f"http://127.0.0.1:{self.port}/api/{path}", {"X-Token": self.token}
        asked, content = {"who": "ann", "window": "w"} | asked, None
        if path in ("decide", "undo"):
            content, headers["Content-Type"] = json.dumps(asked).encode(), "application/json"
        else:
            url += f"?{urlencode(asked)}"
        with urllib.request.urlopen(urllib.request.Request(url, content, headers), timeout=30) as answer:
            return json.load(answer)

    def end(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err


@pytest.mark.parametrize("times", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_nothing_is_lost_by_kill_9(files, times):
    """Ten decisions, then kill -9, again and again: all that were answered are there, and of the one under way all or nothing."""
    answered: list[int] = []
    rng = np.random.default_rng(0)
    for _ in range(times):
        started = Started(files)
        target = len(answered) + 10
        stop = threading.Event()

        def kill_soon(process=started.process, stop=stop, wait=float(rng.uniform(0, 0.02))):
            stop.wait()
            time.sleep(wait)
            os.kill(process.pid, signal.SIGKILL)

        killer = threading.Thread(target=kill_soon)
        killer.start()
        try:
            row = started.ask("next")["card"]["row"]
            while True:
                if len(answered) >= target:
                    stop.set()
                answer = started.ask("decide", row=row, action="keep" if row % 2 else "drop", seconds=1)
                answered.append(row)
                row = answer["card"]["row"]
        except (OSError, http.client.HTTPException):
            assert stop.is_set()
        finally:
            stop.set()
            killer.join()
            started.end()
        content = (files / "decisions.csv").read_bytes()
        lines = list(csv.reader(content.decode().splitlines()))
        assert all(len(line) == 9 for line in lines)
        kept = [int(line[0]) for line in lines[1:]]
        assert kept[: len(answered)] == answered
        assert len(kept) <= len(answered) + 1
        answered = kept
    assert len(answered) >= 10 * times
    rows = da.read(files / "rows.csv", label="kind")
    decided = settled(read_decisions(files / "decisions.csv"), rows)
    assert sum(decided.counts().values()) == len(set(answered)) == len(answered)


def test_the_address_comes_first_and_ctrl_c_says_what_is_kept(files):
    started = Started(files, "--who", "ann", "--by", "kind")
    assert started.address.endswith("&who=ann")
    listening = [socket.create_connection(("127.0.0.1", started.port), timeout=5)]
    listening[0].close()
    row = started.ask("next")["card"]["row"]
    rates = started.ask("groups")
    assert rates["by"] == "kind"
    assert {one["name"]: one["rows"] for one in rates["rates"]} == pd.read_csv(files / "rows.csv")[
        "kind"
    ].value_counts().to_dict()
    started.ask("decide", row=row, action="drop")
    code, _, err = started.end(signal.SIGINT)
    assert code == 130
    assert "1 lines of decisions are in 'decisions.csv'" in err or "1 line of decisions is in 'decisions.csv'" in err
    assert "Traceback" not in err
    done = run("apply", "decisions.csv", "--data", "rows.csv", "--label", "kind", "-o", "clean.csv", cwd=files)
    assert done.returncode == 0, done.stderr
    assert len(pd.read_csv(files / "clean.csv")) == 149


@pytest.mark.parametrize("how", ["values", "decisions", "data", "port", "same", "by"])
def test_a_wrong_call_is_a_sentence_and_status_2(files, how, monkeypatch, capsys):
    monkeypatch.chdir(files)
    arguments = ["values.parquet", "--data", "rows.csv", "--no-browser"]
    bound = None
    if how == "values":
        da.value(blobs(seed=3)[0], method="cg-score", progress=False).save(files / "other.parquet")
        arguments[0] = "other.parquet"
    elif how == "decisions":
        other, _ = blobs(seed=3)
        Record(files / "decisions.csv", other).add(Decision(1, "ann", "keep"))
    elif how == "data":
        frame = pd.read_csv(files / "rows.csv")
        frame.loc[0, "a"] += 1
        frame.to_csv(files / "rows.csv", index=False)
    elif how == "port":
        bound = socket.create_server(("127.0.0.1", 0))
        arguments += ["--port", bound.getsockname()[1]]
    elif how == "by":
        arguments += ["--by", "annotator"]
    else:
        arguments += ["-o", "rows.csv"]
    before = {p.name: p.read_bytes() for p in files.iterdir()}
    assert run_command(lambda: app(["review", *map(str, arguments)])) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.strip().splitlines()) == 1, said.err
    assert {p.name: p.read_bytes() for p in files.iterdir()} == before
    if bound is not None:
        bound.close()


def test_a_missing_extra_is_a_sentence_with_the_pip_line(files):
    code = (
        "import sys; sys.modules['uvicorn'] = None; sys.argv = ['datassay', 'review', 'values.parquet', '--data', 'rows.csv'];"
        "from datassay.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=files, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "pip install 'datassay[review]'" in done.stderr
    assert "Traceback" not in done.stderr
