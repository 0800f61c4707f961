import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_diabetes, load_digits
from sklearn.metrics import roc_auc_score

import datassay as da
import oracles
from datassay.checks import DataError
from datassay.engines import gp_loo, noise_model
from datassay.engines.gram import arc_cosine, unit_rows
from datassay.engines.panels import SingularGramError
from datassay.evaluation import plant_wrong_labels
from datassay.methods.cg_score import cg_score

PAPER = {"ridge": 0, "classes": "own"}


def problem(n=40, d=6, k=3, seed=0):
    X, codes = oracles.gaussian_classes(n, d, k, seed)
    return X, codes, oracles.arc_cosine(oracles.unit(X))


@pytest.mark.parametrize(("n", "d", "k", "seed"), [(12, 3, 2, 0), (40, 6, 3, 1), (60, 30, 4, 2)])
def test_score_is_the_energy_lost_by_deletion(n, d, k, seed):
    X, codes, H = problem(n, d, k, seed)
    got = cg_score(da.Dataset(X, codes), **PAPER).columns["cg_score"]
    slow = np.array([oracles.cg_by_deletion(H, oracles.one_vs_rest(codes, c)) for c in range(k)])
    assert np.ptp(got) > 0.1
    np.testing.assert_allclose(got, slow[codes, np.arange(n)], rtol=1e-8, atol=1e-9 * got.max())
    every = cg_score(da.Dataset(X, codes), ridge=0).columns["cg_score"]
    np.testing.assert_allclose(every, slow.sum(axis=0), rtol=1e-8, atol=1e-9 * got.max())


def test_terms_are_those_of_equation_6():
    X, codes, H = problem()
    columns = cg_score(da.Dataset(X, codes), **PAPER).columns
    for i, c in enumerate(codes):
        a2, cross, b2 = oracles.terms_of_equation_6(H, oracles.one_vs_rest(codes, c))[:, i]
        np.testing.assert_allclose([columns[t][i] for t in ("a2", "cross_term", "b2")], [a2, cross, b2], rtol=1e-8)
    for options in (PAPER, {}, {"negatives": 1.0}):
        columns = cg_score(da.Dataset(X, codes), **options).columns
        total = columns["a2"] + columns["cross_term"] + columns["b2"]
        np.testing.assert_allclose(total, columns["cg_score"], rtol=1e-8, atol=1e-9)


def test_margin_suggestion_and_both_flags_follow_the_leave_one_out_prediction():
    X, codes, H = problem(n=50, d=4, k=3)
    labels = np.array(["ape", "bee", "cat"])[codes]
    labels[[3, 10]] = "cat"
    data = da.Dataset(X, labels)
    Y = np.stack([oracles.one_vs_rest(data.codes, c) for c in range(3)], axis=1)
    f = oracles.predictions_without(H, Y)
    own = f[np.arange(50), data.codes]
    loo, sign = (cg_score(data, **PAPER, flag=flag) for flag in ("loo", "sign"))
    np.testing.assert_array_equal(loo.suggested_label, np.array(["ape", "bee", "cat"])[f.argmax(axis=1)])
    np.testing.assert_array_equal(loo.flagged, loo.suggested_label != labels)
    np.testing.assert_array_equal(sign.flagged, own < 0)  # partial CG > 0 <=> the prediction has the wrong sign
    assert 2 <= loo.flagged.sum() < 25
    assert 2 <= sign.flagged.sum() < 40
    others = np.where(np.arange(3) == data.codes[:, None], -np.inf, f).max(axis=1)
    np.testing.assert_allclose(loo.columns["loo_margin"], own - others, rtol=1e-7, atol=1e-9)
    assert "partial" in sign.stats["flag_rule"]
    assert "differs" in loo.stats["flag_rule"]


def test_the_default_flag_and_the_counts_are_the_noise_model_s_on_the_leave_one_out_predictions():
    X, codes, H = problem(n=80, d=4, k=3)
    codes = codes.copy()
    codes[[3, 10]] = (codes[[3, 10]] + 1) % 3
    values = cg_score(da.Dataset(X, codes), ridge=0.2, bias=False)
    f = oracles.predictions_without(H, np.stack([oracles.one_vs_rest(codes, c) for c in range(3)], axis=1), 0.2)
    model = noise_model.fit(f, codes)
    np.testing.assert_array_equal(values.flagged, model.flagged)
    np.testing.assert_allclose(values.columns["probability_wrong"], model.probability, atol=1e-4)
    assert values.stats["wrong_labels"] == model.wrong_labels()
    assert values.stats["flag_rule"] == noise_model.RULE
    least, most = (values.columns[f"probability_wrong_{name}"] for name in ("least", "most"))
    assert np.all(
        (least <= values.columns["probability_wrong"] + 1e-12) & (values.columns["probability_wrong"] <= most + 1e-12)
    )


