"""Correlations over lags, and the delays of a net that they suggest, dead times included.

`choose_delays`:

1. Feedback delays: those from 1 on, without a break, at which the partial autocorrelation of y
leaves its band, and
   the later peaks of the autocorrelation that the partial one confirms (a season).
2. Input delays: u is made white by an autoregression and y passes the same filter (prewhitening;
Box & Jenkins 1970,
   11.1.2), for a smooth u correlates with y at every delay. The first cross-correlation beyond its
   band is the dead time; the delays reach from there to one beyond the highest peak. Where u shows
   none, its square is tested (Billings & Voon 1986): a system even in u has no correlation with u.

The bands of single correlations are those of white noise, 1.96 / sqrt(n) (Box, Jenkins, Reinsel &
Ljung 2015, 2.1.6): they hold for one-step errors alone, for errors over several steps are
correlated however good the net is. The choice of delays shares the 5 % among all lags (Bonferroni).
A search begins with it: compare nets on the validation rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from forecast.identification.experiment import (
    Array,
    Experiment,
    arx_regressors,
    as_columns,
    count_columns,
    deviance,
)
from forecast.system.errors import InputError

NORMAL = 1.959963984540054  # the 97.5 % quantile of the normal distribution


@dataclass(frozen=True)
class Correlation:
    """`values[k]` belongs to `lags[k]`; values within `band` of zero are not significant at 5 %."""

    lags: npt.NDArray[np.int64]
    values: Array
    band: float


def autocorrelation(series: npt.ArrayLike, longest: int = 20) -> Correlation:
    """Of a series (T,), or of several, none of whose lags reaches from one into the next; NaN is
    left out.
    """
    parts = _parts(series)
    return _correlated(parts, parts, range(longest + 1))


def cross_correlation(u: npt.ArrayLike, error: npt.ArrayLike, longest: int = 20) -> Correlation:
    """Of u[t - lag] with error[t], lags from -longest to longest; u can still explain what is at
    positive lags.
    """
    before, after = _parts(u), _parts(error)
    if [len(p) for p in before] != [len(p) for p in after]:
        raise InputError(
            "u and the errors have different numbers of rows; wanted one of each for every time."
        )
    return _correlated(before, after, range(-longest, longest + 1))


def partial_autocorrelation(acf: Array) -> Array:
    """From the autocorrelations at lags 0, 1, ... by the Durbin-Levinson recursion (Durbin
    1960).
    """
    found, phi = np.zeros(len(acf)), np.zeros(0)
    found[0] = 1.0
    for k in range(1, len(acf)):
        rest = 1.0 - phi @ acf[1:k]
        found[k] = (acf[k] - phi @ acf[k - 1 : 0 : -1]) / rest if rest > 1e-12 else 0.0
        phi = np.append(phi - found[k] * phi[::-1], found[k])
    return found


def _parts(series: Any) -> list[Array]:
    # else rows, or a frame
    several = isinstance(series, list | tuple) and all(np.size(part) > 1 for part in series)
    parts = [as_columns("series", part)[:, 0] for part in (series if several else [series])]
    if not parts or not any(np.isfinite(part).any() for part in parts):
        raise InputError("No observed value to correlate. Give the errors of at least one run.")
    mean = np.nanmean(np.concatenate(parts))
    return [part - mean for part in parts]


def _correlated(before: list[Array], after: list[Array], lags: range) -> Correlation:
    scale = np.sqrt(
        sum(float(np.nansum(p**2)) for p in before) * sum(float(np.nansum(p**2)) for p in after)
    )
    sums = [sum(_product(b, a, lag) for b, a in zip(before, after, strict=True)) for lag in lags]
    values = np.array(sums) / scale if scale > 0 else np.zeros(len(sums))
    return Correlation(
        np.array(lags), values, NORMAL / np.sqrt(sum(int(np.isfinite(p).sum()) for p in after))
    )


def _product(before: Array, after: Array, lag: int) -> float:
    """The sum of before[t - lag] * after[t]."""
    if abs(lag) >= len(after):
        return 0.0
    first, second = (
        (before[: len(before) - lag], after[lag:]) if lag >= 0 else (before[-lag:], after[:lag])
    )
    return float(np.nansum(first * second))


@dataclass(frozen=True)
class DelayChoice:
    """`dead_times`: per input the first delay at which it acts, None where it acts at none.

    The correlations are of the first output: `acf` of y, `ccf` of each whitened input with y.
    """

    input_delays: tuple[int, ...]
    feedback_delays: tuple[int, ...]
    dead_times: tuple[int | None, ...]
    acf: Correlation
    ccf: tuple[Correlation, ...]


def choose_delays(*experiments: Experiment, longest: int = 20, most: int = 8) -> DelayChoice:
    """Delays up to `longest` steps from all outputs and inputs of the experiments, at most `most`
    of each kind.

    Of more input delays the most correlated are taken: an input may act at once and again much
    later. `InputError` for an experiment of fewer than 4 * `longest` rows.
    """
    inputs, outputs = count_columns(experiments)
    rows = min(map(len, experiments))
    if rows < 4 * longest:
        need = f"of an experiment of {rows} rows; at least {4 * longest} are needed"
        raise InputError(
            f"Delays up to {longest} steps were asked {need}. Lower `longest`, or leave short ones"
            " out."
        )
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
            mean = float(np.mean(np.concatenate(u)))
            found = [_whitened([(each - mean) ** 2 for each in u], y, longest) for y in measured]
        spans = [(each, span) for each in found if (span := _span(each))]
        dead.append(min((first for _, (first, _) in spans), default=None))
        for each, (first, last) in spans:
            for delay in range(first, last + 1):
                strength[delay] = max(
                    strength.get(delay, 0.0), float(abs(each.values[each.lags == delay][0]))
                )
    strongest = sorted(sorted(strength), key=lambda delay: -strength[delay])[:most]
    return DelayChoice(
        tuple(sorted(strongest)), tuple(feedback) or (1,), tuple(dead), acf[0], tuple(shown)
    )


def arx_order(
    *experiments: Experiment, longest: int = 10, criterion: Literal["aic", "bic"] = "bic"
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(input delays, feedback delays) of the linear ARX model with the least Akaike or Schwarz
    criterion.

    All models up to `longest` past outputs and inputs are fitted to the same rows.
    """
    if criterion not in ("aic", "bic"):
        raise InputError(f"`criterion` is {criterion!r}; wanted 'aic' or 'bic'.")
    inputs, outputs = count_columns(experiments)
    x, y = arx_regressors(experiments, longest, longest)
    if len(y) <= x.shape[1]:
        raise InputError(
            f"{len(y)} whole rows for ARX models of {x.shape[1]} weights; wanted more. Lower"
            " `longest`."
        )
    price = float(np.log(len(y))) if criterion == "bic" else 2.0
    scores = {}
    for past in range(1, longest + 1):
        for held in range(1, longest + 1) if inputs else (0,):
            first = longest * outputs
            kept = [*range(past * outputs), *range(first, first + held * inputs), -1]
            scores[held, past] = deviance(x[:, kept], y) + price * outputs * len(kept)
    held, past = min(scores, key=lambda order: scores[order])
    return tuple(range(held)), tuple(range(1, past + 1))


