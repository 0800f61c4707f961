"""The approximations of the CG-score: exact where they must be, near elsewhere, the same bits wherever they run."""

import sys

import numpy as np
import pytest
import scipy.sparse as sp
from joblib import parallel_config
from scipy.stats import spearmanr
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

import datassay as da
import oracles
from children import ended, killed_by
from datassay.costs import cg_score as cg_score_costs
from datassay.engines import gp_loo, gram, low_rank, panels, partition
from datassay.evaluation import plant_wrong_labels
from datassay.methods.cg_score import cg_score

FIXED = {"ridge": 0.2, "bias": True}


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return plant_wrong_labels(da.Dataset(X[:1200], y[:1200]), 0.2, seed=0)


def test_it_is_the_inverse_of_the_matrix_it_says(digits):
    """Low rank + blocks + ridge, written out and inverted."""
    data, _ = digits
    X, own = data.X[:150], np.random.default_rng(0).uniform(0.1, 0.4, 150)
    Y = np.where(data.codes[:150, None] == np.arange(10), 1.0, -1.0)
    Z = low_rank.dense_unit_rows(X[::5], False)
    V = low_rank.dense_unit_rows(X, False)
    for block in (40, 1):
        B = low_rank.basis(Z, 12, 3)
        e, d = low_rank.leave_one_out(
            lambda i: X[i], Y, own, B, block=block, bias=False, n_jobs=1, report=lambda share: None
        )
        U = oracles.unit(X.astype(float))
        H = oracles.arc_cosine(U)
        G = np.clip(U @ B.Z.T, -1, 1)
        F = (G * (np.pi - np.arccos(G)) / (2 * np.pi)) @ B.R
        groups = (
            partition.partition(partition.project(150, lambda i: V[i], Z), block) if block > 1 else np.arange(150)[:, None]
        )
        K = F @ F.T + np.diag(own)
        for g in groups:
            K[np.ix_(g, g)] += (H - F @ F.T)[np.ix_(g, g)]
        inverse = np.linalg.inv(K)
        np.testing.assert_allclose(d, np.diag(inverse), rtol=2e-4)
        np.testing.assert_allclose(
            e, (inverse @ Y) / np.diag(inverse)[:, None], atol=1e-3
        )  # P in half precision: 6.7e-4 seen


@pytest.mark.parametrize(("ridge", "kind"), [(1e-5, np.float32), (1e-3, np.float16), (1e4, np.float16), (1e6, np.float32)])
def test_half_precision_only_where_the_ridge_allows_it(digits, ridge, kind, monkeypatch):
    """Else d, a difference of large numbers, could fall below 0, and small ones would be 0."""
    kinds, solved = set(), low_rank._solved

    def seen(*args):
        found = solved(*args)
        kinds.add(found[2].P.dtype.type)
        return found

    monkeypatch.setattr(low_rank, "_solved", seen)
    data, _ = digits
    small = data.take(np.arange(400))
    exact = cg_score(small, ridge=ridge, bias=False, approx="exact", dtype="float64", n_jobs=1)
    for block in (1, 100):
        near = cg_score(small, ridge=ridge, bias=False, approx="landmarks", landmarks=300, rank=300, block=block, n_jobs=1)
        assert (near.columns["cg_score"] >= 0).all()
        assert spearmanr(near.scores, exact.scores).statistic > (0.75 if ridge < 1e-4 else 0.95)
    assert kinds == {kind}


@pytest.mark.parametrize("known", [False, True])
def test_one_block_or_all_rows_as_landmarks_or_neighbours_is_exact(digits, known):
    data, _ = digits
    small = data.take(np.arange(120))
    if known:
        small = da.Dataset(small.X, small.y, data.X[1000:1040], data.y[1000:1040])
    options = FIXED | {"trusted": known}
    exact = cg_score(small, approx="exact", **options)
    for way in (
        {"approx": "landmarks", "block": 1000, "landmarks": 10},
        {"approx": "landmarks", "block": 30, "landmarks": 120, "rank": 120}
        if not known
        else {"approx": "landmarks", "block": 500},
        {"approx": "neighbours", "k": 500},
    ):
        near = cg_score(small, **way, **options)
        np.testing.assert_allclose(near.scores, exact.scores, rtol=3e-3)
        np.testing.assert_allclose(near.columns["loo_margin"], exact.columns["loo_margin"], atol=3e-3)


