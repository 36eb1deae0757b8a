"""`export` writes a trained model as one Python file that needs NumPy alone (MATLAB's genFunction).

A NARX model or a set of them is written out in full; any other net as `networks.inference.export`
writes it, with `predict` and `simulate` behind it.
"""

from __future__ import annotations

import inspect
from pathlib import Path

from forecast.identification.first_states import FITTED_ROWS, fit_first_states
from forecast.identification.model import Model
from forecast.identification.polynomial import PolynomialLayer
from forecast.networks.inference.export import Units
from forecast.networks.inference.export import export as export_network
from forecast.system import files
from forecast.system.errors import InputError


def export(model: Model, path: Path | str) -> None:
    """Write the model as one Python file at `path`, which ends in .py, that needs NumPy alone.

    In the units of the data it has `predict(u, y)` (open loop), `simulate(u, y_start)` (closed
    loop), and for single rows `prepare(u, y)`, the state after measured rows, and
    `step(state, u, y)`. A net that is no NARX net of one hidden layer at most has `initial` and
    `step` of every exported network instead (`networks.inference.export`), in scaled units.
    `InputError` for another ending, and for a set with such a net.
    """
    if Path(path).suffix != ".py":
        raise InputError(f"{path} does not end in .py: the model is written as Python. Name it so.")
    if all(member.net.has_narx_form for member in model.members):
        files.write_text(Path(path), _narx_text(model))
    else:
        _export_network(model, Path(path))


def _narx_text(model: Model) -> str:
    """The file of NARX models, with every number in full."""
    nets = []
    input_memory = 0
    for member in model.members:
        narx = member.net.narx_form(model.inputs, model.outputs)
        layer = narx.layer
        z, y = narx.origins
        arrays = member.weights
        if not isinstance(layer, PolynomialLayer):
            parts = layer.split(narx.flatten(arrays))
            arrays = dict(zip(("w1", "b1", "w2", "b2", "w3"), parts, strict=True))
        entries = {
            **{k: f"np.array({v.tolist()}).reshape({v.shape})" for k, v in arrays.items()},
            "terms": narx.terms,
            "origins": f"[np.array({z.tolist()}), np.array({y.tolist()})]",
            "y_delays": narx.y_delays,
            "u_delays": narx.u_delays,
            "held_back": narx.held_back,
            "outputs": narx.outputs,
            "low": narx.low,
            "high": narx.high,
        }
        input_memory = max(input_memory, narx.input_memory)
        line = ", ".join(f"{name!r}: {value}" for name, value in entries.items())
        nets.append(f"    {{{line}}},")
    scaling = [
        f"{name.upper()} = np.array({value.tolist()})"
        for name, value in vars(model.scaling).items()
    ]
    sizes = [
        f"START = {model.start}  # rows that only fill the delays\n{_limit_text(model)}",
        f"INPUT_MEMORY = {input_memory}  # rows before the present one whose u acts",
        f"FITTED_ROWS = {FITTED_ROWS}  # that the first states of a net are fitted to",
    ]
    lines = [f'"""{model.net.describe()}"""', "", "from __future__ import annotations", ""]
    lines += ["import numpy as np", "", *scaling, *sizes, "NETS = [", *nets, "]"]
    fit = f"\n\n{inspect.getsource(fit_first_states)}"
    return "\n".join(lines) + PREDICT + SIMULATE + NARX_LOOP + fit


def _export_network(model: Model, path: Path) -> None:
    """Write the network as `networks.inference.export` does, with the loops behind it."""
    scaling = model.scaling
    units = Units([*scaling.y_mean, *scaling.u_mean], [*scaling.y_scale, *scaling.u_scale])
    export_network(
        model.network, model.weights, path, description=model.net.describe(), units=units
    )
    sizes = (
        f"\n\nSHIFT, START, INPUTS = {model.net.shift}, {model.start}, {model.inputs}  # steps from"
        f" u to y; rows that only fill the delays; columns of u\n{_limit_text(model)}"
    )
    text = path.read_text(encoding="utf-8") + sizes + PREDICT + SIMULATE + NETWORK_LOOP
    files.write_text(path, text)


def _limit_text(model: Model) -> str:
    """Code for the constants by which the exported file recognises a lost free run, and of the
    shape of y.
    """
    row = () if model.is_vector else (model.outputs,)
    return (
        f"MIDDLE, FARTHEST = np.array({model.middle_and_limit.tolist()})  # of the training record;"
        " from it, before a free run is lost\n"
        f"FEEDBACK, ROW = {model.net.feedback}, {row}  # is y fed back; the shape of a row of y"
    )


