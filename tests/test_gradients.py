"""Products of per-row gradients against one autograd call for each row."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from datassay.engines import gradients
from datassay.engines.gradients import RowGradients, hessian_product, mean_gradient


@pytest.fixture(autouse=True, scope="module")
def double():
    """In float64 an error of the formulas can't hide in rounding; `test_float32` has the precision of every day."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def cross_entropy(outputs, y):
    return F.cross_entropy(outputs, y, reduction="none")


def one_by_one(model, loss, x, y, names):
    """The definition: (n, parameters), a backward pass for each row."""
    params = dict(model.named_parameters())
    rows = []
    for i in range(len(x)):
        found = torch.autograd.grad(
            loss(model(x[i : i + 1]), y[i : i + 1])[0], [params[n] for n in names], materialize_grads=True
        )
        rows.append(torch.cat([g.flatten() for g in found]))
    return torch.stack(rows) if rows else torch.zeros(0, sum(params[n].numel() for n in names))


def close(found, expected):
    found, expected = found.detach(), expected.detach()
    scale = expected.abs().max().clamp_min(1e-30) if expected.numel() else 1.0
    tight = 1e-5 if found.dtype == torch.float32 else 1e-10
    np.testing.assert_allclose(found / scale, expected / scale, rtol=tight, atol=tight)


def check(model, x, y, loss=cross_entropy, names=None, through_func=()):
    """Dots, norms and products of the model's row gradients are those of the definition."""
    model.eval()
    rows = RowGradients(model, loss, x, y, names)
    g = one_by_one(model, loss, x, y, rows.names)
    params = dict(model.named_parameters())
    direction = {name: torch.randn_like(params[name]) for name in rows.names}
    flat = torch.cat([direction[name].flatten() for name in rows.names])
    close(rows.dots(direction), g @ flat)
    close(rows.squared_norms(), (g * g).sum(1))
    both = rows.dots_and_squared_norms(direction)
    close(both[0], g @ flat)
    close(both[1], (g * g).sum(1))
    close(rows.products(rows), g @ g.T)
    half = RowGradients(model, loss, x[: len(x) // 2], y[: len(x) // 2], names)
    close(half.products(rows), g[: len(x) // 2] @ g.T)
    close(rows.losses, loss(model(x), y))
    assert all(p.grad is None for p in params.values())
    if len(x):
        assert sorted(rows.through_func) == sorted(through_func)
        mean = mean_gradient(model, loss, x, y, rows.names)
        close(torch.cat([mean[name].flatten() for name in rows.names]), g.mean(0))
    return rows


def test_float32():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(50, 30), nn.Mish(), nn.Linear(30, 5)).float()
    check(net, torch.randn(64, 50).float(), torch.randint(5, (64,)))
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(288, 3)
    ).float()
    check(net, torch.randn(16, 3, 10, 10).float(), torch.randint(3, (16,)))


sizes = st.integers(1, 7)


@settings(deadline=None, max_examples=30)
@given(n=st.integers(0, 6), d=sizes, hidden=sizes, classes=st.integers(2, 4), bias=st.booleans(), seed=st.integers(0, 99))
def test_mlp(n, d, hidden, classes, bias, seed):
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(d, hidden, bias=bias),
        nn.LayerNorm(hidden),
        nn.Mish(),
        nn.Dropout(0.5),
        nn.Linear(hidden, classes, bias=bias),
    )
    check(model, torch.randn(n, d), torch.randint(classes, (n,)))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(0, 4),
    side=st.integers(4, 9),
    groups=st.sampled_from([1, 2]),
    kernel=st.sampled_from([1, 2, 3]),
    stride=st.sampled_from([1, 2]),
    dilation=st.sampled_from([1, 2]),
    padding=st.sampled_from([0, 1, "same"]),
    mode=st.sampled_from(["zeros", "circular", "reflect"]),
    bias=st.booleans(),
    seed=st.integers(0, 99),
)
def test_cnn(n, side, groups, kernel, stride, dilation, padding, mode, bias, seed):
    torch.manual_seed(seed)
    if (kernel - 1) * dilation >= side:
        return
    stride = 1 if padding == "same" else stride
    conv = nn.Conv2d(2, 4, kernel, stride, padding, dilation, groups, bias, mode)
    model = nn.Sequential(
        conv, nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Conv2d(4, 3, 1), nn.GroupNorm(1, 3), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(12, 3),
    )  # fmt: skip
    model[1].running_mean, model[1].running_var = torch.randn(4), torch.rand(4) + 0.5
    check(model, torch.randn(n, 2, side, side), torch.randint(3, (n,)))


