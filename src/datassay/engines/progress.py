"""The progress bar of work that takes long."""

from __future__ import annotations

from tqdm import tqdm

from datassay.signals import once_more


class Bar(tqdm):
    """Each step looks whether a Ctrl-C was lost."""

    def update(self, n: int | float | None = 1) -> bool | None:
        once_more()
        moved: bool | None = super().update(n)
        return moved


def progress_bar(
    title: str, total: int | float, *, progress: bool, remaining: bool = True, smoothing: int | float = 0.3
) -> tqdm:
    """A bar on standard error that goes away at the end; none where standard error is no terminal.

    Parameters
    ----------
    title
        What is done, and how much of it.
    total
        The sum of all updates.
    progress
        False: no bar.
    remaining
        Show how long it will take; False where steps differ too much to tell.
    smoothing
        Of the speed that ``remaining`` is made from: 0 is the mean from the start, 1 the last step.

    Examples
    --------
    >>> with progress_bar("sums, 3 rows", 3, progress=False) as bar:
    ...     bar.update(3)
    """
    to_go = ", about {remaining} to go" if remaining else ""
    return Bar(
        total=total,
        desc=title,
        bar_format="{desc} {percentage:3.0f}% |{bar}| {elapsed}" + to_go + "{postfix}",
        disable=None if progress else True,
        smoothing=smoothing,
        leave=False,
    )
