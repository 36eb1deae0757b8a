"""Beam search against trying every path."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from scipy import special

from forecast.forecaster.beams import search_paths, select_best_bins

BINS, H = 3, 4


@dataclass(frozen=True)
class Remembering:
    """The next bins' probabilities are a table of the whole prefix: `seed` and the bins so far draw
    them.
    """

    prefixes: tuple[tuple[int, ...], ...]
    outputs: int = 1

    def row(self, prefix):
        return special.log_softmax(
            np.random.default_rng([7, *prefix]).normal(0, 2, (self.outputs, BINS)), axis=-1
        )

    @property
    def log_p(self):
        return np.stack([self.row(prefix) for prefix in self.prefixes])

    def extend(self, parents, bins):
        grown = tuple(
            (*self.prefixes[p], *map(int, chosen)) for p, chosen in zip(parents, bins, strict=True)
        )
        return Remembering(grown, self.outputs)

    def extend_paths(self, parents, bins):
        return np.array(self.extend(parents, bins).prefixes)


def log_probability(path, outputs):
    """The product over the steps, as a sum."""
    chain, total = Remembering(((),), outputs), 0.0
    for step in np.reshape(path, (-1, outputs)):
        total += sum(chain.log_p[0, o, b] for o, b in enumerate(step))
        chain = chain.extend(np.array([0]), step[None])
    return total


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_wide_beam_finds_what_trying_every_path_finds_with_the_product_as_its_probability(
    outputs,
):
    steps = H if outputs == 1 else 2
    every = list(itertools.product(range(BINS), repeat=steps * outputs))
    best = max(every, key=lambda path: log_probability(path, outputs))
    values, path, score = search_paths(Remembering(((),), outputs), horizon=steps, width=len(every))
    assert path.ravel().tolist() == values.ravel().tolist() == list(best)
    assert score == pytest.approx(log_probability(best, outputs))
    total = sum(np.exp(log_probability(path, outputs)) for path in every)
    assert total == pytest.approx(1.0)


def test_a_beam_of_one_is_greedy_and_may_miss_the_best():
    _, greedy, score = search_paths(Remembering(((),)), horizon=H, width=1)
    chain, path = Remembering(((),)), []
    for _ in range(H):
        path.append(int(chain.log_p[0, 0].argmax()))
        chain = chain.extend(np.array([0]), np.array([[path[-1]]]))
    assert greedy.ravel().tolist() == path
    assert score <= search_paths(Remembering(((),)), horizon=H, width=BINS**H)[2]


def test_independent_steps_give_the_best_bin_of_each():
    log_p = special.log_softmax(np.random.default_rng(3).normal(size=(5, 2, 6)), axis=-1)
    path, score = select_best_bins(log_p)
    np.testing.assert_array_equal(path, log_p.argmax(axis=-1))
    assert score == pytest.approx(log_p.max(axis=-1).sum())