@pytest.mark.parametrize("options", [{}, {"choice": "kmeans"}, {"choice": "leverage"}, {"block": 1}])
def test_landmarks_are_near_and_say_how_near(digits, options):
    data, wrong = digits
    exact = cg_score(data, approx="exact", **FIXED)
    near = cg_score(data, approx="landmarks", landmarks=300, rank=150, **FIXED, **({"block": 300} | options))
    agree = spearmanr(exact.scores, near.scores).statistic
    assert agree > (0.85 if options.get("block") == 1 else 0.93)
    assert abs(roc_auc_score(wrong, -near.scores) - roc_auc_score(wrong, -exact.scores)) < 0.01
    assert near.stats["approx"] == "landmarks"
    assert abs(near.stats["sample_spearman"] - agree) < 0.02  # the sample is all rows here
    assert (near.stats["landmarks"], near.stats["rank"]) == (300, 150)


def test_more_rank_and_larger_blocks_are_nearer(digits):
    data, _ = digits
    exact = cg_score(data, approx="exact", **FIXED)

    def agreement(**options):
        return spearmanr(
            exact.scores, cg_score(data, approx="landmarks", landmarks=400, **FIXED, **options).scores
        ).statistic

    assert agreement(rank=30, block=100) < agreement(rank=30, block=400) < agreement(rank=300, block=400)
    assert agreement(rank=30, block=100) < agreement(rank=300, block=100)


def test_neighbours_find_planted_labels(digits):
    data, wrong = digits
    near = cg_score(data, approx="neighbours", k=30, **FIXED)
    assert roc_auc_score(wrong, -near.scores) > 0.98
    assert near.stats["neighbours"] == 30
    more = cg_score(data, approx="neighbours", k=200, **FIXED)
    exact = cg_score(data, approx="exact", **FIXED).scores
    assert spearmanr(exact, near.scores).statistic < spearmanr(exact, more.scores).statistic


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # joblib's workers, on some Python versions
@pytest.mark.parametrize("way", [{"approx": "landmarks", "landmarks": 100, "block": 60}, {"approx": "neighbours", "k": 10}])
def test_the_same_bits_however_the_work_is_spread(digits, way, monkeypatch):
    monkeypatch.setattr(low_rank, "CHUNK", 130)
    monkeypatch.setattr("datassay.engines.local.BLOCK", 100)
    data, _ = digits
    here = cg_score(data, **way, **FIXED)
    np.testing.assert_array_equal(cg_score(data, n_jobs=1, **way, **FIXED).scores, here.scores)
    with parallel_config(backend="threading", n_jobs=3):
        np.testing.assert_array_equal(cg_score(data, **way, **FIXED).scores, here.scores)
    np.testing.assert_array_equal(cg_score(data, n_jobs=2, **way, **FIXED).scores, here.scores)
    # with no room to keep the first pass, blocks are made twice
    monkeypatch.setattr("datassay.engines.low_rank.available_memory", lambda: 0)
    np.testing.assert_array_equal(cg_score(data, **way, **FIXED).scores, here.scores)


def test_sparse_small_integers_and_memory_maps_are_the_same_rows(digits, tmp_path):
    data, _ = digits
    X = data.X.astype(np.uint8)
    np.save(tmp_path / "X.npy", X)
    forms = [X, sp.csr_array(X.astype(float)), np.load(tmp_path / "X.npy", mmap_mode="r")]
    for way in ({"approx": "landmarks", "landmarks": 200, "block": 200}, {"approx": "neighbours", "k": 10}):
        here = cg_score(data, **way, **FIXED).scores
        for form in forms:
            np.testing.assert_allclose(cg_score(da.Dataset(form, data.y), **way, **FIXED).scores, here, rtol=1e-3)


def test_auto_goes_by_rows_and_memory_and_says_why(digits, monkeypatch):
    data, _ = digits
    assert cg_score(data).stats["approx"] is None
    assert cg_score(data).stats["way"].startswith("exact in float64: 1200 rows")
    monkeypatch.setattr(cg_score_costs, "EXACT", 1000)
    many = cg_score(data)
    assert many.stats["approx"] == "landmarks"
    assert "1200 rows are more than 1000" in many.stats["way"]
    assert cg_score(data, approx="exact").stats["approx"] is None
    assert cg_score(data, approx=None).options["approx"] == "exact"
    monkeypatch.setattr(cg_score_costs, "EXACT", 30_000)
    monkeypatch.setattr("datassay.engines.machine.available_memory", lambda: 2_000_000)
    assert "2 MB are free" in cg_score(data).stats["way"]
    monkeypatch.setattr(cg_score_costs, "DOUBLE", 1000)
    monkeypatch.setattr("datassay.engines.machine.available_memory", lambda: 10**12)
    assert cg_score(data).stats["dtype"] == "float32"


