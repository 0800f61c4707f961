import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris

from command import run
from datassay.values import Values

ROOT = Path(__file__).parents[1]


def in_a_process(*arguments):
    command = [sys.executable, "-m", "datassay", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture
def iris(tmp_path):
    """iris.csv: a column of ids, five labels planted wrong, one hostile id."""
    bunch = load_iris(as_frame=True)
    frame = bunch.frame.rename(columns={"target": "species"})
    frame["species"] = bunch.target_names[frame["species"]]
    frame.loc[[3, 40, 60, 90, 120], "species"] = ["virginica", "virginica", "setosa", "setosa", "setosa"]
    frame.insert(0, "plant", [f"plant {i}" for i in range(150)])
    frame.loc[3, "plant"] = "<script>alert(1)</script>"
    frame.to_csv(tmp_path / "iris.csv", index=False)
    return tmp_path / "iris.csv"


def test_a_file_goes_in_and_the_wrong_rows_come_out(iris):
    folder = iris.parent
    done = in_a_process("value", iris, "--label", "species", "--id", "plant", "-m", "cg-score", "-o", folder / "v.parquet")
    assert done.returncode == 0, done.stderr
    assert "plant 120" in done.stdout
    assert "Traceback" not in done.stderr
    values = Values.load(folder / "v.parquet")
    assert set(values.suspects(5)["id"]) == {"<script>alert(1)</script>", "plant 40", "plant 60", "plant 90", "plant 120"}
    assert values.options["ridge"] == "auto"
    page = run("report", folder / "v.parquet", "--data", iris, "-o", folder / "r.html", "--top", 10)
    assert page.returncode == 0, page.stderr
    text = (folder / "r.html").read_text()
    assert "plant 120" in text
    assert "<script>alert(1)" not in text
    assert json.loads((folder / "r.json").read_text())
    assert sorted(p.name for p in folder.iterdir()) == ["iris.csv", "r.html", "r.json", "v.parquet"]


def test_options_reach_the_method(iris):
    out = iris.parent / "v.parquet"
    done = run(
        "value", iris, "--label", "species", "--drop", "plant", "--set", "ridge=0.5", "--set", "classes=own", "--set", "bias=true",
        "--seed", 4, "-o", out, "--top", 0, "--report", iris.parent / "r.html",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    values = Values.load(out)
    assert (values.options["ridge"], values.options["classes"], values.options["bias"], values.options["seed"]) == (
        0.5,
        "own",
        True,
        4,
    )
    assert list(values.ids[:3]) == [0, 1, 2]
    assert (iris.parent / "r.html").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["value", "iris.csv"], "needs the name of its label column"),
        (["value", "iris.csv", "--label", "specis"], "did you mean 'species'"),
        (["value", "irs.csv", "--label", "species"], "did you mean 'iris.csv'"),
        (["value", "iris.csv", "--label", "species", "--id", "plant", "-m", "cg"], "no method 'cg'"),
        (["value", "iris.csv", "--label", "species", "--id", "plant", "--set", "rigde=1"], "did you mean 'ridge'"),
        (["value", "iris.csv", "--label", "species", "--id", "plant", "--set", "ridge"], "name=value"),
        (["value", "iris.csv", "--label", "species", "--id", "plant", "--set", "ridge=-1"], "ridge must be"),
        (["value", "iris.csv", "--label", "species", "--id", "plant", "--missing", "guess"], "missing must be"),
        (["value", "iris.csv", "--label", "species", "--id", "plant", "-o", "no/v.parquet"], "does not exist"),
        (["value", "iris.csv", "--label", "species", "--id", "plant", "--features", "f.npy"], "no features file"),
        (["report", "v.parquet", "--data", "iris.csv"], "no file 'v.parquet'"),
        (["values", "iris.csv"], "No such command"),
        (["value", "iris.csv", "--labels", "species"], "No such option"),
        (["value", "iris.csv", "--label", "species", "--id", "plant", "-o", "iris.csv"], "would overwrite"),
        (
            ["value", "iris.csv", "--label", "species", "--id", "plant", "-o", "x.json", "--report", "x.html"],
            "would overwrite",
        ),
        (["value", "iris.csv", "--label", "species", "--id", "plant", "-o", "."], "is a folder"),
        (["value", "iris.csv", "--label", "species", "--id", "plant", "--set", "seed=3"], "the seed is --seed"),
        (["value", "iris.csv", "--label", "species", "--id", "plant", "--set", "bias=no"], "bias must be"),
        (["value", "iris.csv", "--label", "species", "--id", "plant", "--set", "device=tpu"], "device must be"),
    ],
)
def test_a_wrong_call_is_one_sentence_and_status_2(iris, arguments, says):
    done = run(*arguments, cwd=iris.parent)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert [p.name for p in iris.parent.iterdir()] == ["iris.csv"]


