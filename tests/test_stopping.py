"""Runs that are stopped, and output that goes nowhere: nothing is lost, nothing stays behind."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import psutil
import pytest

import datassay as da
from datassay.values import Values

SRC = os.path.dirname(os.path.dirname(sys.modules["datassay"].__file__))
ENVIRONMENT = os.environ | {"PYTHONPATH": SRC}
COMMAND = [sys.executable, "-m", "datassay"]


@pytest.fixture
def rows(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 10)) + np.repeat([[0.5], [-0.5]], 150, axis=0)
    frame = pd.DataFrame(X, columns=list("abcdefghij")).assign(label=np.repeat(["x", "y"], 150))
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.iloc[::3].to_csv(tmp_path / "val.csv", index=False)
    return tmp_path


def test_values_are_written_whoever_listens(rows):
    call = [*COMMAND, "value", "t.csv", "--label", "label", "-m", "random", "-o"]
    with subprocess.Popen([*call, "closed.parquet"], cwd=rows, env=ENVIRONMENT, stdout=-1, stderr=-1, text=True) as process:
        process.stdout.close()  # as `| head -1` does
        said = process.stderr.read()
    assert (process.returncode, said) == (0, "")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*call, "full.parquet"], cwd=rows, env=ENVIRONMENT, stdout=full, stderr=-1, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "not all could be printed" in done.stderr
    assert len(Values.load(rows / "closed.parquet")) == len(Values.load(rows / "full.parquet")) == 300


AME = ["value", "t.csv", "--label", "label", "--val", "val.csv", "-m", "ame", "--jobs", "2", "--set", "n_models=200000"]


def children(process):
    return psutil.Process(process.pid).children(recursive=True)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_no_worker_stays(rows, how):
    process = subprocess.Popen(
        [*COMMAND, *AME, "--set", "store=s.sqlite", "-o", "v.parquet"],
        cwd=rows,
        env=ENVIRONMENT,
        stdout=-1,
        stderr=-1,
        text=True,
    )
    try:
        until = time.monotonic() + 120
        while len(workers := children(process)) < 2 and time.monotonic() < until and process.poll() is None:
            time.sleep(0.2)
        time.sleep(5)
        workers = children(process)
        assert len(workers) >= 2
    finally:
        process.send_signal(how)
    out, err = process.communicate(timeout=120)
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive
    assert "Traceback" not in err
    if how == signal.SIGTERM:  # as Ctrl-C: what is there is used
        assert process.returncode == 130, err
        assert "kept in 's.sqlite': the same call goes on" in out + err


@pytest.mark.filterwarnings("ignore:.*tasks which were still being processed")
def test_half_a_run_does_not_replace_a_whole_one(rows, monkeypatch, capsys):
    from datassay.cli import main
    from datassay.engines.train_subsets import train
    from datassay.subsets import study

    def stopping(store, key, subsets, *more, **options):
        with contextlib.closing(train(store, key, subsets, *more, **options)) as parts:
            for part in parts:
                yield part
                if len(subsets.p) >= 200 and part.done >= 50:
                    raise KeyboardInterrupt

    def call(*more):
        monkeypatch.setattr(
            sys, "argv", ["datassay", *AME[:8], "--set", "n_models=300", "--set", "store=s.x", "-o", "v.parquet", *more]
        )
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, *capsys.readouterr()

    monkeypatch.chdir(rows)
    assert call()[0] == 0
    whole = (rows / "v.parquet").read_bytes()
    monkeypatch.setattr(study, "train", stopping)
    (rows / "s.x").unlink()
    status, out, _ = call()
    assert status == 130
    assert "This run stopped early, " in out
    assert "kept in 's.x': the same call goes on there" in out
    assert " of 300 trainings: interrupted" in out
    assert (rows / "v.parquet").read_bytes() == whole
    assert Values.load(rows / "v.stopped.parquet").stats["stopped"] == "interrupted"
    assert call("--force")[0] == 130
    assert (rows / "v.parquet").read_bytes() != whole


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--scheduler", "tcp://127.0.0.1:9"], "goes with backend 'dask'"),
        (["--backend", "dask", "--scheduler", "tcp://127.0.0.1:9"], "no scheduler answers at"),
        (["--backend", "dask", "--scheduler", "nowhere"], "a scheduler's address is"),
        (["--jobs", "0"], "n_jobs must be"),
    ],
)
def test_schedulers_and_jobs_that_are_none(rows, monkeypatch, capsys, more, says):
    from datassay.cli import main

    monkeypatch.chdir(rows)
    monkeypatch.setattr(sys, "argv", ["datassay", "value", "t.csv", "--label", "label", "-m", "random", *more])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert says in capsys.readouterr().err
    assert not (rows / "values.parquet").exists()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_at_any_time_is_a_sentence(rows, how):
    """From the first line on: while Python imports, too, and where a library turns the interrupt into an error of its own."""
    for moment in (0.2, 0.5, 1.0, 2.0):
        call = [*COMMAND, *AME[:-2], "--set", "n_models=200000", "-o", "v.parquet"]
        process = subprocess.Popen(call, cwd=rows, env=ENVIRONMENT, stdout=-1, stderr=-1, text=True)
        time.sleep(moment)
        process.send_signal(how)
        try:
            out, err = process.communicate(timeout=120)
        finally:
            process.kill()
        if process.returncode == -how or "datassay" not in out + err:  # Python itself had not read our first line
            continue
        assert process.returncode == 130, err
        assert "the same call" in out + err
        assert "Traceback" not in err


@pytest.mark.parametrize("later", [0.1, 0.4])
def test_workers_that_are_still_starting_show_no_traceback(rows, later):
    """A terminal sends Ctrl-C to every process of the group; those that import would say where they were."""
    call = [*COMMAND, *AME, "-o", "v.parquet"]
    process = subprocess.Popen(call, cwd=rows, env=ENVIRONMENT, stdout=-1, stderr=-1, text=True, start_new_session=True)
    until = time.monotonic() + 120

    def workers():
        return [child for child in children(process) if any(".popen_loky_posix" in word for word in child.cmdline())]

    with contextlib.suppress(psutil.Error):
        while not workers() and time.monotonic() < until:
            time.sleep(0.01)
    time.sleep(later)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "Traceback" not in err


def blocked(_):
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_workers_leave_ctrl_c_to_their_parent():
    from datassay.engines import machine

    code = f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r})\n"
    code += "import test_stopping as t; from datassay.engines import machine as m\n"
    code += "with m.loky(2): print(set(m.spread(2, (m.task(t.blocked, k) for k in range(4)))), t.blocked(0))"
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, stdout=-1, text=True, check=True)
    assert done.stdout.split() == ["{True}", "False"]
    with machine.deaf_workers():
        assert blocked(0)
    assert not blocked(0)


LOST = """
import os, signal
from datassay import signals
from datassay.engines.progress import progress_bar

