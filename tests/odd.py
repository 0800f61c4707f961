"""Odd calls, damaged files and odd option values, drawn from a seed: `python tests/odd.py 10000` runs so many and counts the failures.

A case passes if the call ends with status 0, 1, 2 or 130, in sentences and without a traceback, if no file is changed that it did not
name, and if a call that was wrong (status 2) leaves nothing behind.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import os
import random
import shlex
import shutil
import signal
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd

from datassay.cli import main
from datassay.methods import METHODS, options_of
from datassay.terminal.exits import UNEXPECTED

PATIENCE = 30  # seconds for a case; a giant that was asked for may take longer, and is stopped
ODD = [
    "0", "-1", "1", "2", "3", "0.5", "-0.5", "1e308", "-1e308", "1e-320", "nan", "inf", "-inf", "10**9", "99999999999999999999",
    "1_000", "0x10", "True", "False", "None", "true", "null", "", " ", "''", "auto", "exact", "abc", "é", "\u202eabc", "[]", "[1]",
    "[1, 2, 3]", "{}", "{'a': 1}", "()", "(1, 2)", "b'x'", "1j", "...", "/", ".", "..", "/dev/null", "/no/such/place", "a" * 5000,
    "t.csv", "2024", "lambda x: x", "%s", "\\x00", "[[[[", "'", '"', "--", "-o",
]  # fmt: skip
CHEAP = {"n_models": "40", "epochs": "1", "iterations": "2", "runs": "1", "restarts": "1", "progress": None}
PATHS = [
    "v.parquet", "t.csv", "values.parquet", "nowhere/v.parquet", ".", "link", "loop", "d/y.npy", "other.md", "a" * 300,
    "\udce9.parquet", "/dev/null", "pipe", "x.html", "ü .parquet",
]  # fmt: skip


def template(folder: Path) -> None:
    """Files of every kind, small and whole."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(24, 3)) + np.repeat([[1.5], [-1.5]], 12, axis=0)
    y = np.repeat(["a", "b"], 12)
    frame = pd.DataFrame(X, columns=list("pqr")).assign(label=y, amount=X.sum(axis=1), id=[f"row {i}" for i in range(24)])
    frame.to_csv(folder / "t.csv", index=False)
    frame.iloc[::3].to_csv(folder / "val.csv", index=False)
    frame.to_parquet(folder / "t.parquet", index=False)
    frame.assign(when="0001-01-01").to_csv(folder / "old.csv", index=False)
    frame.assign(p=1.0, q=1.0, r=1.0).to_csv(folder / "constant.csv", index=False)
    frame.assign(p=[1e300] + 23 * [1.0]).to_csv(folder / "huge.csv", index=False)
    (folder / "d").mkdir()
    np.save(folder / "d" / "X.npy", X)
    np.save(folder / "d" / "y.npy", y)
    np.save(folder / "zero.npy", np.array(1.0))
    np.savez(folder / "t.npz", X=X, y=y, X_val=X[::3], y_val=y[::3])
    (folder / "other.md").write_text("of somebody else")
    (folder / "study.toml").write_text('data = ["iris"]\nmethods = ["random"]\nseeds = 1\nrates = 0.1\ntrain = 40\n')
    (folder / "link").symlink_to("other.md")
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "pipe")
    for call in (
        ["value", "t.csv", "--label", "label", "--drop", "id", "-m", "cg-score", "-o", "values.parquet"],
        ["value", "t.csv", "--label", "label", "--drop", "id", "--val", "val.csv", "-m", "ame", "--set", "n_models=40", "--set",
         "store=s.sqlite", "-o", "v2.parquet"],
        ["value", "t.csv", "--label", "label", "--drop", "id", "--val", "val.csv", "-m", "dvgs", "--set", "epochs=1", "--set",
         "checkpoint=c", "-o", "v3.parquet"],
    ):  # fmt: skip
        status, _, err = run(call, folder, 0)
        assert status == 0, err
    for path in folder.glob("s.sqlite-*"):
        path.unlink()


class Slow(BaseException):
    """A case took longer than our patience."""


