"""CPU seconds (user + system) that a start takes, for one source folder or beside another.

    python benchmarks/startup.py src
    python benchmarks/startup.py ../before/src src

Each command runs five times in a process of its own, the folders in turn; the best is printed. Once before that, so that what is
compiled lies there.
"""

import os
import subprocess
import sys
from pathlib import Path

COMMANDS = {"import datassay": ["-c", "import datassay"], "datassay --help": ["-m", "datassay", "--help"]}


def cpu_seconds(folder: Path, command: list[str]) -> float:
    """Of one run, by what the system counts for the process and its children."""
    before = os.times()
    subprocess.run(
        [sys.executable, *command], env=os.environ | {"PYTHONPATH": str(folder)}, check=True, stdout=subprocess.DEVNULL
    )
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    """A line for each command and folder."""
    folders = [Path(name).resolve() for name in sys.argv[1:]]
    if not folders or not all((folder / "datassay").is_dir() for folder in folders):
        sys.exit("startup.py needs one or more folders that hold datassay, such as: python benchmarks/startup.py src")
    for title, command in COMMANDS.items():
        for folder in folders:
            cpu_seconds(folder, command)
        found = [[cpu_seconds(folder, command) for folder in folders] for _ in range(5)]
        for folder, seconds in zip(folders, zip(*found, strict=True), strict=True):
            print(f"{title:16s} {min(seconds):6.2f} s  {folder}")


if __name__ == "__main__":
    main()
