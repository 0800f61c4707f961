"""The one training loop: a run that can be walked through step by step, watched, killed, and taken up again to the same bits.

Everything random follows from (seed, epoch, step) alone: the order of the rows, dropout, augmentation. So a run needs to be
written down between epochs only, and what is killed later than that is done again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from joblib import effective_n_jobs
from joblib.parallel import get_active_backend
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from datassay.engines import machine
from datassay.engines.gradients import Loss
from datassay.files import mark_zip, replacing

SAVE_EVERY = 5.0  # seconds between checkpoints: an epoch of a small network takes milliseconds
WORTH_PROCESSES = 15.0  # seconds of work left from which on other processes are started
# operations of a step, forward and back, from which on torch has all its threads: below, they gain little on an idle machine, and beside a
# busy process wait for one another far longer than they work
WORTH_THREADS = 3e8

T = TypeVar("T")
Tick = Callable[[float], Any]  #: so many more units are done


@runtime_checkable
class Rows(Protocol):
    """What holds the inputs: a tensor, or anything that gives one for the rows asked for."""

    def __len__(self) -> int: ...
    def __getitem__(self, rows: Any, /) -> Tensor: ...


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Examples
    --------
    >>> Recipe(epochs=2, lr=0.1).rate(0.5), Recipe(epochs=2, lr=0.1, schedule="cosine").rate(0.5)
    (0.1, 0.05)
    """

    epochs: int = 20
    batch_size: int = 128  #: at most; all batches of an epoch are equally large, but for one row (see rest)
    optimiser: Literal["sgd", "adam"] = "sgd"
    lr: float = 0.05
    momentum: float = 0.9  #: of sgd
    weight_decay: float = 5e-4
    schedule: Literal["constant", "cosine"] = "constant"  #: cosine: from lr down to 0, along all steps
    balanced: bool = False  #: every class has the same weight in the loss
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None  #: a batch of inputs to another of the same shape
    mixed_precision: bool = False  #: bfloat16 where that is safe; on CUDA only
    rest: bool = False  #: batches of batch_size and a last one of what is left, as torch's DataLoader makes them

    def __post_init__(self) -> None:
        for name, least in (("epochs", 0), ("batch_size", 1)):
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name} must be a whole number from {least} on, got {value!r}.")
        for name in ("lr", "momentum", "weight_decay"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
                raise ValueError(f"{name} must be a number from 0 on, got {value!r}.")
        if self.optimiser not in ("sgd", "adam") or self.schedule not in ("constant", "cosine"):
            raise ValueError(
                "optimiser must be 'sgd' or 'adam' and schedule 'constant' or 'cosine', "
                f"got {self.optimiser!r} and {self.schedule!r}."
            )

    def rate(self, done: float) -> float:
        """Learning rate after this share of all steps."""
        return self.lr if self.schedule == "constant" else self.lr * (1 + math.cos(math.pi * done)) / 2

    def rates(self) -> list[float]:
        """Learning rate of each step where an epoch is one step.

        >>> Recipe(epochs=3, lr=0.1).rates()
        [0.1, 0.1, 0.1]
        """
        return [self.rate(step / self.epochs) for step in range(self.epochs)]

    def optimise(self, net: nn.Module) -> torch.optim.Optimizer:
        """The optimiser for what is trained of the network."""
        trained = [p for p in net.parameters() if p.requires_grad]
        if self.optimiser == "adam":
            return torch.optim.Adam(trained, self.lr, weight_decay=self.weight_decay, fused=True)
        return torch.optim.SGD(trained, self.lr, self.momentum, weight_decay=self.weight_decay, fused=True)


class Step(NamedTuple):
    """A step that is about to be done."""

    epoch: int  #: this many epochs are over
    batch: int  #: number within the epoch; at 0 the network is as the epochs before left it
    step: int  #: number within the run
    rows: Tensor  #: (b,) positions
    lr: float


class Watched(NamedTuple):
    """What a row said in its batch, before the step, in every epoch: (epochs, n) each; classes only but for `loss`."""

    loss: Tensor  #: float32
    margin: Tensor  #: float32: logit of the given label less the largest other one
    predicted: Tensor  #: int16


class Run:
    """A training run, to be iterated over: each `Step` comes before it is done, so that the network can be looked at.

    Parameters
    ----------
    net, loss
        Trained in place, where it lies.
    x, y
        n rows and their targets.
    recipe, seed
        How, and all that is random.
    state
        Tensors that whoever walks through the run changes in place; they are part of the checkpoints.
    checkpoint
        A file, written beside and renamed; a run that finds it goes on from there.
    key
        Says what run it is: a file of another is refused.
    watch
        Keep `watched`.
    reduce
        From the positions of a batch and its rows' losses to the number that is minimised; None: their mean.
    dropout
        False: no layer but batch normalisation knows that this is training.

    Raises
    ------
    ValueError
        The file belongs to another run.
    FloatingPointError
        The loss is no number any more.

    Examples
    --------
    >>> net = nn.Linear(1, 1, bias=False)
    >>> x = torch.tensor([[1.], [2.]])
    >>> run = Run(net, lambda out, y: (out[:, 0] - y) ** 2, x, 3 * x[:, 0], Recipe(epochs=50, lr=0.1, momentum=0.0, weight_decay=0.0))
    >>> steps = [step.epoch for step in run]
    >>> steps[:3], round(net.weight.item(), 2)
    ([0, 1, 2], 3.0)
    """

    epoch: int  #: this many are over
    batches: int  #: in an epoch
    weights: Tensor | None  #: (classes,) of the loss, where it is balanced; mean over the rows 1
    watched: Watched | None

    def __init__(
        self,
        net: nn.Module,
        loss: Loss,
        x: Rows,
        y: Tensor,
        recipe: Recipe,
        *,
        seed: int = 0,
        state: dict[str, Tensor] | None = None,
        checkpoint: Path | None = None,
        key: str = "",
        watch: bool = False,
        reduce: Callable[[Tensor, Tensor], Tensor] | None = None,
        dropout: bool = True,
    ) -> None:
        self.net, self.loss, self.x, self.y, self.recipe, self.seed = net, loss, x, y, recipe, seed
        self.state = state if state is not None else {}
        self._path, self._saved = checkpoint, time.monotonic()
        self._reduce = reduce
        self._modes = modes(net, dropout=dropout, batch_norm=True)
        self._key = f"{key} {net}"  # weights of another network may have the same shapes
        self._optimiser, self.epoch = recipe.optimise(net), 0
        self._operations: int | None = None  # of a step
        n, classes = len(x), not y.is_floating_point()
        self.batches = max(1, math.ceil(n / recipe.batch_size))
        self.weights = None
        if recipe.balanced and classes:
            counts = torch.bincount(y)
            self.weights = n / (torch.count_nonzero(counts) * counts.clamp(min=1).to(torch.get_default_dtype()))
        self.watched = None
        if watch:
            self.watched = Watched(
                torch.zeros(recipe.epochs, n),
                torch.zeros(recipe.epochs, n if classes else 0),
                torch.zeros(recipe.epochs, n if classes else 0, dtype=torch.int16),
            )
            self.state |= {f"watched.{name}": t for name, t in self.watched._asdict().items()}
        if checkpoint is not None and checkpoint.exists():
            self._load(checkpoint)

    def __iter__(self) -> Iterator[Step]:
        device, n = self.y.device, len(self.x)
        total = self.recipe.epochs * self.batches
        while self.epoch < self.recipe.epochs:
            order = torch.from_numpy(np.random.default_rng([self.seed, self.epoch]).permutation(n))
            parts = (
                torch.split(order, self.recipe.batch_size) if self.recipe.rest else torch.tensor_split(order, self.batches)
            )
            for batch, rows in enumerate(parts):
                step = self.epoch * self.batches + batch
                lr = self.recipe.rate(step / total)
                yield Step(self.epoch, batch, step, rows, lr)
                self._on_threads(rows.to(device), step, lr)
            self.epoch += 1
            if self._path is not None and (self.epoch == self.recipe.epochs or time.monotonic() - self._saved > SAVE_EVERY):
                self._save(self._path)

    def through(self, tick: Tick | None = None) -> nn.Module:
        """Do all steps that are left; the network. ``tick`` hears of each epoch, of those that a checkpoint holds at once."""
        tick = tick or (lambda _: None)
        tick(self.epoch)
        for step in self:
            if step.batch == self.batches - 1:
                tick(1)
        return self.net

    def _on_threads(self, rows: Tensor, step: int, lr: float) -> None:
        """Small steps on one thread; the first one, on one thread, tells. It is written down: a run that goes on has no other first."""
        if rows.is_cuda or torch.get_num_threads() == 1:
            self._do(rows, step, lr)
        elif self._operations is None:
            with one_thread(), Operations() as counted:
                self._do(rows, step, lr)
            self._operations = counted.total
        else:
            with one_thread() if self._operations < WORTH_THREADS else nullcontext():
                self._do(rows, step, lr)

    def _do(self, rows: Tensor, step: int, lr: float) -> None:
        x, y, recipe = self.x[rows], self.y[rows], self.recipe
        for module, mode in self._modes:
            if module.training is not mode:
                module.training = mode
        for group in self._optimiser.param_groups:
            group["lr"] = lr
        random = int(np.random.SeedSequence([self.seed, 1, step]).generate_state(1, np.uint64)[0] >> 1)
        if recipe.augment is not None:
            x = recipe.augment(x, torch.Generator(x.device).manual_seed(random))
        with random_numbers(random, x.device), torch.enable_grad():
            with torch.autocast("cuda", torch.bfloat16, enabled=recipe.mixed_precision and x.is_cuda):
                outputs = self.net(x)
            losses = self.loss(outputs.float() if recipe.mixed_precision else outputs, y)
            if self._reduce is not None:
                mean = self._reduce(rows, losses)
            elif self.weights is None:
                mean = losses.mean()
            else:
                w = self.weights.to(losses.dtype)[y]
                mean = (w * losses).sum() / w.sum()
            self._optimiser.zero_grad(set_to_none=True)
            mean.backward()
        if not math.isfinite(became := mean.item()):
            raise FloatingPointError(
                f"the loss became {became} in epoch {self.epoch + 1}: lower lr (it is {recipe.lr:g}), or scale the columns."
            )
        self._optimiser.step()
        if self.watched is not None:
            self._watch(rows, losses.detach(), outputs.detach(), y)

    def _watch(self, rows: Tensor, losses: Tensor, outputs: Tensor, y: Tensor) -> None:
        assert self.watched is not None
        rows = rows.cpu()
        self.watched.loss[self.epoch, rows] = losses.float().cpu()
        if not y.is_floating_point():
            self.watched.margin[self.epoch, rows] = logit_margin(outputs, y).float().cpu()
            self.watched.predicted[self.epoch, rows] = outputs.argmax(1).short().cpu()

    def _save(self, path: Path) -> None:
        content = {
            "epoch": self.epoch,
            "net": self.net.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "state": self.state,
            "operations": self._operations,
        }
        save_state(content, path, self._key)
        self._saved = time.monotonic()

    def _load(self, path: Path) -> None:
        content = load_state(path, self._key, self.y.device)
        try:
            self.net.load_state_dict(content["net"])
            self._optimiser.load_state_dict(content["optimiser"])
            for name, tensor in content["state"].items():
                self.state[name].copy_(tensor)
            self.epoch, self._operations = content["epoch"], content.get("operations")
        except (KeyError, TypeError, AttributeError, RuntimeError, ValueError) as error:
            raise ValueError(f"{path} is damaged ({type(error).__name__}): delete it, or give another folder.") from error


UNCOUNTED = (
    "rnn",
    "lstm",
    "gru",
    "attention",
    "trilinear",
)  # in names of operations that torch has no formula for, and that take long


class Operations(TorchDispatchMode):
    """Counts additions and multiplications of matrix products and convolutions while it is entered; of what it can't count, as many as
    are worth threads.

    >>> with Operations() as counted:
    ...     _ = torch.ones(3, 4) @ torch.ones(4, 5)
    >>> counted.total
    120
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.total += count(*args, **(kwargs or {}), out_val=out)
        elif any(name in func._overloadpacket.__name__ for name in UNCOUNTED):
            self.total += int(WORTH_THREADS)
        return out


def save_state(content: dict[str, Any], path: Path, key: str = "") -> None:
    """Tensors and numbers in a file, written beside and renamed; ``key`` says of what run."""
    with replacing(path) as beside:
        torch.save({"key": key, **content} if key else content, beside)
        if not key:  # what somebody asked for by name, and may ask for again
            mark_zip(beside)


def load_state(path: Path, key: str, device: torch.device | str) -> dict[str, Any]:
    """What `keep` wrote; a ValueError where it is of another run."""
    try:
        content: dict[str, Any] = torch.load(
            path, map_location=device, weights_only=True
        )  # tensors and numbers: no code is run
        found = content["key"]
    except Exception as error:  # torch has many words for it
        raise ValueError(
            f"{path} is damaged, or no checkpoint ({type(error).__name__}): delete it, or give another folder."
        ) from error
    if found != key:
        raise ValueError(
            f"{path} belongs to a run with other data, model or options: pass another checkpoint folder, or delete it."
        )
    return content


@contextmanager
def random_numbers(seed: int, device: torch.device) -> Iterator[None]:
    """Dropout and the like follow from the seed; afterwards torch's generators are as they were."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed queues a call for CUDA, with a traceback, each time
        if device.type == "cuda":
            torch.cuda.manual_seed(seed)
        yield


def set_mode(net: nn.Module, *, dropout: bool, batch_norm: bool) -> None:
    """Training mode for these two; every other layer that makes a difference goes with dropout."""
    for module, mode in modes(net, dropout=dropout, batch_norm=batch_norm):
        module.training = mode


def modes(net: nn.Module, *, dropout: bool, batch_norm: bool) -> list[tuple[nn.Module, bool]]:
    """Each of its modules, and whether it is in training mode."""
    return [(m, batch_norm if isinstance(m, nn.modules.batchnorm._BatchNorm) else dropout) for m in net.modules()]


def logit_margin(outputs: Tensor, y: Tensor) -> Tensor:
    """z_y less the largest other logit.

    >>> logit_margin(torch.tensor([[1., 5., 2.]]), torch.tensor([0])).item()
    -4.0
    """
    given = outputs.gather(1, y[:, None])[:, 0]
    return given - outputs.scatter(1, y[:, None], -math.inf).amax(1)


def in_batches(rows: int, size: int) -> list[slice]:
    """All rows, so many at a time."""
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]