class Dying:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        sum(range(1000))                       # here the interrupt is raised, and Python goes on

signals.listen()
Dying()
print("went on")
with progress_bar("work", 3, progress=False) as bar:
    try:
        bar.update(1)
    except KeyboardInterrupt:
        signals.taken()
        print("heard")
    bar.update(1)
    print("goes on with what is there")
"""


def test_an_interrupt_that_python_loses_comes_once_more():
    """In a finaliser, or a callback of a weak reference, it is ignored: at the next step of the work it is raised again."""
    done = subprocess.run([sys.executable, "-c", LOST], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["went on", "heard", "goes on with what is there"]
    assert done.stderr == ""


def test_the_end_of_an_interrupted_import_is_no_error(monkeypatch, capsys):
    from datassay import cli, signals

    monkeypatch.setattr(signals._Heard, "one", False)  # and put back: the next test has heard none

    def broken():
        signals._Heard.one = True
        raise ImportError("numpy._core.multiarray failed to import")

    monkeypatch.setattr(cli, "app", broken)
    monkeypatch.setattr(sys, "argv", ["datassay", "methods"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 130
    assert "stopped: no file is half written" in capsys.readouterr().err


@pytest.mark.slow
def test_some_of_the_runs_that_are_stopped_at_random_moments():
    """`python benchmarks/kills.py` does twenty for each kind."""
    kills = os.path.join(os.path.dirname(SRC), "benchmarks", "kills.py")
    done = subprocess.run(
        [sys.executable, kills, "--moments", "1", "--seed", "1"], env=ENVIRONMENT, stdout=-1, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "24 cases, 0 failures" in done.stdout


@pytest.mark.parametrize("of", ["audit", "bench"])
def test_an_interrupt_that_became_another_error_is_no_failure_of_a_method(monkeypatch, of):
    from sklearn.datasets import load_iris

    from datassay import signals

    monkeypatch.setattr(signals._Heard, "one", False)

    def broken(data):
        signals._Heard.one = True
        raise ImportError("numpy._core.multiarray failed to import")

    data = da.Dataset(*load_iris(return_X_y=True))
    calls = {
        "audit": lambda: da.audit(data, [broken, "random"], budget=20),
        "bench": lambda: da.evaluate({"iris": data}, methods=[broken], seeds=1, rates=[0.1]),
    }
    with pytest.raises(KeyboardInterrupt):
        calls[of]()


AT_THE_END = """
import os, sys, time

class Last:
    def __del__(self, write=os.write, clock=time.monotonic):
        write(1, b"at the end\\n")
        end = clock() + 0.3
        while clock() < end:
            pass

sys.modules["last"] = type(sys)("last")
sys.modules["last"].one = Last()  # it goes when Python takes the modules away, and its handlers of signals are away then
sys.argv = ["datassay", "--version"]
from datassay.__main__ import main
main()
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_python_ends_does_not_change_the_status(how):
    process = subprocess.Popen([sys.executable, "-u", "-c", AT_THE_END], env=ENVIRONMENT, stdout=-1, stderr=-1)
    assert any(line == b"at the end\n" and not process.send_signal(how) for line in process.stdout)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
