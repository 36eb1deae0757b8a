"""Beam search for the most probable path through bins (Lowerre 1976; Sutskever, Vinyals & Le 2014, 3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


class Chain(Protocol):
    """Prefixes of paths side by side, P of them, all of the same length."""

    def log_probabilities(self) -> np.ndarray:
        """(P, O, n): of every bin of the next step, given each prefix."""

    def follow(self, parents: np.ndarray, bins: np.ndarray) -> Chain:
        """The prefixes `parents` (P',) each one step longer, by `bins` (P', O)."""


@dataclass(frozen=True)
class Independent:
    """A chain whose steps do not depend on the bins before: log probabilities (H, O, n) of a direct head."""

    log_p: np.ndarray
    prefixes: int = 1
    step: int = 0

    def log_probabilities(self) -> np.ndarray:
        return np.repeat(self.log_p[self.step][None], self.prefixes, axis=0)

    def follow(self, parents: np.ndarray, bins: np.ndarray) -> Chain:
        return Independent(self.log_p, len(parents), self.step + 1)


def most_probable(chain: Chain, *, horizon: int, width: int) -> tuple[np.ndarray, float]:
    """The bins (H, O) of the best path found and the natural logarithm of its probability.

    `width` prefixes are kept at every step; the search is exhaustive when it is at least the number of prefixes.
    """
    paths = np.zeros((1, 0, 0), dtype=int)
    scores = np.zeros(1)
    for step in range(horizon):
        parents, bins, scores = _extended(scores, chain.log_probabilities(), width)
        kept = paths[parents].reshape(len(parents), step, bins.shape[1])
        paths = np.concatenate([kept, bins[:, None]], axis=1)
        if step + 1 < horizon:
            chain = chain.follow(parents, bins)
    return paths[0], float(scores[0])


def _extended(scores: np.ndarray, log_p: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The best `width` prefixes one step longer: their parents (P',), bins (P', O) and log probabilities, best first.

    Given the prefix, the outputs of a step are independent: they are joined one after another.
    """
    parents, bins = np.arange(len(scores)), np.zeros((len(scores), 0), dtype=int)
    for output in range(log_p.shape[1]):
        total = scores[:, None] + log_p[parents, output]
        best = np.argsort(-total, axis=None, kind="stable")[:width]
        rows, chosen = np.unravel_index(best, total.shape)
        scores = total[rows, chosen]
        parents, bins = parents[rows], np.concatenate([bins[rows], chosen[:, None]], axis=1)
    return parents, bins, scores
