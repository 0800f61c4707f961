"""How rows are read: the options that commands have in common, stated once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datassay.terminal.output import out, safe
from datassay.terminal.paths import features_file, label_files

if TYPE_CHECKING:
    from datassay.data.dataset import Dataset

DataPath = Annotated[
    Path, typer.Argument(help="CSV, Parquet, npz, npy, or a folder of images with a sub-folder for each class.")
]
Label = Annotated[str | None, typer.Option("--label", help="Column of labels; for npy the file of labels.")]


@dataclass(frozen=True)
class Reading:
    """The options by which a file is read; None where the caller said nothing."""

    label: Label = None
    id: Annotated[str | None, typer.Option("--id", help="Column of ids; default: the row number.")] = None
    val: Annotated[Path | None, typer.Option("--val", help="File of validation rows, of the same form.")] = None
    features: Annotated[
        str | None,
        typer.Option(
            "--features",
            help="What to value the rows on: pixels, patches, mirrored-patches (of images), tfidf, auto, efficientnet-lite0 (images), "
            "use-multilingual (texts), a model (.onnx, or a folder of sentence-transformers), or .npy or .parquet with numbers.",
        ),
    ] = None
    val_features: Annotated[Path | None, typer.Option("--val-features", help="The same for the validation rows.")] = None
    drop: Annotated[list[str] | None, typer.Option("--drop", help="Column to leave out; may be repeated.")] = None
    missing: Annotated[
        str | None,
        typer.Option("--missing", help="What to do with missing cells: error (default), drop the row, or fill in the mean."),
    ] = None
    task: Annotated[
        str | None, typer.Option("--task", help="classification or regression; default: found from the labels.")
    ] = None
    image_size: Annotated[
        int | None, typer.Option("--image-size", min=1, help="Bring images to this many pixels a side.")
    ] = None
    encoding: Annotated[str | None, typer.Option("--encoding", help="Of CSV files, such as latin-1; default: utf-8.")] = None
    text: Annotated[
        list[str] | None,
        typer.Option("--text", help="Column of free text, whatever is in it; may be repeated. Others are found."),
    ] = None

    def or_else(self, source: Mapping[str, Any]) -> Reading:
        """With what `Dataset.source` remembers wherever nothing was said."""
        return replace(self, **{f.name: source.get(f.name) for f in fields(self) if getattr(self, f.name) is None})

    def files(self, path: Path) -> list[Path | None]:
        """All files that are read for the rows of this one."""
        val, val_features = (None if one is None else Path(one) for one in (self.val, self.val_features))
        return [path, *label_files(path, self.label, self.id), val, features_file(self.features), val_features]

    def rows(self, path: Path, *, choose: bool = False, notes: bool = True) -> Dataset:
        """The rows; ``notes`` about them are printed.

        With ``choose``, and without --features, images come on patches where their labels are likelier so.
        """
        from datassay.data.dataset import is_images
        from datassay.data.read import read

        given = {name: value for name, value in asdict(self).items() if value is not None}
        data = read(path, **given)
        if choose and self.features is None and is_images(data.shown):
            source = data.source
            data = data.with_features("auto")
            data.source = source | {"features": next(iter(data.features["features"]))}
        texts = (f"column {column!r} is {data.encoding[column]}" for column in data.prose if column in data.encoding)
        for note in (*data.notes, *texts) if notes else ():
            out.print(safe(f"Note: {note}."))
        return data

    def arguments(self) -> list[Any]:
        """The same as arguments of a command."""
        words: list[Any] = []
        for name, value in asdict(self).items():
            for one in value if isinstance(value, list) else [] if value is None else [value]:
                words += ["--" + name.replace("_", "-"), one]
        return words


def reads(without: tuple[str, ...] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A command with a parameter ``reading: Reading`` has the options of `Reading` in its place, but for those ``without``."""
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in inspect.get_annotations(Reading, eval_str=True).items()
        if name not in without
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def with_options(**given: Any) -> None:
            reading = Reading(**{option.name: given.pop(option.name) for option in options})
            command(reading=reading, **given)

        parameters = []
        for parameter in inspect.signature(command, eval_str=True).parameters.values():
            parameters += options if parameter.name == "reading" else [parameter.replace(kind=parameter.KEYWORD_ONLY)]
        with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return with_options

    return decorate