def test_with_a_ridge_it_is_deletion_from_h_plus_ridge():
    X, codes, H = problem()
    got = cg_score(da.Dataset(X, codes), ridge=0.3, bias=False, classes="own").columns["cg_score"]
    slow = [oracles.cg_by_deletion(H + 0.3 * np.eye(40), oracles.one_vs_rest(codes, c))[i] for i, c in enumerate(codes)]
    np.testing.assert_allclose(got, slow, rtol=1e-9)


def test_bias_is_a_column_of_ones():
    X, codes, _ = problem()
    with_ones = cg_score(da.Dataset(np.c_[X, np.ones(40)], codes), ridge=0.1, bias=False)
    np.testing.assert_allclose(cg_score(da.Dataset(X, codes), ridge=0.1, bias=True).scores, with_ones.scores, rtol=1e-9)
    without = cg_score(da.Dataset(X, codes), ridge=0.1, bias=False)
    assert abs(without.scores - with_ones.scores).max() > 1e-3


def test_orthonormal_rows():
    values = cg_score(da.Dataset(np.eye(6), [0, 0, 0, 1, 1, 1]), **PAPER)
    np.testing.assert_allclose(values.columns["cg_score"], 2, rtol=1e-12)
    np.testing.assert_allclose(values.columns["cross_term"], 0, atol=1e-12)
    prime = cg_score(da.Dataset(np.eye(6), [0, 0, 0, 1, 1, 1]), inverse=False, classes="own")
    np.testing.assert_allclose(prime.columns["cg_prime"], 0.5, rtol=1e-12)


def test_pairs_of_close_rows():
    """n = 2 with off-diagonal h, twice over in orthogonal planes: 2 (1/2 - h) / (1/2 + h) for like labels."""
    cosine = np.cos(0.5)
    h = cosine * (np.pi - 0.5) / (2 * np.pi)
    near = [cosine, np.sin(0.5)]
    like = da.Dataset([[1, 0, 0, 0], [*near, 0, 0], [0, 0, 1, 0], [0, 0, *near]], [0, 0, 1, 1])
    np.testing.assert_allclose(cg_score(like, **PAPER).columns["cg_score"], 2 * (0.5 - h) / (0.5 + h), rtol=1e-12)
    unlike = da.Dataset(like.X, [0, 1, 0, 1])
    np.testing.assert_allclose(cg_score(unlike, **PAPER).columns["cg_score"], 2 * (0.5 + h) / (0.5 - h), rtol=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(6, 30), d=st.integers(3, 12))
def test_invariances(seed, n, d):
    X, codes = oracles.gaussian_classes(n, d, 2, seed)
    rng = np.random.default_rng(seed)
    base = cg_score(da.Dataset(X, codes), **PAPER).columns["cg_score"]
    tight = {"rtol": 1e-6, "atol": 1e-9 * base.max()}
    assert (base >= 0).all()
    np.testing.assert_allclose(cg_score(da.Dataset(X, 1 - codes), **PAPER).columns["cg_score"], base, **tight)
    scaled = X * rng.uniform(0.1, 10, (n, 1))
    np.testing.assert_allclose(cg_score(da.Dataset(scaled, codes), **PAPER).columns["cg_score"], base, **tight)
    Q = np.linalg.qr(rng.normal(size=(d, d)))[0]
    np.testing.assert_allclose(cg_score(da.Dataset(X @ Q, codes), **PAPER).columns["cg_score"], base, **tight)
    order = rng.permutation(n)
    np.testing.assert_allclose(
        cg_score(da.Dataset(X[order], codes[order]), **PAPER).columns["cg_score"], base[order], **tight
    )


def test_telescoping():
    """The gaps of rows removed one after another add up to the whole energy."""
    X, codes, H = problem(n=20, k=2)
    total, data = 0.0, da.Dataset(X, codes)
    while len(data) > 4:
        total += cg_score(data, **PAPER).columns["cg_score"][0]
        data = data.take(np.arange(1, len(data)))
    y = oracles.one_vs_rest(codes, 0)
    last = oracles.energy(H[16:, 16:], y[16:])
    assert total + last == pytest.approx(oracles.energy(H, y), rel=1e-9)


