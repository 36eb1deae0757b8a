"""All steps of the LSTM, the GRU and the simple net over a training batch, and their gradients.

The three functions at the end, `forward`, `backward` and `input_gradient`, become operations of
TensorFlow (`forecast.networks.layers.fused`); the others are their parts, inlined by numba: tanh
and the sigmoid, exact to 5e-7 in float32, and the steps.

    forward         run_forward:   one product of [x; 1; h] and the weights per gate and step, then
                    *_step:        the step's equation, value by value
    backward        run_backward:  the steps from the last to the first,
                    *_step_back:   the gradients of the sums from those of h and c, then
                    add_step_products: of h before the step, and of the weights
    input_gradient  the gradient of x, from what `backward` left in the tape

Letters: B batch, T steps, I inputs, U units. The sums of a step are what its products give, before
any activation, a block of (B, U) for each gate. The tape is what the forward pass leaves for the
backward one. Arrays are float32, with windows before values, as OpenBLAS copies no factor of such
products.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from forecast.networks.native.private_interfaces import (
    PLAIN,
    TRANSPOSED,
    allocate_output,
    compile_inlined,
    delete_status,
    expand_inline,
    multiply,
    new_status,
    prefer_wide_registers,
    read_input,
)

HALF = np.float32(0.5)
ONE = np.float32(1)
SATURATION = np.float32(7.8)

# tanh by x (N0 + N1 s + N2 s^2 + N3 s^3) / (1 + D1 s + D2 s^2 + D3 s^3 + D4 s^4), s = x^2: of all
# such functions that with the smallest relative error up to SATURATION, 1.2e-7.
N0, N1, N2, N3, D1, D2, D3, D4 = np.array(
    [
        0.99999988,
        0.12943116,
        0.0029698892,
        1.16357196e-05,
        0.46276352,
        0.023892397,
        2.4135462e-04,
        2.5262364e-07,
    ],
    np.float32,
)

LSTM, GRU, SIMPLE = range(3)
# by cell, how many blocks of sums a step has: the GRU keeps those of x and of h apart for g
GATE_BLOCKS = np.array([4, 4, 1])
# by the columns of the weights, counted in units: the cell, -1 where there is none
CELL_BY_COLUMNS = np.array([-1, SIMPLE, -1, GRU, LSTM])


@compile_inlined
def tanh_fraction(x: Any) -> Any:
    """tanh(x) as (numerator, denominator), the second between 1 and 180. NaN stays NaN."""
    x = SATURATION if x > SATURATION else (-SATURATION if x < -SATURATION else x)
    s = x * x
    return x * (((N3 * s + N2) * s + N1) * s + N0), (((D4 * s + D3) * s + D2) * s + D1) * s + ONE


@compile_inlined
def tanh(x: Any) -> Any:
    """tanh(x)."""
    numerator, denominator = tanh_fraction(x)
    return numerator / denominator


@compile_inlined
def sigmoid(x: Any) -> Any:
    """The sigmoid of x, by tanh of its half."""
    return HALF * tanh(HALF * x) + HALF


@compile_inlined
def lstm_step(gates: Any, c_before: Any, c: Any, h: Any) -> None:
    """One step of the LSTM: writes c and h after it to `c` and `h` (B * U,), and the activations of
    i, f, g, o over their sums in `gates` (4, B * U).
    """
    prefer_wide_registers()
    for k in range(c.size):
        i = sigmoid(gates[0, k])
        f = sigmoid(gates[1, k])
        g = tanh(gates[2, k])
        o = sigmoid(gates[3, k])
        new_c = i * g + f * c_before[k]
        c[k] = new_c
        h[k] = o * tanh(new_c)
        gates[0, k] = i
        gates[1, k] = f
        gates[2, k] = g
        gates[3, k] = o


@compile_inlined
def lstm_step_back(gates: Any, c_before: Any, c: Any, dh: Any, dc: Any) -> None:
    """From the gradients `dh` and `dc` of h and c after a step: writes those of the sums over the
    activations in `gates`, and that of c before the step over `dc`.
    """
    for k in range(c_before.size):
        i = gates[0, k]
        f = gates[1, k]
        g = gates[2, k]
        o = gates[3, k]
        squashed = tanh(c[k])
        d_h = dh[k]
        d_new_c = dc[k] + d_h * o * (ONE - squashed * squashed)
        gates[0, k] = d_new_c * g * i * (ONE - i)
        gates[1, k] = d_new_c * c_before[k] * f * (ONE - f)
        gates[2, k] = d_new_c * i * (ONE - g * g)
        gates[3, k] = d_h * squashed * o * (ONE - o)
        dc[k] = d_new_c * f


@compile_inlined
def gru_step(gates: Any, h: Any) -> None:
    """One step of the GRU: `gates` (4, B * U) holds the sums of the update gate, of the reset gate
    and of g, from x and from h apart. Writes h after the step over `h` before it (B * U,), and the
    activations over the first three sums.
    """
    prefer_wide_registers()
    for k in range(h.size):
        u = sigmoid(gates[0, k])
        r = sigmoid(gates[1, k])
        q = gates[3, k]
        g = tanh(gates[2, k] + r * q)
        h[k] = u * (h[k] - g) + g
        gates[0, k] = u
        gates[1, k] = r
        gates[2, k] = g


@compile_inlined
def gru_step_back(gates: Any, h_before: Any, dh: Any, past: Any) -> None:
    """From the gradient `dh` + `past` of h after a step: writes those of the sums over the
    activations in `gates`, and that of h before the step, as far as it does not pass through the
    sums, over `past`, which holds gradients and no inputs.
    """
    for k in range(h_before.size):
        u = gates[0, k]
        r = gates[1, k]
        g = gates[2, k]
        q = gates[3, k]
        d_h = dh[k] + past[k]
        d_g = d_h * (ONE - u) * (ONE - g * g)
        gates[0, k] = d_h * (h_before[k] - g) * u * (ONE - u)
        gates[1, k] = d_g * q * r * (ONE - r)
        gates[2, k] = d_g
        gates[3, k] = d_g * r
        past[k] = d_h * u


@compile_inlined
def simple_step(gates: Any, h: Any) -> None:
    """One step of the simple net: tanh of the sum in `gates`, there and in `h`."""
    for k in range(h.size):
        h[k] = gates[0, k] = tanh(gates[0, k])


@compile_inlined
def simple_step_back(gates: Any, dh: Any) -> None:
    """From the gradient `dh` of h after a step: writes that of the sum over h in `gates`."""
    for k in range(dh.size):
        gates[0, k] = dh[k] * (ONE - gates[0, k] * gates[0, k])


@compile_inlined
def weight_range(cell: int, block: int, inputs: int, units: int, rows: int) -> Any:
    """Which part of the weights gives a block of sums: its first column, its first row and the row
    after its last.

    All rows, but for the GRU's candidate g, whose products of [x; 1] (block 2) and of [1; h] (block
    3) stay apart, for only the second is multiplied by r.
    """
    if cell == GRU and block > 1:
        return (2 * units, 0, inputs + 1) if block == 2 else (2 * units, inputs + 1, rows)
    return block * units, 0, rows


@compile_inlined
def copy(target: Any, source: Any) -> None:
    """The values of `source` into the beginning of `target`."""
    for k in range(source.size):
        target[k] = source[k]


@compile_inlined
def add(target: Any, source: Any) -> None:
    """The values of `source` added to the beginning of `target`."""
    for k in range(source.size):
        target[k] += source[k]


@compile_inlined
def windows_per_product(units: int, rows: int, batch: int) -> int:
    """Windows in one product, at least one. OpenBLAS has its fast way for a million multiplications
    at most, and one window alone may take more.
    """
    while units * rows * batch > 10**6 and batch > 1:
        batch = (batch + 1) // 2
    return max(batch, 1)


@expand_inline
def run_forward(cell: int, x: Any, weights: Any, h0: Any, c0: Any, h: Any, tape: Any) -> None:
    """All steps of `x (B, T, I)`: fills `h (B, T, U)`, and `tape` with what `run_backward` needs.

    `weights (I + biases + U, columns)`: the rows of [x; 1; h], of a GRU of [x; 1; 1; h]. A row of
    the tape holds these of every window, of an LSTM c before the step, and the step's own values in
    blocks of (B, U).
    """
    prefer_wide_registers()
    batch, steps, inputs = x.shape
    rows, columns = weights.shape
    units = h.shape[2]
    size = batch * units
    first_h = rows - units
    flat = weights.reshape(-1)
    part = windows_per_product(units, rows, batch)
    c_start = batch * rows
    gates_start = c_start + (size if cell == LSTM else 0)
    now = h0.copy().reshape(-1)
    if cell == LSTM:
        copy(tape[0, c_start:gates_start], c0.reshape(-1))
    for t in range(steps):
        for b in range(batch):
            row = tape[t, b * rows : (b + 1) * rows]
            copy(row, x[b, t])
            for k in range(inputs, first_h):
                row[k] = ONE
            copy(row[first_h:], now[b * units : (b + 1) * units])
        stacked = tape[t, :c_start]
        gates = tape[t, gates_start:].reshape(-1, size)
        for block in range(GATE_BLOCKS[cell]):
            column, low, high = weight_range(cell, block, inputs, units, rows)
            for b in range(0, batch, part):
                multiply(
                    PLAIN,
                    (stacked[b * rows + low :], rows),
                    (flat[low * columns + column :], columns),
                    (gates[block, b * units :], units),
                    (min(part, batch - b), units, high - low),
                    0,
                )
        if cell == LSTM:
            lstm_step(gates, tape[t, c_start:gates_start], tape[t + 1, c_start:gates_start], now)
        elif cell == GRU:
            gru_step(gates, now)
        else:
            simple_step(gates, now)
        for b in range(batch):
            copy(h[b, t], now[b * units : (b + 1) * units])


@expand_inline
def add_step_products(
    cell: int, stacked: Any, d_gates: Any, transposed: Any, d_h: Any, d_flat: Any, sizes: Any
) -> None:
    """From the gradients `d_gates` of a step's sums: that of h before the step, into `d_h`, and
    what the step adds to those of the weights, `d_flat`.

    stacked: the rows [x; 1; h] of the step, of a GRU [x; 1; 1; h]; transposed: the recurrent
    weights, a row for each column; sizes: batch, inputs, columns of the weights.
    """
    batch, inputs, columns = sizes
    units = d_gates.shape[1] // batch
    rows = stacked.size // batch
    part = windows_per_product(units, rows, batch)
    for block in range(GATE_BLOCKS[cell]):
        column, low, high = weight_range(cell, block, inputs, units, rows)
        for b in range(0, batch, part):
            count = min(part, batch - b)
            d_block = d_gates[block, b * units :]
            if high == rows:
                multiply(
                    PLAIN,
                    (d_block, units),
                    (transposed[column * units :], units),
                    (d_h[b * units :], units),
                    (count, units, units),
                    min(block, 1),
                )
            multiply(
                TRANSPOSED,
                (stacked[b * rows + low :], rows),
                (d_block, units),
                (d_flat[low * columns + column :], columns),
                (high - low, units, count),
                1,
            )


@expand_inline
def run_backward(
    cell: int, recurrent: Any, tape: Any, dh: Any, dc: Any, d_weights: Any, d_first: Any
) -> None:
    """From the gradients `dh (B, T, U)` of h after every step and `dc (B, n, U)` of c after the n
    last ones: fills in those of the weights, `d_weights`, which begin at 0, and of the states
    before the first step, `d_first`.

    Those of the sums replace the gates' values in the tape, for `input_gradient`.
    """
    batch, steps, units = dh.shape
    rows, columns = d_weights.shape
    first_h = len(d_weights) - dh.shape[2]
    size = batch * units
    inputs = first_h - (2 if cell == GRU else 1)
    c_start = batch * rows
    gates_start = c_start + (size if cell == LSTM else 0)
    d_h = np.zeros(size, dh.dtype)
    d_past = np.zeros(size, dh.dtype)
    h_before = np.empty(size, dh.dtype)
    transposed = recurrent.T.copy().reshape(-1)
    d_flat = d_weights.reshape(-1)
    for t in range(steps - 1, -1, -1):
        stacked = tape[t, :c_start]
        gates = tape[t, gates_start:].reshape(-1, size)
        dc_step = t - steps + dc.shape[1]
        for b in range(batch):
            add(d_h[b * units :], dh[b, t])
            if cell == LSTM and dc_step >= 0:
                add(d_past[b * units :], dc[b, dc_step])
            if cell == GRU:
                copy(h_before[b * units :], stacked[b * rows + first_h : (b + 1) * rows])
        if cell == LSTM:
            c_before = tape[t, c_start:gates_start]
            c = tape[t + 1, c_start:gates_start]
            lstm_step_back(gates, c_before, c, d_h, d_past)
        elif cell == GRU:
            gru_step_back(gates, h_before, d_h, d_past)
        else:
            simple_step_back(gates, d_h)
        add_step_products(cell, stacked, gates, transposed, d_h, d_flat, (batch, inputs, columns))
    if cell == GRU:
        add(d_h, d_past)
    copy(d_first.reshape(-1), d_h)
    if cell == LSTM:
        copy(d_first.reshape(-1)[size:], d_past)


def forward(_: Any, context: Any) -> None:
    """From x, the kernel, the bias, the recurrent kernel, the first h and c, and a tensor with or
    without rows: h of every step, every c or the last, and the tape.
    """
    status = new_status()
    x = read_input(context, 0, status)
    kernel = read_input(context, 1, status)[0]
    bias = read_input(context, 2, status)[0]
    weights = np.concatenate((kernel, bias, read_input(context, 3, status)[0]))
    first = read_input(context, 4, status)
    batch, steps, _ = x.shape
    rows, columns = weights.shape
    units = first.shape[2]
    cell = CELL_BY_COLUMNS[columns // units]
    c_steps = (steps if len(read_input(context, 5, status)) else 1) if cell == LSTM else 0
    c_start = batch * rows
    blocks = GATE_BLOCKS[cell] + len(first) - 1
    h = allocate_output(context, 0, (batch, steps, units), 3, status)
    c = allocate_output(context, 1, (batch, c_steps, units), 3, status)
    tape_shape = (1, steps + 1, c_start + batch * blocks * units)
    tape = allocate_output(context, 2, tape_shape, 3, status)[0]
    run_forward(cell, x, weights, first[0], first[-1], h, tape)
    for b in range(batch):
        for t in range(c_steps):
            row = tape[steps + 1 - c_steps + t]
            copy(c[b, t], row[c_start + b * units : c_start + (b + 1) * units])
    delete_status(status)


def backward(_: Any, context: Any) -> None:
    """From the kernel, the bias, the recurrent kernel, the tape and the gradients of h and c: those
    of the weights and the first states, and the tape for `input_gradient`.
    """
    status = new_status()
    kernel = read_input(context, 0, status)[0]
    bias = read_input(context, 1, status)[0]
    weights = (kernel, bias, read_input(context, 2, status)[0])
    tape = read_input(context, 3, status)
    dh = read_input(context, 4, status)
    dc = read_input(context, 5, status)
    d_tape = allocate_output(context, 4, tape.shape, 3, status, 3)
    if d_tape.ctypes.data != tape.ctypes.data:
        copy(d_tape.reshape(-1), tape.reshape(-1))
    units, columns = weights[2].shape
    rows = len(kernel) + len(bias) + units
    d_weights = np.zeros((rows, columns), np.float32)
    cell = CELL_BY_COLUMNS[columns // units]
    d_first = allocate_output(context, 3, (2 if cell == LSTM else 1, len(dh), units), 3, status)
    run_backward(cell, weights[2], d_tape[0], dh, dc, d_weights, d_first)
    flat = d_weights.reshape(-1)
    first = 0
    for k, weight in enumerate(weights):
        rank = len(weight) if k == 1 else 2  # a bias that is alone is a vector
        gradient = allocate_output(context, k, (1, len(weight), columns), rank, status)
        copy(gradient.reshape(-1), flat[first : first + weight.size])
        first += weight.size
    delete_status(status)


def input_gradient(_: Any, context: Any) -> None:
    """Writes dx (B, T, I), the sum over the gates of their gradients times `kernel.T`.

    Inputs of the operation, in order: the kernel (I, columns); the tape, in which `backward` has
    replaced the gates by their gradients; dh (B, T, U), read for its shape alone.
    """
    status = new_status()
    kernel = read_input(context, 0, status)[0]
    tape = read_input(context, 1, status)[0]
    dh = read_input(context, 2, status)
    batch, steps, units = dh.shape
    inputs, columns = kernel.shape
    transposed = kernel.T.copy().reshape(-1)
    dx = allocate_output(context, 0, (batch, steps, inputs), 3, status).reshape(-1)
    part = windows_per_product(units, inputs, batch)
    gates_start = tape.shape[1] - GATE_BLOCKS[CELL_BY_COLUMNS[columns // units]] * batch * units
    for t in range(steps):
        for column in range(0, columns, units):
            is_added = int(column > 0)  # the first gate overwrites dx, the others add to it
            for b in range(0, batch, part):
                multiply(
                    PLAIN,
                    (tape[t, gates_start + column * batch + b * units :], units),
                    (transposed[column * inputs :], inputs),
                    (dx[(b * steps + t) * inputs :], steps * inputs),
                    (min(part, batch - b), inputs, units),
                    is_added,
                )
    delete_status(status)