@settings(deadline=None, max_examples=20)
@given(
    n=st.integers(0, 4),
    length=st.integers(3, 20),
    groups=st.sampled_from([1, 2]),
    kernel=st.sampled_from([1, 3]),
    seed=st.integers(0, 99),
)
def test_conv1d_on_sequences(n, length, groups, kernel, seed):
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv1d(2, 4, kernel, groups=groups, padding=kernel // 2),
        nn.BatchNorm1d(4),
        nn.GELU(),
        nn.Flatten(),
        nn.LazyLinear(2),
    )
    model(torch.zeros(2, 2, length))
    check(model, torch.randn(n, 2, length), torch.randint(2, (n,)))


class Encoder(nn.Module):
    """A transformer encoder: torch's own, whose attention holds weights that no layer of it applies, or one of linear layers."""

    def __init__(self, own=False, tokens=7, width=4, tied=False, batch_first=True):
        super().__init__()
        self.own, self.tied, self.batch_first = own, tied, batch_first
        self.embedding = nn.Embedding(tokens, width, padding_idx=0)
        self.position = nn.Parameter(torch.randn(30, width))
        self.norm = nn.LayerNorm(width)
        if own:
            self.qkv, self.mix, self.up, self.down = (nn.Linear(width, k * width) for k in (3, 1, 2, 1))
        else:
            layer = nn.TransformerEncoderLayer(width, 2, 8, batch_first=batch_first)
            self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, 3)

    def forward(self, tokens):
        h = self.embedding(tokens) + self.position[: tokens.shape[1]]
        if self.own:
            q, k, v = self.qkv(self.norm(h)).chunk(3, -1)
            h = h + self.mix(F.scaled_dot_product_attention(q, k, v))
            h = h + self.down(self.up(h)[..., :4].relu())
        elif self.batch_first:
            h = self.encoder(h)
        else:
            h = self.encoder(h.transpose(0, 1)).transpose(0, 1)
        if self.tied:
            return (h @ self.embedding.weight.T).mean(1)[:, :3]
        return self.head(self.norm(h) if not self.own else h).mean(1)


@settings(deadline=None, max_examples=20)
@given(n=st.integers(0, 5), length=st.integers(1, 12), seed=st.integers(0, 99))
def test_transformer_of_linear_layers(n, length, seed):
    torch.manual_seed(seed)
    check(Encoder(own=True), torch.randint(7, (n, length)), torch.randint(3, (n,)), through_func=["position"])


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.filterwarnings("ignore:.*batch_first.*:UserWarning")
@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
def test_torch_transformer(batch_first):
    torch.manual_seed(0)
    model = Encoder(batch_first=batch_first)
    rows = RowGradients(model.eval(), cross_entropy, torch.randint(7, (5, 5)), torch.randint(3, (5,)))
    through = rows.through_func
    assert "position" in through
    assert "encoder.layers.0.self_attn.in_proj_weight" in through
    assert ("encoder.layers.0.linear1.weight" in through) is not batch_first  # rows on the second axis: not by factors
    check(model, torch.randint(7, (5, 5)), torch.randint(3, (5,)), through_func=through)


def test_weights_used_twice_go_through_torch_func():
    torch.manual_seed(0)
    check(
        Encoder(own=True, tied=True),
        torch.randint(7, (4, 6)),
        torch.randint(3, (4,)),
        through_func=["embedding.weight", "position"],
    )
    once = nn.Linear(3, 3)
    twice = nn.Sequential(once, nn.Tanh(), once)
    check(twice, torch.randn(4, 3), torch.randint(3, (4,)), through_func=["0.weight", "0.bias"])

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.b(self.a(x).tanh())

    check(Tied(), torch.randn(4, 3), torch.randint(3, (4,)), through_func=["a.weight"])


def test_other_modules_go_through_torch_func():
    torch.manual_seed(0)

    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    model = nn.Sequential(Doubled(3, 4), nn.PReLU(), nn.utils.parametrizations.weight_norm(nn.Linear(4, 2)))
    through = [
        "0.weight",
        "0.bias",
        "1.weight",
        "2.bias",
        "2.parametrizations.weight.original0",
        "2.parametrizations.weight.original1",
    ]
    check(model, torch.randn(5, 3), torch.randint(2, (5,)), through_func=through)


