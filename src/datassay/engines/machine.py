"""What this machine has to give: memory that is free now, threads, workers, a CUDA card, and how fast it is."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import socket
import sys
import tempfile
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
from joblib import Parallel, cpu_count, delayed, effective_n_jobs, parallel_config
from joblib.parallel import get_active_backend
from threadpoolctl import ThreadpoolController

from datassay.checks import DataError

EACH = 4  # workers for each core of this machine, at most


def available_memory() -> int:
    """Bytes that a new array can take without swapping; a container's limit counts."""
    free = int(psutil.virtual_memory().available)
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        stat = dict(line.split() for line in Path("/sys/fs/cgroup/memory.stat").read_text().splitlines())
        used -= int(stat.get("inactive_file", 0))  # pages of files that were read: given back when asked for
        return min(free, int(limit) - used) if limit != "max" else free
    except (OSError, ValueError):
        return free


def device_memory(device: str) -> int:
    """Bytes that are free on a torch device."""
    if not device.startswith("cuda"):
        return available_memory()
    import torch

    return int(torch.cuda.mem_get_info(device)[0])


def size(number: float | int) -> str:
    """Bytes for people.

    >>> size(0), size(3_000_000), size(13.44e9)
    ('0', '3 MB', '13.4 GB')
    """
    return "0" if number <= 0 else f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{max(number / 1e6, 1):.0f} MB"


_pools: tuple[int, ThreadpoolController] | None = None


def thread_pools() -> ThreadpoolController:
    """The libraries with threads of their own that are loaded.

    Looking for them takes 10 ms, as long as a small valuation: that is done again only where modules were imported since.
    """
    global _pools
    if _pools is None or _pools[0] != len(sys.modules):
        _pools = len(sys.modules), ThreadpoolController()
    return _pools[1]


def blas_on(threads: int) -> AbstractContextManager[Any]:
    """BLAS on so many threads, within the context."""
    limited: AbstractContextManager[Any] = thread_pools().limit(limits=threads, user_api="blas")
    return limited


def blas_threads() -> int:
    """Threads that BLAS uses now: OMP_NUM_THREADS, threadpoolctl's limits and joblib's workers all show here."""
    return max([pool["num_threads"] for pool in thread_pools().info() if pool["user_api"] == "blas"], default=1)


def spread(n_jobs: int | None, tasks: Iterable[Any], name: Callable[[int], str] | None = None) -> Generator[Any, None, None]:
    """joblib's delayed tasks, results in their order; the tasks are made as workers become free.

    With ``n_jobs`` None and no `joblib.parallel_config` around: a thread for each that BLAS has. BLAS itself has one thread
    meanwhile, here and, by `one_thread` in the task, in other processes: so a task's bits don't depend on where it runs.

    ``name`` says in words what the task of a number, from 0 on, is about, where a cluster gives it up.

    Raises
    ------
    DataError
        Dask has given a task up.
    """
    jobs = workers(n_jobs)
    with one_thread():
        if n_jobs is None and effective_n_jobs(None) == 1 and not _far():  # its own default is -1
            yield from Parallel(n_jobs=jobs, prefer="threads", return_as="generator")(tasks)
        elif type(get_active_backend()[0]).__name__ == "DaskDistributedBackend":
            yield from _by_client(get_active_backend()[0].client, tasks, 2 * jobs, name or (lambda k: f"task {k + 1}"))
        elif get_active_backend()[0].supports_return_generator:
            with by_default(n_jobs), deaf_workers():
                found = Parallel(n_jobs=at_most(n_jobs), return_as="generator")(tasks)
            yield from found
        else:
            rest = iter(
                tasks
            )  # Ray's backend hands out lists alone: a few tasks a worker at a time, so that memory has a bound
            with Parallel(n_jobs=n_jobs) as parallel:  # one pool for all: its processes import everything when they begin
                while group := list(islice(rest, 4 * jobs)):
                    yield from parallel(group)