def test_the_ridge_of_many_rows_is_that_of_their_blocks(digits, monkeypatch):
    """With all rows in one block and all directions it is the exact likelihood, and the ridge its maximum."""
    data, _ = digits
    rows = data.take(np.arange(500))
    monkeypatch.setattr(cg_score_costs, "EXACT", 400)
    found = cg_score(rows, approx="landmarks", bias=True)
    grid = found.stats["ridge"] * np.array([0.6, 1.0, 1.7])
    Y = np.where(rows.codes[:, None] == np.arange(10), 1.0, -1.0)
    path = gp_loo.RidgePath(gram.arc_cosine(gram.unit_rows(rows.X, bias=True)), Y)
    below, here, above = (path.log_likelihood(float(ridge)) for ridge in grid)
    assert below < here > above
    assert found.stats["loo_log_likelihood"] == pytest.approx(here, abs=0.02)
    monkeypatch.setattr(cg_score_costs, "EXACT", 600)  # where the exact score is near, its own ridge is taken
    assert cg_score(rows, approx="landmarks", bias=True).stats["ridge"] == cg_score(rows, bias=True).stats["ridge"]


def test_a_stopped_exact_run_goes_on_from_its_folder(digits, tmp_path, monkeypatch):
    """Killed by an error after three panels; on disk where memory is short; the panels are gone at the end."""
    data, _ = digits
    monkeypatch.setattr("datassay.engines.panels.WHOLE", 100)
    monkeypatch.setattr("datassay.engines.panels.PANEL", 128)
    whole = cg_score(data, **FIXED)
    made = []

    def part(U, rows, columns):
        made.append(columns.start)
        if len(made) == 4:
            raise KeyboardInterrupt
        return gram.part(U, rows, columns)

    monkeypatch.setattr("datassay.engines.gp_loo.part", part)
    with pytest.raises(KeyboardInterrupt):
        cg_score(data, checkpoint=tmp_path / "run", **FIXED)
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        "panel-00000.npy",
        "panel-00001.npy",
        "panel-00002.npy",
        "run.json",
    ]
    with pytest.raises(da.DataError, match="holds a run on other rows or with other options"):
        cg_score(data, checkpoint=tmp_path / "run", ridge=0.3, bias=True)
    monkeypatch.setattr("datassay.engines.machine.available_memory", lambda: 8_000_000)
    resumed = cg_score(data, checkpoint=tmp_path / "run", **FIXED, dtype="float64")
    assert 0 not in made[4:8]
    assert "on disk" in resumed.stats["way"]
    np.testing.assert_array_equal(resumed.scores, whole.scores)
    assert not list((tmp_path / "run").glob("panel*"))
    count = len(made)
    np.testing.assert_array_equal(cg_score(data, checkpoint=tmp_path / "run", **FIXED, dtype="float64").scores, whole.scores)
    assert len(made) == count  # nothing was computed again


def killed(data, folder):
    panels.WHOLE, panels.PANEL = 100, 128
    killed_by(3, panels.Panels, "add")
    cg_score(data, checkpoint=folder, **FIXED)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_kill_minus_nine_loses_no_finished_panel(digits, tmp_path, monkeypatch):
    data, _ = digits
    assert ended(killed, data, tmp_path / "run") == -9
    assert len(list((tmp_path / "run").glob("panel-*.npy"))) == 3
    (tmp_path / "run" / ".panel-00003.npy.1").write_bytes(b"half written")
    monkeypatch.setattr("datassay.engines.panels.WHOLE", 100)
    monkeypatch.setattr("datassay.engines.panels.PANEL", 128)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").glob("panel-*.npy")}
    monkeypatch.setattr("datassay.engines.panels.Panels.clear", lambda self: None)
    values = cg_score(data, checkpoint=tmp_path / "run", **FIXED)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert not list((tmp_path / "run").glob(".panel*"))
    np.testing.assert_array_equal(values.scores, cg_score(data, **FIXED).scores)