@torch.no_grad()
def outputs(net: nn.Module, x: Rows, size: int = 512) -> Tensor:
    """(n, ...) what the network says in evaluation mode."""
    net.eval()
    return torch.cat([net(x[rows]) for rows in in_batches(len(x), size)])


def spawned(seed: int, *path: int) -> int:
    """A seed of its own for each run.

    >>> spawned(0, 1) != spawned(0, 2)
    True
    """
    return int(np.random.SeedSequence([seed, *path]).generate_state(1)[0])


def each_run(work: Callable[[int, Tick], T], runs: int, n_jobs: int | None, device: str, tick: Tick, units: int) -> list[T]:
    """``work(0, tick)``, ... ``work(runs - 1, tick)``, with the same bits wherever they are done.

    One run has all of torch's threads. Of several, each has one thread: the first is begun here, and if by its first ticks the others
    would take long, all are done in other processes (as `joblib.parallel_config` or ``n_jobs`` say; default as many as torch has
    threads). If it shows at its end only, the others are.
    On a card they are done one after the other, and so they are where joblib would have them in threads: these share torch's
    random numbers. A run in another process, whose ``tick`` is not heard here, counts as ``units`` when it is done.
    """
    if runs == 1 or device != "cpu":
        return [work(run, tick) for run in range(runs)]
    in_threads, jobs = getattr(get_active_backend()[0], "uses_threads", False), effective_n_jobs(None)
    threads = torch.get_num_threads()
    results: list[T] = []

    def elsewhere(first: int, jobs: int | None) -> list[T]:
        for result in machine.spread(jobs, (machine.task(on_one_thread, work, run, _unheard) for run in range(first, runs))):
            results.append(result)
            tick(units)
        return results

    if n_jobs is not None and effective_n_jobs(n_jobs) > 1:
        with machine.loky(n_jobs) if in_threads else nullcontext():
            return elsewhere(0, n_jobs)
    if n_jobs is None and jobs > 1 and not in_threads:
        return elsewhere(0, None)
    alone = n_jobs is not None or jobs > 1 or threads == 1  # it was asked for, or there is nothing to gain
    for run in range(runs):
        start = time.perf_counter()
        heard = _Heard(tick, units, runs - 1) if run == 0 and not alone else tick
        try:
            results.append(on_one_thread(work, run, heard))
        except _Elsewhere as moved:
            tick(-moved.done)
            with machine.loky(min(threads, runs)):
                return elsewhere(0, None)
        left = runs - run - 1
        if not alone and left and (time.perf_counter() - start) * left > WORTH_PROCESSES:
            with machine.loky(min(threads, left)):
                return elsewhere(run + 1, None)
    return results


class _Elsewhere(BaseException):
    """Leaves a run that has hardly begun; no error, which a run could take for its own."""

    def __init__(self, done: int | float) -> None:
        self.done = done


class _Heard:
    """The ``tick`` of a first run, which leaves it within its first third if as many others would take long in turn."""

    def __init__(self, tick: Tick, units: int, others: int) -> None:
        self._tick, self._units, self._others = tick, units, others
        self._done, self._began, self._before = 0.0, 0.0, 0.0

    def __call__(self, by: int | float) -> None:
        self._tick(by)
        self._done += by
        if not self._began:  # from here on: what a checkpoint holds is heard at once
            self._began, self._before = time.perf_counter(), self._done
        elif self._done > self._before and 3 * self._done < self._units:
            each = (time.perf_counter() - self._began) / (self._done - self._before)
            if each * self._units * self._others > WORTH_PROCESSES:
                raise _Elsewhere(self._done)


def _unheard(_: int) -> None:
    """The ``tick`` of a run in another process."""


def on_one_thread(work: Callable[..., T], *arguments: Any) -> T:
    """``work(*arguments)`` with one thread of torch."""
    with one_thread():
        return work(*arguments)


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread. Where it has one already nothing is set: what is set is every thread's."""
    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