def _by_client(client: Any, tasks: Iterable[Any], ahead: int, name: Callable[[int], str]) -> Iterator[Any]:
    """Results in their order, so many tasks ahead. joblib's own way waits for ever when the scheduler gives a task up: its futures
    end with an error, of which the caller is not told."""
    from concurrent.futures import CancelledError

    from distributed import KilledWorker

    rest, waiting, number = iter(tasks), deque[Any](), 0

    def more() -> None:
        for work, arguments, options in islice(rest, ahead - len(waiting)):
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Sending large graph")
                waiting.append(client.submit(work, *arguments, pure=False, **options))

    more()
    try:
        while waiting:
            try:
                result = waiting[0].result()
            except (KilledWorker, CancelledError) as error:
                why = "each worker that had it ended" if isinstance(error, KilledWorker) else "the scheduler has lost it"
                raise DataError(
                    f"Dask gave up {name(number)}: {why}. Look at the workers' memory first (dask's dashboard, or their logs): give "
                    "them more, or start fewer on a machine; what was done before is kept in a store."
                ) from error
            waiting.popleft()
            number += 1
            more()
            yield result
    finally:
        client.cancel(list(waiting))


def task(work: Callable[..., Any], *arguments: Any) -> Any:
    """For `spread`. The arguments travel with the task: as joblib's arguments, Dask would put the large ones on one worker,
    and a run would not end if that worker was killed."""
    return delayed(partial(_for_parent, os.getpid(), work, *arguments))()


def _for_parent(parent: int, work: Callable[..., Any], *arguments: Any) -> Any:
    _end_with(parent)
    return work(*arguments)


@cache
def _end_with(parent: int) -> None:
    """A worker process ends within a second or so when the process that started it is gone."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    if os.name == "posix" and os.getppid() == parent:  # else it is another cluster's
        threading.Thread(target=watch, daemon=True, name="datassay-watch").start()


def _begin_for(parent: int) -> None:
    """A worker's first deed: it may be late, and its parent gone."""
    if os.name == "posix" and os.getppid() != parent:
        os._exit(1)
    _end_with(parent)


@contextmanager
def deaf_workers() -> Iterator[None]:
    """Processes and threads that are started meanwhile, and what these start, don't hear Ctrl-C, which a terminal sends to all: this
    process ends them, and one that was still importing would show a traceback."""
    if os.name != "posix":
        yield
        return
    from multiprocessing import resource_tracker

    from joblib.externals.loky.backend import resource_tracker as of_loky

    for tracker in (
        resource_tracker,
        of_loky,
    ):  # both would be started with the first worker, and older Pythons unblock the signal then
        tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def loky(n_jobs: int | None = None) -> AbstractContextManager[Any]:
    """joblib's own processes, which end when this one does, even if they had nothing to do yet."""
    context: AbstractContextManager[Any] = parallel_config(
        "loky", n_jobs=-1 if n_jobs is None else at_most(n_jobs), initializer=_begin_for, initargs=(os.getpid(),)
    )
    return context


def at_most(n_jobs: int | None) -> int | None:
    """So many workers, or EACH for each core where more are asked for: a thousand processes would take all memory, and gain nothing."""
    return n_jobs if n_jobs is None else min(n_jobs, EACH * cpu_count())


def by_default(n_jobs: int | None) -> AbstractContextManager[Any]:
    """`loky` where so many jobs are asked for and joblib has no other backend set."""
    if n_jobs is None or type(get_active_backend()[0]).__name__ != "LokyBackend":
        return nullcontext()
    return loky(n_jobs)


def workers(n_jobs: int | None) -> int:
    """How many tasks `spread` runs at a time."""
    given = max(1, effective_n_jobs(n_jobs if _far() else at_most(n_jobs)))  # a cluster has its own number
    return blas_threads() if n_jobs is None and given == 1 and not _far() else given


def _far() -> bool:
    """Whether tasks go to a cluster, of one worker, too."""
    return type(get_active_backend()[0]).__name__ in ("DaskDistributedBackend", "RayBackend")