def test_cg_prime_is_its_definition():
    X, codes, H = problem()
    values = cg_score(da.Dataset(X, codes), inverse=False, classes="own")
    for i, c in enumerate(codes):
        y = oracles.one_vs_rest(codes, c)
        rest = np.delete(np.arange(40), i)
        slow = y @ H @ y - y[rest] @ H[np.ix_(rest, rest)] @ y[rest]
        assert values.columns["cg_prime"][i] == pytest.approx(slow, rel=1e-9)
    np.testing.assert_array_equal(values.scores, values.columns["cg_prime"])  # high = learned fast = keep
    sign = cg_score(da.Dataset(X, codes), inverse=False, classes="own", flag="sign")
    np.testing.assert_array_equal(sign.flagged, values.columns["cg_prime"] < 0.5)


@pytest.mark.parametrize(("labels", "limit"), [([0, 0], "2 ridge"), ([0, 1], "2 / ridge")])
def test_equal_rows_in_the_limit_of_a_small_ridge(labels, limit):
    """METHODS: an isolated pair of equal rows has CG near 2 ridge (one label) or 2 / ridge (two labels)."""
    X = np.vstack([np.eye(6), np.eye(6)[:1] * 3])  # the last row points where the first does
    y = np.array([labels[0], 0, 0, 1, 1, 1, labels[1]])
    for ridge in (1e-4, 1e-6):
        got = cg_score(da.Dataset(X, y), ridge=ridge, bias=False, classes="own").columns["cg_score"][[0, 6]]
        np.testing.assert_allclose(got, 2 * ridge if limit == "2 ridge" else 2 / ridge, rtol=1e-2)


def test_equal_rows_at_ridge_0_take_the_limit():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 5))
    y = np.arange(20) % 2
    X, y = np.vstack([X, X[0] * 2, X[1], X[2], X[2]]), np.r_[y, y[0], 1 - y[1], y[2], 1 - y[2]]
    ids = [f"r{i}" for i in range(24)]
    at_0 = cg_score(da.Dataset(X, y, ids=ids), **PAPER)
    near_0 = cg_score(da.Dataset(X, y, ids=ids), ridge=1e-9, bias=False, classes="own")
    agree, conflict = [0, 20], [1, 21, 2, 22, 23]
    single = np.setdiff1d(np.arange(24), agree + conflict)
    np.testing.assert_allclose(at_0.columns["cg_score"][single], near_0.columns["cg_score"][single], rtol=1e-5)
    np.testing.assert_array_equal(at_0.columns["cg_score"][agree], 0)
    assert np.isinf(at_0.columns["cg_score"][conflict]).all()
    assert np.isfinite(at_0.scores).all()
    assert set(at_0.suspects(5)["id"]) == {"r1", "r21", "r2", "r22", "r23"}
    assert at_0.suspects(1)["id"].item() == "r23"  # one against two
    assert at_0.stats["equal_rows"] == 7
    assert sorted(map(sorted, at_0.stats["conflicting_rows"])) == [["r1", "r21"], ["r2", "r22", "r23"]]
    for values in (at_0, near_0):
        assert values.flagged[[1, 21, 23]].all()
    assert not at_0.flagged[[2, 22]].any()  # the strict majority


def test_conflicting_equal_rows_are_flagged_whatever_the_ridge():
    X, codes, _ = problem(n=40, d=6, k=2)
    X, codes = np.vstack([X, 3 * X[0]]), np.r_[codes, 1 - codes[0]]
    values = cg_score(da.Dataset(X, codes), ridge=50.0)
    guess = values.suggested_label[[0, 40]]
    assert (guess == codes[[0, 40]]).any()  # the other rows speak for one of the two, the flag is on both
    assert values.flagged[[0, 40]].all()


def test_no_inverse_is_an_error_not_a_pseudo_inverse(monkeypatch):
    X, codes, _ = problem()

    def fails(*_, **__):  # as where rounding leaves no pivot
        raise SingularGramError(4)

    monkeypatch.setattr("datassay.engines.gp_loo.cholesky", fails)
    with pytest.raises(DataError, match=r"no inverse in float64 at ridge 0 .*row 4.*ridge='auto'"):
        cg_score(da.Dataset(X, codes), **PAPER)


