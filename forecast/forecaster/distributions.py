"""What a model with a density, quantiles, bins or a class says beyond its point forecast, in raw
units.

Direct families give one distribution per step; paths join them by the Gaussian copula of the
validation residuals. Recursive families give one step; their paths are closed loops fed with what
was drawn, and quantiles and chances of all steps are read off such paths. So is everything of a
target with `transform: diff` or `logdiff`, whose steps add up.

`predict_quantiles`, `rise_probability` and `log_density` take a formula where every step has one
(`has_formula`), else `N_PATHS` paths of `sample_paths`, equal for equal seeds. A model with a point
head is refused; a density is NaN where there is no formula.
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
"""Drawn where no formula gives a quantile or a probability."""
MAX_LOOPS_AT_ONCE = 4096
"""Closed loops that run side by side; bounds the memory of drawing."""

DISTRIBUTIONS_FILE = "distributions.parquet"
"""What the train stage keeps of a head, with the keys of `forecasts.parquet`: `p_rise`, the
probability of a value above the last one; `q_0.025` to `q_0.975`, quantiles in raw units;
`log_density`, ln of the density at the actual, for heads that are densities and steps that have a
formula.
"""
EVEN_QUANTILES = tuple(round(0.05 * k, 2) for k in range(1, 20))
STORED_QUANTILES = (0.025, *EVEN_QUANTILES, 0.975)
"""The probabilities of the quantiles that are kept: an even grid for the CRPS, and the ends of the
95 % interval.
"""
RISE_COLUMN = "p_rise"
LOG_DENSITY_COLUMN = "log_density"


def quantile_column(probability: float) -> str:
    """`q_0.1`: the column of a quantile."""
    return f"q_{probability:g}"


def predict_quantiles(
    forecaster: Forecaster,
    panel: Panel,
    rows: Mapping[str, np.ndarray],
    probabilities: Sequence[float],
    *,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Quantiles (n, H, O, Q) in raw units at `probabilities`, per series, of the forecasts made at
    `rows`; they never cross.

    Exact where every step has a formula (`has_formula`), else of `N_PATHS` paths drawn with `seed`.
    `InputError` for a probability outside (0, 1) and for a model whose head gives no distribution.
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
        distribution = _distribution(forecaster, windows)
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
    """`count` random paths (n, count, H, O) in raw units, per series, made at `rows`; equal seeds
    give equal paths.

    Every cutoff has random numbers of its own, so its paths depend neither on the cutoffs beside it
    nor on how much history comes with it. `InputError` for a model with a point head.
    """
    _require_head(forecaster)
    shape = (count, forecaster.task.horizon, forecaster.channels.outputs)

    def draw_paths(series: Series, windows: Windows) -> np.ndarray:
        """(B, count, H, O) in raw units."""
        # a diverging loop is seen by who asks
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = _sample_scaled_paths(forecaster, windows, series.ds[windows.rows], count, seed)
            raw = forecaster.to_raw_units(
                scaled.reshape(-1, *shape[1:]), series, np.repeat(windows.rows, count)
            )
        return raw.reshape(-1, *shape)

    batch_size = max(MAX_LOOPS_AT_ONCE // count, 1)
    return _evaluate_windows(forecaster, panel, rows, shape, draw_paths, batch_size=batch_size)


def rise_probability(
    forecaster: Forecaster, panel: Panel, rows: Mapping[str, np.ndarray], *, seed: int = 0
) -> dict[str, np.ndarray]:
    """The probability (n, H, O) that the value lies above the last observed one, per series, of the
    forecasts made at `rows`; by formula in scaled units, or from `N_PATHS` paths in raw ones drawn
    with `seed`. `InputError` as of `sample_paths`.
    """
    head = _require_head(forecaster)
    horizon = forecaster.task.horizon
    outputs = forecaster.channels.outputs
    if has_formula(forecaster):

        def exact_probability(_: Series, windows: Windows) -> np.ndarray:
            raw, base = _network_and_skip(forecaster, windows)
            return head.rise_probability(raw, base, windows.last[:, None])

        return _evaluate_windows(forecaster, panel, rows, (horizon, outputs), exact_probability)
    result = {}
    for uid, paths in sample_paths(forecaster, panel, rows, N_PATHS, seed=seed).items():
        observed = fill_gaps(panel.by_id[uid].values[None, :, :outputs])[0][0]
        last = observed[np.asarray(rows[uid])]
        above = (paths > last[:, None, None, :]).sum(axis=1)
        # no number of paths makes an event impossible
        result[uid] = (above + 0.5) / (N_PATHS + 1)
    return result


def log_density(
    forecaster: Forecaster, panel: Panel, rows: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """ln of the density (n, H, O), in raw units, at what was observed, per series, of the forecasts
    made at `rows`; NaN where the actual is missing, for heads that are no densities and where steps
    have no formula.
    """
    head = _require_head(forecaster)
    horizon = forecaster.task.horizon
    outputs = forecaster.channels.outputs
    if not (has_formula(forecaster) and head.head.has_density):
        return {uid: np.full((len(at), horizon, outputs), np.nan) for uid, at in rows.items()}

    def density_at_actual(series: Series, windows: Windows) -> np.ndarray:
        """(B, H, O): of the scaled value, and how fast that grows with the raw one."""
        ahead = windows.rows[:, None] + np.arange(1, horizon + 1)
        z = _extend_with_missing(forecaster.scaling.scale_series(series, forecaster.task), horizon)
        density = _distribution(forecaster, windows).logpdf(z[ahead, :outputs])
        return density + _log_slope(forecaster, series, ahead)

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
    """(n, *shape) per series: what `evaluate` makes of the windows that end at its n `rows`, B =
    `batch_size` of them at a time, as (B, *shape). `InputError` for series that are not there.
    """
    forecaster.require_series(panel, rows)
    result = {}
    for uid, cutoff_rows in rows.items():
        series = panel.by_id[uid]
        batches = forecaster.windows(series, np.asarray(cutoff_rows), batch_size=batch_size)
        parts = [evaluate(series, windows) for windows in batches]
        # the empty array: no rows give no batch, of which nothing can be joined
        result[uid] = np.concatenate([np.empty((0, *shape)), *parts])
    return result


def has_formula(forecaster: Forecaster) -> bool:
    """True: every step has a distribution in closed form; False: all steps are read off drawn
    paths.
    """
    return not forecaster.spec.is_recursive and not any(
        TRANSFORMS[c.transform].takes_changes for c in forecaster.task.target
    )


def _require_head(forecaster: Forecaster) -> FittedHead:
    """The model's head; `InputError` where it gives a point alone."""
    if forecaster.head is None:
        raise InputError(
            "The model gives a point alone and no distribution. Give the entry of a network in"
            " configs/models.yaml `head: quantiles`, `gaussian`, `student_t`, `bins` or `updown`,"
            " and train it."
        )
    return forecaster.head


