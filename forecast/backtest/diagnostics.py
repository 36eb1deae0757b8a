"""Diagnoses one trained network for the report and MLflow (`NetworkDiagnosis`): how far back its
forecast looks, and whether the closed loop of a recursive model is stable.

It is examined on a few validation windows of the first series. `read_or_diagnose` stores the result
beside the network under the digest of this code, so an edit here trains nothing. It takes 0.05 to
0.3 s a network and no TensorFlow, and changes no forecast and no choice.

A recursive model is run on its own forecasts over `FREE_RUN_STEPS` rows, twice: the second time
with its newest observation moved a little. Future inputs beyond the known ones repeat those of the
window.

    reach       the farthest forecast from the last observation, in scaled units (`data.scaling`)
    exponent    the change per step of ln(distance between the two runs): below 0 the loop forgets a
                disturbance, above 0 it amplifies it, at 0 it keeps it, as a random walk does
    verdict     "stable"; "marginal" (keeps disturbances); "sensitive" (amplifies them within
                bounds, as chaos does); "drifting" (leaves the bounds and amplifies nothing, like a
                straight line); "unstable" (leaves the bounds and amplifies, or is not finite)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from forecast.backtest.backtest import load_problem
from forecast.backtest.prepared_data import PreparedData
from forecast.data.records import LoopNumbers, NetworkCurves, NetworkDiagnosis
from forecast.data.windows import Layout, Windows
from forecast.forecaster import Forecaster, Problem
from forecast.forecaster.loops import Feedback, Loop, add_network
from forecast.models.skip import Skip
from forecast.networks import inference
from forecast.networks.description import Network
from forecast.system.code_closure import code_digest

ENGINE = "forecast.backtest.diagnostics"
N_WINDOWS = 3
"""Validation windows that a network is examined on, spread evenly over those of the first series.
"""
STEP = 1e-5
"""How far inputs are moved for the central differences, in scaled units."""
DIRECTIONS = 4
"""Most directions among the channels along which inputs are moved."""
N_LAGS = 12
FREE_RUN_STEPS = 96
FREE_RUN_BOUND = 25.0
"""A reach, in scaled units, that no train series comes near and exponential growth soon passes."""
DISTURBANCE = 1e-6
NEUTRAL_EXPONENT = 0.01
"""Exponents closer to 0 than this cannot be told from 0 over `FREE_RUN_STEPS` rows."""


def diagnose(forecaster: Forecaster, windows: Windows) -> NetworkDiagnosis:
    """Diagnose the network of a forecaster on B `windows`; the cost grows with B times lookback."""
    network = forecaster.network
    assert network is not None
    assert forecaster.skip is not None
    weights = {name: weight.astype(np.float64) for name, weight in forecaster.weights.items()}
    lookback = windows.past.shape[1]
    future = None
    if network.shapes.future_channels:
        future = windows.future[:, : lookback + network.shapes.horizon]
    lags = spread_lags(lookback)
    with np.errstate(over="ignore", invalid="ignore"):
        gradient = gradient_by_lag(network, weights, windows.past, future, lags)
    loop = None
    path: tuple[float, ...] = ()
    if forecaster.spec.is_recursive:
        feedback = forecaster.point_step
        loop, farthest = free_run(
            network, weights, forecaster.skip, windows, forecaster.channels, feedback
        )
        path = tuple(farthest.max(axis=1).tolist())
    curves = NetworkCurves(
        lags=tuple(lags),
        gradient=tuple(gradient.tolist()),
        free_run=path,
    )
    return NetworkDiagnosis(loop=loop, arrays=curves)


def spread_lags(lookback: int) -> list[int]:
    """About `N_LAGS` lags from 0 to the first row of the window, dense near the origin."""
    spread = np.geomspace(1, lookback, N_LAGS) - 1
    return sorted({round(float(lag)) for lag in spread})


def gradient_by_lag(
    network: Network,
    weights: Mapping[str, np.ndarray],
    past: np.ndarray,
    future: np.ndarray | None,
    lags: list[int],
) -> np.ndarray:
    """(lags,): the Frobenius norm of d output / d past[:, -1 - k] for each k in `lags`, the root
    mean square over windows. The output is the network's alone, without its skip.

    past (B, T, C), weights float64. Inputs are moved along at most `DIRECTIONS` random orthogonal
    directions: with no more channels than that the norm is exact, with more it is an estimate.
    """
    batch, _, channels = past.shape
    count = min(channels, DIRECTIONS)
    directions = np.linalg.qr(np.random.default_rng(0).normal(size=(channels, count)))[0].T
    moved = np.broadcast_to(past.astype(np.float64), (2, len(lags), count, *past.shape)).copy()
    for number, lag in enumerate(lags):
        moved[0, number, :, :, -1 - lag] += STEP * directions[:, None]
        moved[1, number, :, :, -1 - lag] -= STEP * directions[:, None]
    if future is not None:
        future = np.tile(future, (2 * len(lags) * count, 1, 1))
    out = inference.forecast_last(network, weights, moved.reshape(-1, *past.shape[1:]), future)
    plus, minus = out.reshape(2, len(lags), count, batch, -1)
    slope = (plus - minus) / (2 * STEP)
    squared = (slope**2).sum(axis=(1, 3)) * channels / count
    return np.sqrt(squared.mean(axis=1))


def read_or_diagnose(data: PreparedData, folder: Path) -> NetworkDiagnosis:
    """The diagnosis of the network saved in `folder`/seed; made once and stored in `folder`."""
    cached_file = folder / f"diagnostics-{code_digest([ENGINE])[:12]}.json"
    if not cached_file.exists():
        diagnose_first_series(Forecaster.load(folder / "seed"), load_problem(data)).write(
            cached_file
        )
    return NetworkDiagnosis.read(cached_file)


def diagnose_first_series(forecaster: Forecaster, problem: Problem) -> NetworkDiagnosis:
    """`diagnose` on a few validation windows of the first series."""
    uid = problem.panel.series[0].unique_id
    rows = problem.rows(uid, "validation")
    spread = np.unique(np.linspace(0, len(rows) - 1, N_WINDOWS).astype(int))
    return diagnose(forecaster, next(problem.windows(uid, rows[spread])))


def free_run(
    network: Network,
    weights: dict[str, np.ndarray],
    skip: Skip,
    windows: Windows,
    channels: Layout,
    feedback: Feedback = add_network,
) -> tuple[LoopNumbers, np.ndarray]:
    """Run a one-step model, `skip + network`, on its own forecasts over `FREE_RUN_STEPS` rows.

    Returns the verdict with its numbers, and the distance (FREE_RUN_STEPS, O) from the last
    observation in scaled units, the largest over the windows. weights: in float64.
    """
    runs = []
    with np.errstate(over="ignore", invalid="ignore"):
        for moved in (0.0, DISTURBANCE):
            start = _move_newest(_extend_windows(windows), channels, moved)
            runs.append(
                Loop(network, weights, skip, start, channels, horizon=FREE_RUN_STEPS).run(feedback)
            )
        reach_by_step = np.abs(runs[0] - windows.last[:, None]).max(axis=0)
        distance = np.abs(runs[1] - runs[0]).max(axis=2)
    if not all(np.isfinite(run).all() for run in runs):
        return LoopNumbers(verdict="unstable", reach=None, exponent=None), reach_by_step
    exponent = _divergence_exponent(distance)
    reach = float(reach_by_step.max())
    verdict = _verdict(reach, exponent)
    return LoopNumbers(verdict=verdict, reach=reach, exponent=exponent), reach_by_step


def _extend_windows(windows: Windows) -> Windows:
    """The windows with `FREE_RUN_STEPS` rows of future inputs after the cutoff; beyond the known
    ones these repeat the rows of the lookback.
    """
    lookback = windows.past.shape[1]
    rows = np.arange(lookback + FREE_RUN_STEPS)
    rows[lookback:] = (rows[lookback:] - lookback) % lookback
    n_known_rows = min(windows.future.shape[1], len(rows))
    rows[:n_known_rows] = np.arange(n_known_rows)
    return replace(windows, past=windows.past.astype(np.float64), future=windows.future[:, rows])


def _move_newest(windows: Windows, channels: Layout, by: float) -> Windows:
    """The windows with the newest observation of every target raised by `by`."""
    z = windows.z.copy()
    past = windows.past.copy()
    z[:, -1, : channels.outputs] += by
    past[:, -1, list(channels.target_channels)] += by
    return replace(windows, z=z, past=past, last=windows.last + by)


def _divergence_exponent(distance: np.ndarray) -> float | None:
    """The slope of ln distance (B, FREE_RUN_STEPS) over the second half of the steps, averaged over
    the windows in which the two runs have not met; None if they have met in all.
    """
    half = distance[:, FREE_RUN_STEPS // 2 :]
    met = (half <= DISTURBANCE * 1e-7).any(axis=1)  # the rest of the distance is rounding
    if met.all():
        return None
    logs = np.log(half[~met])
    steps = np.arange(half.shape[1]) - (half.shape[1] - 1) / 2
    return float((logs @ steps / (steps @ steps)).mean())


def _verdict(reach: float, exponent: float | None) -> str:
    """The word for a closed loop, as in the docstring of the module; `exponent` is None where the
    two runs have met.
    """
    amplifies = exponent is not None and exponent >= NEUTRAL_EXPONENT
    if reach > FREE_RUN_BOUND:
        return "unstable" if amplifies else "drifting"
    if amplifies:
        return "sensitive"
    return "stable" if exponent is None or exponent < -NEUTRAL_EXPONENT else "marginal"
