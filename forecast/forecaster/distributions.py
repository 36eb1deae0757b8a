"""Quantiles, sample paths, rise probabilities and log densities of a network with a distribution
head, in raw units.

A direct family gives one distribution per step; `sample_paths` joins the steps by a Gaussian copula
that was estimated on the validation residuals. A recursive family gives the distribution of the
next step alone: each of its paths is a closed loop that is fed with drawn values, and the quantiles
and probabilities of all steps are estimated from such paths. The same holds for targets with
`transform: diff` or `logdiff`, because their forecasts are sums of steps.

`predict_quantiles` and `rise_probability` use a formula where every step has one (`has_formula`),
else `N_PATHS` paths; `log_density` is NaN without a formula. `InputError` for a model with a point
head.

In this project only `backtest.backtest` asks for them: it stores quantiles at `STORED_QUANTILES`
and probabilities of a rise in distributions.parquet, which `comparison.distribution_scores` scores.
`Model.predict`, `forecast predict` and the model that MLflow serves give a forecast and conformal
intervals alone (`ensemble.forecast_latest`), which hold step by step and need not agree with these
quantiles. Paths or probabilities there would begin in `Ensemble`, which has several forecasters to
mix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from forecast.config.transforms import TRANSFORMS
from forecast.data.panel import Panel, Series
from forecast.data.windows import Windows, fill_gaps
from forecast.forecaster.forecaster import Forecaster
from forecast.networks.heads import FittedHead
from forecast.networks.heads.distributions import Distribution, draw_uniforms, quantiles
from forecast.system.errors import InputError

N_PATHS = 200
"""Paths drawn for quantiles and probabilities that no formula gives."""
MAX_PATHS_AT_ONCE = 4096
"""Paths drawn in one batch, which bounds the memory that drawing needs."""

DISTRIBUTIONS_FILE = "distributions.parquet"
"""File of the train stage with the keys of `forecasts.parquet` and these columns: `p_rise`, the
probability of a value above the last one; `q_0.025` to `q_0.975`, quantiles in raw units;
`log_density`, ln of the density at the actual (NaN for heads without a density, and without a
formula).
"""
EVEN_QUANTILES = tuple(round(0.05 * k, 2) for k in range(1, 20))
STORED_QUANTILES = (0.025, *EVEN_QUANTILES, 0.975)
"""Probabilities of the stored quantiles: an even grid for the CRPS, and the ends of the 95 %
interval.
"""
RISE_COLUMN = "p_rise"
LOG_DENSITY_COLUMN = "log_density"


def quantile_column(probability: float) -> str:
    """The name of the column that holds a quantile, such as `q_0.1`."""
    return f"q_{probability:g}"


def predict_quantiles(
    forecaster: Forecaster,
    panel: Panel,
    rows: Mapping[str, np.ndarray],
    probabilities: Sequence[float],
    *,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Quantiles (n, H, O, Q) per series at the Q `probabilities`, in raw units, of the forecasts
    made at `rows` (n,). They never cross.

    They are exact where every step has a formula (`has_formula`), else estimated from `N_PATHS`
    paths drawn with `seed`. `InputError` for a probability outside (0, 1) and for a model whose
    head gives no distribution of values.
    """
    if not all(0 < probability < 1 for probability in probabilities):
        raise InputError(
            f"Quantiles {list(probabilities)}; wanted each strictly between 0 and 1 (0.9 = 90 %)."
        )
    head = _require_head(forecaster)
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
                uid: np.moveaxis(np.quantile(drawn, probabilities, axis=1), 0, -1)
                for uid, drawn in paths.items()
            }
    shape = (forecaster.task.horizon, forecaster.channels.outputs)

    def exact_quantiles(series: Series, windows: Windows) -> np.ndarray:
        """(B, H, O, Q) in raw units, by the formula of the head's distribution."""
        distribution = _predict_distribution(forecaster, windows)
        scaled = quantiles(distribution, probabilities, (len(windows), *shape))
        raw = [
            forecaster.to_raw_units(of_quantile, series, windows.rows)
            for of_quantile in np.moveaxis(scaled, -1, 0)
        ]
        return np.stack(raw, axis=-1)

    return _evaluate_windows(forecaster, panel, rows, (*shape, len(probabilities)), exact_quantiles)


