"""What this machine has to give: memory that is free now, threads BLAS may use, a CUDA card."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from joblib import Parallel, effective_n_jobs
from threadpoolctl import threadpool_info, threadpool_limits


def available_memory() -> int:
    """Bytes that a new array can take without swapping; a container's limit counts. 0 where it can't be told."""
    free = 0
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024
    except OSError:
        try:
            free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2  # macOS tells only how much there is
        except (AttributeError, ValueError, OSError):
            return _windows_memory()
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        stat = dict(line.split() for line in Path("/sys/fs/cgroup/memory.stat").read_text().splitlines())
        used -= int(stat.get("inactive_file", 0))  # pages of files that were read: given back when asked for
        return min(free, int(limit) - used) if limit != "max" else free
    except (OSError, ValueError):
        return free


def _windows_memory() -> int:
    if sys.platform != "win32":
        return 0

    class Status(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ulong), ("load", ctypes.c_ulong)] + [(f"f{i}", ctypes.c_ulonglong) for i in range(7)]

    status = Status(length=ctypes.sizeof(Status))
    ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
    return int(status.f1)


def blas_threads() -> int:
    """Threads that BLAS uses now: OMP_NUM_THREADS, threadpoolctl's limits and joblib's workers all show here."""
    return max([pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"], default=1)


def spread(n_jobs: int | None, tasks: Iterable[Any]) -> Iterator[Any]:
    """joblib's delayed tasks, results in their order; the tasks are made as workers become free.

    With ``n_jobs`` None and no `joblib.parallel_config` around: a thread for each that BLAS has. Each task keeps BLAS to one
    thread, so that its bits don't depend on where it runs.
    """
    if n_jobs is None and effective_n_jobs() == 1:
        yield from Parallel(n_jobs=blas_threads(), prefer="threads", return_as="generator")(tasks)
    else:
        yield from Parallel(n_jobs=n_jobs, return_as="generator")(tasks)


_inside = 0
_lock = threading.Lock()
_limit: Any = None


@contextmanager
def one_thread() -> Iterator[None]:
    """BLAS on one thread, until the last of the threads that asked for it has left."""
    global _inside, _limit
    with _lock:
        _inside += 1
        if _inside == 1:
            _limit = threadpool_limits(1, "blas")
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _limit.restore_original_limits()


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
    if not re.fullmatch(r"auto|(cpu|cuda)(:\d+)?", device):
        raise ValueError(f"device must be 'auto', 'cpu', 'cuda' or 'cuda:0', got {device!r}.")
    if importlib.util.find_spec("torch") is None:
        if device == "auto":
            return "cpu"
        raise ImportError(f"device={device!r} needs torch: pip install 'datassay[torch]'")
    if device == "auto" and not worthwhile:
        return "cpu"
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device={device!r} was asked for, but torch sees no CUDA card: pass device='cpu' or 'auto'.")
    return device
