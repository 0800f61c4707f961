"""Runs that are stopped at random moments: SIGKILL, SIGTERM and Ctrl-C, and the same call again.

    python benchmarks/kills.py                                 20 moments for each of 4 commands, 3 signals, 1 and 2 jobs: 480 cases
    python benchmarks/kills.py --moments 2 --command ame --jobs 2 --seed 7

A case starts a command, stops it at a moment drawn evenly from the time that an unbroken run takes, and starts the same call again.
It passes if

- the second run ends with status 0 and the bits of an unbroken run;
- the first run ends within LONG seconds, and ten seconds later none of its workers is left;
- SIGTERM and Ctrl-C (SIGINT to the whole group, as a terminal sends it) end in status 130 and a sentence that says what is kept and how
  to go on, without a traceback; or the run had already written all it had to, and says where.

Signals that come before Python has read the first line of datassay are counted apart: there Python answers.
"""

import argparse
import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

import datassay
from datassay.evaluation.bench import TABLES
from datassay.files import check_target
from datassay.values import Values

PATIENCE = 10.0  # seconds for workers to be gone
LONG = 120.0  # seconds for a run to end
FIRST = 1.0  # seconds until Python has read our first line, on a slow machine
SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}
READ = ["t.csv", "--label", "label", "--val", "val.csv"]
COMMANDS = {
    "ame": ["value", *READ, "-m", "ame", "--set", "n_models=300", "--set", "store=s.sqlite", "-o", "v.parquet"],
    "dvgs": ["value", *READ, "-m", "dvgs", "--set", "epochs=6", "--set", "checkpoint=c", "-o", "v.parquet"],
    "cg-score": ["value", "large.csv", "--label", "label", "-m", "cg-score", "--set", "approx=exact", "--set", "checkpoint=c",
                 "-o", "v.parquet"],
    "bench": ["bench", "--data", "iris", "-m", "ame n_models=100", "-m", "cg-score", "-m", "data-oob n_models=50",
              "--seeds", "1", "--rate", "0.1", "-o", "b"],
}  # fmt: skip
GOES_ON = r"kept in .*: the same call goes on there|written\.$|the same call (starts again|goes on where it was stopped)"