def run(call: list[str], folder: Path, patience: int = PATIENCE) -> tuple[object, str, str]:
    """Status, stdout and stderr of a call in this process."""
    out, err = io.StringIO(), io.StringIO()

    def late(*_: object) -> None:
        raise Slow

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(patience)
    status: object = 0
    try:
        with (
            contextlib.chdir(folder),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            mock.patch.object(sys, "argv", ["datassay", *call]),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            main()
    except SystemExit as end:
        status = end.code or 0
    except Slow:
        status = "slow"
    except BaseException as error:
        status = f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return status, out.getvalue(), err.getvalue()


def state(folder: Path) -> dict[str, str]:
    """What is in the folder."""
    return {
        os.fsdecode(path.relative_to(folder)): hashlib.blake2b(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if not path.is_symlink() and path.is_file()
    }


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Some of what can happen to a file."""
    how = draw.randrange(6)
    if how == 0 or not content:
        return b""
    at = draw.randrange(len(content))
    if how == 1:
        return content[:at]
    if how == 2:
        return content + draw.randbytes(draw.choice([1, 100, 5000]))
    if how == 3:
        return content[:at] + draw.randbytes(min(16, len(content) - at)) + content[at + 16 :]
    if how == 4:
        return (
            draw.choice([b"PAR1", b"\x93NUMPY", b"PK\x03\x04", b"SQLite format 3\x00", b"\xff\xfe", b"[1, 2", b"\x89PNG"])
            + content
        )
    flipped = bytearray(content)
    for _ in range(draw.choice([1, 1, 1, 8])):
        flipped[draw.randrange(len(flipped))] ^= 1 << draw.randrange(8)
    return bytes(flipped)


def case(draw: random.Random) -> tuple[list[str], str | None]:
    """A call, and the file that is damaged before it."""
    kind = draw.choice(["options", "options", "flags", "paths", "damaged", "damaged", "data", "bench"])
    base = ["--label", "label", "--drop", "id", "--drop", "amount"]
    if kind == "options":
        name = draw.choice([n for n in METHODS if n != "random"])
        known = options_of(METHODS[name]) or []
        call = ["value", "t.csv", *base, "--val", "val.csv", "-m", name]
        chosen = draw.sample(known, min(len(known), draw.choice([1, 1, 2])))
        for option in known:
            if option in chosen:
                call += ["--set", f"{option}={draw.choice(ODD)}"]
            elif CHEAP.get(option):
                call += ["--set", f"{option}={CHEAP[option]}"]
        return [*call, "-o", "out.parquet"], None
    if kind == "flags":
        command = draw.choice(["value", "report", "plan", "audit", "demo"])
        flags = {
            "value": ["--label", "--id", "--val", "--features", "--drop", "--missing", "--task", "--image-size", "--encoding", "--seed",
                      "--set", "--budget", "--memory", "--jobs", "--backend", "--top", "-m"],
            "report": ["--label", "--id", "--val", "--features", "--missing", "--task", "--encoding", "--top"],
            "plan": ["--label", "--budget", "--memory", "-m", "--task"],
            "audit": ["--kind", "--rate", "--repeats", "--rows", "--seed", "--budget", "-m"],
            "demo": ["--seed", "-o"],
        }[command]  # fmt: skip
        start = {
            "value": ["t.csv", *base, "-m", "cg-score", "-o", "out.parquet"],
            "report": ["values.parquet", "--data", "t.csv", "-o", "out.html"],
            "plan": ["t.csv", *base],
            "audit": ["t.csv", *base, "-m", "random", "--repeats", "1"],
            "demo": ["-o", "nowhere/else"],
        }[command]
        more = [
            word
            for flag in draw.sample(flags, draw.choice([1, 1, 2]) if len(flags) > 1 else 1)
            for word in (flag, draw.choice(ODD))
        ]
        return [command, *start, *more], None
    if kind == "paths":
        path = draw.choice(PATHS)
        plain, val = ["value", "t.csv", *base, "-m", "random"], ["value", "t.csv", *base, "--val", "val.csv"]
        ame, out = ["-m", "ame", "--set", "n_models=40"], ["-o", "out.parquet"]
        folder = path if path not in (".", "ü .parquet", "v.parquet", "x.html", "\udce9.parquet") else "t.csv"
        return draw.choice([
            [*plain, "-o", path],
            [*plain, *out, "--report", path],
            ["value", path, *base, "-m", "random", *out],
            [*plain, *out, "--val", path],
            [*plain, *out, "--features", path],
            [*val, *ame, "--set", f"store={path}", *out],
            [*val, "-m", "dvgs", "--set", "epochs=1", "--set", f"checkpoint={path}", *out],
            [*val, "-m", "datamodels", "--set", "n_models=40", "--set", f"matrix={path}", *out],
            ["report", path, "--data", "t.csv", "-o", "out.html"],
            ["report", "values.parquet", "--data", path, "-o", "out.html"],
            ["report", "values.parquet", "--data", "t.csv", "-o", path],
            ["bench", path, "-o", "out"],
            ["bench", "study.toml", "-o", path],
            ["demo", "-o", folder],
        ]), None  # fmt: skip
    if kind == "data":
        file = draw.choice(["old.csv", "constant.csv", "huge.csv", "zero.npy", "t.npz", "d/X.npy", "t.parquet", "t.csv"])
        label = draw.choice(["label", "amount", "when", "id", "p", "y.npy", "zero.npy", "no"])
        name = draw.choice(
            ["random", "cg-score", "knn-shapley", "leave-one-out", "tracin", "in-run-shapley", "self-confidence", "lava"]
        )
        call = ["value", file, "--label", label, "-m", name, "-o", "out.parquet"]
        call += draw.choice([[], ["--id", "id"], ["--drop", "id"], ["--drop", "when"], ["--task", "regression"]])
        call += draw.choice([[], ["--val", file], ["--val", "val.csv"], ["--val", "huge.csv"]])
        call += ["--set", "epochs=1"] if name in ("tracin", "in-run-shapley") else []
        return [*call, *draw.choice([[], ["--report", "out.html"]])], None
    if kind == "bench":
        name = draw.choice(
            ["task", "data", "methods", "kinds", "rates", "seeds", "train", "val", "test", "limit", "paths", "n_jobs", "no"]
        )
        odd = draw.choice(
            [
                "0",
                "-1",
                "1e400",
                "[]",
                "[1]",
                "{a = 1}",
                "'x'",
                "''",
                "true",
                "[[1]]",
                "99999999999999999999",
                "1979-05-27",
                "nan",
            ]
        )
        lines = {"data": '["iris"]', "methods": '["random"]', "seeds": "1", "rates": "0.1", "train": "40", name: odd}
        return ["bench", "study.toml", "-o", "out"], "study.toml=" + "\n".join(f"{k} = {v}" for k, v in lines.items())
    file, call = draw.choice([
        ("t.csv", ["value", "t.csv", *base, "-m", "random", "-o", "out.parquet"]),
        ("t.parquet", ["value", "t.parquet", *base, "-m", "random", "-o", "out.parquet"]),
        ("t.npz", ["value", "t.npz", "-m", "random", "-o", "out.parquet"]),
        ("d/X.npy", ["value", "d/X.npy", "--label", "y.npy", "-m", "random", "-o", "out.parquet"]),
        ("d/y.npy", ["value", "d/X.npy", "--label", "y.npy", "-m", "random", "-o", "out.parquet"]),
        ("values.parquet", ["report", "values.parquet", "--data", "t.csv", "-o", "out.html"]),
        ("s.sqlite", ["value", "t.csv", "--label", "label", "--drop", "id", "--val", "val.csv", "-m", "ame", "--set", "n_models=40",
                      "--set", "store=s.sqlite", "-o", "out.parquet"]),
        ("c/run-0.pt", ["value", "t.csv", "--label", "label", "--drop", "id", "--val", "val.csv", "-m", "dvgs", "--set", "epochs=1",
                        "--set", "checkpoint=c", "-o", "out.parquet"]),
        ("study.toml", ["bench", "study.toml", "-o", "out"]),
    ])  # fmt: skip
    return call, file


OURS = ("values.parquet", "v2.parquet", "v3.parquet")


def trouble(whole: Path, number: int, seed: int) -> tuple[list[str], str, str | None]:
    """The call of a case, how it ended, and what is wrong with that."""
    draw = random.Random(f"{seed} {number}")
    call, file = case(draw)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(shutil.copytree(whole, Path(place) / "home", symlinks=True, ignore=shutil.ignore_patterns("pipe")))
        os.mkfifo(folder / "pipe")
        if file is not None and "=" in file:
            (folder / "study.toml").write_text(file.partition("=")[2])
        elif file is not None:
            (folder / file).write_bytes(damaged((folder / file).read_bytes(), draw))
        before = state(folder)
        status, _, err = run(call, folder)
        after = state(folder)
    changed = [name for name in before if after.get(name) != before[name]]
    new = [name for name in after if name not in before]
    known = [*OURS, "s.sqlite", *(n for n in before if n.startswith("c/"))]
    wrong = None
    if status == "slow":
        return call, "slow", None
    if status not in (0, 1, 2, 130):
        wrong = f"status {status!r}"
    elif "Traceback" in err or UNEXPECTED in err:
        wrong = err.strip()[-300:]
    elif status == 2 and not err.strip():
        wrong = "no sentence"
    elif any(name not in known or (name in OURS and status == 2) for name in changed):
        wrong = f"changed {changed}"
    elif any(".part" in name for name in new) or (status == 2 and [n for n in new if not n.startswith(("s.sqlite", "c/"))]):
        wrong = f"left {new} with status {status}"
    return call, str(status), wrong


def many(cases: int, seed: int = 0, first: int = 0, show: bool = False) -> tuple[Counter[str], list[str]]:
    """How cases ended, and a line for each failure."""
    ends: Counter[str] = Counter()
    failures = []
    with tempfile.TemporaryDirectory() as place:
        template(Path(place))
        for number in range(first, first + cases):
            call, status, wrong = trouble(Path(place), number, seed)
            ends[status] += 1
            if wrong is not None:
                failures.append(f"case {number}: datassay {shlex.join(call)[:400]!r}: {wrong}")
                if show:
                    print(failures[-1], flush=True)
            if show and (number - first + 1) % 100 == 0:
                print(f"{number - first + 1} cases, {len(failures)} failures so far", flush=True)
    return ends, failures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", type=int, nargs="?", default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case, to run one again")
    given = parser.parse_args()
    ends, failures = many(given.cases, given.seed, given.first, show=True)
    print(f"{given.cases} cases, {len(failures)} failures; by status: {dict(ends)}")
    sys.exit(bool(failures))
