"""`audit`: against the definition of its estimate, errors that are planted behind its back, and calls that are wrong."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy.spatial import ConvexHull

import datassay as da
from command import run
from datassay.checks import DataError
from datassay.evaluation import plant
from datassay.evaluation.audit import Audit, _best_method, _Trial, concave_majorant, place
from datassay.evaluation.datasets import drawn
from datassay.evaluation.error_share import error_rate


def test_place_is_the_share_of_other_rows_below():
    rng = np.random.default_rng(0)
    scores, wrong = np.round(rng.normal(size=50), 1), rng.random(50) < 0.3
    slow = [np.mean([(o < s) + 0.5 * (o == s) for o in scores[~wrong]]) for s in scores[wrong]]
    np.testing.assert_allclose(place(scores, wrong), slow)


def test_the_majorant_is_the_upper_hull_of_the_distribution():
    rng = np.random.default_rng(0)
    for shape in (0.3, 1.0, 3.0):
        u = np.round(rng.beta(shape, 2, 40), 2)
        x, y = concave_majorant(u)
        slopes = np.diff(y) / np.maximum(np.diff(x), 1e-12)
        assert (np.diff(slopes) < 1e-9).all()  # concave
        at = np.unique(u)
        ecdf = np.array([(u <= a).mean() for a in at])
        assert (np.interp(at, x, y) >= ecdf - 1e-12).all()  # above
        points = np.column_stack([np.r_[0, at, 1], np.r_[0, ecdf, 1]])
        hull = ConvexHull(np.vstack([points, [[1, 0]]]))
        upper = {tuple(np.round(p, 9)) for p in points[[v for v in hull.vertices if v < len(points)]]}
        assert {tuple(np.round(p, 9)) for p in zip(x, y, strict=True)} <= upper | {(0.0, y[0])}  # and no higher than needed
    x, y = concave_majorant(np.zeros(5))
    assert np.interp(0.0, x, y) == 1


def audited(places, e, sd=0.0, classes=1000):
    return Audit(
        "cg-score",
        {},
        pd.DataFrame({"method": ["cg-score"]}),
        "uniform",
        0.05,
        1,
        100,
        e,
        sd,
        classes,
        np.asarray(places),
        0.0,
        {},
    )


def test_chances_fall_are_probabilities_and_add_up():
    rng = np.random.default_rng(0)
    for e in (0.01, 0.1, 0.3):
        found = audited(rng.beta(0.5, 4, 200), e)
        p = found.chance(1000)
        assert (np.diff(p) <= 1e-9).all()
        assert p.max() <= 1
        assert p.sum() == pytest.approx(1000 * e, rel=1e-6)
        assert found.expected(100, 1000).hits == pytest.approx(p[:100].sum())
    perfect = audited(rng.uniform(0, 0.1, 500), 0.1)  # planted rows among the wrong ones, and nowhere else
    assert perfect.expected(100, 1000).hits == pytest.approx(100, abs=1)
    assert perfect.expected(200, 1000).hits == pytest.approx(100, abs=1)
    useless = audited(rng.uniform(size=5000), 0.2)
    assert useless.chance(1000)[50:] == pytest.approx(0.2, abs=0.06)
    none = audited(np.zeros(50), 0.0)
    assert none.expected(100, 1000).hits == pytest.approx(0, abs=1e-3)


def test_with_the_right_density_the_truth_is_in_the_interval():
    """Rows drawn from the model: a share e is wrong, at places of density H'; 95 % intervals hold about 95 %."""
    rng, n, e, inside = np.random.default_rng(1), 1000, 0.1, []
    for _ in range(100):
        scores = np.where(np.arange(n) < e * n, rng.normal(-2, 1, n), rng.normal(0, 1, n))
        planted = np.r_[rng.normal(-2, 1, 200), scores]  # 200 more of the same kind, among these rows
        u = place(planted, np.arange(len(planted)) < 200)
        hits = (np.argsort(scores)[:100] < e * n).sum()
        said = audited(u, e).expected(100, n)
        inside.append(abs(hits - said.hits) <= said.half)
    assert np.mean(inside) > 0.85


