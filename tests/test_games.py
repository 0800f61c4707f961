import itertools
import math

import numpy as np
import pytest

from datassay.checks import DataError
from datassay.evaluation import games as games

RNG = np.random.default_rng(0)
GAMES = [
    games.additive([2.0, -1.0, 0.0, 0.5]),
    *(games.threshold(n, k, need) for n in (1, 4, 8) for k in (1, 3, n) for need in (1, 2, k) if need <= k <= n),
    *(games.majority(n) for n in range(1, 9)),
    games.airport([5.0, 1.0, 2.0, 2.0, 0.0]),
    *(games.airport(RNG.exponential(size=n)) for n in (1, 2, 8)),
]


def enumerated(game):
    """Shapley and Banzhaf values by their definitions, coalition by coalition."""
    n = game.players

    def v(coalition):
        mask = np.zeros((1, n), bool)
        mask[0, list(coalition)] = True
        return float(game.worth(mask)[0])

    shapley, banzhaf = np.zeros(n), np.zeros(n)
    for i in range(n):
        others = [j for j in range(n) if j != i]
        for size in range(n):
            for S in itertools.combinations(others, size):
                gain = v((*S, i)) - v(S)
                shapley[i] += gain * math.factorial(size) * math.factorial(n - size - 1) / math.factorial(n)
                banzhaf[i] += gain / 2 ** (n - 1)
    return shapley, banzhaf


@pytest.mark.parametrize("game", GAMES, ids=lambda game: f"{game.name}-{game.players}")
def test_values_are_those_of_the_definitions(game):
    shapley, banzhaf = enumerated(game)
    np.testing.assert_allclose(game.shapley, shapley, atol=1e-12)
    np.testing.assert_allclose(game.banzhaf, banzhaf, atol=1e-12)


@pytest.mark.parametrize("game", GAMES, ids=lambda game: f"{game.name}-{game.players}")
def test_shapley_values_add_up_to_what_all_are_worth(game):
    masks = np.array([np.zeros(game.players, bool), np.ones(game.players, bool)])
    none, every = game.worth(masks)
    assert none == 0
    assert game.shapley.sum() == pytest.approx(every, abs=1e-12)


def test_worths_of_many_coalitions():
    masks = np.array(list(itertools.product([False, True], repeat=3)))
    assert games.majority(3).worth(masks).tolist() == [0, 0, 0, 1, 0, 1, 1, 1]
    assert games.airport([1.0, 2.0, 4.0]).worth(masks).tolist() == [0, 4, 2, 4, 1, 4, 2, 4]


def test_many_players():
    game = games.threshold(2000)
    assert game.banzhaf[:4].tolist() == [0.5, 0.5, 0.5, 0.0]
    assert games.majority(2001).banzhaf[0] == pytest.approx(math.sqrt(2 / (math.pi * 2000)), rel=1e-3)
    assert np.isfinite(games.airport(np.arange(3000.0)).banzhaf).all()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: games.additive([]), "worths must be finite numbers"),
        (lambda: games.additive([1.0, np.nan]), "worths must be finite numbers"),
        (lambda: games.threshold(4, 5), "need <= special <= players"),
        (lambda: games.threshold(4, 3, 4), "need <= special <= players"),
        (lambda: games.threshold(0), "whole number from 1"),
        (lambda: games.airport([1.0, -1.0]), "must not be negative, got -1"),
        (lambda: games.majority(3).worth(np.ones((2, 4), bool)), r"truth values of shape \(m, 3\)"),
        (lambda: games.majority(3).worth(np.array([[0, 1, 2]])), "got int64"),
    ],
)
def test_what_goes_wrong_is_said_in_one_sentence(call, says):
    with pytest.raises(DataError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)
