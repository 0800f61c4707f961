"""Text models of Hugging Face with LoRA, tiny and made here: gradients of what is trained alone. Needs transformers and peft."""

import numpy as np
import pytest
import torch
from torch import nn

import datassay as da
from datassay.engines.gradients import RowGradients
from datassay.engines.training import Recipe

transformers, peft = (pytest.importorskip(name) for name in ("transformers", "peft"))

pytestmark = pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"
)  # of theirs

RECIPE = Recipe(epochs=4, batch_size=16, lr=0.02, optimiser="adam", weight_decay=0.0)


class Logits(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        x = x.long()
        return self.net(input_ids=x, attention_mask=(x > 0).long()).logits


def adapted(seed):
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        vocab_size=30, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, max_position_embeddings=8,
        num_labels=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, attn_implementation="eager",
    )  # fmt: skip
    net = transformers.BertForSequenceClassification(config)
    return Logits(peft.get_peft_model(net, peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query", "value"])))


def sentences(n, m):
    """Numbers of words; two of them tell the class."""
    rng = np.random.default_rng(0)
    X, y = rng.integers(3, 30, (n + m, 7)), rng.integers(0, 2, n + m)
    X[:, 5:] = np.where(rng.random((n + m, 2)) < 0.4, 0, X[:, 5:])  # shorter ones
    X[np.arange(n + m), rng.integers(0, 5, n + m)] = 1 + y
    return da.Dataset(X[:n].astype(float), y[:n], X[n:].astype(float), y[n:], standardise=False)


def test_gradients_of_adapters_are_those_of_autograd():
    net, data = adapted(0).eval(), sentences(6, 4)
    x, y = torch.tensor(data.X), torch.tensor(data.y)
    rows = RowGradients(net, lambda out, y: nn.functional.cross_entropy(out, y, reduction="none"), x, y)
    trained = [p for p in net.parameters() if p.requires_grad]
    assert sum(p.numel() for p in trained) < sum(p.numel() for p in net.parameters()) / 10
    assert rows.through_func == []
    each = []
    for i in range(6):
        loss = nn.functional.cross_entropy(net(x[i : i + 1]), y[i : i + 1])
        each.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, trained)]))
    G = torch.stack(each)
    torch.testing.assert_close(rows.products(rows), G @ G.T, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("method", "options"),
    [("trak", {}), ("trak", {"projection": 64}), ("influence", {"hessian": "ek-fac"}), ("el2n", {})],
)
def test_wrong_labels_lie_low_by_the_adapters_alone(method, options):
    data = sentences(120, 60)
    data, wrong = da.plant(data, "uniform", 0.1, seed=1)
    values = da.value(data, method, model=adapted, seed=0, training=RECIPE, progress=False, runs=1, **options)
    assert np.isfinite(values.scores).all()
    assert values.scores[wrong].mean() < values.scores[~wrong].mean()