def test_of_two_classes_a_planted_label_may_be_right():
    """A share e of the planted labels turns wrong ones right; their rows are spread as right ones are."""
    rng, n, e = np.random.default_rng(2), 4000, 0.3
    wrong = np.arange(n) < e * n
    scores = np.where(wrong, rng.normal(-3, 1, n), rng.normal(0, 1, n))
    turned = rng.random(2000) < e
    planted = np.where(turned, rng.normal(0, 1, 2000), rng.normal(-3, 1, 2000))
    u = place(np.r_[planted, scores], np.arange(n + 2000) < 2000)
    true = wrong[np.argsort(scores)[: int(e * n)]].sum()
    assert audited(u, e, classes=2).expected(int(e * n), n).hits == pytest.approx(true, rel=0.04)
    assert audited(u, e).expected(int(e * n), n).hits < 0.8 * true  # without the correction


@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_many_errors_in_two_classes_are_foretold(rate):
    split = drawn("breast-cancer", train=300, val=4, test=4, seed=3)
    data, wrong = plant(split.data, "uniform", rate, seed=11)
    found = da.audit(data, "cg-score", repeats=4)
    order = np.argsort(da.value(data, "cg-score").scores, kind="stable")
    k = int(wrong.sum())
    said = found.expected(k, len(data))
    assert abs(said.hits - wrong[order[:k]].sum()) <= max(said.half, 0.15 * k)


def test_noise_in_features_has_no_probability():
    found = da.audit(drawn("iris").data, "cg-score", kind="features", repeats=1)
    assert found.error_rate is None
    with pytest.raises(DataError, match="by random"):
        da.audit(drawn("iris").data, "cg-score", repeats=1).calibrate(da.value(drawn("iris").data, "random"))


def test_rare_classes_keep_two_rows():
    rng = np.random.default_rng(0)
    y = np.r_[np.repeat(np.arange(10), 2), rng.integers(10, 13, 280)]
    X = rng.normal(size=(300, 5)) + y[:, None]
    for seed in range(5):
        spoilt, wrong = plant(da.Dataset(X, y), "uniform", 0.3, seed=seed)
        assert wrong.sum() == 90
        assert np.bincount(spoilt.codes).min() >= 2
    assert da.audit(da.Dataset(X, y), "cg-score", repeats=2).method == "cg-score"
    with pytest.raises(DataError, match="so that every class keeps two rows"):
        plant(da.Dataset(X, np.repeat(np.arange(150), 2)), "uniform", 0.1)


@pytest.mark.parametrize("name", ["digits", "breast-cancer", "2dplanes"])
@pytest.mark.parametrize("rate", [0.0, 0.1, 0.25])
def test_the_share_of_wrong_labels_is_found(name, rate):
    data = drawn(name, train=500, seed=1).data
    if rate:
        data, _ = plant(data, "uniform", rate, seed=5)
    e, sd = error_rate(data)
    assert abs(e - rate) < 3 * sd + 0.035
    assert sd < 0.06


def test_one_class_alone_may_have_the_errors():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 2)) + np.repeat([[4.0, 4.0], [-4.0, -4.0]], 200, axis=0)
    y = np.repeat(["a", "b"], 200)
    y[:40] = "b"
    assert error_rate(da.Dataset(X, y))[0] == pytest.approx(0.1, abs=0.03)


def test_it_takes_the_method_that_finds_most_and_says_what_to_expect():
    data, wrong = plant(drawn("digits", train=600, seed=2).data, "uniform", 0.1, seed=9)
    found = da.audit(data, ["random", "knn-shapley", "lava", "cg-score approx=landmarks ridge=0"], repeats=2)
    assert found.method == "knn-shapley"
    assert found.table["method"].tolist() == ["knn-shapley", "lava", "random", "cg-score approx=landmarks ridge=0"]
    assert "needs a ridge" in found.table["error"].iloc[-1]
    values = found.calibrate(da.value(data, found.method))
    p = values.columns["probability_wrong"]
    order = np.argsort(values.scores, kind="stable")
    assert (np.diff(p[order]) <= 1e-9).all()
    for k in (20, 60, 120):
        said, true = found.expected(k, len(data)), wrong[order[:k]].sum()
        assert abs(said.hits - true) <= max(said.half, 0.1 * k)
    assert p.sum() == pytest.approx(wrong.sum(), rel=0.4)
    assert values.stats["audit"]["error_rate"] == pytest.approx(0.1, abs=0.04)
    assert "take knn-shapley" in repr(found)
    again = da.audit(data, ["random", "knn-shapley", "lava", "cg-score approx=landmarks ridge=0"], repeats=2)
    np.testing.assert_array_equal(again.places, found.places)
    pd.testing.assert_frame_equal(again.table.drop(columns="seconds"), found.table.drop(columns="seconds"))


