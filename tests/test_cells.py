"""Files that people open in a spreadsheet: no text in them is a formula, and it comes back unchanged."""

import numpy as np
import pandas as pd
import pytest

import datassay as da
from datassay.decisions.cells import for_sheet, from_sheet
from datassay.decisions.records import read_decisions, write_decisions
from datassay.evaluation.checking import read_answers, write_sheet

NAMES = ["=cmd()", "+1+1", "-2", "@x", "'quoted", "''=", "\t=1", "plain", "", "1e5", "-"]


@pytest.mark.parametrize("name", NAMES)
def test_a_cell_comes_back(name):
    assert from_sheet(for_sheet(name)) == name
    assert for_sheet(name) == "-2" or not for_sheet(name).startswith(("=", "+", "-", "@", "\t"))


def test_decisions_and_samples_hold_no_formula(tmp_path):
    lines = pd.DataFrame({"id": NAMES, "action": "drop", "note": NAMES[::-1]})
    write_decisions(lines, tmp_path / "d.csv")
    raw = pd.read_csv(tmp_path / "d.csv", dtype=str, keep_default_na=False)
    assert not raw[["id", "note"]].map(lambda cell: cell.startswith(("=", "+", "@", "\t"))).to_numpy().any()
    pd.testing.assert_frame_equal(read_decisions(tmp_path / "d.csv"), lines)

    ids = [name for name in NAMES if name]
    rows = da.Dataset(np.arange(10.0)[:, None], ["=a"] * 5 + ["+b"] * 5, ids=ids)
    write_sheet(da.value(rows, "random"), 10, tmp_path / "s.csv")
    raw = pd.read_csv(tmp_path / "s.csv", dtype=str, keep_default_na=False)
    assert not raw.map(lambda cell: cell.startswith(("=", "+", "@", "\t"))).to_numpy().any()
    back = read_answers(tmp_path / "s.csv")
    assert sorted(back["id"]) == sorted(ids)
    assert set(back["given_label"]) == {"=a", "+b"}