def test_small_chunks_give_the_same(monkeypatch):
    monkeypatch.setattr(gradients, "CHUNK", 50)
    torch.manual_seed(0)
    check(Encoder(own=True), torch.randint(7, (5, 6)), torch.randint(3, (5,)), through_func=["position"])
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(8, 3))
    check(model, torch.randn(5, 1, 5, 5), torch.randint(3, (5,)))


def test_chosen_parameters_alone_count():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), nn.Linear(2, 2))
    model[3].requires_grad_(False)
    rows = check(model, torch.randn(5, 3), torch.randint(2, (5,)), names=["2.weight"])
    assert rows.names == ["2.weight"]
    assert check(model, torch.randn(5, 3), torch.randint(2, (5,))).names == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert [p.requires_grad for p in model.parameters()] == [True] * 4 + [False] * 2
    with pytest.raises(ValueError, match="no parameter 'head'"):
        RowGradients(model, cross_entropy, torch.randn(5, 3), torch.randint(2, (5,)), ["head"])


def test_a_layer_without_influence_has_gradient_zero():
    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle, self.called = nn.Linear(3, 2), nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, x):
            self.called(x)
            return self.used(x)

    check(Idle(), torch.randn(4, 3), torch.randint(2, (4,)))


def test_what_would_be_wrong_is_refused():
    x, y = torch.randn(4, 3), torch.randint(2, (4,))
    with pytest.raises(ValueError, match=r"mixes rows in training mode: call model.eval\(\)"):
        RowGradients(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), cross_entropy, x, y)

    class Overwrites(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 2)

        def forward(self, x):
            h = self.a(x)
            out = self.b(h)
            h.zero_()
            return out

    with pytest.raises(ValueError, match="changed in place"):
        RowGradients(Overwrites(), cross_entropy, x, y)
    with pytest.raises(ValueError, match="one number for each of the 4 rows"):
        RowGradients(nn.Linear(3, 2), lambda out, y: F.cross_entropy(out, y), x, y)


def test_hessian_product_is_the_hessian_times_the_vector():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    x, y = torch.randn(6, 2, dtype=torch.float64), torch.randint(2, (6,))
    names = [n for n, _ in model.named_parameters()]
    v = {n: torch.randn_like(p) for n, p in model.named_parameters()}
    g, Hv = hessian_product(model, cross_entropy, x, y, v)
    flat = torch.cat([p.detach().flatten() for p in model.parameters()])

    def total(theta):
        parts = dict(
            zip(
                names,
                (t.view_as(v[n]) for n, t in zip(names, theta.split([v[n].numel() for n in names]), strict=True)),
                strict=True,
            )
        )
        return cross_entropy(torch.func.functional_call(model, parts, (x,)), y).mean()

    H = torch.autograd.functional.hessian(total, flat)
    vec = torch.cat([v[n].flatten() for n in names])
    np.testing.assert_allclose(torch.cat([Hv[n].flatten() for n in names]), H @ vec, atol=1e-12)
    plain = mean_gradient(model, cross_entropy, x, y, names)
    np.testing.assert_allclose(
        torch.cat([g[n].flatten() for n in names]), torch.cat([plain[n].flatten() for n in names]), atol=1e-12
    )


def test_weighted_mean_gradient():
    torch.manual_seed(0)
    model, x, y, w = nn.Linear(3, 2), torch.randn(5, 3), torch.randint(2, (5,)), torch.rand(5)
    g = one_by_one(model, cross_entropy, x, y, ["weight", "bias"])
    found = mean_gradient(model, cross_entropy, x, y, ["weight", "bias"], w)
    close(torch.cat([found["weight"].flatten(), found["bias"]]), w @ g / w.sum())


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 3, padding=1),
        nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(0, 1)),
        nn.Conv2d(4, 6, 2, dilation=(2, 1), groups=2),
        nn.Conv1d(4, 6, 3, stride=2, padding=1),
        nn.Conv2d(4, 6, 1, stride=3),
    ],
)
def test_products_of_patches_from_products_of_pixels(layer):
    """What unfolding gives; the last one has far more pixels than patches, and unfolds."""
    torch.manual_seed(0)
    layer = layer.double()
    a = torch.randn(3, 4, *[7, 6][: len(layer.kernel_size)], dtype=torch.float64)
    factor = gradients._Conv(layer, a, torch.randn_like(layer(a)))
    assert factor.by_pixels == (layer.stride != (3, 3))
    unfolded = factor.a(slice(0, 3))
    torch.testing.assert_close(factor.inner(slice(0, 3)), unfolded.transpose(2, 3) @ unfolded)