def test_the_budget_chooses_and_what_is_left_out_is_said():
    data = drawn("iris").data
    found = da.audit(data.without_validation(), budget="1 s", repeats=1)
    assert found.left_out["knn-shapley"] == "needs validation rows"
    assert all("more than its share" in why or "needs validation" in why for why in found.left_out.values())
    assert "random" not in set(found.table["method"])
    assert set(found.table["method"]) & set(found.left_out) == set()


def test_the_first_method_is_taken_without_others_where_it_does_well():
    clean = drawn("digits", train=400, seed=2).data
    found = da.audit(clean, repeats=8, progress=False)
    assert found.early
    assert found.method == "cg-score"
    assert found.table["method"].tolist() == ["cg-score"]
    assert found.repeats * round(found.rate * found.rows) >= 100  # planted rows
    assert found.repeats < 8
    assert "none was tried" in repr(found)
    everything = da.audit(clean, "all", budget="2 s", repeats=1, progress=False)
    assert not everything.early
    assert {"cg-score", "data-oob"} <= {*everything.table["method"], *everything.left_out}  # as far as there was time


def test_where_the_first_method_does_badly_the_others_are_tried():
    rng = np.random.default_rng(0)
    data = da.Dataset(rng.normal(size=(300, 4)), np.arange(300) % 2)  # columns that say nothing
    found = da.audit(data, budget="2 s", repeats=1, progress=False)
    assert not found.early
    assert {"data-oob", "c-score"} <= {*found.table["method"], *found.left_out}


def test_the_kind_of_error_follows_the_data():
    clean = drawn("digits", train=500, seed=2).data
    random, _ = plant(clean, "uniform", 0.1, seed=3)
    near, _ = plant(clean, "near", 0.1, seed=3)
    assert da.audit(random, "cg-score", repeats=1, progress=False).kind == "uniform"
    assert da.audit(near, "cg-score", repeats=1, progress=False).kind == "near"
    assert da.audit(near, "cg-score", repeats=1, kind="uniform", progress=False).kind == "uniform"


def test_the_command_leaves_kind_and_rate_to_the_data(tmp_path, monkeypatch, capsys):
    from datassay import cli

    near, _ = plant(drawn("digits", train=300, seed=2).data, "near", 0.1, seed=3)
    np.savez(tmp_path / "d.npz", X=near.X, y=near.y)
    monkeypatch.setattr("sys.argv", ["datassay", "audit", str(tmp_path / "d.npz"), "-m", "cg-score", "--repeats", "1"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    assert "errors planted in a copy of 300 rows: near, 10%" in " ".join(capsys.readouterr().out.split())


def test_more_rows_than_asked_for_are_sampled_with_every_class():
    rng = np.random.default_rng(0)
    y = np.r_[np.zeros(3000, int), np.ones(3, int)]
    X = rng.normal(size=(3003, 3)) + 5 * np.eye(2, 3)[y]
    found = da.audit(da.Dataset(X, y), "cg-score", repeats=1, rows=200)
    assert found.rows == 200


def test_amounts_have_a_method_and_no_probability():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 3))
    data = da.Dataset(X, X @ [1.0, 2.0, 3.0] + 0.1 * rng.normal(size=120) + 0.05)
    found = da.audit(data, ["cg-score", "random"], repeats=2, rate=0.1)
    assert found.method == "cg-score"
    assert found.error_rate is None
    values = da.value(data, "cg-score")
    assert found.calibrate(values) is values
    with pytest.raises(DataError, match="labels that are classes"):
        found.expected(10, 120)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"methods": []}, "audit needs a method"),
        ({"methods": "cg"}, "no method 'cg'"),
        ({"rate": 0}, "rate must be a number above 0"),
        ({"rate": 0.7}, "below 0.5"),
        ({"kind": "human"}, "kind must be"),
        ({"repeats": 0}, "repeats must be"),
        ({"rows": 5}, "rows must be"),
        ({"budget": "soon"}, "budget must be an amount"),
        ({"seed": -1}, "seed must be"),
        ({"methods": ["cg-score approx=landmarks ridge=0"]}, "every method failed"),
    ],
)
def test_a_call_that_is_wrong_gets_a_sentence(options, says):
    with pytest.raises(DataError, match=says):
        da.audit(drawn("iris").data, **({"methods": "random"} | options))