def test_a_report_on_other_data_is_refused(iris):
    out = iris.parent / "v.parquet"
    assert run("value", iris, "--label", "species", "--id", "plant", "-m", "cg-score", "-o", out).returncode == 0
    frame = pd.read_csv(iris)
    frame.iloc[0, 1] += 1
    frame.to_csv(iris, index=False)
    done = run("report", out, "--data", iris, "-o", iris.parent / "r.html")
    assert done.returncode == 2
    assert "other data" in done.stderr
    assert not (iris.parent / "r.html").exists()


def test_demo(tmp_path):
    done = run("demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "180 labels (10 %) were planted wrong" in done.stdout
    found = int(done.stdout.split("first  180 suspects:")[1].split()[0])
    assert found > 160
    values = Values.load(tmp_path / "datassay-demo" / "values.parquet")
    assert len(values) == 1797
    text = (tmp_path / "datassay-demo" / "report.html").read_text()
    assert text.count("data:image/png") > 200
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert np.isfinite(values.scores).all()


def test_methods_and_help_name_what_there_is():
    from datassay.methods import METHODS

    rows = [line.split("│")[1].strip() for line in run("methods").stdout.splitlines() if line.count("│") > 2]
    assert [name for name in rows if name] == list(METHODS)
    for command in ("demo", "value", "audit", "plan", "bench", "report", "methods", "check"):
        assert run(command, "--help").returncode == 0


def test_the_readme_names_every_command():
    readme = ROOT.joinpath("README.md").read_text()
    for command in ("demo", "value", "audit", "plan", "bench", "report", "methods"):
        assert re.search(rf"\bdatassay {command}\b", readme), command


def test_every_method_has_a_page():
    from datassay.methods import METHODS

    assert all(ROOT.joinpath("docs/methods", f"{name}.md").is_file() for name in METHODS)
    assert f"{len(METHODS)} methods, called in the same way" in ROOT.joinpath("README.md").read_text()


def test_the_links_of_the_front_pages_lead_somewhere():
    for page in ("README.md", "CONTRIBUTING.md", "SECURITY.md"):
        for link in re.findall(r"\]\(([^)#:]+)", ROOT.joinpath(page).read_text()):
            assert ROOT.joinpath(link).exists(), f"{page}: {link}"


def test_the_readme_s_three_lines_print_what_it_says(tmp_path, monkeypatch, capsys):
    readme = ROOT.joinpath("README.md").read_text()
    code, printed = re.search(r"```python\n(.*?)```\n\n```\n(.*?)```", readme, re.DOTALL).groups()
    monkeypatch.chdir(tmp_path)
    exec(re.search(r'^python -c "(.*)"$', readme, re.MULTILINE)[1], {})
    exec(code, {})
    for came, said in zip(capsys.readouterr().out.split(), printed.split(), strict=True):
        assert float(came) == pytest.approx(float(said), rel=0.01) if "." in said else came == said
    assert (tmp_path / "report.html").exists()


def test_torch_is_not_imported_for_small_work(iris):
    code = f"import sys, datassay as da; da.value(da.read({str(iris)!r}, label='species', id='plant')); assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


def test_a_messy_file_is_valued_in_one_run(tmp_path):
    rng = np.random.default_rng(0)
    size = rng.normal(size=120)
    frame = pd.DataFrame({"size": size, "fur": np.where(size > 0, "long", ""), "kind": np.where(size > 0, "dog", "cat")})
    frame.loc[5, "size"], frame.loc[7, "kind"], frame.loc[9, "kind"] = -999999, "dgo", ""
    frame.to_csv(tmp_path / "t.csv.gz")
    done = run("value", tmp_path / "t.csv.gz", "--label", "kind", "--missing", "drop", "--drop", "fur", "-m", "cg-score",
               "-o", tmp_path / "v.parquet")  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "Note: column 'size' has -999999 in row 5 (1 such cells), far beyond all others" in said
    assert "Note: row 9 (id 9) has no label: left out." in said
    assert "Note: 1 label is of no other row, 'dgo' in row 7 (id 7): suspects by that alone, and left out" in said
    assert len(Values.load(tmp_path / "v.parquet")) == 118
