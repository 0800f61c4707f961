"""What a command says to call next runs as it stands: in a shell, with odd file names, and with all that the first call said."""

import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

from command import run
from datassay.values import Values

NAMES = [
    "my rows.csv",
    'it\'s "x" $HOME `id`.csv',
    "-t.csv",
    "\x1b[31mred.csv",
    "\u202egnp.csv",
    "[bold]t.csv",
    "\udce9.csv",
    "ü,ñ;&.csv",
]


def call(folder, *words):
    """Status, what was printed, and the words of the next call as a shell reads them."""
    status, out, err = run(*words, cwd=folder)
    found = re.search(r"^Next: (datassay .*)$", out, re.MULTILINE)
    said = out + err
    assert all(c.isprintable() or c == "\n" for c in said), ascii(said)
    return status, said, found and read_by_a_shell(found[1])[1:]


def read_by_a_shell(line):
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], stdout=-1, check=True)
    return [word.decode(errors="surrogateescape") for word in done.stdout.split(b"\0")[:-1]]


@pytest.fixture(params=NAMES, ids=ascii)
def home(request, tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3)) + np.repeat([[1.5], [-1.5]], 30, axis=0)
    frame = pd.DataFrame(X, columns=["a", "b", "out, of"]).assign(
        **{"the label": np.repeat(["x", "é"], 30), "who": np.arange(60), "-l": 1}
    )
    frame.loc[3, "a"] = np.nan
    data = tmp_path / request.param
    frame.to_csv(data, index=False, encoding="latin-1")
    shutil.copy(data, tmp_path / f"val {request.param}")
    (tmp_path / "report.html").write_text("of others")
    (tmp_path / "values.parquet").write_text("of others")
    name = f"./{request.param}" if request.param.startswith("-") else request.param
    how = ["--label", "the label", "--id", "who", "--val", f"val {request.param}", "--drop", "out, of", "--drop", "-l"]
    return tmp_path, name, [*how, "--missing", "mean", "--encoding", "latin-1"]


def test_from_the_first_call_to_the_page(home):
    folder, name, how = home
    status, said, then = call(folder, "audit", name, *how, "-m", "knn-shapley k=3", "--repeats", 1, "--seed", 5)
    assert status == 0, said
    assert then[:2] == ["value", name]
    assert then[-4:] == ["--seed", "5", "-o", "values-2.parquet"]
    status, said, then = call(folder, *then)
    assert status == 0, said
    assert Values.load(folder / "values-2.parquet").options["k"] == 3
    status, said, _ = call(folder, *then)
    assert status == 0, said
    assert (folder / "report-2.html").is_file()
    status, said, then = call(folder, "check", "values-2.parquet", "-n", 20)
    assert status == 0, said
    pd.read_csv(folder / "sample.csv").assign(wrong="no").to_csv(folder / "sample.csv", index=False)
    status, said, _ = call(folder, *then)
    assert status == 0, said


@pytest.mark.parametrize("home", NAMES[1:3], ids=ascii, indirect=True)
def test_what_a_plan_proposes(home):
    folder, name, how = home
    for method in ([], ["-m", "knn-shapley"]):
        status, said, then = call(folder, "plan", name, *how, *method)
        assert status == 0, said
        status, said, then = call(folder, *then)
        assert status == 0, said
    bench = ["bench", "--data", name, "--label", "the label", "-m", "random", "--seeds", 1, "--rate", 0.1]
    status, said, _ = call(folder, *bench)
    assert status == 2, said  # there is no way to say the encoding of a file there: a sentence says so
    assert "latin-1" in said


def test_a_label_that_begins_with_a_dash_and_files_of_npy(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "-X.npy", rng.normal(size=(40, 3)))
    np.save(tmp_path / "-y.npy", np.arange(40) % 2)
    status, said, then = call(tmp_path, "plan", "./-X.npy", "--label", "-y.npy")
    assert status == 0, said
    status, said, then = call(tmp_path, *then)
    assert status == 0, said
    status, said, _ = call(tmp_path, *then)
    assert status == 0, said


@pytest.mark.parametrize(("method", "says"), [("dvgs", "needs validation rows"), ("lava", "needs validation rows")])
def test_a_plan_proposes_nothing_that_can_not_be_called(tmp_path, method, says):
    pd.DataFrame({"a": np.arange(50) % 7, "b": np.arange(50) % 3, "label": np.arange(50) % 2}).to_csv(
        tmp_path / "t.csv", index=False
    )
    status, said, _ = call(tmp_path, "plan", "t.csv", "--label", "label", "-m", method)
    assert (status, says in said) == (2, True), said
    status, said, then = call(tmp_path, "plan", "t.csv", "--label", "label", "--memory", "120000000", "--budget", "90")
    assert status == 0, said
    assert "dvgs" not in said
    assert call(tmp_path, *then)[0] == 0
    status, said, _ = call(tmp_path, "plan", "t.csv", "--label", "a", "--task", "regression")
    assert status == 0, said
    assert "el2n" not in said