def test_what_is_no_data_set_or_too_small_is_said():
    with pytest.raises(DataError, match="needs a Dataset, got list"):
        da.audit([1, 2])
    with pytest.raises(DataError, match="needs 20 rows, got 10"):
        da.audit(da.Dataset(np.eye(10), [0, 1] * 5))


# ----------------------------------------------------------------------------------------------------------- command line


@pytest.fixture
def table(tmp_path):
    data, wrong = plant(drawn("breast-cancer", train=300, val=4, test=4).data, "uniform", 0.1, seed=1)
    frame = pd.DataFrame(np.asarray(data.X)).add_prefix("x").assign(label=data.y)
    frame.to_csv(tmp_path / "t.csv", index=False)
    return tmp_path / "t.csv", wrong


def test_where_the_share_is_not_told_a_row_is_no_surer_than_its_suspects():
    """Classes that overlap: the number of a row is the middle of what the bounds say, as that of the first k suspects is."""
    rng = np.random.default_rng(0)
    data = da.Dataset(rng.normal(size=(600, 3)) + np.repeat([[0.0], [0.7]], 300, axis=0), np.repeat([0, 1], 300))
    found = da.audit(data, ["data-oob", "forgetting"], repeats=2, kind="uniform", rate=0.05)
    assert not found.told
    values = da.value(data, found.method)
    told = found.calibrate(
        dataclasses.replace(values, columns={}, stats={})
    )  # as of a method without a probability of its own
    p, least, most = (told.columns[f"probability_wrong{which}"] for which in ("", "_least", "_most"))
    np.testing.assert_allclose(p, (least + most) / 2)
    assert (most >= least).all()
    assert p.max() < 0.9
    first = np.argsort(values.ranks(), kind="stable")
    low, high = found.error_bounds
    assert (least.sum(), most.sum()) == pytest.approx((low * 600, high * 600), rel=0.1, abs=1)
    for k in (20, 100):
        said = found.expected(k, 600)
        assert said.hits - said.half <= p[first[:k]].sum() <= said.hits + said.half


def test_the_command_recommends_and_value_follows(table):
    path, wrong = table
    done = run("audit", path.name, "--label", "label", "-m", "cg-score", "-m", "random", "--repeats", 2, cwd=path.parent)
    assert done.returncode == 0, done.stderr
    assert "Take cg-score" in done.stdout
    assert "of the first 100 suspects expect" in done.stdout.lower()
    assert "datassay value t.csv --label label -m cg-score" in done.stdout
    valued = run("value", path.name, "--label", "label", "--budget", "4 s", "-o", "v.parquet", cwd=path.parent)
    assert valued.returncode == 0, valued.stderr
    assert "Take " in valued.stdout
    values = da.Values.load(path.parent / "v.parquet")
    p = values.columns["probability_wrong"]
    assert p[wrong].mean() > 3 * p[~wrong].mean()
    assert values.stats["audit"]["rate"] == 0.1
    assert run("audit", path.name, "--label", "label", "--rate", 0.9, cwd=path.parent).returncode == 2


def test_the_best_of_many_has_more_to_prove():
    """A difference of 2.5 standard errors tells two methods apart, and not the best of twenty."""
    m = 200
    noise = np.random.default_rng(0).normal(size=m)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    tried = {"first": _Trial([1 + noise + 2.5 / np.sqrt(m)], [0.5]), "best": _Trial([np.ones(m)], [0.6])}
    assert _best_method(tried, list(tried), None) == "best"
    tried |= {f"other {i}": _Trial([np.full(m, 9.0)], [0.4]) for i in range(18)}
    assert _best_method(tried, list(tried), None) == "first"
