"""A trained net as one Python file that needs NumPy alone (MATLAB's genFunction).

Beside the functions of every exported network (`networks.inference.export`) the file has, in the units of the data,

    predict(u, y)            open loop: y at every row from the measured rows before it
    simulate(u, y_start)     closed loop: the first measured rows of y, then the net's own (nets with feedback)
"""

from __future__ import annotations

from pathlib import Path

from forecast.identification.model import Model
from forecast.networks.inference.export import Units
from forecast.networks.inference.export import export as export_network
from forecast.system import files

COMMON = '''

SHIFT, START, INPUTS = <SHIFT>, <START>, <INPUTS>  # steps from u to y; rows that only fill the delays; columns of u


def predict(u, y):
    """Open loop: y (T, O) forecast at every row of u (T, I) from measured rows; the first START rows are NaN."""
    run = _loop(u, y)
    run[:START] = np.nan
    return run


def _loop(u, y):
    """Row after row; where y ends or is missing, the forecast stands in for it."""
    y = np.asarray(y, float).reshape(len(y), OUTPUTS)
    rows = len(y) if u is None else len(u)
    u = np.zeros((rows, 0)) if u is None else np.asarray(u, float).reshape(rows, INPUTS)
    run, state = np.empty((rows, OUTPUTS)), initial(1)
    last = CENTRE[:OUTPUTS]
    for t in range(rows):
        drive = u[t - SHIFT] if t >= SHIFT else CENTRE[OUTPUTS:]
        out, state = step(state, np.concatenate([last, drive])[None])
        run[t] = out[0, 0, :, 0]
        last = np.where(np.isnan(y[t]), run[t], y[t]) if t < len(y) else run[t]
    return run
'''
CLOSED = '''

def simulate(u, y_start, rows=None):
    """Closed loop under u (T, I), or over `rows` rows without inputs: the measured first rows, then the free run."""
    y_start = np.asarray(y_start, float).reshape(len(y_start), OUTPUTS)
    if len(y_start) < START:
        raise ValueError(f"y_start has {len(y_start)} rows; the delays need {START}.")
    run = _loop(np.zeros((rows, 0)) if u is None else u, y_start)
    run[: len(y_start)] = y_start
    return run
'''


def export(model: Model, path: Path | str, *, description: str = "") -> None:
    """Write `path` (ending in .py): the net, its weights and its loops, without any import but NumPy's."""
    target, scaling = Path(path), model.scaling
    centre, scale = [*scaling.y_mean, *scaling.u_mean], [*scaling.y_scale, *scaling.u_scale]
    about = description or model.net.describe()
    units = Units(centre, scale)
    export_network(model.network, model.weights, target, description=about, units=units)
    text = COMMON + (CLOSED if model.net.feedback else "")
    for name, value in {"SHIFT": model.net.shift, "START": model.start, "INPUTS": model.inputs}.items():
        text = text.replace(f"<{name}>", str(value))
    files.write_text(target, target.read_text(encoding="utf-8") + text)
