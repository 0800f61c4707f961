"""Which rows are noisy, when there are no labels: DVGS with an autoencoder, on pictures of handwritten digits.

    python examples/dvgs_unsupervised.py

The target are 300 clean pictures; of 1,000 others each has noise of its own strength. The autoencoder learns the clean ones, and
a row is worth as much as its gradient helps in that. Prints how the values go with the strength of the noise.
"""

import numpy as np
from scipy.stats import spearmanr
from sklearn.datasets import load_digits
from torch import nn

import datassay as da


def autoencoder() -> nn.Module:
    return nn.Sequential(
        nn.Linear(64, 48), nn.Mish(), nn.Linear(48, 12), nn.Mish(), nn.Linear(12, 48), nn.Mish(), nn.Linear(48, 64)
    )


def main() -> None:
    pixels = load_digits().data / 16
    rng = np.random.default_rng(0)
    rows, target = np.split(rng.permutation(pixels)[:1300], [1000])
    noise = rng.uniform(0, 1, 1000)
    rows = rows + noise[:, None] * rng.normal(size=rows.shape)
    nothing = np.arange(1300) % 2  # a Dataset has labels; this method does not look at them
    data = da.Dataset(rows, nothing[:1000], X_val=target, y_val=nothing[1000:])
    for similarity in ("cosine", "distance"):
        values = da.value(
            data, method="dvgs", model=autoencoder(), unsupervised=True, similarity=similarity, epochs=200, seed=0
        )
        print(f"{similarity}: Spearman of value and noise {spearmanr(values.scores, noise).statistic:.2f}")


if __name__ == "__main__":
    main()