def sample_paths(
    forecaster: Forecaster, panel: Panel, rows: Mapping[str, np.ndarray], count: int, *, seed: int
) -> dict[str, np.ndarray]:
    """`count` random paths (n, count, H, O) per series, in raw units, from each of `rows` (n,).

    Equal seeds give equal paths. The random numbers depend on the seed and the time of the cutoff
    alone, not on which other cutoffs are asked for. `InputError` for a model with a point head.
    """
    _require_head(forecaster)
    shape = (count, forecaster.task.horizon, forecaster.channels.outputs)

    def draw_paths(series: Series, windows: Windows) -> np.ndarray:
        """(B, count, H, O) in raw units."""
        # a diverging closed loop gives inf or NaN, which callers check
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = _sample_scaled_paths(forecaster, windows, series.ds[windows.rows], count, seed)
            raw = forecaster.to_raw_units(
                scaled.reshape(-1, *shape[1:]), series, np.repeat(windows.rows, count)
            )
        return raw.reshape(-1, *shape)

    batch_size = max(MAX_PATHS_AT_ONCE // count, 1)
    return _evaluate_windows(forecaster, panel, rows, shape, draw_paths, batch_size=batch_size)


def rise_probability(
    forecaster: Forecaster, panel: Panel, rows: Mapping[str, np.ndarray], *, seed: int = 0
) -> dict[str, np.ndarray]:
    """The probability (n, H, O) per series that the target lies above its last observed value, of
    the forecasts made at `rows` (n,).

    By formula, or from `N_PATHS` paths drawn with `seed`. `InputError` for a model with a point
    head.
    """
    head = _require_head(forecaster)
    horizon = forecaster.task.horizon
    outputs = forecaster.channels.outputs
    if has_formula(forecaster):

        def exact_probability(_: Series, windows: Windows) -> np.ndarray:
            parameters, skip_forecast = _network_and_skip(forecaster, windows)
            return head.rise_probability(parameters, skip_forecast, windows.last[:, None])

        return _evaluate_windows(forecaster, panel, rows, (horizon, outputs), exact_probability)
    result = {}
    for uid, paths in sample_paths(forecaster, panel, rows, N_PATHS, seed=seed).items():
        observed = fill_gaps(panel.by_id[uid].values[None, :, :outputs])[0][0]
        last = observed[np.asarray(rows[uid])]
        above = (paths > last[:, None, None, :]).sum(axis=1)
        # strictly between 0 and 1: a finite number of paths rules nothing out
        result[uid] = (above + 0.5) / (N_PATHS + 1)
    return result


def log_density(
    forecaster: Forecaster, panel: Panel, rows: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """ln of the forecast density (n, H, O) per series at the actual values, in raw units, of the
    forecasts made at `rows` (n,).

    NaN where the actual is missing, for a head without a density, and where `has_formula` is false.
    `InputError` for a model with a point head.
    """
    head = _require_head(forecaster)
    horizon = forecaster.task.horizon
    outputs = forecaster.channels.outputs
    if not (has_formula(forecaster) and head.head.has_density):
        return {uid: np.full((len(at), horizon, outputs), np.nan) for uid, at in rows.items()}

    def density_at_actual(series: Series, windows: Windows) -> np.ndarray:
        """(B, H, O): the log density of the scaled value plus the log slope of the scaling."""
        target_rows = windows.rows[:, None] + np.arange(1, horizon + 1)
        z = _append_missing_rows(forecaster.scaling.scale_series(series, forecaster.task), horizon)
        density = _predict_distribution(forecaster, windows).logpdf(z[target_rows, :outputs])
        return density + _log_slope(forecaster, series, target_rows)

    return _evaluate_windows(forecaster, panel, rows, (horizon, outputs), density_at_actual)


def _evaluate_windows(
    forecaster: Forecaster,
    panel: Panel,
    rows: Mapping[str, np.ndarray],
    shape: tuple[int, ...],
    evaluate: Callable[[Series, Windows], np.ndarray],
    *,
    batch_size: int = 512,
) -> dict[str, np.ndarray]:
    """The results (n, *shape) of `evaluate` per series, for the windows that end at its `rows`
    (n,). `evaluate` is given up to `batch_size` windows at a time and returns (B, *shape).
    `InputError` for unknown series.
    """
    forecaster.require_series(panel, rows)
    result = {}
    for uid, cutoff_rows in rows.items():
        series = panel.by_id[uid]
        batches = forecaster.windows(series, np.asarray(cutoff_rows), batch_size=batch_size)
        parts = [evaluate(series, windows) for windows in batches]
        # the empty array is the result where there are no rows
        result[uid] = np.concatenate([np.empty((0, *shape)), *parts])
    return result


def has_formula(forecaster: Forecaster) -> bool:
    """Whether every step has a distribution in closed form; otherwise paths must be drawn."""
    return not forecaster.spec.is_recursive and not any(
        TRANSFORMS[c.transform].takes_changes for c in forecaster.task.target
    )


def _require_head(forecaster: Forecaster) -> FittedHead:
    """The distribution head of the model; `InputError` for a model with a point head."""
    if forecaster.head is None:
        raise InputError(
            "The model gives a point alone and no distribution. Give the entry of a network in"
            " configs/models.yaml `head: quantiles`, `gaussian`, `student_t`, `bins` or `updown`,"
            " and train it."
        )
    return forecaster.head


def _network_and_skip(forecaster: Forecaster, windows: Windows) -> tuple[np.ndarray, np.ndarray]:
    """The raw output (B, H, O, K) of a direct network, from which its head makes the parameters of
    a distribution, and the skip's forecast (B, H, O).
    """
    assert forecaster.skip is not None
    return forecaster.network_output(windows), forecaster.skip.forecast(
        windows, forecaster.channels
    )


def _predict_distribution(forecaster: Forecaster, windows: Windows) -> Distribution:
    """The distribution of the scaled targets (B, H, O) after each window."""
    return _require_head(forecaster).distribution(*_network_and_skip(forecaster, windows))


def _sample_scaled_paths(
    forecaster: Forecaster, windows: Windows, cutoffs: np.ndarray, count: int, seed: int
) -> np.ndarray:
    """`count` paths (B, count, H, O) from each window, in scaled units. cutoffs (B,): the times of
    the windows' last rows, which are part of the random seeds.
    """
    horizon = forecaster.task.horizon
    outputs = forecaster.channels.outputs
    draws = []
    for time in cutoffs.astype("datetime64[ns]").astype(np.uint64):
        rng = np.random.default_rng([seed, int(time)])
        draws.append(draw_uniforms(forecaster.dependence, (count, horizon * outputs), rng))
    uniform_numbers = np.stack(draws).reshape(len(windows) * count, horizon, outputs)
    repeated = windows.select(np.repeat(np.arange(len(windows)), count))
    if forecaster.spec.is_recursive:
        paths = _sample_loop(forecaster, repeated, uniform_numbers)
    else:
        parameters, skip_forecast = (
            np.repeat(array, count, axis=0) for array in _network_and_skip(forecaster, windows)
        )
        head = _require_head(forecaster)
        paths = head.sample(parameters, skip_forecast, repeated.last[:, None], uniform_numbers)
    return paths.reshape(len(windows), count, horizon, outputs)


def _sample_loop(
    forecaster: Forecaster, windows: Windows, uniform_numbers: np.ndarray
) -> np.ndarray:
    """Paths (B, H, O) in scaled units of closed loops that are fed with the values drawn at each
    step. `uniform_numbers` (B, H, O) in (0, 1) are turned into those values.
    """
    head = _require_head(forecaster)
    steps = iter(range(uniform_numbers.shape[1]))

    def feedback(raw: np.ndarray, base: np.ndarray, last: np.ndarray) -> np.ndarray:
        """The values (B, O) drawn at the next step; a `loops.Feedback`."""
        u = uniform_numbers[:, next(steps), None]
        return head.sample(raw[:, None], base[:, None], last[:, None], u)[:, 0]

    return forecaster.run_closed_loop(windows, feedback=feedback)


def _append_missing_rows(values: np.ndarray, steps: int) -> np.ndarray:
    """(T + steps, C): `values` (T, C) and NaN for the rows that are not observed yet."""
    return np.concatenate([values, np.full((steps, values.shape[1]), np.nan)])


def _log_slope(forecaster: Forecaster, series: Series, target_rows: np.ndarray) -> np.ndarray:
    """(n, H, O): ln of the derivative of the scaled value by the raw value at `target_rows` (n, H).
    The log density of the raw value is that of the scaled value plus this.
    """
    values = _append_missing_rows(series.values, forecaster.task.horizon)[target_rows]
    parts = []
    for output, column in enumerate(forecaster.task.target):
        scale = forecaster.scaling.scale[series.unique_id][output]
        parts.append(TRANSFORMS[column.transform].log_slope(values[..., output]) - np.log(scale))
    return np.stack(parts, axis=-1)
