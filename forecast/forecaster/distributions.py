"""What a model with a density, quantiles, bins or a class says beyond its point forecast, in raw
units.

Direct families give one distribution per step; paths join them by the Gaussian copula of the
validation residuals. Recursive families give one step; their paths are closed loops fed with what
was drawn, and everything beyond the first step is read off such paths. So is everything of a target
with `transform: diff` or `logdiff`, whose steps add up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from forecast.data.panel import Panel, Series
from forecast.data.scaling import DIFFERENCED_TRANSFORMS, log_slope
from forecast.data.windows import Windows, fill_gaps
from forecast.forecaster.forecaster import Forecaster
from forecast.networks.heads import FittedHead
from forecast.networks.heads.distributions import Distribution, draw_uniforms, quantiles
from forecast.system.errors import InputError

N_PATHS = 200
"""Drawn where no formula gives a quantile or a probability."""
MAX_LOOPS_AT_ONCE = 4096
"""Closed loops that run side by side; bounds the memory of drawing."""

DISTRIBUTIONS_FILE = "distributions.parquet"
"""What the train stage keeps of a head, with the keys of `forecasts.parquet`: `p_rise`, the
probability of a value above the last one; `q_0.025` to `q_0.975`, quantiles in raw units;
`log_density`, ln of the density at the actual, for heads that are densities and steps that have a
formula.
"""
EVEN_LEVELS = tuple(round(0.05 * k, 2) for k in range(1, 20))
STORED_LEVELS = (0.025, *EVEN_LEVELS, 0.975)
"""Quantiles that are kept: an even grid for the CRPS, and the ends of the 95 % interval."""
RISE_COLUMN = "p_rise"
LOG_DENSITY_COLUMN = "log_density"


def quantile_column(level: float) -> str:
    """`q_0.1`: the column of a quantile."""
    return f"q_{level:g}"


def predict_quantiles(
    forecaster: Forecaster,
    panel: Panel,
    rows: Mapping[str, np.ndarray],
    levels: Sequence[float],
    *,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """(n, H, O, Q) in raw units per series, made at `rows`, never crossing; exact where steps have
    a formula.

    `InputError` for a level outside (0, 1) and for a model whose head gives no distribution.
    """
    if not all(0 < level < 1 for level in levels):
        raise InputError(
            f"Quantile levels {list(levels)}; wanted each strictly between 0 and 1 (0.9 = 90 %)."
        )
    head = _check_request(forecaster, panel, rows)
    if not head.head.has_distribution:
        raise InputError(
            f"Head {head.head.kind!r} gives a probability and no distribution of values, so no"
            " quantiles. Use `rise_probability`, or train the model with `head: gaussian`,"
            " `student_t`, `quantiles` or `bins`."
        )
    if not has_formula(forecaster):
        paths = sample_paths(forecaster, panel, rows, N_PATHS, seed=seed)
        with np.errstate(invalid="ignore"):
            return {
                uid: np.moveaxis(np.quantile(p, levels, axis=1), 0, -1) for uid, p in paths.items()
            }
    return {
        uid: _exact_quantiles(forecaster, panel.by_id[uid], np.asarray(at), levels)
        for uid, at in rows.items()
    }


def sample_paths(
    forecaster: Forecaster, panel: Panel, rows: Mapping[str, np.ndarray], count: int, *, seed: int
) -> dict[str, np.ndarray]:
    """(n, count, H, O) paths in raw units per series, made at `rows`; equal seeds give equal paths.

    Every cutoff has random numbers of its own, so its paths depend neither on the origins beside it
    nor on how much history comes with it.
    """
    _check_request(forecaster, panel, rows)
    result = {}
    for uid, cutoff_rows in rows.items():
        series = panel.by_id[uid]
        cutoff_rows = np.asarray(cutoff_rows)
        shape = (count, forecaster.task.horizon, forecaster.channels.outputs)
        parts = [np.empty((0, *shape))]
        for windows in forecaster.windows(
            series, cutoff_rows, size=max(MAX_LOOPS_AT_ONCE // count, 1)
        ):
            # a diverging loop is seen by who asks
            with np.errstate(over="ignore", invalid="ignore"):
                scaled = _sample_scaled_paths(
                    forecaster, windows, series.ds[windows.rows], count, seed
                )
                flat = forecaster.to_raw_units(
                    scaled.reshape(-1, *shape[1:]), series, np.repeat(windows.rows, count)
                )
            parts.append(flat.reshape(-1, *shape))
        result[uid] = np.concatenate(parts)
    return result


def rise_probability(
    forecaster: Forecaster, panel: Panel, rows: Mapping[str, np.ndarray], *, seed: int = 0
) -> dict[str, np.ndarray]:
    """(n, H, O): the probability that the value lies above the last observed one."""
    head = _check_request(forecaster, panel, rows)
    result = {}
    for uid, cutoff_rows in rows.items():
        series = panel.by_id[uid]
        cutoff_rows = np.asarray(cutoff_rows)
        if not has_formula(forecaster):
            last = fill_gaps(series.values[None, :, : forecaster.channels.outputs])[0][0][
                cutoff_rows
            ]
            paths = sample_paths(forecaster, panel, {uid: cutoff_rows}, N_PATHS, seed=seed)[uid]
            above = (paths > last[:, None, None, :]).sum(axis=1)
            # no number of paths makes an event impossible
            result[uid] = (above + 0.5) / (N_PATHS + 1)
            continue
        parts = [np.empty((0, forecaster.task.horizon, forecaster.channels.outputs))]
        for windows in forecaster.windows(series, cutoff_rows):
            raw, base = _network_and_skip(forecaster, windows)
            parts.append(head.rise_probability(raw, base, windows.last[:, None]))
        result[uid] = np.concatenate(parts)
    return result


def log_density(
    forecaster: Forecaster, panel: Panel, rows: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """(n, H, O): ln of the density, in raw units, at what was observed; NaN where it is missing or
    has no formula.
    """
    head = _check_request(forecaster, panel, rows)
    horizon = forecaster.task.horizon
    outputs = forecaster.channels.outputs
    result = {}
    for uid, cutoff_rows in rows.items():
        series = panel.by_id[uid]
        cutoff_rows = np.asarray(cutoff_rows)
        if not (has_formula(forecaster) and head.head.has_density):
            result[uid] = np.full((len(cutoff_rows), horizon, outputs), np.nan)
            continue
        z = _extend_with_missing(forecaster.scaling.scale_series(series, forecaster.task), horizon)
        parts = [np.empty((0, horizon, outputs))]
        for windows in forecaster.windows(series, cutoff_rows):
            ahead = windows.rows[:, None] + np.arange(1, horizon + 1)
            density = _distribution(forecaster, windows).log_density(z[ahead, :outputs])
            parts.append(density + _log_slope(forecaster, series, ahead))
        result[uid] = np.concatenate(parts)
    return result


def has_formula(forecaster: Forecaster) -> bool:
    """True: every step has a distribution in closed form; False: steps beyond the first come from
    drawn paths.
    """
    return not forecaster.spec.is_recursive and not any(
        c.transform in DIFFERENCED_TRANSFORMS for c in forecaster.task.target
    )


def _require_head(forecaster: Forecaster) -> FittedHead:
    if forecaster.head is None:
        raise InputError(
            f"Model {forecaster.spec.family!r} has a point head, which gives no distribution. Give"
            " its entry in configs/models.yaml `head: quantiles`, `gaussian`, `student_t`, `bins`"
            " or `updown`, and train it."
        )
    return forecaster.head


def _check_request(
    forecaster: Forecaster, panel: Panel, rows: Mapping[str, np.ndarray]
) -> FittedHead:
    """The head that answers; `InputError` for a point head and for series that are not there."""
    forecaster.require_series(panel, rows)
    return _require_head(forecaster)


def _network_and_skip(forecaster: Forecaster, windows: Windows) -> tuple[np.ndarray, np.ndarray]:
    """The network's raw parameters (B, H, O, K) and the skip's forecast (B, H, O)."""
    assert forecaster.skip is not None
    return forecaster.network_output(windows), forecaster.skip.forecast(
        windows, forecaster.channels
    )


def _distribution(forecaster: Forecaster, windows: Windows) -> Distribution:
    return _require_head(forecaster).distribution(*_network_and_skip(forecaster, windows))


def _exact_quantiles(
    forecaster: Forecaster, series: Series, rows: np.ndarray, levels: Sequence[float]
) -> np.ndarray:
    shape = (forecaster.task.horizon, forecaster.channels.outputs)
    parts = [np.empty((0, *shape, len(levels)))]
    for windows in forecaster.windows(series, rows):
        scaled = quantiles(_distribution(forecaster, windows), levels, (len(windows), *shape))
        raw_quantiles = [
            forecaster.to_raw_units(scaled[..., place], series, windows.rows)
            for place in range(len(levels))
        ]
        parts.append(np.stack(raw_quantiles, axis=-1))
    return np.concatenate(parts)


def _sample_scaled_paths(
    forecaster: Forecaster, windows: Windows, cutoffs: np.ndarray, count: int, seed: int
) -> np.ndarray:
    """(B, count, H, O) in scaled units; cutoffs (B,) are the times of the windows' last rows."""
    horizon = forecaster.task.horizon
    outputs = forecaster.channels.outputs
    uniform_numbers = np.stack(
        [
            draw_uniforms(
                forecaster.dependence,
                (count, horizon * outputs),
                np.random.default_rng([seed, int(time)]),
            )
            for time in cutoffs.astype("datetime64[ns]").astype(np.uint64)
        ]
    ).reshape(len(windows) * count, horizon, outputs)
    repeated_windows = repeat_windows(windows, count)
    if forecaster.spec.is_recursive:
        paths = _sample_loop(forecaster, repeated_windows, uniform_numbers)
    else:
        raw, base = (
            np.repeat(part, count, axis=0) for part in _network_and_skip(forecaster, windows)
        )
        paths = _require_head(forecaster).sample(
            raw, base, repeated_windows.last[:, None], uniform_numbers
        )
    return paths.reshape(len(windows), count, horizon, outputs)


