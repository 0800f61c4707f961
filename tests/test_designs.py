"""Which subsets are drawn: with the probabilities that are named, the same for fewer and for more, by the ids of the rows."""

import numpy as np
import pytest

from datassay.engines import designs
from datassay.engines.designs import Inclusion

LAWS = [
    Inclusion("grid", (0.2, 0.4, 0.6, 0.8)),
    Inclusion("uniform", (0.1, 0.9)),
    Inclusion("log-odds", (0.05, 0.95)),
    Inclusion("beta", (2.5, 4.0)),
]
every_law = pytest.mark.parametrize("law", LAWS, ids=lambda law: law.kind)


@every_law
def test_more_subsets_begin_with_the_fewer(law):
    few, many = law.draw(7, 3, 0, 20), law.draw(7, 3, 0, 50)
    np.testing.assert_array_equal(few.counts, many.counts[:20])
    np.testing.assert_array_equal(few.p, many.p[:20])
    np.testing.assert_array_equal(law.draw(7, 3, 20, 50).counts, many.counts[20:])
    assert (law.draw(7, 4, 0, 50).counts != many.counts).any()


@every_law
def test_rows_are_in_with_their_probability(law):
    found = law.draw(200, 0, 0, 2000)
    share = found.counts.mean(axis=1)
    z = (share - found.p) / np.sqrt(found.p * (1 - found.p) / 200)
    assert abs(z.mean()) < 4 / np.sqrt(2000)
    assert z.std() == pytest.approx(1, abs=0.07)
    # and independently: two rows are together as often as chance has it
    both = np.mean(found.counts[:, 0] * found.counts[:, 1] - found.p**2)
    assert abs(both) < 4 * 0.5 / np.sqrt(2000)


@every_law
def test_p_has_its_distribution(law):
    p = law.draw(1, 0, 0, 3000).p
    u = (np.arange(3000) + 0.5) / 3000
    assert np.abs(np.sort(p) - law.quantile(u)).max() < 0.05
    fine = law.quantile((np.arange(10**6) + 0.5) / 10**6)
    assert law.variance == pytest.approx(np.mean(1 / (fine * (1 - fine))), rel=1e-3)


def test_logit_of_p_is_uniform_in_log_odds():
    p = Inclusion("log-odds", (0.1, 0.9)).quantile(np.array([0.0, 0.5, 1.0]))
    np.testing.assert_allclose(np.log(p / (1 - p)), np.array([-1, 0, 1]) * np.log(9), atol=1e-12)


def test_laws_know_whether_they_are_symmetric():
    assert [law.symmetric for law in LAWS] == [True, True, True, False]
    assert not Inclusion("grid", (0.2, 0.3)).symmetric


def test_antithetic_subsets_leave_out_what_the_one_before_has():
    found = LAWS[0].draw(9, 0, 0, 10, antithetic=True)
    np.testing.assert_array_equal(found.counts[0::2] + found.counts[1::2], 1)
    np.testing.assert_allclose(found.p[0::2] + found.p[1::2], 1)
    np.testing.assert_array_equal(LAWS[0].draw(9, 0, 3, 10, antithetic=True).counts, found.counts[3:])


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("grid", ()),
        ("grid", (0.0,)),
        ("grid", (1.2,)),
        ("uniform", (0.9, 0.1)),
        ("log-odds", (0.0, 1.0)),
        ("beta", (0.0, 1.0)),
    ],
)
def test_what_is_no_probability_is_refused(kind, parameters):
    with pytest.raises(ValueError, match="probabilities between 0 and 1"):
        Inclusion(kind, parameters)


def test_bags_have_as_many_draws_as_rows():
    found = designs.bags(50, 0, 0, 400)
    assert (found.counts.sum(axis=1) == 50).all()
    assert np.isnan(found.p).all()
    assert (found.counts == 0).mean() == pytest.approx((1 - 1 / 50) ** 50, abs=0.01)
    np.testing.assert_array_equal(designs.bags(50, 0, 5, 9).counts, found.counts[5:9])


def test_prefixes_and_leaving_out():
    order = designs.permutation(6, 0, 1)
    assert sorted(order.tolist()) == list(range(6))
    found = designs.prefixes(order, range(7)).counts
    for k in range(7):
        assert set(np.flatnonzero(found[k])) == set(order[:k].tolist())
    left_out = designs.without_each(4, [2, 0]).counts
    np.testing.assert_array_equal(left_out, [[1, 1, 0, 1], [0, 1, 1, 1]])
    every = designs.all_subsets(4).counts
    assert len(np.unique(every, axis=0)) == 16
    np.testing.assert_array_equal(every @ (1 << np.arange(4)), np.arange(16))


def test_subsets_follow_the_ids():
    names = [f"row {i}" for i in range(30)]
    order = np.random.default_rng(0).permutation(30)

    def drawn(ids):
        return designs.in_places(lambda a, b: LAWS[0].draw(30, 0, a, b), designs.places(ids))(0, 8).counts

    np.testing.assert_array_equal(drawn([names[i] for i in order]), drawn(names)[:, order])