def test_auto_ridge_is_the_maximum_of_the_likelihood():
    X, codes, H = problem(n=80, d=8, k=3, seed=3)
    codes = np.where(np.random.default_rng(0).random(80) < 0.2, (codes + 1) % 3, codes)
    Y = np.stack([oracles.one_vs_rest(codes, c) for c in range(3)], axis=1)

    def log_likelihood(ridge):  # from the predictions themselves, no closed form; the scale that fits best
        inverse = np.linalg.inv(H + ridge * np.eye(80))
        f, variance = oracles.predictions_without(H, Y, ridge), 1 / np.diag(inverse)
        scale = np.mean((Y - f) ** 2 / variance[:, None])
        return np.mean(-0.5 * np.log(2 * np.pi * scale * variance)[:, None] - (Y - f) ** 2 / (2 * scale * variance[:, None]))

    values = cg_score(da.Dataset(X, codes), bias=False)
    best, at = values.stats["ridge"], values.stats["loo_log_likelihood"]
    assert at == pytest.approx(log_likelihood(best), rel=1e-9)
    assert at > max(log_likelihood(r) for r in best * np.array([0.05, 0.5, 0.9, 1.1, 2, 20]))


def test_trusted_rows_are_rows_of_the_same_matrix():
    X, codes = oracles.gaussian_classes(50, 6, 3, seed=4)
    data = da.Dataset(X[:40], codes[:40], X[40:], codes[40:])
    values = cg_score(data, trusted=True, ridge=0.2, bias=False, classes="own")
    own = np.r_[np.full(40, 0.2), np.full(10, values.stats["trusted_ridge"])]
    K = oracles.arc_cosine(oracles.unit(X)) + np.diag(own)
    slow = [oracles.cg_by_deletion(K, oracles.one_vs_rest(codes, c))[i] for i, c in enumerate(codes[:40])]
    assert values.stats["trusted_rows"] == 10
    np.testing.assert_allclose(values.columns["cg_score"], slow, rtol=1e-8)
    alone = cg_score(data, trusted=False, ridge=0.2, bias=False, classes="own")
    assert abs(alone.scores - values.scores).max() > 0.01
    paper = cg_score(data, **PAPER)
    np.testing.assert_array_equal(paper.scores, cg_score(data.without_validation(), **PAPER).scores)


def test_trusted_rows_raise_what_is_found():
    digits = load_digits()
    data = da.Dataset(digits.data[:500], digits.target[:500], digits.data[500:800], digits.target[500:800])
    aucs = []
    for seed in range(3):
        planted, wrong = plant_wrong_labels(data, 0.3, seed=seed)
        aucs.append([roc_auc_score(wrong, -cg_score(planted, trusted=t).scores) for t in (False, True)])
    without, with_trusted = np.mean(aucs, axis=0)
    assert with_trusted > without > 0.97


def test_drawing_all_negatives_is_the_exact_score():
    X, codes, _ = problem(n=60, d=8, k=3)
    exact = cg_score(da.Dataset(X, codes), **PAPER)
    drawn = cg_score(da.Dataset(X, codes), ridge=0, negatives=100, repeats=2)
    np.testing.assert_allclose(drawn.columns["cg_score"], exact.columns["cg_score"], rtol=1e-9)
    np.testing.assert_allclose(drawn.columns["loo_margin"], exact.columns["loo_margin"], rtol=1e-7, atol=1e-9)
    np.testing.assert_array_equal(drawn.suggested_label, exact.suggested_label)


def test_the_scheme_draws_all_of_a_class_and_r_times_as_many_others():
    from datassay.engines.class_draws import draw

    codes = np.repeat([0, 1, 2], [10, 20, 30])
    draws = draw(codes, 1.5, 4, seed=0)
    assert [c for c, _ in draws] == [0] * 4 + [1] * 4 + [2] * 4
    for c, rows in draws:
        size = np.sum(codes == c)
        assert np.sum(codes[rows] == c) == size
        assert len(rows) == size + min(round(1.5 * size), 60 - size)
        assert len(np.unique(rows)) == len(rows)
    assert len({tuple(rows) for _, rows in draws}) > 8


