"""Files that are there whole or not at all, and that take the place of nothing but files of our own."""

from __future__ import annotations

import json
import os
import platform
import re
import stat
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datassay.checks import DataError

PARQUET_KEY = b"datassay"  #: every Parquet file of ours has a key of its metadata that begins so
GENERATOR = '<meta name="generator" content="datassay">'  #: in the head of every page
JSON_KEY = {"generator": "datassay"}  #: first in every JSON file
NPY_MARK = b"\ndatassay\n"  #: behind the numbers of an npy file: readers stop before it
ZIP_ENTRY = "datassay"  #: an entry of a file of torch
PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}  #: that a folder of images is made of
_A_DAY = 86400.0


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """The path of a file beside ``path`` to write to: at the end it takes the place of ``path``; after an error nothing is left of it.

    What a run that was killed left beside ``path`` is removed.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with replacing(Path(folder) / "numbers.txt") as beside:
    ...         _ = beside.write_text("1 2 3")
    ...     [path.name for path in Path(folder).iterdir()]
    ['numbers.txt']
    """
    _clear(path)
    beside = path.with_name(f".{path.name}.{_machine()}.{os.getpid()}.part")
    try:
        yield beside
        with beside.open("rb+") as file:
            os.fsync(file.fileno())  # the content is on the disk before its name is
        os.replace(beside, path)
    except OSError as error:
        if error.errno is not None and error.filename is None:  # a full disk names no file
            error.filename = str(path)
        raise
    finally:
        beside.unlink(missing_ok=True)


def _machine() -> str:
    """This machine's name in eight digits: a folder may be shared."""
    return f"{zlib.crc32(platform.node().encode()):08x}"


def _clear(path: Path) -> None:
    """Remove what killed runs left: parts of processes of this machine that are gone, and parts that nobody wrote to for a day."""
    pattern = re.compile(re.escape(f".{path.name}.") + r"(?:([0-9a-f]{8})\.)?(\d{1,10})\.part")
    try:
        parts = [(found, entry) for entry in os.scandir(path.parent) if (found := pattern.fullmatch(entry.name))]
    except OSError:
        return
    for found, entry in parts:
        try:
            gone = found[1] == _machine() and not _runs(int(found[2]))
            if gone or entry.stat().st_mtime < time.time() - _A_DAY:
                os.unlink(entry.path)
        except OSError:
            continue


def _runs(pid: int) -> bool:
    """Whether there is such a process; where that can't be asked without harm, yes."""
    if sys.platform == "win32":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def check_paths(
    reads: Iterable[str | Path | None],
    writes: Iterable[str | Path | None],
    *,
    adds_to: Iterable[str | Path | None] = (),
    force: bool = False,
    or_force: str = "",
) -> None:
    """Before any work: every path that a call reads and writes, and that nothing of others is lost.

    Parameters
    ----------
    reads
        Files and folders that are read.
    writes
        Files that are written whole, in the place of what has their name.
    adds_to
        Files and folders that are added to: they know their own kind, and may have no other part in the call.
    force
        Files that are not ours may be replaced.
    or_force
        How that is asked for, as the end of a sentence.

    Raises
    ------
    DataError
        A file would be read and written, or written twice; a folder is missing or can't be written to; a file of others would be
        replaced, or something that is no file.

    Examples
    --------
    >>> check_paths(["rows.csv"], ["rows.csv"])
    Traceback (most recent call last):
    datassay.checks.DataError: writing 'rows.csv' would overwrite a file that this call reads or writes: give another name.
    """
    inputs = [Path(p) for p in reads if p is not None]
    taken = [_place(p) for p in inputs]
    folders = [Path(_place(p)[0]) for p in inputs if p.is_dir()]
    for given in adds_to:
        if given is None:
            continue
        path = Path(given)
        _no_other(path, taken, "adding to")
        taken.append(_place(path))
    for given in writes:
        if given is None:
            continue
        path = Path(given)
        if not path.parent.is_dir():
            raise DataError(f"the folder {str(path.parent)!r} does not exist: make it first.")
        if path.is_dir():
            raise DataError(f"{str(path)!r} is a folder: give the name of a file to write.")
        if not os.access(path.parent, os.W_OK):
            raise DataError(f"the folder {str(path.parent)!r} can't be written to: give another.")
        if len(os.fsencode(path.name)) > 200:
            raise DataError(f"the name {path.name[:40] + '...'!r} is too long for a file: give one of at most 200 bytes.")
        _no_other(path, taken, "writing")
        if path.suffix.lower() in PICTURES and any(folder in Path(_place(path)[0]).parents for folder in folders):
            raise DataError(f"{str(path)!r} is among the pictures that this call reads: give another name.")
        check_target(path, force=force, or_force=or_force)
        taken.append(_place(path))


