"""What methods that read gradients need: a network for each seed, rows in its input shape, a loss for each row.

A network is an `nn.Module`, or a class or function that makes one, from a seed where it asks for one; without any it is a perceptron
for tables and a small ResNet for images. Normalisation within a row (LayerNorm, GroupNorm) is used in both: with batch normalisation a
row has no gradient of its own.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from numpy import ndarray
from torch import Tensor, nn

from datassay.checks import DataError
from datassay.data.dataset import Dataset, is_images
from datassay.engines.gradients import Loss
from datassay.engines.machine import pick_device
from datassay.engines.robust import FAR, is_outlier
from datassay.engines.training import in_batches, spawned
from datassay.networks.defaults import autoencoder, mlp, resnet

LOWEST = math.log(1e-12)  # lower limit of log-probabilities
WHOLE = 2**31  # bytes up to which all rows are held as one tensor on the device; more are turned into floats batch by batch

Model: TypeAlias = nn.Module | Callable[[int], nn.Module] | Callable[[], nn.Module]


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Rows of a matrix as float32 tensors of the network's input shape, made when they are indexed."""

    X: Any  #: (n, d) numpy, memory map or CSR
    shape: tuple[int, ...]  #: of an image: (height, width[, channels]); of a row of a table: (d,)
    device: str

    def __len__(self) -> int:
        return int(self.X.shape[0])

    def __getitem__(self, rows: Any) -> Tensor:
        rows = rows.cpu().numpy() if isinstance(rows, Tensor) else rows
        block = self.X[rows]
        block = block.toarray() if sp.issparse(block) else block
        x = torch.from_numpy(np.array(block, np.float32)).reshape(-1, *self.shape)
        if len(self.shape) == 2:
            x = x[:, None]
        elif len(self.shape) == 3:
            x = x.permute(0, 3, 1, 2).contiguous()
        return x.to(self.device)

    def whole(self) -> Tensor | Inputs:
        """All rows at once, if that is not too much."""
        return self[:] if 4 * math.prod(self.X.shape) <= WHOLE else self