def test_one_draw_is_deletion_within_the_drawn_rows():
    from datassay.engines.class_draws import draw

    X, codes, H = problem(n=45, d=8, k=3)
    got = cg_score(da.Dataset(X, codes), ridge=0, negatives=1, repeats=3, seed=5).columns["cg_score"]
    sums = np.zeros(45)
    for c, rows in draw(codes, 1, 3, seed=5):
        gaps = oracles.cg_by_deletion(H[np.ix_(rows, rows)], oracles.one_vs_rest(codes[rows], c))
        members = codes[rows] == c
        sums[rows[members]] += gaps[members] / 3
    np.testing.assert_allclose(got, sums, rtol=1e-8)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # joblib's workers, on some Python versions
def test_same_bits_for_any_number_of_workers():
    X, codes, _ = problem(n=60, d=8, k=3)
    data = da.Dataset(X, codes)
    one = cg_score(data, negatives=1, repeats=4, seed=7, n_jobs=1)
    assert np.ptp(one.scores) > 0.1
    np.testing.assert_array_equal(cg_score(data, negatives=1, repeats=4, seed=7, n_jobs=2).scores, one.scores)
    assert abs(cg_score(data, negatives=1, repeats=4, seed=8).scores - one.scores).max() > 1e-3


def test_sparse_and_float32_agree_with_dense_float64():
    X, codes, _ = problem(n=60, d=20, k=3)
    X[abs(X) < 1] = 0
    dense = cg_score(da.Dataset(X, codes))
    sparse = cg_score(da.Dataset(sp.csr_array(X), codes))
    single = cg_score(da.Dataset(X, codes), dtype="float32")
    np.testing.assert_allclose(sparse.scores, dense.scores, rtol=1e-7)
    np.testing.assert_allclose(single.scores, dense.scores, rtol=1e-3)
    assert sparse.stats["bias"] == dense.stats["bias"]
    assert single.stats["matrix_bytes"] == 60 * 60 * 4


@pytest.mark.parametrize("known", [False, True])
def test_torch_path_agrees(known):
    torch = pytest.importorskip("torch")
    X, codes = oracles.gaussian_classes(60, 6, 3, seed=4)
    data = da.Dataset(torch.tensor(X[:50]), torch.tensor(codes[:50]), X[50:], codes[50:])
    here = cg_score(data, ridge=0.1, trusted=known)
    there = cg_score(data, ridge=0.1, trusted=known, device="cpu:0")  # torch's CPU stands in for a card
    assert there.stats["device"] == "cpu:0"
    np.testing.assert_allclose(there.scores, here.scores, rtol=1e-9)
    np.testing.assert_allclose(there.columns["loo_margin"], here.columns["loo_margin"], rtol=1e-8, atol=1e-10)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no CUDA card"):
            cg_score(data, device="cuda")


def test_a_card_that_is_too_small_is_passed_over_unless_it_was_asked_for(monkeypatch):
    pytest.importorskip("torch")
    X, codes, _ = problem()
    data = da.Dataset(X, codes)
    monkeypatch.setattr("datassay.engines.machine.device_memory", lambda device: 16_000)
    assert cg_score(data, device="cpu:0").stats["dtype"] == "float32"  # two matrices in float64 take 27 kB
    monkeypatch.setattr("datassay.engines.machine.device_memory", lambda device: 9_000)
    with pytest.raises(DataError, match="on cpu:0 for two matrices of 40 x 40"):
        cg_score(data, device="cpu:0")
    monkeypatch.setattr("datassay.engines.machine.pick_device", lambda device, worthwhile: "cpu:0")
    assert cg_score(data).stats["device"] == "cpu"


def test_regression_is_the_leave_one_out_residual():
    X, y = load_diabetes(return_X_y=True)
    X, y = X[:60], y[:60] + 0.5
    values = cg_score(da.Dataset(X, y), ridge=0.5, bias=False)
    assert values.options["seed"] == 0
    H = oracles.arc_cosine(oracles.unit(X))
    Y = ((y - y.mean()) / y.std())[:, None]
    f = oracles.predictions_without(H, Y, 0.5)
    d = np.diag(np.linalg.inv(H + 0.5 * np.eye(60)))
    np.testing.assert_allclose(values.columns["cg_score"], d * (Y - f)[:, 0] ** 2, rtol=1e-9)
    np.testing.assert_allclose(values.columns["loo_residual"], (Y - f)[:, 0] * y.std(), rtol=1e-8)
    np.testing.assert_allclose(values.columns["loo_prediction"], f[:, 0] * y.std() + y.mean(), rtol=1e-8)
    np.testing.assert_array_equal(values.suggested_label, values.columns["loo_prediction"])


