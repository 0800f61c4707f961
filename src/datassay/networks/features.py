"""What a network makes of rows: the features that enter its last layer, and the kernel of its logits' gradients."""

from __future__ import annotations

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor, nn

from datassay.checks import Call, DataError, whole
from datassay.data.dataset import Dataset
from datassay.engines.gradients import RowGradients
from datassay.engines.training import Recipe, Rows, in_batches
from datassay.networks.problem import Model, Problem, last_module, problem
from datassay.networks.recipes import recipe, small_steps
from datassay.networks.runs import One, run_all

AT_ONCE = 512  # rows in one pass


def network_features(
    data: Dataset,
    model: Model | None = None,
    *,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    training: Recipe | None = None,
    device: str = "auto",
    seed: int = 0,
    progress: bool = True,
) -> Dataset:
    """The same rows with the features of a network that is trained on them for a few epochs.

    A method without a model then values them in the network's terms, as the CG-score's authors do (ICLR 2023, appendix H: after 10
    epochs). Features are what enters the last module with parameters of its own, in evaluation mode. Reports go on showing the rows.

    Parameters
    ----------
    data
        n rows, classification or regression, and m validation rows or none; these are not trained on.
    model
        A torch `nn.Module`, drawn anew (all that has ``reset_parameters``), or a function from a seed to one, which is used as it
        comes. None: a perceptron for tables, a small ResNet for images.
    epochs, batch_size, lr, training
        ``training`` is a whole `Recipe`, in which the others change what they name. Default: 10 epochs of SGD without momentum and
        weight decay at 0.01; at 0.05 for images. After many epochs the features know wrong labels by heart.
    device, seed, progress
        "auto", "cpu", "cuda"; all randomness; a bar on stderr.

    Returns
    -------
    Dataset
        With features (n, p), and (m, p) of the validation rows.

    Raises
    ------
    DataError
        A model that doesn't fit the data, a training that diverges, an invalid option.

    Examples
    --------
    >>> import datassay as da
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> data = network_features(da.Dataset(X[:100], y[:100]), epochs=2)
    >>> data.X.shape, len(da.value(data, method="cg-score"))
    ((100, 100), 100)
    """
    whole("network_features", 0, seed=seed)
    p = problem(data, model, device, "network_features")
    used = recipe(training, default(p), len(data), epochs=epochs, batch_size=batch_size, lr=lr)
    (result,) = run_all(_features, Call(p.method, {"seed": seed, "progress": progress}), p, used)
    return data.with_features(*result)


def default(p: Problem) -> Recipe:
    """Small steps for a table; a convolutional network needs larger ones."""
    return small_steps(p, tables=10, images=10)


def _features(one: One) -> tuple[ndarray, ndarray | None]:
    p = one.p
    net = one.start(p.x, p.y).through(one.tick)
    return penultimate(net, p.x), None if p.data.X_val is None else penultimate(net, p.x_val)


@torch.no_grad()
def penultimate(net: nn.Module, x: Rows) -> ndarray:
    """(n, p) what enters the last module that has trained parameters of its own."""
    name, module = last_module(net)
    entered: list[Tensor] = []
    hook = module.register_forward_pre_hook(lambda module, inputs: entered.append(inputs[0]))
    net.eval()
    parts = []
    try:
        for rows in in_batches(len(x), AT_ONCE):
            entered.clear()
            net(x[rows])
            if len(entered) != 1 or len(entered[0]) != rows.stop - rows.start:
                raise DataError(f"network_features: {name or 'the model'} must be applied once, to all rows of a batch.")
            parts.append(entered[0].flatten(1).cpu().numpy())
    finally:
        hook.remove()
    return np.concatenate(parts)


def logit_kernel(net: nn.Module, x: Tensor, size: int = AT_ONCE) -> Tensor:
    """(m c, m c) products of the gradients of all c outputs for m rows, in evaluation mode; the outputs of a row side by side.

    >>> net = nn.Linear(1, 2)
    >>> logit_kernel(net, torch.tensor([[1.0], [3.0]]))
    tensor([[ 2.,  0.,  4.,  0.],
            [ 0.,  2.,  0.,  4.],
            [ 4.,  0., 10.,  0.],
            [ 0.,  4.,  0., 10.]])
    """
    net.eval()
    with torch.no_grad():
        outputs = net(x[:1]).shape[1]
    of = torch.arange(len(x), device=x.device).repeat_interleave(outputs)
    which = torch.arange(outputs, device=x.device).repeat(len(x))
    K = x.new_empty(len(of), len(of))
    parts = in_batches(len(of), size)

    def gradients(part: slice) -> RowGradients:
        return RowGradients(net, _one_output, x[of[part]], which[part])

    for k, rows in enumerate(parts):
        here = gradients(rows)
        K[rows, rows] = here.products(here)
        for columns in parts[k + 1 :]:
            K[rows, columns] = result = here.products(gradients(columns))
            K[columns, rows] = result.T
    return K


def _one_output(outputs: Tensor, which: Tensor) -> Tensor:
    return outputs.gather(1, which[:, None])[:, 0]


def velocity(before: Tensor, after: Tensor) -> float:
    """1 - the cosine of the angle between two kernels."""
    a, b = before.double(), after.double()
    return float(1 - (a * b).sum() / (a.norm() * b.norm()))


def velocities(groups: list[ndarray], one: One) -> ndarray:
    """(epochs, groups): how far the kernel of each group turns in each epoch of a training."""
    net, x, used = one.net(), one.p.x, one.recipe
    inputs = [x[torch.from_numpy(rows).to(one.p.device)] for rows in groups]
    run = one.start(x, one.p.y, net)
    result, last = np.zeros((used.epochs, len(groups))), [logit_kernel(net, rows) for rows in inputs]

    def look(epoch: int) -> None:
        for g, rows in enumerate(inputs):
            now = logit_kernel(net, rows)
            result[epoch, g], last[g] = velocity(last[g], now), now
        one.tick(1)

    for step in run:
        if step.batch == 0 and step.epoch:
            look(step.epoch - 1)
    if used.epochs:
        look(used.epochs - 1)
    return result
