"""The most probable path of a model with a bins head, by beam search (Lowerre 1976; Sutskever et
al. 2014, 3.2).

`most_probable_paths` gives `BestPaths` of a forecaster at given rows. A prefix is the values of the
first steps of a path; at every step each prefix in the beam is extended by every bin, and only the
`width` most probable ones go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from forecast.data.panel import Panel
from forecast.data.windows import Windows
from forecast.forecaster.forecaster import Forecaster
from forecast.forecaster.loops import Loop
from forecast.networks.heads import FittedHead
from forecast.system.errors import InputError

BEAM_WIDTH = 16


@dataclass(frozen=True)
class BestPaths:
    """The most probable paths from n cutoffs: values (n, H, O) in raw units, the numbers of their
    bins (n, H, O), and the probabilities of the whole paths (n,).
    """

    values: np.ndarray
    bins: np.ndarray
    probability: np.ndarray


def most_probable_paths(
    forecaster: Forecaster, panel: Panel, rows: Mapping[str, np.ndarray], *, width: int = BEAM_WIDTH
) -> dict[str, BestPaths]:
    """Per series, from each of `rows`, the most probable path through the bins; a bin stands in a
    path with its median. `width`: prefixes that are kept at every step.

    Recursive families: each bin's median is fed back, and the next step's probabilities depend on
    the path so far. Direct ones: steps are taken as independent given the past, so the best path is
    the best bin of each step. `InputError` for a model without bins.
    """
    head = forecaster.head
    if head is None or not head.head.is_discrete:
        raise InputError(
            f"Model {forecaster.spec.family!r} has no bins, whose paths alone have probabilities to"
            " compare. Give its entry in configs/models.yaml `head: bins`, and train it."
        )
    forecaster.require_series(panel, rows)
    result = {}
    for uid, cutoff_rows in rows.items():
        series = panel.by_id[uid]
        cutoff_rows = np.asarray(cutoff_rows)
        shape = (len(cutoff_rows), forecaster.task.horizon, forecaster.channels.outputs)
        scaled = np.empty(shape)
        bins = np.empty(shape, dtype=int)
        scores = np.empty(len(cutoff_rows))
        for i, windows in enumerate(forecaster.windows(series, cutoff_rows, size=1)):
            scaled[i], bins[i], scores[i] = _search_one_cutoff(forecaster, head, windows, width)
        values = forecaster.to_raw_units(scaled, series, cutoff_rows)
        result[uid] = BestPaths(values, bins, np.exp(scores))
    return result


def _search_one_cutoff(
    forecaster: Forecaster, head: FittedHead, windows: Windows, width: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """The best path after the one window in `windows`: scaled values (H, O), bins (H, O) and the
    path's log probability.

    Recursive: by beam search over closed loops. Direct: the best bin of each step and output, whose
    value is its median around the skip's forecast and whose log probabilities are added; `width`
    plays no part.
    """
    assert forecaster.skip is not None
    horizon = forecaster.task.horizon
    if forecaster.spec.is_recursive:
        loop = forecaster.start_loop(windows, horizon)
        start = BeamState.of(loop, head, np.empty((1, 0, forecaster.channels.outputs)))
        return search_paths(start, horizon=horizon, width=width)
    log_p = head.head.log_probabilities(forecaster.network_output(windows)[0].astype(np.float64))
    bins, score = select_best_bins(log_p)
    values = head.head.bin_values(
        forecaster.skip.forecast(windows, forecaster.channels), head.constants
    )[0]
    return np.take_along_axis(values, bins[..., None], axis=-1)[..., 0], bins, score


@dataclass(frozen=True)
class BeamState:
    """The prefixes in the beam, P closed loops side by side, each fed with the medians of its bins.

    `path` (P, k, O): the values so far. `log_p` and `values` (P, O, n): the log probability and the
    median of every bin of the next step, given each prefix.
    """

    loop: Loop
    head: FittedHead
    path: np.ndarray
    log_p: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, loop: Loop, head: FittedHead, path: np.ndarray) -> BeamState:
        """The bins of the next step of `loop`, whose prefixes have the values `path` (P, k, O)."""
        raw, base, _ = loop.propose()
        values = head.head.bin_values(base[:, None], head.constants)[:, 0]
        return cls(loop, head, path, head.head.log_probabilities(raw), values)

    def extend_paths(self, parents: np.ndarray, bins: np.ndarray) -> np.ndarray:
        """(P', k + 1, O): the values of the prefixes `parents`, one step longer."""
        newest = np.take_along_axis(self.values[parents], bins[..., None], axis=-1)[..., 0]
        return np.concatenate([self.path[parents], newest[:, None]], axis=1)

    def extend(self, parents: np.ndarray, bins: np.ndarray) -> BeamState:
        """The prefixes `parents` (P',) each one step longer, by `bins` (P', O)."""
        path = self.extend_paths(parents, bins)
        loop = self.loop.select(parents)
        loop.advance(path[:, -1])
        return BeamState.of(loop, self.head, path)


def select_best_bins(log_p: np.ndarray) -> tuple[np.ndarray, float]:
    """The best path where steps do not depend on the bins before: bins (H, O) and log probability,
    from the log probabilities (H, O, n) of all bins.
    """
    return log_p.argmax(axis=-1), float(np.cumsum(log_p.max(axis=-1))[-1])


def search_paths(
    chain: BeamState, *, horizon: int, width: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Values and bins (H, O) of the best path found, and the natural logarithm of its probability;
    `chain` begins with the one empty prefix.

    `width` prefixes are kept at every step; the search is exhaustive when it is at least the number
    of prefixes.
    """
    paths = np.zeros((1, 0, 0), dtype=int)
    scores = np.zeros(1)
    for step in range(horizon):
        parents, bins, scores = _extend_prefixes(scores, chain.log_p, width)
        prefixes = paths[parents].reshape(len(parents), step, bins.shape[1])
        paths = np.concatenate([prefixes, bins[:, None]], axis=1)
        if step + 1 < horizon:
            chain = chain.extend(parents, bins)
    return chain.extend_paths(parents, bins)[0], paths[0], float(scores[0])


def _extend_prefixes(
    scores: np.ndarray, log_p: np.ndarray, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The best `width` prefixes one step longer: their parents (P',), bins (P', O) and log
    probabilities, best first.

    Given the prefix, the outputs of a step are independent: they are joined one after another.
    """
    parents = np.arange(len(scores))
    bins = np.zeros((len(scores), 0), dtype=int)
    for output in range(log_p.shape[1]):
        total = scores[:, None] + log_p[parents, output]
        best = np.argsort(-total, axis=None, kind="stable")[:width]
        rows, step_bins = np.unravel_index(best, total.shape)
        scores = total[rows, step_bins]
        parents = parents[rows]
        bins = np.concatenate([bins[rows], step_bins[:, None]], axis=1)
    return parents, bins, scores