def _network_and_skip(forecaster: Forecaster, windows: Windows) -> tuple[np.ndarray, np.ndarray]:
    """The network's raw parameters (B, H, O, K) and the skip's forecast (B, H, O)."""
    assert forecaster.skip is not None
    return forecaster.network_output(windows), forecaster.skip.forecast(
        windows, forecaster.channels
    )


def _distribution(forecaster: Forecaster, windows: Windows) -> Distribution:
    """The distribution of the scaled targets (B, H, O) after each window."""
    return _require_head(forecaster).distribution(*_network_and_skip(forecaster, windows))


def _sample_scaled_paths(
    forecaster: Forecaster, windows: Windows, cutoffs: np.ndarray, count: int, seed: int
) -> np.ndarray:
    """`count` paths from each window, (B, count, H, O) in scaled units; cutoffs (B,), the times of
    the windows' last rows, are part of the seeds.
    """
    horizon = forecaster.task.horizon
    outputs = forecaster.channels.outputs
    draws = []
    for time in cutoffs.astype("datetime64[ns]").astype(np.uint64):
        rng = np.random.default_rng([seed, int(time)])
        draws.append(draw_uniforms(forecaster.dependence, (count, horizon * outputs), rng))
    uniform_numbers = np.stack(draws).reshape(len(windows) * count, horizon, outputs)
    repeated = repeat_windows(windows, count)
    if forecaster.spec.is_recursive:
        paths = _sample_loop(forecaster, repeated, uniform_numbers)
    else:
        raw, base = _network_and_skip(forecaster, windows)
        raw = np.repeat(raw, count, axis=0)
        base = np.repeat(base, count, axis=0)
        head = _require_head(forecaster)
        paths = head.sample(raw, base, repeated.last[:, None], uniform_numbers)
    return paths.reshape(len(windows), count, horizon, outputs)


def _sample_loop(
    forecaster: Forecaster, windows: Windows, uniform_numbers: np.ndarray
) -> np.ndarray:
    """Closed loops fed with what is drawn at each step: the paths (B, H, O) in scaled units, drawn
    with `uniform_numbers` (B, H, O) in (0, 1).
    """
    head = _require_head(forecaster)
    steps = iter(range(uniform_numbers.shape[1]))

    def feedback(raw: np.ndarray, base: np.ndarray, last: np.ndarray) -> np.ndarray:
        """The value (B, O) drawn at the next step, see `loops.Feedback`."""
        u = uniform_numbers[:, next(steps), None]
        return head.sample(raw[:, None], base[:, None], last[:, None], u)[:, 0]

    return forecaster.run_closed_loop(windows, uniform_numbers.shape[1], feedback=feedback)


def repeat_windows(windows: Windows, count: int) -> Windows:
    """Every window `count` times, one copy after another."""
    return Windows(*(np.repeat(part, count, axis=0) for part in vars(windows).values()))


def _extend_with_missing(values: np.ndarray, steps: int) -> np.ndarray:
    """(T + steps, C): nothing is known yet after the last row."""
    return np.concatenate([values, np.full((steps, values.shape[1]), np.nan)])


def _log_slope(forecaster: Forecaster, series: Series, ahead: np.ndarray) -> np.ndarray:
    """(n, H, O): ln of how fast the scaled value grows with the raw one, at the rows `ahead` (n,
    H); added to the log density of a scaled value it gives that of the raw one.
    """
    values = _extend_with_missing(series.values, forecaster.task.horizon)[ahead]
    parts = []
    for output, column in enumerate(forecaster.task.target):
        scale = forecaster.scaling.scale[series.unique_id][output]
        parts.append(TRANSFORMS[column.transform].log_slope(values[..., output]) - np.log(scale))
    return np.stack(parts, axis=-1)