def test_regression_finds_wrong_targets():
    X, y = load_diabetes(return_X_y=True)
    rng = np.random.default_rng(0)
    wrong = np.zeros(len(y), bool)
    wrong[rng.permutation(len(y))[:20]] = True
    planted = y + wrong * 400 + 0.5
    values = cg_score(da.Dataset(X, planted))
    assert roc_auc_score(wrong, -values.scores) > 0.95
    assert values.flagged[wrong].mean() > 0.8 > 0.1 > values.flagged[~wrong].mean()


def test_memory_stays_below_1_3_matrices():
    import tracemalloc

    X, codes = oracles.gaussian_classes(1500, 10, 5)
    data = da.Dataset(X, codes)
    for dtype, itemsize in (("float64", 8), ("float32", 4)):
        tracemalloc.start()
        values = cg_score(data, ridge=0.1, bias=False, dtype=dtype)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert values.stats["matrix_bytes"] == 1500**2 * itemsize
        assert values.stats["matrix_bytes"] < peak < 1.3 * values.stats["matrix_bytes"]


def test_too_large_for_memory_says_what_to_use(monkeypatch):
    X, codes, _ = problem()
    monkeypatch.setattr("datassay.engines.machine.available_memory", lambda: 9000)
    with pytest.raises(DataError, match=r"needs .*B for 40 x 40 .*approx='landmarks'.*negatives=1.*checkpoint='folder'"):
        cg_score(da.Dataset(X, codes), approx="exact")
    with pytest.raises(DataError, match=r"needs .*B for 40 x 40 .*use negatives=1"):
        cg_score(da.Dataset(X, codes), ridge=0)
    monkeypatch.setattr("datassay.engines.machine.available_memory", lambda: 15_000)
    with pytest.raises(DataError, match=r"needs .*B for 40 x 40 .*dtype='float32'"):
        cg_score(da.Dataset(X, codes), approx="exact", dtype="float64")
    assert cg_score(da.Dataset(X, codes)).stats["dtype"] == "float32"  # half of it fits


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"ridge": -1}, "ridge must be"),
        ({"ridge": "small"}, "ridge must be"),
        ({"classes": "all"}, "classes must be"),
        ({"flag": "no"}, "flag must be"),
        ({"dtype": "int8"}, "dtype must be"),
        ({"trusted": True}, "needs validation rows"),
        ({"negatives": 2, "classes": "sum"}, "classes='own'"),
        ({"negatives": 0}, "negatives must be None or a number above 0, got"),
        ({"negatives": "abc"}, "negatives must be None or a number above 0, got"),
        ({"negatives": np.inf}, "negatives must be None or a number above 0, got"),
        ({"negatives": 0.01}, "draws no row"),
        ({"negatives": 1, "inverse": False}, "inverse=True"),
        ({"bias": "no"}, "bias must be True or False or 'auto'"),
        ({"bias": None}, "bias must be"),
        ({"inverse": "no"}, "inverse must be"),
        ({"ridge": True}, "ridge must be"),
        ({"repeats": 1.5}, "repeats must be"),
        ({"seed": -1}, "seed must be"),
        ({"n_jobs": 0}, "n_jobs must be"),
        ({"device": "cpu:0", "approx": "landmarks"}, "run on the CPU"),
        ({"device": "abacus"}, "device must be"),
        ({"approx": "magic"}, "approx must be None or 'auto' or 'exact' or 'landmarks' or 'neighbours'"),
        ({"approx": "landmarks", "ridge": 0}, "needs a ridge"),
        ({"approx": "neighbours", "negatives": 1}, "goes with neither"),
        ({"approx": "landmarks", "checkpoint": "run"}, "checkpoint is for the exact score"),
        ({"landmarks": 0}, "landmarks must be a whole number from 1 on"),
        ({"rank": "much"}, "rank must be a whole number from 1 on or 'auto'"),
        ({"choice": "best"}, "choice must be 'uniform' or 'kmeans' or 'leverage'"),
    ],
)
def test_wrong_options_say_what_is_needed(options, says):
    X, codes, _ = problem()
    with pytest.raises(DataError, match=says):
        cg_score(da.Dataset(X, codes), **options)


