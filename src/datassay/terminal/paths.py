"""The files that a command reads and writes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from datassay.checks import DataError
from datassay.files import check_paths, check_target


def check_all_paths(
    reads: Sequence[Path | None],
    writes: Sequence[Path | None],
    force: bool = False,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Before any work: all that the call reads and writes, the files among a method's options too."""
    from datassay.methods.definition import ADDS_TO, WRITES

    files = {name: file for name, file in (options or {}).items() if isinstance(file, (str, Path)) and str(file)}
    check_paths(
        reads,
        [*writes, *(Path(files[name]) for name in WRITES if name in files and Path(files[name]).parent.is_dir())],
        adds_to=[Path(files[name]) for name in ADDS_TO if name in files],
        force=force,
        or_force=", or add --force",
    )
    for name in WRITES:
        if name in files:
            check_target(files[name])


def json_beside(page: Path | None) -> Path | None:
    """The JSON file beside a page; a folder has none."""
    return None if page is None or page.is_dir() or not page.name else page.with_suffix(".json")


def label_files(data: Path, label: Any, id: Any) -> list[Path]:
    """The files of labels and ids of an npy file."""
    if data.suffix.lower() != ".npy":
        return []
    files = [Path(name) if Path(name).is_file() else data.parent / name for name in (label, id) if isinstance(name, str)]
    return [path for path in files if path.is_file()]


def features_file(features: Any) -> Path | None:
    """Where features are read from; None for a name."""
    from datassay.data.features import NAMES

    return None if features is None or features in NAMES else Path(features)


def path_of_stopped(path: Path) -> Path:
    """The path, or one beside it where a file is there: half a run does not take the place of a whole one."""
    if not path.exists():
        return path
    for number in itertools.count(1):
        beside = path.with_name(f"{path.stem}.stopped{'' if number == 1 else f'-{number}'}{path.suffix}")
        with suppress(DataError):
            check_paths([], [beside, *([beside.with_suffix(".json")] if path.suffix == ".html" else [])])
            break
    return beside


def free_path(name: str) -> Path:
    """The name, or one with a number where a file of others has it, for what a next call would write."""
    path = Path(name)
    for number in range(2, 1000):
        try:
            check_paths([], [path, *([path.with_suffix(".json")] if path.suffix == ".html" else [])])
            return path
        except DataError:
            path = Path(name).with_stem(f"{Path(name).stem}-{number}")
    return Path(name)