def check_backend(name: str | None, scheduler: str | None = None) -> None:
    """What `backend` would refuse, told before any work.

    Raises
    ------
    ImportError
        If the extra is not installed.
    ValueError
        If there is no such backend, or nothing listens at that address.
    """
    if name not in (None, "loky", "threading", "dask", "ray"):
        raise ValueError(f"backend must be 'loky', 'threading', 'dask' or 'ray', got {name!r}.")
    for one, package in (("dask", "distributed"), ("ray", "ray")):
        if name == one and importlib.util.find_spec(package) is None:
            raise ImportError(f"backend {one!r} needs {one}: pip install 'datassay[{one}]'")
    if scheduler is not None:
        if name not in ("dask", "ray"):
            raise ValueError(f"a scheduler is the address of a cluster: it goes with backend 'dask' or 'ray', got {name!r}.")
        _answers(scheduler)


@contextmanager
def backend(name: str | None, n_jobs: int | None = None, scheduler: str | None = None) -> Iterator[None]:
    """`joblib.parallel_config` with what the names need: a dask client or a ray that is connected, and closed at the end.

    Raises
    ------
    ImportError
        If the extra is not installed.
    ValueError
        If there is no such backend, or no cluster at that address.
    """
    check_backend(name, scheduler)
    if name is None:
        if n_jobs is None:
            yield
        else:
            with loky(n_jobs):
                yield
    elif name == "loky":
        with loky(n_jobs):
            yield
    elif name == "threading":
        with parallel_config(backend=name, n_jobs=-1 if n_jobs is None else at_most(n_jobs)):
            yield
    elif name == "dask":
        from distributed import Client, LocalCluster

        with ExitStack() as stack:
            try:
                local = {
                    "n_workers": at_most(n_jobs),
                    "threads_per_worker": 1,
                    "host": "127.0.0.1",
                    "dashboard_address": "127.0.0.1:0",
                }
                address = scheduler or stack.enter_context(LocalCluster(**local))
                stack.enter_context(Client(address, timeout=10))
            except OSError as error:
                raise ValueError(f"no dask scheduler answers at {scheduler}: {error}") from None
            stack.enter_context(parallel_config(backend="dask", wait_for_workers_timeout=60))
            yield
    else:
        import ray
        from ray.util.joblib import register_ray

        here: dict[str, Any] = {} if scheduler else {"num_cpus": at_most(n_jobs), "_node_ip_address": "127.0.0.1"}
        try:
            ray.init(address=scheduler, include_dashboard=False, log_to_driver=False, **here)
        except (ConnectionError, RuntimeError) as error:
            raise ValueError(f"ray can't be started or reached: {str(error).splitlines()[0]}") from None
        try:
            register_ray()
            with parallel_config(backend="ray", n_jobs=-1 if n_jobs is None else n_jobs):
                yield
        finally:
            ray.shutdown()


def _answers(scheduler: str) -> None:
    """Something listens at the address of a scheduler; 'auto' is ray's word for the one on this machine.

    Raises
    ------
    ValueError
        Nothing does, or it is no address.
    """
    if scheduler == "auto":
        return
    found = re.fullmatch(r"(?:\w+://)?\[?([^/\s]+?)\]?:(\d{1,5})/?", scheduler)
    if found is None or int(found[2]) > 65535:
        raise ValueError(f"a scheduler's address is such as tcp://10.0.0.1:8786, got {scheduler!r}.")
    try:
        socket.create_connection((found[1], int(found[2])), timeout=5).close()
    except OSError as error:
        raise ValueError(f"no scheduler answers at {scheduler}: {error}.") from None


_inside = 0
_lock = threading.Lock()
_limit: Any = None


@contextmanager
def one_thread() -> Iterator[None]:
    """BLAS on one thread, until the last that asked for it has left.

    Where the libraries share one setting among all threads, threadpoolctl lets one thread change it, and `spread`, in the thread
    that asked for the work, is that one; in a worker process it is the task.
    """
    global _inside, _limit
    with _lock:
        _inside += 1
        if _inside == 1:
            _limit = blas_on(1)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _limit.restore_original_limits()