def _place(path: Path) -> tuple[str, tuple[int, int] | None]:
    """Its full name, and of what exists which file that is, by whatever name."""
    try:
        full = os.path.normcase(os.path.realpath(path))
        about = os.stat(path)
        return full, (about.st_dev, about.st_ino) if about.st_ino else None
    except (OSError, ValueError):
        return os.path.normcase(os.path.abspath(path)), None


def _no_other(path: Path, taken: list[tuple[str, tuple[int, int] | None]], doing: str) -> None:
    full, file = _place(path)
    if any(full == name or (file is not None and file == other) for name, other in taken):
        raise DataError(f"{doing} {str(path)!r} would overwrite a file that this call reads or writes: give another name.")


def check_target(path: str | Path, *, force: bool = False, or_force: str = "") -> None:
    """What is at ``path`` may be replaced: nothing, an empty file, or a file that carries our mark.

    Raises
    ------
    DataError
        It is a file of others (unless ``force``), or no regular file.
    """
    path = Path(path)
    try:
        about = os.lstat(path)
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise DataError(f"{str(path)!r} can't be the name of a file ({getattr(error, 'strerror', error)}).") from None
    if stat.S_ISLNK(about.st_mode):
        raise DataError(f"{str(path)!r} is a link, which would be replaced by a file: give the name of the file itself.")
    if not stat.S_ISREG(about.st_mode):
        raise DataError(f"{str(path)!r} is there and is no file that can be replaced: give another name.")
    if about.st_size and not force and not is_ours(path):
        raise DataError(
            f"{str(path)!r} is there and was not written by datassay, so it is not replaced: give another name, or delete it"
            f"{or_force}."
        )


def is_ours(path: str | Path) -> bool:
    """Whether a file carries our mark."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(1024)
            file.seek(-min(16, path.stat().st_size), os.SEEK_END)
            tail = file.read()
        if head.startswith(b"PAR1"):
            import pyarrow.parquet as pq

            with path.open("rb") as file:
                return any(key.startswith(PARQUET_KEY) for key in pq.read_schema(file).metadata or {})
        if head.startswith(b"\x93NUMPY"):
            return tail.endswith(NPY_MARK)
        if head.startswith(b"PK"):
            with zipfile.ZipFile(path) as archive:
                return any(name.rsplit("/", 1)[-1] == ZIP_ENTRY for name in archive.namelist())
        return GENERATOR.encode() in head or head.startswith(json.dumps(JSON_KEY)[:-1].encode())
    except Exception:  # a damaged file of whatever kind: not known to be ours
        return False


def check_npy(path: Any, method: str) -> None:
    """An npy file can be written there: it is looked at before the work.

    Raises
    ------
    DataError
        It is no name, its folder is not there or can't be written to, or there is a file of others.
    """
    if not isinstance(path, (str, Path)) or Path(path).is_dir():
        raise DataError(f"{method}: matrix must be the name of a .npy file to write, got {path!r}.")
    folder = Path(path).resolve().parent
    if not folder.is_dir():
        raise DataError(f"{method}: the folder of {str(path)!r} does not exist: make it first.")
    if not os.access(folder, os.W_OK):
        raise DataError(f"{method}: the folder of {str(path)!r} can't be written to: give another.")
    check_target(path)


def made_folder(method: str, option: str, path: str | Path) -> Path:
    """The folder, which is there now.

    Raises
    ------
    DataError
        It can't be made or written to.
    """
    folder = Path(path)
    needed = f"{method}: {option} must be a folder that can be written to"
    if not str(path) or (folder.exists() and not folder.is_dir()):
        raise DataError(f"{needed}, got {str(path)!r}.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise DataError(f"{needed}, and {str(folder)!r} is none ({error.strerror}).") from error


def save_npy(array: Any, path: Path) -> None:
    """An npy file with our mark; written beside and renamed."""
    import numpy as np

    check_target(path)
    with replacing(path) as beside, beside.open("wb") as file:
        np.save(file, array)
        file.write(NPY_MARK)


def mark_zip(path: Path) -> None:
    """Put the mark into a file of torch, which is a zip; torch passes over it."""
    with zipfile.ZipFile(path, "a") as archive:
        folder = archive.namelist()[0].split("/", 1)[0]
        archive.writestr(f"{folder}/{ZIP_ENTRY}", b"1")