@dataclasses.dataclass(frozen=True)
class Problem:
    """A learning problem in the form that a network takes."""

    method: str  #: for errors
    data: Dataset
    model: Model | None
    device: str
    outputs: int  #: of the network for a row: a logit a class, or one number
    shape: tuple[int, ...]  #: of a row
    autoencodes: bool = False  #: the targets are the inputs; labels are not used
    extra_outputs: str = ""  #: what outputs beyond the classes are for, for errors

    @property
    def x(self) -> Tensor | Inputs:
        """(n, ...) training rows; images are (n, channels, height, width)."""
        return Inputs(self.data.X, self.shape, self.device).whole()

    @property
    def x_val(self) -> Tensor | Inputs:
        """(m, ...) validation rows."""
        return Inputs(self.data.X_val, self.shape, self.device).whole()

    @property
    def y(self) -> Tensor:
        """(n,) classes, or targets in standard deviations from their mean; or the inputs."""
        return self.x[:] if self.autoencodes else self.targets(self.data.codes)

    @property
    def y_val(self) -> Tensor:
        """(m,) the same for the validation rows."""
        return self.x_val[:] if self.autoencodes else self.targets(cast(ndarray, self.data.codes_val))

    def targets(self, codes: ndarray) -> Tensor:
        """Class numbers, or regression targets in standard deviations from their mean, as the loss takes them."""
        if self.data.task == "regression":
            codes = ((codes - self.data.codes.mean()) / self.data.codes.std()).astype(np.float32)
        return torch.from_numpy(np.array(codes)).to(self.device)  # torch does not know arrays that can't be written

    def in_label_units(self, log_probabilities: ndarray) -> ndarray:
        """Predicted regression targets in the labels' unit: the inverse of `targets`."""
        codes = self.data.codes
        return log_probabilities * codes.std() + codes.mean()

    @property
    def loss(self) -> Loss:
        """Cross-entropy, or squared error."""
        if self.autoencodes:
            return reconstruction_error
        return cross_entropy if self.data.task == "classification" else squared_error

    def make(self, run: int, seed: int) -> nn.Module:
        """The network of this run, freshly drawn."""
        start = spawned(seed, run)
        with torch.random.fork_rng([]):
            torch.manual_seed(start)
            if self.model is None:
                net = self._default()
            elif isinstance(self.model, nn.Module):
                net = copy.deepcopy(self.model)
                for module in net.modules():
                    if callable(reset := getattr(module, "reset_parameters", None)):
                        reset()
            else:
                net = self._build(self.model, start)
        if not isinstance(net, nn.Module):
            raise DataError(
                f"{self.method}: the function given as model must return an nn.Module, got {type(net).__name__}."
            )
        return self._check_network(net.to(self.device))

    def sample(self) -> Tensor:
        """At most 10,000 rows, by which a network standardises its inputs."""
        rows = np.linspace(0, len(self.data) - 1, min(len(self.data), 10_000)).astype(int)
        return Inputs(self.data.X, self.shape, "cpu")[rows]

    def probabilities(self, outputs: Tensor) -> Tensor:
        """(n, classes) probabilities, or (n, 1) predicted targets."""
        return outputs.softmax(1) if self.data.task == "classification" else outputs

    def log_probabilities(self, outputs: Tensor) -> ndarray:
        """(..., n, c) log-probabilities, or regression targets in the labels' unit."""
        if self.data.task == "classification":
            return np.maximum(outputs.log_softmax(-1).cpu().numpy(), LOWEST)
        return self.in_label_units(outputs.double().cpu().numpy())

    def suggested(self, predictions: ndarray) -> ndarray:
        """(n,) labels from the mean prediction of each row."""
        if self.data.task == "classification":
            return self.data.labels_of(predictions.argmax(1))
        return self.in_label_units(predictions[:, 0])

    def disagreeing(self, predictions: ndarray, rule: str) -> tuple[ndarray, str]:
        """(n,) rows whose predicted class is another one, and the rule; in regression those whose residual is an outlier."""
        if self.data.task == "classification":
            return predictions.argmax(1) != self.data.codes, rule
        far_off = f"the residual is {FAR:g} robust standard deviations or more from the median residual"
        return is_outlier(self.data.codes - self.suggested(predictions)), far_off

    def _default(self) -> nn.Module:
        sample = self.sample()
        if self.autoencodes:
            return autoencoder(sample)
        if len(self.shape) == 1:
            # a frame's columns are standardised already, and the one-hot ones must not be: rare categories would be large
            return mlp(sample, self.outputs, standardise=not self.data.standardised)
        return resnet(sample, self.outputs)

    def _build(self, make: Callable[..., Any], seed: int) -> Any:
        """Call the function or class, with the seed where it takes one; torch's random numbers follow from the seed anyway."""
        takes_seed = _takes_seed(make)
        if takes_seed is None:
            raise DataError(
                f"{self.method}: the function given as model is called with a seed, or with nothing, and {_name(make)} asks for more: "
                f"pass one that needs no more, lambda seed: {_name(make)}(...) say."
            )
        try:
            return make(seed) if takes_seed else make()
        except DataError:
            raise
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:  # whatever somebody's function does
            raise DataError(
                f"{self.method}: the function given as model failed ({type(error).__name__}: {_first_line(error)}); it is called with a "
                "seed, or with nothing where it takes nothing, and must return an nn.Module."
            ) from error

    def _check_network(self, net: nn.Module) -> nn.Module:
        """Two rows go through, so that an error comes before the training. Of an output that is more than a tensor, the logits alone."""
        batch = Inputs(self.data.X, self.shape, self.device)[:2]
        net.eval()
        try:
            with torch.no_grad():
                out = net(batch)
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:  # whatever somebody's forward does
            raise DataError(
                f"{self.method}: the model can't take a batch of shape {tuple(batch.shape)}, as rows of this data come "
                f"({_first_line(error)}): put a layer before it that brings them into its form, nn.Flatten() or nn.Unflatten say."
            ) from error
        if not isinstance(out, Tensor) and (logits := logits_in(out)) is not None:
            net, out = Logits(net).train(net.training), logits
        if not isinstance(out, Tensor):
            needed_output = "give back its input" if self.autoencodes else f"give {self._outputs_in_words()} for each row"
            raise DataError(
                f"{self.method}: the model must {needed_output}, as a tensor, a tuple that begins with one, or an object with .logits; "
                f"it gave {type(out).__name__}."
            )
        if self.autoencodes and out.shape != batch.shape:
            raise DataError(
                f"{self.method}: an autoencoder must give back the shape that it gets, {tuple(batch.shape)}; it gave {tuple(out.shape)}."
            )
        if not self.autoencodes and tuple(out.shape) != (2, self.outputs):
            raise DataError(
                f"{self.method}: the model must give {self._outputs_in_words()}, for each row; for two rows it gave shape "
                f"{tuple(out.shape)}."
            )
        if not any(p.requires_grad for p in net.parameters()):
            raise DataError(
                f"{self.method}: nothing in the model is trained; set requires_grad_(True) where it is to learn."
            )
        return net

    def _outputs_in_words(self) -> str:
        """The outputs that are needed for a row, in words."""
        return (
            f"{self.outputs} logits, one a class{self.extra_outputs}" if self.data.task == "classification" else "one number"
        )