def _feedback(acf: Correlation) -> list[int]:
    partial = np.abs(partial_autocorrelation(acf.values))
    beyond = partial > _shared(acf, len(partial) - 1)
    run = int(np.argmin(beyond[1:])) if not beyond[1:].all() else len(beyond) - 1
    size = np.abs(acf.values)
    inner = range(run + 1, len(size) - 1)
    peaks = [k for k in inner if size[k] >= size[k - 1] and size[k] > size[k + 1] and beyond[k]]
    return [*range(1, run + 1), *peaks]


def _span(ccf: Correlation) -> tuple[int, int] | None:
    """(first delay beyond the band, one after the highest peak); None when all are within it."""
    size = np.where(ccf.lags >= 0, np.abs(ccf.values), 0.0)
    beyond = ccf.lags[size > _shared(ccf, len(ccf.lags) // 2 + 1)]
    if not len(beyond):
        return None
    peak = int(ccf.lags[np.argmax(size)])
    return int(beyond[0]), min(peak + 1, int(ccf.lags[-1]))


def _shared(correlation: Correlation, lags: int) -> float:
    """The band with its 5 % shared among so many lags (Bonferroni)."""
    return correlation.band * float(ndtri(1 - 0.025 / lags) / ndtri(0.975))


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
        x = (
            np.concatenate(lagged).reshape(order, len(target)).T
            if order
            else np.zeros((len(target), 0))
        )
        a = np.linalg.lstsq(x, target, rcond=None)[0] if order else np.zeros(0)
        error = float(np.mean((target - x @ a) ** 2))
        score = len(target) * np.log(error + 1e-300) + order * np.log(len(target))
        if score < best:
            best, taps = score, np.concatenate([[1.0], -a])
    return taps
