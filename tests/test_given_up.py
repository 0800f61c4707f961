"""A task that Dask's scheduler gives up is an error that names it, within seconds; joblib's own way would wait for ever."""

import threading
import time

import numpy as np
import pytest
from joblib import delayed, parallel_config

from datassay.checks import DataError
from datassay.engines import machine
from datassay.engines.designs import Subsets
from datassay.engines.train_subsets import train
from datassay.engines.training_store import Predictions, Store

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("ignore")  # of dask and distributed
GO = threading.Event()


@pytest.fixture(scope="module")
def client():
    options = {"processes": False, "dashboard_address": None, "n_workers": 1, "threads_per_worker": 2}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as found:
        yield found


def give_up(client):
    """What the scheduler says of tasks whose worker has died too often."""
    deadline = time.monotonic() + 30
    while not any(state.status == "pending" for state in client.futures.values()) and time.monotonic() < deadline:
        time.sleep(0.05)
    error = distributed.KilledWorker("task", None, 3)
    for key in list(client.futures):
        client.loop.add_callback(client._handle_task_erred, key=key, exception=error, traceback=None)


def waits(k):
    GO.wait(20)
    return k


def test_results_come_in_order(client):
    GO.set()
    with parallel_config(backend="dask"):
        assert list(machine.spread(None, (delayed(waits)(k) for k in range(20)))) == list(range(20))


def test_an_exception_of_a_task_is_its_own(client):
    with parallel_config(backend="dask"), pytest.raises(ZeroDivisionError):
        list(machine.spread(None, [delayed(divmod)(1, 0)]))


class Slow:
    """The first block is trained here; the others wait in the cluster."""

    block, random = 2, False

    def __call__(self, counts, seeds, *, val, rows):
        if counts[0].sum() != 8:
            GO.wait(20)
        return [Predictions(np.zeros((1, 2), np.float32), None) for _ in counts]

    def __reduce__(self):
        return Slow, ()


def test_a_given_up_training_names_its_subsets_and_says_where_to_look(client):
    GO.clear()
    counts = np.triu(np.ones((8, 8), np.uint8))
    store = Store(None)
    study = store.study({"data": "given up"})
    threading.Thread(target=give_up, args=(client,), daemon=True).start()
    start = time.monotonic()
    try:
        with parallel_config(backend="dask"), pytest.raises(DataError) as e:
            list(train(store, study, Subsets(counts, np.full(8, np.nan)), Slow()))
    finally:
        GO.set()
    assert time.monotonic() - start < 60
    assert "Dask gave up subset" in str(e.value)
    assert "rows in each" in str(e.value)
    assert "memory" in str(e.value)


def test_a_worker_that_ends_is_one_sentence(capsys):
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    from datassay.terminal.exits import status_of

    assert status_of(TerminatedWorkerError("A worker process managed by the executor was unexpectedly terminated.")) == 1
    said = capsys.readouterr().err
    assert "not enough memory" in said
    assert "did not expect" not in said
