"""A trained model as one Python file that needs NumPy alone (MATLAB's genFunction)."""

from __future__ import annotations

from pathlib import Path

from forecast.identification.model import Model
from forecast.networks.inference.export import Units
from forecast.networks.inference.export import export as export_network
from forecast.system import files


def export(model: Model, path: Path | str, *, description: str = "") -> None:
    """Write the model, a net or a set of them, as one Python file, `path` (ending in .py), that
    needs NumPy alone.

    In the units of the data it has `predict(u, y)`, the open loop, and for nets with feedback
    `simulate(u, y_start)`, the closed loop. A net that is no NARX net has the functions of every
    exported network beside (`networks.inference.export`).
    """
    description = description or model.net.describe()
    if all(member.net.is_narx for member in model.members):
        files.write_text(Path(path), _narx_text(model, description))
    else:
        _export_network(model, Path(path), description)


def _narx_text(model: Model, description: str) -> str:
    """Every array in full, so that the file gives the model's results to rounding."""
    nets = []
    for member in model.members:
        narx = member.net.narx(model.inputs, model.outputs)
        weights = narx.layer.split(narx.flatten(member.weights))
        entries: dict[str, object] = {
            name: f"np.array({weight.tolist()}).reshape({weight.shape})"
            for name, weight in zip(("w1", "b1", "w2", "b2", "w3"), weights, strict=True)
        }
        entries |= {"y_delays": narx.y_delays, "u_delays": narx.u_delays}
        entries["held"] = narx.dead_times or (0,) * model.inputs
        entries |= {"low": narx.low, "high": narx.high}
        line = ", ".join(f"{name!r}: {value}" for name, value in entries.items())
        nets.append(f"    {{{line}}},")
    scaling = [
        f"{name.upper()} = np.array({value.tolist()})"
        for name, value in vars(model.scaling).items()
    ]
    start = f"START = {model.start}  # rows that only fill the delays\n{_limit_text(model)}"
    lines = [f'"""{description}"""', "", "import numpy as np", "", *scaling, start]
    lines += ["NETS = [", *nets, "]"]
    return "\n".join(lines) + PREDICT + SIMULATE + NARX_LOOP


def _export_network(model: Model, path: Path, description: str) -> None:
    """The network as `networks.inference.export` writes it, and the loops after it."""
    scaling = model.scaling
    units = Units([*scaling.y_mean, *scaling.u_mean], [*scaling.y_scale, *scaling.u_scale])
    export_network(model.network, model.weights, path, description=description, units=units)
    sizes = (
        f"\n\nSHIFT, START, INPUTS = {model.net.shift}, {model.start}, {model.inputs}  # steps from"
        f" u to y; rows that only fill the delays; columns of u\n{_limit_text(model)}"
    )
    simulate = SIMULATE if model.net.feedback else ""
    text = path.read_text(encoding="utf-8") + sizes + PREDICT + simulate + NETWORK_LOOP
    files.write_text(path, text)


def _limit_text(model: Model) -> str:
    return (
        f"MIDDLE, FARTHEST = np.array({model.middle_and_limit.tolist()})  # of the training record;"
        " from it, before a free run is lost"
    )


PREDICT = '''


def predict(u, y):
    """Open loop: y (T, O) forecast at every row of u (T, I) from measured rows; the first START
    rows are NaN.
    """
    run = _loop(u, y, len(y))
    run[:START] = np.nan
    return run
'''
SIMULATE = '''

def simulate(u, y_start, rows=None):
    """Closed loop under u (T, I), or over `rows` rows without inputs: the measured first rows, then
    the free run.
    """
    if len(y_start) < START:
        raise ValueError(f"y_start has {len(y_start)} rows; the delays need {START}.")
    run = _loop(u, y_start, rows if u is None else len(u))
    run[: len(y_start)] = np.reshape(y_start, (len(y_start), -1))
    lost = ~(np.abs(run - MIDDLE) <= FARTHEST).all(axis=1)
    if lost[len(y_start) :].any():
        raise ArithmeticError(
            f"The closed loop diverges: row {lost.argmax()} is far outside the training record."
        )
    return run
'''
NARX_LOOP = '''

def _loop(u, y, rows):
    """The median of the nets; where y ends or is missing, each net's own forecast stands in for
    it.
    """
    y = (np.asarray(y, float).reshape(len(y), len(Y_MEAN)) - Y_MEAN) / Y_SCALE
    u = np.zeros((rows, 0)) if u is None else np.asarray(u, float).reshape(rows, len(U_MEAN))
    u = (u - U_MEAN) / U_SCALE
    runs = np.sort([_run(net, u, y) for net in NETS], axis=0)
    return (runs[(len(NETS) - 1) // 2] + runs[len(NETS) // 2]) / 2 * Y_SCALE + Y_MEAN


def _run(net, u, y):
    deepest, inputs = max(net["y_delays"]), range(u.shape[1])
    outputs, width = y.shape[1], len(net["w3"])  # what it has beyond y is its own state
    fed, run = np.zeros((deepest + len(u), width)), np.empty((len(u), width))
    for t in range(len(u)):
        past = [fed[deepest + t - d] for d in net["y_delays"]]
        now = [[u[max(t - d - net["held"][i], 0), i] for i in inputs] for d in net["u_delays"]]
        z = np.concatenate([*past, *now])
        v = net["w2"] @ np.tanh(net["w1"] @ z + net["b1"]) + net["w3"] @ z + net["b2"]
        run[t] = v if net["low"] is None else np.clip(v, net["low"], net["high"])
        fed[deepest + t] = run[t]
        if t < len(y):
            fed[deepest + t, :outputs] = np.where(np.isnan(y[t]), run[t, :outputs], y[t])
    return run[:, :outputs]
'''
NETWORK_LOOP = '''

def _loop(u, y, rows):
    """Row after row; where y ends or is missing, the forecast stands in for it."""
    y = np.asarray(y, float).reshape(len(y), OUTPUTS)
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
