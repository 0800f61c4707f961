"""Real clusters on this machine: the same bits as in one process, also when a worker is killed."""

import os
import signal
import time

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.datasets import load_digits
from sklearn.tree import DecisionTreeClassifier

import datassay as da
from datassay.engines import local, low_rank, machine, row_store, train_subsets, training_store
from datassay.methods import cg_score as module
from datassay.methods.cg_score import cg_score
from datassay.networks import trak

pytestmark = pytest.mark.filterwarnings("ignore")  # of dask, distributed and ray

FIXED = {"ridge": 0.2, "bias": True}
WAYS = [
    {"approx": "landmarks", "landmarks": 200, "rank": 100, "block": 120},
    {"approx": "neighbours", "k": 12},
    {"approx": "exact", "negatives": 1, "repeats": 3},
]


@pytest.fixture(scope="module")
def rows():
    X, y = load_digits(return_X_y=True)
    return da.Dataset(X, y)


@pytest.fixture(scope="module", autouse=True)
def small_tasks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(low_rank, "CHUNK", 250)
        patch.setattr(local, "BLOCK", 200)
        yield


@pytest.fixture(scope="module")
def alone(rows, small_tasks):
    """Each way in this process."""
    return [cg_score(rows, **FIXED, **way).scores for way in WAYS]


@pytest.fixture(scope="module")
def dask_cluster():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.mark.parametrize("way", range(len(WAYS)))
def test_dask_gives_the_same_bits(rows, alone, dask_cluster, way):
    with parallel_config(backend="dask"):
        values = cg_score(rows, **FIXED, **WAYS[way])
    np.testing.assert_array_equal(values.scores, alone[way])


@pytest.mark.parametrize("way", range(len(WAYS)))
def test_a_killed_worker_costs_time_and_nothing_else(rows, alone, dask_cluster, way, monkeypatch):
    dask_cluster.wait_for_workers(2, timeout=60)
    pids = dask_cluster.run(os.getpid)
    assert len(set(pids.values()) | {os.getpid()}) == 3  # two processes beside this one

    class Bar:
        """In the place of the bar: at a third of the way it kills one of the workers."""

        done, killed = 0.0, False

        def __init__(self, *_, **__):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def update(self, share):
            Bar.done += share
            if Bar.done > 0.3 and not Bar.killed:
                Bar.killed = True
                os.kill(next(iter(pids.values())), signal.SIGKILL)

    monkeypatch.setattr(module, "progress_bar", Bar)
    with parallel_config(backend="dask"):
        values = cg_score(rows, **FIXED, **WAYS[way])
    assert Bar.killed
    np.testing.assert_array_equal(values.scores, alone[way])
    deadline, now = time.monotonic() + 60, set(pids.values())
    while time.monotonic() < deadline and not (len(now) == 2 and now != set(pids.values())):
        time.sleep(0.2)  # the scheduler may not know yet that the worker is gone, and asking it is an error
        now = {pid for pid in dask_cluster.run(os.getpid, on_error="return").values() if isinstance(pid, int)}
    assert len(now) == 2
    assert now != set(pids.values())


@pytest.mark.slow
@pytest.mark.parametrize("way", [1, 2])
def test_ray_gives_the_same_bits_in_other_ways(rows, alone, way):
    with machine.backend("ray", 2):
        np.testing.assert_array_equal(cg_score(rows, **FIXED, **WAYS[way]).scores, alone[way])


# ------------------------------------------------------------------------------------------- methods that train on subsets

TRAININGS = {"method": "ame", "model": DecisionTreeClassifier(max_depth=4), "n_models": 240, "knockoff": None}


@pytest.fixture(scope="module")
def judged():
    X, y = load_digits(return_X_y=True)
    return da.Dataset(X[:150], y[:150], X[150:250], y[150:250])


@pytest.fixture(scope="module")
def judged_alone(judged):
    """By one process."""
    return da.value(judged, n_jobs=1, **TRAININGS).scores


