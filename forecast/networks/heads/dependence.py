"""How the steps of a direct forecast hang together: a Gaussian copula (Sklar 1959; Nelsen 2006, 2.3).

A direct head gives one distribution per step and says nothing about their dependence. It is estimated from the
validation residuals: the probability that each actual was given becomes a normal score, and the correlation of these
scores over steps and outputs is the copula. It is shrunk towards independence by d / (n + d) for d scores on n
origins, since validation origins are few. A recursive family needs none: its paths feed what was drawn back.
"""

from __future__ import annotations

import numpy as np
from scipy import special

FEWEST = 10
"""Complete origins; with fewer, steps are taken as independent."""
EDGE = 1e-6


def correlation(probabilities: np.ndarray) -> np.ndarray:
    """(D, D) from the probability of each actual (N, D), D = H * O; NaN where an actual is missing."""
    size = probabilities.shape[1]
    complete = probabilities[np.isfinite(probabilities).all(axis=1)]
    if len(complete) < FEWEST:
        return np.eye(size)
    scores = special.ndtri(np.clip(complete, EDGE, 1 - EDGE))
    spread = np.where(scores.std(axis=0) > 0, scores.std(axis=0), 1.0)
    centred = (scores - scores.mean(axis=0)) / spread
    found = centred.T @ centred / len(complete)
    np.fill_diagonal(found, 1.0)
    share = size / (len(complete) + size)
    return (1 - share) * found + share * np.eye(size)


def uniforms(dependence: np.ndarray | None, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """(*shape, D) draws in (0, 1), dependent over the last axis as `dependence` (D, D) says; None: independent."""
    if dependence is None:
        return np.clip(rng.random(shape), EDGE, 1 - EDGE)
    drawn = rng.standard_normal(shape) @ np.linalg.cholesky(dependence).T
    return np.clip(special.ndtr(drawn), EDGE, 1 - EDGE)
