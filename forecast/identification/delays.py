"""Which delays to begin with: from the peaks of autocorrelation and cross-correlation, dead times included.

1. Feedback delays: those that leave the band of the partial autocorrelation of y without a break from delay 1 on, and
   beyond them the peaks of the autocorrelation that the partial one confirms (a season).
2. Input delays: u is made white by an autoregression and y passes the same filter (Box & Jenkins 1970, 11.1.2), for a
   smooth u correlates with y at every delay. The first cross-correlation beyond its band is the dead time; from there
   up to the highest peak and one more are the delays. Where u shows none, its square is asked (Billings & Voon 1986):
   a system that takes u and -u alike has no correlation with u.

The bands share 5 % out among all delays (Bonferroni). This is where a search begins, not where it ends: compare nets
on the validation rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from forecast.identification.correlation import (
    Correlation,
    autocorrelation,
    cross_correlation,
    partial_autocorrelation,
)
from forecast.identification.experiment import Experiment
from forecast.system.errors import InputError

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class DelayChoice:
    """`dead_times`: per input the first delay at which it acts, None where it acts at none. The correlations are of
    the first output: `acf` of y, `ccf` of each whitened input with y."""

    input_delays: tuple[int, ...]
    feedback_delays: tuple[int, ...]
    dead_times: tuple[int | None, ...]
    acf: Correlation
    ccf: tuple[Correlation, ...]


def choose_delays(*experiments: Experiment, longest: int = 20, most: int = 8) -> DelayChoice:
    """Delays up to `longest` steps from all outputs and inputs of the experiments, at most `most` of each kind.

    Of more input delays the most correlated are taken: an input may act at once and again much later.
    """
    rows = min((len(e) for e in experiments), default=0)
    if rows < 4 * longest:
        raise InputError(
            f"Delays up to {longest} steps were asked of an experiment of {rows} rows; at least {4 * longest} are "
            "needed. Lower `longest`, or leave short experiments out."
        )
    inputs, outputs = experiments[0].u.shape[1], experiments[0].y.shape[1]
    measured = [[e.y[:, o] for e in experiments] for o in range(outputs)]
    acf = [autocorrelation(y, longest) for y in measured]
    feedback = sorted({delay for each in acf for delay in _feedback(each)})[:most]
    dead: list[int | None] = []
    strength: dict[int, float] = {}
    shown = []
    for column in range(inputs):
        u = [e.u[:, column] for e in experiments]
        found = [_whitened(u, y, longest) for y in measured]
        shown.append(found[0])
        if not any(map(_span, found)):
            found = [_whitened(_squared(u), y, longest) for y in measured]
        spans = [(each, span) for each in found if (span := _span(each))]
        dead.append(min((first for _, (first, _) in spans), default=None))
        for each, (first, last) in spans:
            for delay in range(first, last + 1):
                strength[delay] = max(strength.get(delay, 0.0), float(abs(each.values[each.lags == delay][0])))
    strongest = sorted(sorted(strength), key=lambda delay: -strength[delay])[:most]
    return DelayChoice(tuple(sorted(strongest)), tuple(feedback) or (1,), tuple(dead), acf[0], tuple(shown))


def _feedback(acf: Correlation) -> list[int]:
    partial = np.abs(partial_autocorrelation(acf.values))
    beyond = partial > _shared(acf, len(partial) - 1)
    run = int(np.argmin(beyond[1:])) if not beyond[1:].all() else len(beyond) - 1
    size = np.abs(acf.values)
    inner = range(run + 1, len(size) - 1)
    peaks = [k for k in inner if size[k] >= size[k - 1] and size[k] > size[k + 1] and beyond[k]]
    return [*range(1, run + 1), *peaks]


def _span(ccf: Correlation) -> tuple[int, int] | None:
    """The first delay beyond the band and the one after the highest peak; None when there is none."""
    size = np.where(ccf.lags >= 0, np.abs(ccf.values), 0.0)
    beyond = ccf.lags[size > _shared(ccf, len(ccf.lags) // 2 + 1)]
    if not len(beyond):
        return None
    peak = int(ccf.lags[np.argmax(size)])
    return int(beyond[0]), min(peak + 1, int(ccf.lags[-1]))


def _shared(correlation: Correlation, lags: int) -> float:
    """The band with its 5 % shared out among so many delays."""
    return correlation.band * float(ndtri(1 - 0.025 / lags) / ndtri(0.975))


def _squared(inputs: list[Array]) -> list[Array]:
    mean = float(np.mean(np.concatenate(inputs)))
    return [(u - mean) ** 2 for u in inputs]


def _whitened(inputs: list[Array], outputs: list[Array], longest: int) -> Correlation:
    """Cross-correlation after the filter that makes the input white."""
    mean = float(np.mean(np.concatenate(inputs)))
    taps = _autoregression([u - mean for u in inputs], min(longest, 10))
    level = float(np.nanmean(np.concatenate(outputs)))
    order = len(taps) - 1
    white = [np.convolve(u - mean, taps)[order : len(u)] for u in inputs]
    filtered = [np.convolve(y - level, taps)[order : len(y)] for y in outputs]
    return cross_correlation(white, filtered, longest)


def _autoregression(parts: list[Array], longest: int) -> Array:
    """[1, -a_1, ..., -a_p]: least squares, the order by Schwarz's criterion."""
    best, taps = np.inf, np.ones(1)
    target = np.concatenate([part[longest:] for part in parts])
    for order in range(longest + 1):
        lagged = [part[longest - k : len(part) - k] for k in range(1, order + 1) for part in parts]
        x = np.concatenate(lagged).reshape(order, len(target)).T if order else np.zeros((len(target), 0))
        a = np.linalg.lstsq(x, target, rcond=None)[0] if order else np.zeros(0)
        error = float(np.mean((target - x @ a) ** 2))
        score = len(target) * np.log(error + 1e-300) + order * np.log(len(target))
        if score < best:
            best, taps = score, np.concatenate([[1.0], -a])
    return taps