PREDICT = '''


def predict(u, y=None):
    """Open loop: y (T, O) forecast at every row of u (T, I) from measured rows; the first START
    rows are NaN; (T,) of y (T,). A net without feedback needs no y.
    """
    y = _unless_needed(y, u, None)
    run = _loop(u, y, START, len(y))
    run[:START] = np.nan
    return run[:, 0] if np.ndim(y) == 1 else run
'''
SIMULATE = '''

def simulate(u, y_start=None, rows=None):
    """Closed loop under u (T, I), or over `rows` rows without inputs: the free run, NaN in the rows
    of y_start; (T,) of y_start (T,). A net without feedback needs no y_start.
    """
    y_start = _unless_needed(y_start, u, START)
    if len(y_start) < START:
        raise ValueError(f"y_start has {len(y_start)} rows; the delays need {START}.")
    if u is not None and np.isnan(np.asarray(u, float)).any():
        raise ValueError("u is missing in some rows; only y may be. Fill them.")
    run = _loop(u, y_start, len(y_start), rows if u is None else len(u))
    lost = ~(np.abs(run - MIDDLE) <= FARTHEST).all(axis=1)
    lost[: len(y_start)] = False
    run[: len(y_start)] = np.nan
    if lost.any():
        raise ArithmeticError(
            f"The closed loop diverges: row {lost.argmax()} is far outside the training record."
        )
    return run[:, 0] if np.ndim(y_start) == run.shape[1] == 1 else run


def _unless_needed(y, u, rows):
    """y; without it so many rows, or as many as u has, that are NaN."""
    if y is None and FEEDBACK:
        raise ValueError(f"No y was given, which the net feeds back; it needs {START} rows of it.")
    return np.full((len(u[:rows]), *ROW), np.nan) if y is None else y
'''
NARX_LOOP = '''

def initial(u=()):
    """The state before the first row: zeros for y, the first u (I,) for all before it."""
    first = (np.reshape(np.asarray(u, float), -1) - U_MEAN) / U_SCALE
    past_y = [np.zeros((max(net["y_delays"]), net["outputs"])) for net in NETS]
    return past_y, np.tile(first, (INPUT_MEMORY + 1, 1))


def prepare(u, y):
    """The state after the measured rows u (T, I) and y (T, O); what a net has beyond y begins as
    the first of them bear out.
    """
    y = np.asarray(y, float).reshape(len(y), len(Y_MEAN))
    u = np.zeros((len(y), 0)) if u is None else np.asarray(u, float).reshape(len(y), len(U_MEAN))
    past_y, past_u = initial(u[0])
    for number, net in enumerate(NETS):
        if net["outputs"] > len(Y_MEAN):

            def errors_of(states):
                past = np.concatenate([np.zeros(len(Y_MEAN)), states])[None]
                inputs, errors = past_u, []
                for u_row, y_row in zip(u[:FITTED_ROWS], y[:FITTED_ROWS]):
                    inputs, measured = _scale(inputs, u_row, y_row)
                    run, past = _step(net, past, inputs, measured)
                    errors.append(np.nan_to_num(run - measured))
                return np.concatenate(errors[1:])

            states = fit_first_states(errors_of, net["outputs"] - len(Y_MEAN))
            past_y[number][-1, len(Y_MEAN) :] = states
    state = past_y, past_u
    for u_row, y_row in zip(u, y):
        _, state = step(state, u_row, y_row)
    return state


def step(state, u=(), y=None):
    """One row: y (O,) forecast under u (I,), and the state after it. `y`: what was measured then;
    where it is NaN or None the forecast of each net is fed back, which is the closed loop.
    """
    past_y, past_u = state
    past_u, measured = _scale(past_u, u, y)
    runs, after = zip(*(_step(net, past, past_u, measured) for net, past in zip(NETS, past_y)))
    runs = np.sort(runs, axis=0)
    median = (runs[(len(NETS) - 1) // 2] + runs[len(NETS) // 2]) / 2
    return median * Y_SCALE + Y_MEAN, (list(after), past_u)


def _scale(past_u, u, y):
    now = (np.reshape(np.asarray(u, float), -1) - U_MEAN) / U_SCALE
    measured = np.full(len(Y_MEAN), np.nan) if y is None else np.reshape(np.asarray(y, float), -1)
    return np.vstack([past_u[1:], now]), (measured - Y_MEAN) / Y_SCALE


def _step(net, past, past_u, measured):
    z = [past[-delay] for delay in net["y_delays"]]
    for delay in net["u_delays"]:
        z.append([past_u[-1 - delay - steps, i] for i, steps in net["held_back"]])
    run = _value(net, np.concatenate(z))
    if net["low"] is not None:
        run = np.clip(run, net["low"], net["high"])
    fed = run.copy()  # what it has beyond y is its own state
    fed[: len(measured)] = np.where(np.isnan(measured), run[: len(measured)], measured)
    return run[: len(measured)], np.vstack([past[1:], fed])


def _value(net, z):
    if net["terms"]:
        z_origin, y_origin = net["origins"]
        z = z - z_origin
        products = np.array([np.prod(z[list(term)]) for term in net["terms"]])
        return products @ net["coefficients"] + y_origin
    return net["w2"] @ np.tanh(net["w1"] @ z + net["b1"]) + net["w3"] @ z + net["b2"]


def _loop(u, y, n_measured, rows):
    """The median of the nets after the first `n_measured` rows; where y ends or is missing, each
    net's own forecast stands in for it.
    """
    y = np.asarray(y, float).reshape(len(y), len(Y_MEAN))
    u = np.zeros((rows, 0)) if u is None else np.asarray(u, float).reshape(rows, len(U_MEAN))
    state, run = prepare(u[:n_measured], y[:n_measured]), np.full((rows, len(Y_MEAN)), np.nan)
    for t in range(n_measured, rows):
        run[t], state = step(state, u[t], y[t] if t < len(y) else None)
    return run
'''
NETWORK_LOOP = '''

def _loop(u, y, n_measured, rows):
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