@pytest.mark.parametrize("ridge", [np.float32(0.5), np.int64(1)])
def test_numpy_numbers_are_numbers(ridge, tmp_path):
    X, codes, _ = problem()
    values = cg_score(da.Dataset(X, codes), ridge=ridge)
    np.testing.assert_array_equal(values.scores, cg_score(da.Dataset(X, codes), ridge=float(ridge)).scores)
    assert da.Values.load(values.save(tmp_path / "v.parquet")).options["ridge"] == float(ridge)


@pytest.mark.parametrize("factor", [1e-200, 1e200])
def test_neither_huge_nor_tiny_numbers_change_the_score(factor):
    X, codes, _ = problem()
    here, there = (cg_score(da.Dataset(X * s, codes), ridge=0.1, bias=False) for s in (1.0, factor))
    np.testing.assert_allclose(there.scores, here.scores, rtol=1e-9)


def test_rows_that_float32_can_hardly_tell_apart_are_not_equal():
    X = np.random.default_rng(0).normal([2000, 100, 50, 10], size=(200, 4))
    values = cg_score(da.Dataset(X, X[:, 0] > 2000), ridge=1e-3, bias=False, dtype="float32")
    assert values.stats["equal_rows"] == 0
    assert np.isfinite(values.columns["cg_score"]).all()


def test_labels_without_a_pattern_are_warned_of():
    rng = np.random.default_rng(0)
    values = cg_score(da.Dataset(rng.normal(size=(200, 5)), rng.integers(0, 2, 200)))
    assert "no better than chance" in values.stats["warning"]
    X, codes, _ = problem()
    assert "warning" not in cg_score(da.Dataset(X, codes)).stats


def test_a_row_without_direction_is_named_unless_there_is_a_bias():
    X, codes, _ = problem()
    X[7] = 0
    data = da.Dataset(X, codes, ids=[f"r{i}" for i in range(40)])
    for options in ({"ridge": 0}, {}):
        with pytest.raises(DataError, match=r"row 7 \(id 'r7'\) is zero in every column.*bias=True"):
            cg_score(data, **options)
    assert np.isfinite(cg_score(data, bias=True).scores).all()


def test_figure_1():
    """2 x 1000 points in 3000 dimensions, 10 % flips (appendix of the paper); two classes of 300 here, make test-slow has all."""
    aucs = [figure_1(300, 900, seed) for seed in range(2)]
    assert all(0.9 < a < 0.99 for a in aucs)


@pytest.mark.slow
def test_figure_1_whole():
    aucs = [figure_1(1000, 3000, seed) for seed in range(3)]
    assert 0.95 < np.mean(aucs) < 0.97


def figure_1(per_class, d, seed):
    rng = np.random.default_rng(seed)
    y = np.repeat([1, -1], per_class)
    X = 0.5 * rng.normal(size=(2 * per_class, d))
    X[:, 0] += y
    data, wrong = plant_wrong_labels(da.Dataset(X, y), 0.1, seed=seed)
    return roc_auc_score(wrong, -cg_score(data, **PAPER).scores)


def test_a_copied_wrong_row_does_not_talk_the_ridge_down():
    X, codes = oracles.gaussian_classes(40, 4, 2, seed=1)
    codes[0] = 1 - codes[0]
    alone = cg_score(da.Dataset(X, codes))
    copied = cg_score(da.Dataset(np.vstack([X, X[:1]]), np.r_[codes, codes[0]]))
    assert copied.stats["ridge"] == pytest.approx(alone.stats["ridge"], rel=1e-3)
    assert alone.stats["ridge"] > 0.02


