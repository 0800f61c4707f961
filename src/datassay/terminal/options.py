"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ValuesPath = Annotated[Path, typer.Argument(help="What `datassay value` wrote.")]
ValuedPath = Annotated[Path, typer.Option("--data", help="The file that was valued.")]
Budget = Annotated[str | None, typer.Option("--budget", help="Time that may be spent, such as '10 min'.")]
Memory = Annotated[
    str | None, typer.Option("--memory", help="Memory that may be used, such as '8 GB'; default: what is free.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace files that datassay did not write.")]
Top = Annotated[int, typer.Option("--top", min=1, help="How many suspects the report shows.")]
