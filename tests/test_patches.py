"""Whitened patches of images, engines/patches.py: against a loop over patches, with torch, and what they are worth."""

from dataclasses import replace

import numpy as np
import pytest

from datassay.engines import patches


def slowly(images, it):
    """The definition: a loop over pictures, patches and sides of the threshold."""
    out = []
    for picture in patches.prepared(images, it.low, it.span, it.size).astype(np.float64):
        rows, columns = picture.shape[0] - it.patch + 1, picture.shape[1] - it.patch + 1
        cosines = np.zeros((rows, columns, it.filters.shape[1]))
        for a in range(rows):
            for b in range(columns):
                x = picture[a : a + it.patch, b : b + it.patch].reshape(-1)
                v = it.whiten.astype(np.float64).T @ (x - x.mean())
                cosines[a, b] = it.filters.astype(np.float64).T @ v / np.linalg.norm(v)
        row = []
        for i in range(it.grid):
            for j in range(it.grid):
                down = range(i * rows // it.grid, (i + 1) * rows // it.grid)
                along = range(j * columns // it.grid, (j + 1) * columns // it.grid)
                for side in (1, -1):
                    total = np.zeros(it.filters.shape[1])
                    for a in down:
                        for b in along:
                            total += np.maximum(side * cosines[a, b] - it.threshold, 0)
                    row.append(total / (len(down) * len(along)))
        out.append(np.concatenate(row))
    return np.array(out)


def pictures(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    smooth = rng.normal(size=shape).cumsum(axis=1).cumsum(axis=2)
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    return (255 * smooth).astype(np.uint8) if dtype == "uint8" else smooth.astype(dtype) * 3 - 1


@pytest.mark.parametrize("dtype", ["uint8", "float64"])
@pytest.mark.parametrize(
    ("shape", "grid"), [((6, 14, 11), 2), ((4, 16, 16, 3), 2), ((4, 15, 9, 4), 3), ((5, 8, 8, 1), 1), ((3, 40, 50, 3), 2)]
)
@pytest.mark.parametrize("tile", [64, patches.TILE])
def test_features_are_the_definition(shape, grid, dtype, tile, monkeypatch):
    monkeypatch.setattr(patches, "TILE", tile)
    images = pictures(shape, dtype)
    it = patches.learn(images, k=20, grid=grid)
    found = patches.features(images, it)
    assert found.dtype == np.float32
    assert found.shape == (len(images), 2 * 20 * grid**2)
    np.testing.assert_allclose(found, slowly(images, it), atol=2e-6)
    assert found.std(axis=0).max() > 0.01


@pytest.mark.parametrize("shape", [(6, 14, 11), (4, 16, 17, 3), (4, 50, 40, 3)])
def test_mirrored_features_are_the_mean_with_those_of_the_mirror_image(shape):
    images = pictures(shape, "uint8")
    it = patches.learn(images, k=20)
    both = patches.features(images, replace(it, mirrored=True))
    mirror = np.ascontiguousarray(images[:, :, ::-1])
    np.testing.assert_allclose(both, (slowly(images, it) + slowly(mirror, it)) / 2, atol=2e-6)
    np.testing.assert_allclose(patches.features(mirror, replace(it, mirrored=True)), both, atol=2e-6)
    assert abs(both - patches.features(images, it)).max() > 0.01


@pytest.mark.parametrize("mirrored", [False, True])
def test_torch_gives_the_same_numbers(mirrored):
    pytest.importorskip("torch")
    images = pictures((20, 18, 21, 3), "uint8")
    it = patches.learn(images, k=50, mirrored=mirrored)
    counted = []
    again = patches._on_card(images, it, "cpu", counted.append)
    np.testing.assert_allclose(again, patches.features(images, it), atol=1e-5)
    assert sum(counted) == 20


def test_the_dictionary_whitens_and_a_fifth_is_beyond_the_threshold_on_either_side():
    images = pictures((400, 24, 24), "uint8")
    it = patches.learn(images, k=200, seed=3)
    scaled = patches.prepared(images, it.low, it.span, it.size)[..., 0].astype(np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(scaled, (6, 6), axis=(1, 2))[:, ::3, ::3].reshape(-1, 36)
    V = windows @ it.whiten
    covariance = np.cov(V, rowvar=False)
    raw = np.cov(windows - windows.mean(axis=1, keepdims=True), rowvar=False)
    w = np.linalg.eigvalsh(raw)
    np.testing.assert_allclose(np.linalg.eigvalsh(covariance), w / (w + patches.RIDGE), atol=0.05)
    np.testing.assert_allclose(np.linalg.norm(it.filters, axis=0), 1, atol=1e-5)
    C = V / np.linalg.norm(V, axis=1, keepdims=True) @ it.filters
    assert np.mean(abs(C) > it.threshold) == pytest.approx(0.4, abs=0.03)


def test_the_same_seed_gives_the_same_bits_and_another_others():
    images = pictures((30, 16, 16), "uint8")
    one, two, other = (patches.learn(images, k=10, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(patches.features(images, one), patches.features(images, two))
    assert abs(patches.features(images, one) - patches.features(images, other)).max() > 0.01


def test_pictures_are_averaged_down_to_the_working_size():
    images = pictures((3, 64, 48), "float64")
    small = patches.prepared(images, 0.0, 1.0, patches.working_size(64, 48))[..., 0]
    np.testing.assert_allclose(small, images.reshape(3, 32, 2, 24, 2).mean(axis=(2, 4)), atol=1e-5)
    odd = patches.prepared(images, 0.0, 1.0, (7, 5))[..., 0]
    np.testing.assert_allclose(odd.mean(axis=(1, 2)), images.mean(axis=(1, 2)), atol=1e-5)


def test_pictures_of_one_colour_have_features_that_are_zero():
    images = np.full((5, 12, 12), 7, np.uint8)
    found = patches.features(images, patches.learn(images, k=4))
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found, found[[0] * 5])