def test_trainings_in_dask_have_the_same_bits_also_when_a_worker_is_killed(judged, judged_alone, dask_cluster, monkeypatch):
    dask_cluster.wait_for_workers(2, timeout=60)
    pids = dask_cluster.run(os.getpid)
    assert len(set(pids.values()) | {os.getpid()}) == 3
    killed = []
    put = training_store.Store.put

    def watched(store, study, lines):
        put(store, study, lines)
        if len(store) > 80 and not killed:
            killed.append(next(iter(pids.values())))
            os.kill(killed[0], signal.SIGKILL)

    monkeypatch.setattr(training_store.Store, "put", watched)
    monkeypatch.setattr(train_subsets, "TASK", 0.02)  # many small tasks
    with parallel_config(backend="dask"):
        values = da.value(judged, **TRAININGS)
    assert killed
    assert np.ptp(values.scores) > 0
    np.testing.assert_array_equal(values.scores, judged_alone)


# ------------------------------------------------------------------------------------------- blocks of rows whose gradients are kept

GRADIENTS = {"method": "trak", "runs": 1, "projection": 60, "epochs": 2, "device": "cpu", "progress": False}


@pytest.fixture(scope="module")
def small_blocks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trak, "AT_ONCE", 16)
        yield


@pytest.fixture(scope="module")
def gradients_alone(judged, small_blocks):
    return da.value(judged, n_jobs=1, **GRADIENTS).scores


def test_gradients_in_dask_have_the_same_bits_also_when_a_worker_is_killed(
    judged, gradients_alone, dask_cluster, monkeypatch, tmp_path
):
    dask_cluster.wait_for_workers(2, timeout=60)
    pids = dask_cluster.run(os.getpid)
    assert len(set(pids.values()) | {os.getpid()}) == 3
    block, put, killed = trak._block, row_store.RowStore.put, []

    def watched(store, b, numbers):
        put(store, b, numbers)
        if b > 1 and not killed:
            killed.append(next(iter(pids.values())))
            os.kill(killed[0], signal.SIGKILL)

    def elsewhere(*arguments):
        return *block(*arguments), os.getpid()

    def two_of(blocks, found, *rest):
        there = []
        put_blocks(blocks, (there.append(pid) or (outputs, numbers) for outputs, numbers, pid in found), *rest)
        seen.extend(there)

    put_blocks, seen = trak._put, []
    monkeypatch.setattr(row_store.RowStore, "put", watched)
    monkeypatch.setattr(trak, "_block", elsewhere)
    monkeypatch.setattr(trak, "_put", two_of)
    with parallel_config(backend="dask"):
        values = da.value(judged, gradients=tmp_path, **GRADIENTS)
    assert killed
    assert len(seen) == 10
    assert os.getpid() not in seen  # none of them here
    assert np.ptp(values.scores) > 0
    np.testing.assert_array_equal(values.scores, gradients_alone)
    np.testing.assert_array_equal(da.value(judged, n_jobs=2, **GRADIENTS).scores, gradients_alone)
    np.testing.assert_array_equal(da.value(judged, **GRADIENTS).scores, gradients_alone)  # in threads


def test_patches_in_dask_and_in_processes_are_the_same(dask_cluster):
    squares = da.Dataset(np.random.default_rng(0).random((150, 9, 9)).astype(np.float32), np.arange(150) % 3)
    here = squares.with_features("patches", k=8, progress=False).X
    with parallel_config(backend="dask"):
        there = squares.with_features("patches", k=8, progress=False).X
    np.testing.assert_array_equal(there, here)
    mirrored = squares.with_features("mirrored-patches", k=8, progress=False).X
    with parallel_config(backend="loky", n_jobs=2):
        np.testing.assert_array_equal(squares.with_features("mirrored-patches", k=8, progress=False).X, mirrored)


def test_ray_gives_the_same_bits(rows, alone, judged, judged_alone, gradients_alone):
    """Scores and trainings in one cluster: it takes ten seconds to start."""
    pytest.importorskip("ray")
    with machine.backend("ray", 2):
        np.testing.assert_array_equal(da.value(judged, **GRADIENTS).scores, gradients_alone)
        np.testing.assert_array_equal(cg_score(rows, **FIXED, **WAYS[0]).scores, alone[0])
        np.testing.assert_array_equal(da.value(judged, **TRAININGS).scores, judged_alone)


def test_backends_by_name(rows, alone):
    for name in ("threading", "loky"):
        with machine.backend(name, 2):
            np.testing.assert_array_equal(cg_score(rows, **FIXED, **WAYS[0]).scores, alone[0])
    with machine.backend(None, 2):
        np.testing.assert_array_equal(cg_score(rows, **FIXED, **WAYS[0]).scores, alone[0])
    with pytest.raises(ValueError, match="backend must be"), machine.backend("carrier pigeon"):
        pass