class Rates(NamedTuple):
    """How fast this machine is, on all threads that BLAS has."""

    threads: int
    product32: float  #: operations a second of a product of float32 matrices
    product64: float  #: of float64 matrices
    values: float  #: entries a second of a few passes of numpy over float32 numbers, on all threads
    sort: float  #: numbers a second in sorts of 100,000, on all threads
    choice: float  #: seconds for eigenvectors of 1000 x 1000 on one thread
    disk: float  #: bytes a second, written to the temporary folder


def unmeasured() -> Rates:
    """Where only memory is asked for: all speeds are 1."""
    return Rates(blas_threads(), 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)


def probe() -> Rates:
    """Measure `Rates`: three seconds or so, the best of a few short runs each."""
    rng, threads = np.random.default_rng(0), blas_threads()

    def best(work: Callable[[], Any], times: int = 3) -> float:
        took = []
        for _ in range(times + 1):  # the first warms up
            start = time.perf_counter()
            work()
            took.append(time.perf_counter() - start)
        return min(took)

    def on_threads(work: Callable[[], Any]) -> float:
        with ThreadPoolExecutor(threads) as pool:
            return best(lambda: [f.result() for f in [pool.submit(work) for _ in range(threads)]]) / threads

    A, B = rng.random((4096, 1024)), rng.random((1024, 1024))
    A32, B32 = A.astype(np.float32), B.astype(np.float32)
    numbers, small = rng.random(100_000), rng.random(250_000).astype(np.float32)
    S = B + B.T

    def eigenvectors() -> None:
        with one_thread():
            np.linalg.eigh(S[:1000, :1000])

    with tempfile.TemporaryFile() as file:
        block = A.tobytes()

        def write() -> None:
            file.seek(0)
            file.write(block)
            file.flush()
            os.fsync(file.fileno())

        disk = len(block) / best(write, 1)
    operations = 2.0 * A.shape[0] * A.shape[1] * B.shape[1]
    return Rates(
        threads,
        operations / best(lambda: A32 @ B32),
        operations / best(lambda: A @ B),
        len(small) / on_threads(lambda: np.arcsin(small) * small + small),
        len(numbers) / on_threads(lambda: np.sort(numbers)),
        best(eigenvectors, 1),
        disk,
    )


CARDS = (
    "nvidiactl",
    "nvidia0",
    "nvidia-uvm",
    "nvmap",
    "nvhost-ctrl",
    "dxg",
    "kfd",
)  # in /dev, by the drivers of what torch calls cuda


def _may_have_card() -> bool:
    """False where the system shows no driver of a card: that is known without torch, whose import takes seconds."""
    if sys.platform == "darwin":
        return False
    return not sys.platform.startswith("linux") or any(os.path.exists(f"/dev/{name}") for name in CARDS)


def pick_device(device: str, *, worthwhile: bool = True) -> str:
    """'auto' to 'cuda' where torch is installed, sees a card, and the work is worth importing torch for; else 'cpu'.

    Raises
    ------
    ImportError
        If a device other than the CPU is asked for and torch is not installed.
    ValueError
        If torch is installed and has no such device.
    """
    if device == "cpu":
        return "cpu"
    if not isinstance(device, str) or not re.fullmatch(r"auto|(cpu|cuda)(:\d+)?", device):
        raise ValueError(f"device must be 'auto', 'cpu', 'cuda' or 'cuda:0', got {device!r}.")
    if importlib.util.find_spec("torch") is None:
        if device == "auto":
            return "cpu"
        raise ImportError(f"device={device!r} needs torch: pip install 'datassay[torch]'")
    if device == "auto" and not (worthwhile and ("torch" in sys.modules or _may_have_card())):
        return "cpu"
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device={device!r} was asked for, but torch sees no CUDA card: pass device='cpu' or 'auto'.")
    return device
