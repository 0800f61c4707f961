"""What is printed in a narrow terminal."""

import pandas as pd

from datassay.terminal import output


def test_names_in_tables_are_whole_and_nothing_is_cut(capsys, monkeypatch):
    monkeypatch.setattr(output.out, "width", 60)
    names = ["airplane/IMG_0624.jpg", "dog/IMG_0335.JPG"]
    labels = {"given_label": ["airplane", "dog"], "suggested_label": ["ship", "x" * 30]}
    frame = pd.DataFrame({"id": names, "score": [-17.439, -17.7068]} | labels)
    output.print_table(frame, "most suspicious rows")
    said = capsys.readouterr().out
    assert all(name in said for name in names)
    assert "\N{HORIZONTAL ELLIPSIS}" not in said
    assert said.count("x") == 30  # folded over several lines, whole


def test_a_name_that_is_too_long_is_folded_too(capsys, monkeypatch):
    monkeypatch.setattr(output.out, "width", 60)
    output.print_table(pd.DataFrame({"id": ["q" * 90], "score": [1.5]}), "rows")
    said = capsys.readouterr().out
    assert said.count("q") == 90
    assert max(map(len, said.splitlines())) <= 60