def make(folder: Path) -> None:
    """The rows."""
    rng = np.random.default_rng(0)
    for name, n, d in (("t", 200, 5), ("large", 4400, 5)):
        X = (rng.normal(size=(n, d)) + np.repeat([[0.5], [-0.5]], n // 2, axis=0)).astype(np.float32)
        frame = pd.DataFrame(X, columns=[f"c{i}" for i in range(d)]).assign(label=np.repeat(["x", "y"], n // 2))
        frame.to_csv(folder / f"{name}.csv", index=False)
    pd.read_csv(folder / "t.csv").iloc[::4].to_csv(folder / "val.csv", index=False)


def found(command: str, folder: Path) -> list[bytes]:
    """The bits of what a command came to; nothing about how long it took."""
    if command != "bench":
        values = Values.load(folder / "v.parquet")
        frame = values.to_frame()
    else:
        frame = pd.concat([pd.read_parquet(folder / "b" / f"{name}.parquet") for name in TABLES])
        frame = frame[~frame["metric"].eq("seconds") & ~frame["curve"].eq("time")] if "curve" in frame else frame
    return [
        np.ascontiguousarray(c).tobytes() if c.dtype.kind in "bif" else "\n".join(map(str, c)).encode()
        for _, c in frame.items()
    ]


def start(command: str, jobs: int, folder: Path, token: str) -> subprocess.Popen[str]:
    words = [
        sys.executable,
        "-m",
        "datassay",
        *COMMANDS[command],
        *(["--jobs", str(jobs)] if jobs > 1 or command == "bench" else []),
    ]
    environment = os.environ | {"KILLS": token, "PYTHONPATH": str(Path(datassay.__file__).parents[1])}
    return subprocess.Popen(
        words, cwd=folder, env=environment, stdout=-1, stderr=-1, text=True, start_new_session=True, stdin=subprocess.DEVNULL
    )


def left(token: str) -> list[psutil.Process]:
    """Processes of a run, whoever their parent is now."""
    some = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("KILLS") == token and process.status() != psutil.STATUS_ZOMBIE:
                some.append(process)
    return some


def case(command: str, jobs: int, how: str, moment: float, whole: list[bytes]) -> tuple[str, str]:
    """How it went in a word, and what is wrong."""
    with tempfile.TemporaryDirectory() as place:
        folder, token = Path(place), uuid.uuid4().hex
        make(folder)
        process = start(command, jobs, folder, token)
        try:
            out, err = process.communicate(timeout=moment)
        except subprocess.TimeoutExpired:
            if how == "SIGINT":
                os.killpg(process.pid, SIGNALS[how])
            else:
                process.send_signal(SIGNALS[how])
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(LONG)  # it may make values of the trainings that are there, and write them
            stopped = time.monotonic()
            while (alive := left(token)) and time.monotonic() < stopped + PATIENCE:
                time.sleep(0.1)
            names = []
            for one in alive:
                with contextlib.suppress(psutil.Error):
                    names.append(f"{one.pid} {' '.join(one.cmdline())[:80]}")
                    one.kill()
            out, err = process.communicate()
            if names:
                return "left", f"{len(names)} processes were there after {PATIENCE:g} s: {names}; {err[-500:]}"
        status = process.returncode
        word, wrong = ended(how, status, out, err, moment)
        if wrong:
            return word, wrong
        again = start(command, jobs, folder, uuid.uuid4().hex)
        out, err = again.communicate(timeout=600)
        if again.returncode != 0:
            return word, f"the second run ended with {again.returncode}: {err[-500:]}"
        if found(command, folder) != whole:
            return word, "the second run has other bits"
        if parts := [str(p) for p in folder.rglob("*.part")]:
            return word, f"the second run left {parts}"
        with contextlib.suppress(FileNotFoundError):
            check_target(folder / "v.parquet")
    return word, ""


def ended(how: str, status: int, out: str, err: str, moment: float) -> tuple[str, str]:
    """How the first run ended, and what is wrong with that."""
    if status == 0:
        return (
            "was done",
            "" if "rote" in out or how == "SIGKILL" else f"status 0 and nothing said: {out[-300:]} {err[-500:]}",
        )
    if how == "SIGKILL":
        return "killed", "" if status == -signal.SIGKILL else f"status {status}: {err[-500:]}"
    if "datassay" not in err.replace("-m datassay", "") and not out and moment < FIRST and status in (-SIGNALS[how], 1, 130):
        return "before our first line", ""
    if "Traceback" in err or "Exception ignored" in err:
        return "traceback", err[-1500:]
    if status != 130:
        return "other status", f"status {status}: {out[-300:]} {err[-500:]}"
    if not re.search(GOES_ON, err + out, re.MULTILINE):
        return "no sentence", f"{out[-300:]} {err[-500:]}"
    return "part of the values" if "stopped early" in out else "stopped", ""


def unbroken(command: str, jobs: int) -> tuple[float, list[bytes]]:
    """Seconds and bits."""
    with tempfile.TemporaryDirectory() as place:
        make(Path(place))
        began = time.monotonic()
        process = start(command, jobs, Path(place), uuid.uuid4().hex)
        out, err = process.communicate(timeout=600)
        if process.returncode:
            raise SystemExit(f"{command}: {out}{err}")
        return time.monotonic() - began, found(command, Path(place))


def main(say: Callable[[str], None] = lambda text: print(text, flush=True)) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="go on from this moment; the draws are the same")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--command", action="append", choices=list(COMMANDS), help="may be repeated; default: all")
    parser.add_argument("--signal", action="append", choices=list(SIGNALS), help="may be repeated; default: all")
    parser.add_argument("--jobs", action="append", type=int, help="may be repeated; default: 1 and 2")
    parser.add_argument("--at-once", type=int, default=1, help="cases that run side by side")
    call = parser.parse_args()
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's background job ignores it, and so would what it starts
    kinds = [(command, jobs) for command in call.command or COMMANDS for jobs in call.jobs or (1, 2)]
    seconds, whole, broken = {}, {}, 0
    for command, jobs in kinds:
        seconds[command, jobs], bits = unbroken(command, jobs)
        if whole.setdefault(command, bits) != bits:
            broken += 1
            say(f"FAILED {command}: other bits with {jobs} jobs")
        say(f"{command}, {jobs} jobs: an unbroken run took {seconds[command, jobs]:.1f} s")
    ends: dict[tuple[str, int, str], Counter[str]] = {}
    cases = failures = 0

    def one(what: tuple[int, tuple[str, int], str]) -> tuple[str, str, float]:
        number, (command, jobs), how = what
        moment = random.Random(f"{call.seed} {command} {jobs} {how} {number}").random() * seconds[command, jobs]
        return *case(command, jobs, how, moment, whole[command]), moment

    # moments outermost: whenever this is stopped, all kinds have had as many
    every = [(n, kind, how) for n in range(call.first, call.moments) for kind in kinds for how in call.signal or SIGNALS]
    with ThreadPoolExecutor(call.at_once) as pool:
        for (number, (command, jobs), how), (word, wrong, moment) in zip(every, pool.map(one, every), strict=True):
            ends.setdefault((command, jobs, how), Counter())[word] += 1
            cases, failures = cases + 1, failures + bool(wrong)
            if wrong:
                say(f"FAILED {command}, {jobs} jobs, {how} {number} after {moment:.2f} s: {wrong}")
            if cases % (len(kinds) * len(call.signal or SIGNALS)) == 0:
                say(f"{cases} cases, {failures} failures so far")
    for (command, jobs, how), words in ends.items():
        say(f"{command}, {jobs} jobs, {how}: {dict(words)}")
    say(f"{cases} cases, {failures + broken} failures")
    return int(failures + broken > 0)


if __name__ == "__main__":
    sys.exit(main())
