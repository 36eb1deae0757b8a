"""Inputs for identification, and the frequency response of a model around an operating point.

An input should cover the range that the simulator is for and the frequencies that the system
follows, and hold long enough for it to settle now and then (Schoukens, Pintelon & Rolain 2012).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from forecast.identification.experiment import Array, require_whole
from forecast.identification.model import Model
from forecast.system.errors import InputError


def multisine(
    rows: int, low: float = -1.0, high: float = 1.0, *, band: tuple[float, float] = (0.0, 0.25)
) -> Array:
    """(rows,): the sum of all cosines with whole periods in `rows` and frequencies per row in the
    band, with Schroeder's phases (1970), which keep the crest factor low. `InputError` where the
    band has none.
    """
    require_whole(1, rows=rows)
    lines = np.arange(1, rows // 2 + 1)
    lines = lines[(lines >= band[0] * rows) & (lines <= band[1] * rows)]
    if not len(lines):
        raise InputError(
            f"No cosine with whole periods in {rows} rows lies in the band {band}. Widen it."
        )
    phases = -np.pi * np.arange(len(lines)) * np.arange(1, len(lines) + 1) / len(lines)
    wave = np.cos(2 * np.pi * np.outer(np.arange(rows), lines) / rows + phases).sum(axis=1)
    return low + (wave - wave.min()) / np.ptp(wave) * (high - low)


def prbs(rows: int, low: float = -1.0, high: float = 1.0, *, hold: int = 1, seed: int = 0) -> Array:
    """(rows,): random steps between two levels, each held for a multiple of `hold` rows; for linear
    systems, since they show nothing between the levels.
    """
    bits = np.random.default_rng(seed).integers(0, 2, _count_levels(rows, hold))
    return np.where(np.repeat(bits, hold)[:rows] > 0, high, low)


def random_steps(
    rows: int, low: float = -1.0, high: float = 1.0, *, hold: int = 10, seed: int = 0
) -> Array:
    """(rows,): random levels, each held for `hold` rows; for nonlinear systems."""
    levels = np.random.default_rng(seed).uniform(low, high, _count_levels(rows, hold))
    return np.repeat(levels, hold)[:rows]


def _count_levels(rows: int, hold: int) -> int:
    """The number of levels, each held for `hold` rows, that fill the rows or more; `InputError`
    unless both are whole numbers from 1 up.
    """
    require_whole(1, rows=rows, hold=hold)
    return rows // int(hold) + 1


def frequency_response(
    model: Model, at: npt.ArrayLike, *, column: int = 0, rows: int = 512
) -> tuple[Array, npt.NDArray[np.complex128]]:
    """Frequencies per row (rows // 2 + 1,) and the response (rows // 2 + 1, O) to input `column` of
    the model, linearised where u is held `at` (I,).

    This is the Fourier transform of the change that a pulse of a thousandth of the input's
    deviation makes in the free run, followed until it stands still, for 32 times `rows` at most. A
    change that stays, as of a model that integrates, is summed to infinity.
    """
    if column not in range(model.inputs) or np.size(at) not in (1, model.inputs):
        raise InputError(
            f"Column {column} of inputs that are held at {np.size(at)} values; the model has"
            f" {model.inputs} inputs. Give one value for each, or one for all."
        )
    level = np.broadcast_to(np.ravel(np.asarray(at, np.float64)), (model.inputs,))
    pulse = 1e-3 * model.scaling.u_scale[column]
    for times in (1, 2, 4, 8, 16, 32):
        before = times * rows
        u = np.tile(level, (2 * before, 1))
        mean = np.tile(model.scaling.y_mean, (model.start, 1))
        still_run = model.simulate(u, mean).y
        u[before, column] += pulse
        answer = (model.simulate(u, mean).y - still_run)[before:] / pulse
        size = np.abs(answer).max(axis=0)
        if (np.ptp(answer[-(before // 10) :], axis=0) <= 1e-3 * size).all():
            break
    frequencies = np.fft.rfftfreq(rows)
    response = np.fft.rfft(answer, axis=0)[::times]
    remainder = np.where(np.abs(answer[-1]) > 0.01 * size, answer[-1], 0.0)
    response[1:] += remainder / (1 - np.exp(-2j * np.pi * frequencies[1:, None]))
    response[0, remainder != 0] = np.inf
    return np.asarray(frequencies), response