class Logits(nn.Module):
    """A network that gives more than a tensor, or a tensor in something else: the tensor alone."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        logits = logits_in(self.net(x))
        assert logits is not None  # it was looked at before
        return logits


def logits_in(out: Any) -> Tensor | None:
    """The tensor that is meant: by the name logits, or the first entry; None if there is none.

    >>> logits_in((torch.zeros(2), None)), logits_in({"logits": torch.ones(1)}), logits_in("logits")
    (tensor([0., 0.]), tensor([1.]), None)
    """
    logits = out.get("logits") if isinstance(out, Mapping) else getattr(out, "logits", None)
    if logits is None and isinstance(out, (tuple, list)) and out:
        logits = out[0]
    return logits if isinstance(logits, Tensor) else None


def _takes_seed(make: Callable[..., Any]) -> bool | None:
    """Whether it is called with a seed, or with nothing; None: it needs more than that."""
    try:
        asks = inspect.signature(make).parameters.values()
    except (TypeError, ValueError):  # what is not written in Python
        return True
    places = [p for p in asks if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = [p for p in asks if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if len(needed) > 1 or any(p.kind is p.KEYWORD_ONLY for p in needed):
        return None
    if needed:
        return True
    if isinstance(make, type):  # an option of a network is no seed because it comes first
        return bool(places) and places[0].name == "seed"
    return bool(places) or any(p.kind is p.VAR_POSITIONAL for p in asks)


def _name(thing: Any) -> str:
    """Of a class or function, else of its class."""
    return getattr(thing, "__name__", type(thing).__name__)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no more is said"])[0]


def problem(
    data: Dataset,
    model: Model | None,
    device: str,
    method: str,
    *,
    autoencodes: bool = False,
) -> Problem:
    """The problem for these rows and this model.

    Raises
    ------
    DataError
        A model that is no torch module, or a device that is not there.
    """
    if model is not None and not isinstance(model, nn.Module) and (not callable(model) or hasattr(model, "fit")):
        raise DataError(
            f"{method} reads gradients: model must be a torch nn.Module or a function from a seed to one, got {_name(model)}."
        )
    shape = (data.X.shape[1],)
    if is_images(data.shown) and math.prod(data.shown.shape[1:]) == data.X.shape[1]:
        shape = tuple(data.shown.shape[1:])
    try:
        device = pick_device(device)
    except ValueError as error:
        raise DataError(f"{method}: {error}") from None
    return Problem(method, data, model, device, max(1, len(data.classes)), shape, autoencodes)


def cross_entropy(outputs: Tensor, y: Tensor) -> Tensor:
    """(n,) -log softmax(outputs)_y"""
    return F.cross_entropy(outputs, y, reduction="none")


def squared_error(outputs: Tensor, y: Tensor) -> Tensor:
    """(n,) (output - y)^2 / 2, so that the gradient in the output is the residual."""
    return (outputs[:, 0] - y) ** 2 / 2


def reconstruction_error(outputs: Tensor, x: Tensor) -> Tensor:
    """(n,) mean of (output - x)^2 over the numbers of a row."""
    return ((outputs - x) ** 2).flatten(1).mean(1)


def fingerprint(p: Problem, loss: Loss) -> str:
    """The losses of a few rows, which identify the function: names don't. A DataError if it is no loss."""
    if not callable(loss):
        raise DataError(
            f"{p.method}: loss must be a function from outputs and targets to a loss for each row, got {loss!r}."
        )
    y = p.y[:16]
    random = torch.Generator().manual_seed(0)
    outputs = torch.randn(len(y), p.outputs, generator=random).to(y.device)
    try:
        losses = loss(outputs, y)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise DataError(
            f"{p.method}: loss failed on outputs {tuple(outputs.shape)} and targets {tuple(y.shape)} ({error})."
        ) from error
    if not isinstance(losses, Tensor) or losses.shape != (len(y),):
        received = f"shape {tuple(losses.shape)}" if isinstance(losses, Tensor) else type(losses).__name__
        raise DataError(
            f"{p.method}: loss must give a number for each row (reduction='none'), for {len(y)} rows it gave {received}."
        )
    return f"{loss!r} {losses.tolist()}" if isinstance(loss, nn.Module) else str(losses.tolist())


def last_module(net: nn.Module) -> tuple[str, nn.Module]:
    """The last module that has trained parameters of its own, and its name."""
    return [(n, m) for n, m in net.named_modules() if any(p.requires_grad for p in m.parameters(recurse=False))][-1]


def last_layer(net: nn.Module) -> list[str]:
    """Names of the parameters of the last module that has any of its own."""
    name, module = last_module(net)
    return [f"{name}.{part}" if name else part for part, p in module.named_parameters(recurse=False) if p.requires_grad]


def mean_over(rows: int, size: int, work: Callable[[slice], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Mean over so many rows, from the means over batches that ``work`` returns."""
    total: dict[str, Tensor] = {}
    for part in in_batches(rows, size):
        share = (part.stop - part.start) / rows
        for name, mean in work(part).items():
            total[name] = total[name] + share * mean if name in total else share * mean
    return total
