"""What per-row gradient products cost beside one plain forward and backward pass, and beside gradients that are formed.

    python benchmarks/gradients.py

Networks: a perceptron 784-256-10 on 5,000 rows, a convolutional network on 500 images, a transformer encoder of linear layers on
500 sequences. Each cell is the best of several calls in a process of its own, whose largest memory beyond the network and its rows
is given. ``vmap(grad)`` forms the gradients, all at once or 100 rows at a time, and multiplies. Writes ``benchmarks/out/gradients.md``.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from cg_score import OUT, markdown
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from datassay.engines.gradients import RowGradients, mean_gradient

WAYS = {
    "plain forward and backward": "plain",
    "g . g_i": "dots",
    "g . g_i and norms": "both",
    "g_i . h_j with 100 other rows": "products",
    "vmap(grad), 100 rows at a time": "vmap-100",
    "vmap(grad), all at once": "vmap",
    "vmap(grad), all at once, and norms": "vmap-norms",
    "autograd, row by row": "rows",
}


def loss(outputs: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(outputs, y, reduction="none")


class Encoder(nn.Module):
    """Two blocks of attention and perceptron, width 64."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(1000, 64)
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                [
                    nn.LayerNorm(64),
                    nn.Linear(64, 192),
                    nn.Linear(64, 64),
                    nn.LayerNorm(64),
                    nn.Linear(64, 128),
                    nn.Linear(128, 64),
                ]
            )
            for _ in range(2)
        )
        self.head = nn.Linear(64, 10)

    def forward(self, tokens: Tensor) -> Tensor:
        h = self.embedding(tokens)
        for norm, qkv, mix, again, up, down in self.blocks:
            q, k, v = qkv(norm(h)).unflatten(-1, (3, 4, 16)).permute(2, 0, 3, 1, 4)
            h = h + mix(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
            h = h + down(F.gelu(up(again(h))))
        return self.head(h.mean(1))


def network(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    if name == "perceptron":
        return (
            nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10)),
            torch.randn(5000, 784),
            torch.randint(10, (5000,)),
        )
    if name == "transformer":
        return Encoder(), torch.randint(1000, (500, 32)), torch.randint(10, (500,))
    layers = []
    for i, o in ((3, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(1024, 10)), torch.randn(500, 3, 32, 32), torch.randint(10, (500,))


def work(way: str, model: nn.Module, x: Tensor, y: Tensor) -> Callable[[], object]:
    names = [name for name, _ in model.named_parameters()]

    def plain() -> None:
        model.zero_grad(set_to_none=True)
        loss(model(x), y).mean().backward()

    if way == "plain":
        return plain
    g = mean_gradient(model, loss, x, y, names)
    if way == "dots":
        return lambda: RowGradients(model, loss, x, y).dots(g)
    if way == "both":
        return lambda: RowGradients(model, loss, x, y).dots_and_squared_norms(g)
    if way == "products":
        return lambda: RowGradients(model, loss, x, y).products(RowGradients(model, loss, x[:100], y[:100]))
    if way == "rows":

        def by_row() -> None:
            for i in range(len(x)):
                found = torch.autograd.grad(loss(model(x[i : i + 1]), y[i : i + 1])[0], list(model.parameters()))
                torch.stack([(a * g[name]).sum() for name, a in zip(names, found, strict=True)]).sum()

        return by_row
    values = {name: t.detach() for name, t in model.named_parameters()}

    def one(theta: dict[str, Tensor], a: Tensor, b: Tensor) -> Tensor:
        return loss(functional_call(model, theta, (a[None],)), b[None])[0]

    def formed() -> None:
        step = 100 if way == "vmap-100" else len(x)
        for start in range(0, len(x), step):
            found = vmap(grad(one), in_dims=(None, 0, 0))(values, x[start : start + step], y[start : start + step])
            sum(found[name].flatten(1) @ g[name].flatten() for name in names)
            if way == "vmap-norms":
                sum((found[name] ** 2).flatten(1).sum(1) for name in names)

    return formed


def child(name: str, way: str) -> None:
    model, x, y = network(name)
    model.eval()
    do, times = work(way, model, x, y), []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    do()
    while len(times) < 3 or time.perf_counter() - began < 3:
        start = time.perf_counter()
        do()
        times.append(time.perf_counter() - start)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps([min(times), (after - before) / 1024]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=["perceptron", "convolutional", "transformer"])
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(*args.child)
        return
    text = f"# Products of per-row gradients\n\n{torch.get_num_threads()} threads, float32, torch {torch.__version__}.\n"
    for name in args.networks:
        rows, plain = [], 1.0
        for label, way in WAYS.items():
            run = subprocess.run([sys.executable, __file__, "--child", name, way], capture_output=True, text=True)
            if run.returncode:
                rows.append([label, "no result", "", "" if run.returncode > 0 else "killed"])
                continue
            seconds, memory = json.loads(run.stdout.splitlines()[-1])
            plain = seconds if way == "plain" else plain
            rows.append([label, f"{seconds * 1e3:.1f}", f"{seconds / plain:.2f}", f"{memory:.0f}"])
        n = len(network(name)[1])
        text += f"\n## {name}, {n} rows\n\n" + markdown(["", "ms", "of plain", "MB at its peak"], rows) + "\n"
        print(text.split("##")[-1], flush=True)
    OUT.mkdir(exist_ok=True)
    (OUT / "gradients.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
