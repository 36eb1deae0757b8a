"""The template of an exported network; `forecast.networks.inference.export` fills in the parts in
angle brackets, such as the body of `step` and the equations of the cells.

`TEMPLATE` is the whole file, `DECODE` the part for a network with a decoder. The file must give the
same forecasts as `inference.batch`, and may import only NumPy and the standard library. A new kind
of block needs a function here and a `visit_` method in `export`.
"""

TEMPLATE = '''\
"""<DESCRIPTION>

Written by `forecast`; needs NumPy alone. B windows, T rows, C = CHANNELS, F = FUTURE_CHANNELS,
H = HORIZON, O = OUTPUTS, K = PARAMETERS (values per forecast: 1, or one per quantile, ...).

    forecast(past, future=None)         past (B, T, C), future (B, T + H, F): forecasts at the last
                                        row, (B, H, O, K)
    series_parallel(past, future=None)  the same at every row, (B, T, H, O, K)
    parallel(past, steps, ...)          closed loop of a one-step network after `past`:
                                        (B, steps, O)
    initial(batch), step(state, row, ahead=None)
                                        row by row: row (B, C), ahead (B, H, F) the H future rows
                                        after it

The network was made for windows of LOOKBACK rows; each starts from the state `initial`.
"""

from __future__ import annotations

import base64
import io

import numpy as np

CHANNELS, FUTURE_CHANNELS, LOOKBACK = <CHANNELS>, <FUTURE_CHANNELS>, <LOOKBACK>
HORIZON, OUTPUTS, PARAMETERS = <HORIZON>, <OUTPUTS>, <PARAMETERS>
TARGET_CHANNELS = <TARGETS>  # the past channels that hold the outputs
DTYPE = <DTYPE>
CENTRE = np.array(<CENTRE>)  # (row - CENTRE) / SCALE is what the network sees
SCALE = np.array(<SCALE>)


<NAMESPACE>


xp = Namespace()


<ACTIVATE>


class Cell:
    def __init__(self, **options):
        self.__dict__.update(options)

    def project(self, xp, w, x):
        return xp.matmul(x, w["kernel"]) + w["bias"]

    def step(self, w, x, states):
        return self.advance(xp, w, self.project(xp, w, x), states)


<CELLS>


CELLS = <USED>

# what the blocks remember from row to row: shapes without the batch
STATES = <STATES>


def initial(batch):
    """The state before the first row: zeros."""
    return {
        path: {name: np.zeros((batch, *shape), DTYPE) for name, shape in shapes.items()}
        for path, shapes in STATES.items()
    }


def affine(x, path):
    """x W + b with the weights at `path`."""
    return x @ W[path]["kernel"] + W[path]["bias"]


def newest_rows(path, x, state, after):
    """The rows that a block remembers and `x` behind them, (B, rows, columns), oldest first."""
    line = np.concatenate([state[path]["line"], x[:, None]], axis=1)
    after[path] = {"line": line[:, 1:]}
    return line


def step_cell(path, x, state, after):
    """A step of the cell at `path`."""
    x, after[path] = CELLS[path].step(W[path], x, state[path])
    return x


def step_over_segments(path, x, state, after):
    """The cell over all segments of x (B, segments, columns); it begins anew at every row."""
    running = after[path] = state[path]
    outputs = []
    for segment in x.swapaxes(0, 1):
        output, running = CELLS[path].step(W[path], segment, running)
        outputs.append(output)
    return np.stack(outputs, axis=1)<DECODE>


def step(state, row, ahead=None):
    """One row further: the forecast at this row (B, H, O, K), and the new state; `state` itself is
    left as it was.
    """
    x = ((np.asarray(row) - CENTRE) / SCALE).astype(DTYPE)
    if FUTURE_CHANNELS:
        ahead = np.asarray(ahead, DTYPE)
    after = {}
<STEP>
    return out * SCALE[TARGET_CHANNELS][:, None] + CENTRE[TARGET_CHANNELS][:, None], after


def forecast(past, future=None):
    """The forecast at the last row of each window, (B, H, O, K)."""
    return _open(past, future)[0][:, -1]


def series_parallel(past, future=None):
    """Open loop: every row is measured. The forecast at row t, of (B, T, H, O, K), sees no past row
    after t and no future row after t + H.
    """
    return _open(past, future)[0]


def parallel(past, steps, future=None, ahead=None):
    """Closed loop: after the measured rows `past` (B, T, C) the network is fed with its own
    forecasts.

    future (B, T + steps, F). ahead (B, steps - 1, C): the other channels' rows after `past` when
    they are known (simulation; its target channels are not read); without it their last row is
    repeated. Returns (B, steps, O).
    """
    if HORIZON != 1:
        raise ValueError(
            f"This network forecasts {HORIZON} steps at once: no closed loop. Use forecast."
        )
    past = np.asarray(past, float)
    measured = None if future is None else np.asarray(future)[:, : past.shape[1] + 1]
    forecasts, state = _open(past, measured)
    newest, row = forecasts[:, -1, 0, :, 0], past[:, -1]
    run = [newest]
    for k in range(steps - 1):
        row = (row if ahead is None else np.asarray(ahead, float)[:, k]).copy()
        row[:, TARGET_CHANNELS] = newest
        t = past.shape[1] + k
        further = None if future is None else np.asarray(future)[:, t + 1 : t + 2]
        out, state = step(state, row, further)
        newest = out[:, 0, :, 0]
        run.append(newest)
    return np.stack(run, axis=1)


def _open(past, future):
    past = np.asarray(past)
    if past.ndim != 3 or past.shape[2] != CHANNELS:
        raise ValueError(f"past has shape {past.shape}; wanted (windows, rows, {CHANNELS}).")
    wanted = (past.shape[0], past.shape[1] + HORIZON, FUTURE_CHANNELS)
    if FUTURE_CHANNELS and np.shape(future) != wanted:
        raise ValueError(
            f"future has shape {np.shape(future)}; wanted {wanted}: H rows more than past."
        )
    state, forecasts = initial(len(past)), []
    for t in range(past.shape[1]):
        ahead = np.asarray(future)[:, t + 1 : t + 1 + HORIZON] if FUTURE_CHANNELS else None
        out, state = step(state, past[:, t], ahead)
        forecasts.append(out)
    return np.stack(forecasts, axis=1), state


def _by_block(weights):
    blocks = {}
    for name, value in weights.items():
        path, own = name.rsplit("/", 1)
        blocks.setdefault(path, {})[own] = value
    return blocks


W = _by_block(<WEIGHTS>)
'''

DECODE = '''


def decode(path, x, ahead, state, after, fed_back):
    """A step of the encoder and, from its state, H steps of the decoder. `fed_back`: which of a
    step's parameters the next one sees; None: it sees no forecast.
    """
    cell = CELLS[path]
    encoded, after[path] = cell.step(W[path + "/encoder"], x, state[path])
    running, forecasts = after[path], []
    before = np.zeros((len(x), OUTPUTS), DTYPE)
    for k in range(HORIZON):
        inputs = [encoded] if fed_back is None else [before, encoded]
        if FUTURE_CHANNELS:
            inputs.append(ahead[:, k])
        d, running = cell.step(W[path + "/decoder"], np.concatenate(inputs, axis=1), running)
        forecasts.append(affine(d, "readout"))
        if fed_back is not None:
            before = forecasts[-1].reshape(len(x), OUTPUTS, PARAMETERS)[:, :, fed_back]
    return np.stack(forecasts, axis=1)'''