def _sample_loop(
    forecaster: Forecaster, windows: Windows, uniform_numbers: np.ndarray
) -> np.ndarray:
    """Closed loops fed with what is drawn at each step: drawn (B, H, O)."""
    head = _require_head(forecaster)
    steps = iter(range(uniform_numbers.shape[1]))

    def feedback(raw: np.ndarray, base: np.ndarray, last: np.ndarray) -> np.ndarray:
        step = next(steps)
        return head.sample(
            raw[:, None], base[:, None], last[:, None], uniform_numbers[:, step : step + 1]
        )[:, 0]

    return forecaster.run_closed_loop(windows, uniform_numbers.shape[1], feedback=feedback)


def repeat_windows(windows: Windows, count: int) -> Windows:
    """Every window `count` times, one copy after another."""
    return Windows(*(np.repeat(part, count, axis=0) for part in vars(windows).values()))


def _extend_with_missing(values: np.ndarray, steps: int) -> np.ndarray:
    """(T + steps, C): nothing is known yet behind the last row."""
    return np.concatenate([values, np.full((steps, values.shape[1]), np.nan)])


def _log_slope(forecaster: Forecaster, series: Series, ahead: np.ndarray) -> np.ndarray:
    """(n, H, O): ln of how fast the scaled value grows with the raw one: from a scaled density to a
    raw one.
    """
    values = _extend_with_missing(series.values, forecaster.task.horizon)[ahead]
    parts = []
    for output, column in enumerate(forecaster.task.target):
        scale = forecaster.scaling.scale[series.unique_id][output]
        parts.append(log_slope(values[..., output], column) - np.log(scale))
    return np.stack(parts, axis=-1)
