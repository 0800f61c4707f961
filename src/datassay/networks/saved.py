"""Where a trained network is kept: a file that is named, one in the checkpoint folder, or one that goes when Python ends."""

from __future__ import annotations

import atexit
import shutil
import tempfile
import time
from functools import cache
from pathlib import Path

from datassay.checks import DataError
from datassay.files import check_target


def model_file(method: str, save_model: str | Path | None, checkpoint: str | Path | None) -> Path:
    """Where the network is saved; whether it can be written there is checked before the training."""
    if save_model is None:
        return (
            Path(_temporary() if checkpoint is None else checkpoint) / f"model{'' if checkpoint else time.monotonic_ns()}.pt"
        )
    needed = f"{method}: save_model must be a file that can be written"
    if not str(save_model) or Path(save_model).is_dir():
        raise DataError(f"{needed}, got {save_model!r}.")
    target = Path(save_model)
    check_target(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):
            return target
    except OSError as error:
        raise DataError(f"{needed}, and {str(target)!r} is none ({error.strerror}).") from error


@cache
def _temporary() -> str:
    """One folder for this process, which goes with it."""
    folder = tempfile.mkdtemp(prefix="datassay-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