def test_of_many_rows_the_structure_is_chosen_on_few_and_the_ridge_on_all(monkeypatch):
    """The slow way: a path for each bias on some of the rows, then one on all with the better."""
    monkeypatch.setattr(gp_loo, "FEW", 60)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(119, 5)) + np.repeat([[0.0], [1.0]], [60, 59], axis=0)
    Y = np.repeat([[1.0, -1.0], [-1.0, 1.0]], [60, 59], axis=0)
    some = np.sort(np.random.default_rng(0).permutation(119)[:60])

    def path(rows, b):
        return gp_loo.RidgePath(arc_cosine(unit_rows(X[rows], bias=b)), Y[rows]).best()

    better = max((False, True), key=lambda b: path(some, b)[1])
    found = gp_loo.choose(X, Y, None, None, None, None, ())
    assert (found.bias, found.trusted_ridge) == (better, None)
    assert (found.ridge, found.log_likelihood) == pytest.approx(path(np.arange(119), better), rel=1e-3)
    known = gp_loo.Trusted(X + 0.1 * rng.normal(size=X.shape), Y, 0.01)
    with_known = gp_loo.choose(X, Y, None, None, known, None, (0.01, 1.0))
    assert with_known.trusted_ridge in (0.01, 1.0)
    assert with_known.log_likelihood > found.log_likelihood
    few = slice(None, None, 3)  # few rows, and more trusted ones: all of these count in the end
    H, U, V = (arc_cosine(unit_rows(X[few], bias=better)), unit_rows(X[few], bias=better), unit_rows(known.X, bias=better))
    told = gp_loo.condition_on(H, arc_cosine(U, V), arc_cosine(V), known.Y, 0.01)
    forced = gp_loo.choose(X[few], Y[few], None, better, known, True, (0.01,))
    assert (forced.ridge, forced.log_likelihood) == pytest.approx(gp_loo.RidgePath(H, Y[few] - told).best(), rel=1e-3)


def test_the_slope_of_the_likelihood_is_its_derivative():
    rng = np.random.default_rng(0)
    H, Y = arc_cosine(unit_rows(rng.normal(size=(60, 4)), bias=True)), rng.normal(size=(60, 3))
    path = gp_loo.RidgePath(H.copy(), Y)
    for ridge in (0.01, 0.3, 20.0):
        at, slope = gp_loo.likelihood_and_slope(H, Y, ridge)
        below, above = path.log_likelihoods(ridge * np.exp([-1e-4, 1e-4]))
        assert at == pytest.approx(path.log_likelihood(ridge), rel=1e-10)
        assert slope == pytest.approx((above - below) / 2e-4, rel=1e-6)


@pytest.mark.parametrize("noise", [0.0, 0.3, 3.0])
def test_climbing_ends_at_the_top_of_the_path_from_wherever_it_begins(noise):
    """Without noise that is the smallest ridge there may be, with much noise a large one."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 3))
    H, Y = arc_cosine(unit_rows(X, bias=True)), X[:, :2] + noise * rng.normal(size=(150, 2))
    ridge, at = gp_loo.RidgePath(H.copy(), Y).best()
    assert (ridge == pytest.approx(0.01)) == (noise == 0)
    for start in (0.01, 0.3, 100.0):
        for bend in (-0.1, -5.0, 1.0):
            assert gp_loo.climb(H, Y, start, bend) == (pytest.approx(ridge, rel=2e-3), pytest.approx(at, abs=1e-6))


def test_a_ridge_too_small_for_the_sample_is_said_in_the_sentence_of_the_factorisation():
    """Rows that are almost copies: while trusted rows are weighed, no inverse is needed; the factorisation needs one."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 5))
    X = np.r_[X, X * (1 + 1e-7) + 1e-8 * rng.normal(size=X.shape)]
    data = da.Dataset(X, np.arange(400) % 2, X[:20], np.arange(20) % 2)
    for options in ({"ridge": 0, "trusted": True}, {"ridge": 1e-18}):
        with pytest.raises(da.DataError, match="the kernel matrix has no inverse in float64 at ridge"):
            cg_score(data, progress=False, **options)


def test_the_choice_does_not_hang_on_the_order_of_the_rows():
    """Classes that take turns: every other row is of one class."""
    rng = np.random.default_rng(0)
    y = np.arange(900) % 2
    X = rng.normal(size=(900, 6)) + y[:, None]
    Y = np.where(y[:, None] == np.arange(2), 1.0, -1.0)
    order = rng.permutation(900)
    one, other = (gp_loo.choose(X[rows], Y[rows], None, None, None, None, ()) for rows in (np.arange(900), order))
    assert one.bias == other.bias
    assert one.log_likelihood == pytest.approx(other.log_likelihood)


def test_several_ridges_at_once_are_single_ones(monkeypatch):
    rng = np.random.default_rng(0)
    path = gp_loo.RidgePath(arc_cosine(unit_rows(rng.normal(size=(30, 4)), bias=True)), rng.normal(size=(30, 3)))
    ridges = np.geomspace(0.01, 10, 7)
    single = [path.log_likelihood(ridge) for ridge in ridges]
    for at_once in (1, 200, 10**9):
        monkeypatch.setattr(gp_loo, "AT_ONCE", at_once)
        np.testing.assert_allclose(path.log_likelihoods(ridges), single, rtol=1e-12)
