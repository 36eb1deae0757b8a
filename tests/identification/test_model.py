"""Trained nets in both loops: alignment, state hand-over, the next step, k steps, saving and
exporting.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
from scipy.signal import lfilter

from forecast.identification import (
    Experiment,
    Model,
    Net,
    TrainingRecord,
    distdelaynet,
    elmannet,
    export,
    layrecnet,
    narnet,
    narxnet,
    sunspots_like,
    tank,
    timedelaynet,
    train,
    train_parallel,
)
from forecast.identification.experiment import Standardization
from forecast.networks.weights import initialise
from forecast.system.errors import DataError, InputError, ModelError

NETS = {
    "narx": narxnet((1, 3), (1, 2), 4, linear=False),
    "narx with the input of the same row": narxnet((0, 2), (1, 4), 4, linear=True),
    "narx with dead time and two layers": narxnet((3, 4), (2, 3), (4, 3), linear=False),
    "nar": narnet((1, 3), 4, linear=False),
    "arx": narxnet((0, 1), (1, 2), ()),
    "timedelay": timedelaynet((0, 1, 4), 4),
    "distdelay": distdelaynet(((1, 2), (0, 2), (0, 1)), (4, 3)),
    "elman": elmannet((1,), 4),
    "layrec": layrecnet((1, 2), (3, 3)),
}
FED_BACK = [name for name, net in NETS.items() if net.feedback]
EVERY = pytest.mark.parametrize("name", NETS)
NARX = "narx"
CLOSED = pytest.mark.parametrize("name", FED_BACK)


def data(net: Net, rows: int = 30, outputs: int = 2) -> tuple[np.ndarray | None, np.ndarray]:
    rng = np.random.default_rng(3)
    y = 5 + 2 * rng.normal(size=(rows, outputs))
    return (rng.normal(size=(rows, 2)) if net.input_delays else None), y


@cache
def model(name: str, outputs: int = 2) -> Model:
    """The net with weights that are not trained, and the scaling of its data."""
    net = NETS[name]
    u, y = data(net, outputs=outputs)
    u = np.zeros((len(y), 0)) if u is None else u
    network = net.network(u.shape[1], outputs)
    rng = np.random.default_rng(0)
    weights = {
        n: w + 0.3 * rng.normal(size=w.shape) for n, w in initialise(network, 0, "float64").items()
    }
    return Model(net, weights, Standardization.fit([Experiment(u, y)]))


def cut(u, first, last):
    return None if u is None else u[first:last]


def test_a_narx_forecast_in_words_and_numbers() -> None:
    m = model("narx", 1)
    u, y = data(m.net, outputs=1)
    t, w = 9, m.weights
    z = np.concatenate(
        [m.scaling.scale_y(y[t - d]) for d in (1, 2)]
        + [m.scaling.scale_u(u[t - d]) for d in (1, 3)]
    )
    hidden = np.tanh(z @ w["layer_0/kernel"] + w["layer_0/bias"])
    expected = m.scaling.unscale_y(hidden @ w["readout/kernel"] + w["readout/bias"])
    np.testing.assert_allclose(m.predict(u, y).y[t], expected, rtol=1e-12)


def test_a_distributed_delay_forecast_in_numbers() -> None:
    m = Model(
        distdelaynet(((0, 1), (0, 2)), 1),
        {
            "layer_0/kernel": np.array([[0.1], [0.2]]),
            "layer_0/bias": np.zeros(1),
            "readout/kernel": np.array([[1.0], [10.0]]),
            "readout/bias": np.zeros(1),
        },
        Standardization(np.zeros(1), np.ones(1), np.zeros(1), np.ones(1)),
    )
    u = np.arange(6.0)
    h = np.tanh(0.1 * u[1:] + 0.2 * u[:-1])  # h[t] for t = 1 ...
    y_hat = m.predict(u, np.zeros(6)).y
    assert np.isnan(y_hat[:3]).all()
    np.testing.assert_allclose(y_hat[3:], h[2:] + 10 * h[:-2])


@EVERY
def test_the_first_rows_only_fill_the_delays_as_preparets_does(name) -> None:
    m = model(name)
    u, y = data(m.net)
    run = m.predict(u, y).y
    assert np.isnan(run[: m.start]).all() and np.isfinite(run[m.start :]).all()
    rest = m.predict(
        cut(u, m.start, None), y[m.start :], m.prepare(cut(u, 0, m.start), y[: m.start])
    )
    np.testing.assert_array_equal(rest.y, run[m.start :])


@EVERY
def test_an_output_depends_on_nothing_before_its_delays_or_after_its_row(name) -> None:
    m = model(name)
    u, y = data(m.net)
    before = m.predict(u, y).y
    row = 15
    y[row:] = 1e6
    if u is not None:
        u[row + 1 - m.net.shift :] = 1e6
    if m.net.kind not in ("elmannet", "layrecnet"):
        y[: row - m.start] = 1e6
        if u is not None:
            u[: row - m.start] = 1e6
    np.testing.assert_allclose(m.predict(u, y).y[row], before[row], rtol=1e-9)


@CLOSED
def test_the_closed_loop_fed_with_the_true_y_equals_the_open_loop(name) -> None:
    m = model(name)
    u, y = data(m.net)
    free = m.simulate(cut(u, 0, None), y[: m.start], rows=len(y)).y
    assert np.isnan(free[: m.start]).all()
    free[: m.start] = y[: m.start]
    opened = m.predict(u, free).y  # now the true y is what the closed loop says
    scaled = (m.scaling.scale_y(part[m.start :]) for part in (opened, free))
    np.testing.assert_allclose(*scaled, atol=1e-6)


@CLOSED
def test_state_goes_from_open_to_closed_loop_and_back_without_loss(name) -> None:
    m = model(name)
    u, y = data(m.net)
    first = m.predict(cut(u, 0, 12), y[:12])
    second = m.simulate(cut(u, 12, 18), first.state, rows=6)
    third = m.predict(cut(u, 18, 30), y[18:], second.state)
    gap = y.copy()
    gap[12:18] = np.nan  # the same in one pass: where y is missing, the forecast stands in
    whole = m.predict(u, gap).y
    np.testing.assert_array_equal(np.concatenate([first.y, second.y, third.y]), whole)
    np.testing.assert_array_equal(m.simulate(u, y[:12], rows=30).y[12:18], second.y)


@CLOSED
def test_removedelay_gives_the_genuine_next_step(name) -> None:
    m = model(name)
    u, y = data(m.net)
    ahead = u[-1] if m.net.input_delays and m.net.shift == 0 else None
    early = m.removedelay(cut(u, 0, 29), y[:29], ahead)
    assert early.shape == (29, 2)
    np.testing.assert_array_equal(early[m.start :], m.predict(u, y).y[m.start + 1 :])


def test_the_next_step_of_a_net_that_uses_the_input_of_that_row_wants_it() -> None:
    m = model("narx with the input of the same row")
    with pytest.raises(InputError, match="the next step needs `u_next`"):
        m.removedelay(*data(m.net))


def test_a_model_whose_inputs_act_later_needs_no_next_input() -> None:
    """`identify` writes a dead time beside the delays."""
    m = model("narx with the input of the same row")
    late = replace(m, net=replace(m.net, held_back_rows=((2,), (3,))))
    u, y = data(m.net)
    np.testing.assert_array_equal(late.removedelay(u[:29], y[:29])[28], late.predict(u, y).y[29])
    with pytest.raises(InputError, match="the next step needs `u_next`"):
        replace(m, net=replace(m.net, held_back_rows=((2,), (0, 3)))).removedelay(u, y)


@pytest.mark.parametrize("name", [name for name in NETS if name not in FED_BACK])
def test_a_net_without_feedback_runs_without_y(name) -> None:
    m = model(name)
    u, y = data(m.net)
    np.testing.assert_array_equal(m.predict(u, None).y, m.predict(u, y).y)


@CLOSED
def test_k_steps_ahead_is_the_free_run_from_every_row(name) -> None:
    m = model(name)
    u, y = data(m.net)
    ahead = m.ahead(u, y, steps=4)
    assert ahead.shape == (26, 4, 2) and np.isnan(ahead[: m.start]).all()
    for row in (m.start, 14, 25):
        free = m.simulate(cut(u, 0, row + 5), y[: row + 1], rows=row + 5).y
        np.testing.assert_allclose(ahead[row], free[row + 1 :], rtol=1e-9)


@pytest.mark.parametrize("name", [name for name in NETS if name not in FED_BACK])
def test_the_free_run_of_a_net_without_feedback_is_its_forecast(name) -> None:
    m = model(name)
    u, y = data(m.net)
    np.testing.assert_array_equal(m.simulate(u).y, m.predict(u, y).y)
    np.testing.assert_array_equal(m.simulate(u, y[:10]).y[10:], m.predict(u, y).y[10:])
    with pytest.raises(InputError, match="feeds no forecast back: there is no loop to close"):
        m.ahead(u, y, steps=2)


def test_a_loop_that_explodes_is_named() -> None:
    m = Model(
        narnet((1,), ()),
        {"readout/kernel": np.array([[1e3]]), "readout/bias": np.zeros(1)},
        Standardization(np.zeros(0), np.zeros(0), np.zeros(1), np.ones(1)),
    )
    with pytest.raises(
        ModelError,
        match="closed loop is unstable: its output is no longer finite after 102 of 299",
    ):
        m.simulate(None, [1.0], rows=300)


@EVERY
def test_saved_and_loaded_it_is_the_same(name, tmp_path) -> None:
    m = model(name)
    m.save(tmp_path)
    loaded = Model.load(tmp_path)
    assert loaded.net == m.net
    np.testing.assert_array_equal(loaded.predict(*data(m.net)).y, m.predict(*data(m.net)).y)


def test_a_model_of_which_a_part_is_missing_or_unknown_is_no_model(tmp_path) -> None:
    model(NARX).save(str(tmp_path))
    assert Model.load(str(tmp_path)).net == NETS[NARX]
    text = (tmp_path / "model.json").read_text()
    for wrong in (text.replace('"kind"', '"sort"'), text.replace('"net"', '"nett"')):
        (tmp_path / "model.json").write_text(wrong)
        with pytest.raises(DataError, match="is no whole model"):
            Model.load(tmp_path)
    (tmp_path / "model.json").write_text(text)
    (tmp_path / "weights.npz").unlink()
    with pytest.raises(DataError, match=r"weights\.npz: cannot be read .*No such file"):
        Model.load(tmp_path)


def test_a_set_is_joined_by_the_nets_it_is_made_of() -> None:
    m = model(NARX)
    averages = Model.average(Model.average(m, m), m)
    assert len(averages.members) == 3
    training = replace(averages.training, free_run={"validation": 4.0})
    judged = replace(averages, training=training)
    assert "RMSE" in repr(judged) and "RMSE" not in repr(judged.members[0])


def test_a_record_of_pandas_with_unlike_indices_is_not_forecast() -> None:
    import pandas as pd

    u, y = (pd.DataFrame(table) for table in data(NETS[NARX]))
    model(NARX).predict(u, y)
    with pytest.raises(InputError, match="The index of u is not that of y"):
        model(NARX).predict(u[::-1], y)


def test_a_frame_is_taken_by_the_names_of_its_columns_also_by_a_saved_model(tmp_path) -> None:
    import pandas as pd

    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(120, 2)), columns=["valve", "heater"])
    y = lfilter([0.0, 1.0], [1.0, -0.5], frame["valve"] - 0.3 * frame["heater"])
    record = Experiment(frame, y)
    train(narxnet((1,), (1,), 2), record, iterations=5).save(tmp_path)
    model = Model.load(tmp_path)
    run = model.simulate(frame, y[:1]).y
    for same in (frame[["heater", "valve"]], frame.to_numpy()):
        np.testing.assert_array_equal(model.simulate(same, y[:1]).y, run)
    with pytest.raises(InputError, match=r"trained on \['valve', 'heater'\]"):
        model.simulate(frame.rename(columns={"heater": "fan"}), y[:1])
    swapped = Experiment(frame[["heater", "valve"]], y)
    for call in (lambda: train(narxnet(), record, swapped), lambda: train_parallel(model, swapped)):
        with pytest.raises(InputError, match="wanted the same in one order"):
            call()


def test_a_single_net_does_not_tell_how_far_nets_differ() -> None:
    u, y = data(NETS[NARX])
    for single in (model(NARX), Model.average(model(NARX))):
        assert np.isnan(single.spread(u, y[:12])).all()


def test_a_list_of_models_is_refused_with_the_call_to_type() -> None:
    with pytest.raises(InputError, match=r"Got list .* several arguments, of a list `\*models`"):
        Model.average([model(NARX), model(NARX)])  # type: ignore[arg-type]


def test_a_folder_that_there_is_not_is_no_damaged_model(tmp_path) -> None:
    with pytest.raises(InputError, match=r"There is no folder .*absent"):
        Model.load(tmp_path / "absent")


def test_a_model_is_exported_to_python_alone(tmp_path) -> None:
    with pytest.raises(InputError, match=r"net\.c does not end in \.py"):
        export(model(NARX), tmp_path / "net.c")
    assert not list(tmp_path.iterdir())


def test_an_exported_loop_names_a_missing_input_as_such(tmp_path) -> None:
    u, y = data(NETS[NARX])
    export(model(NARX), tmp_path / "exported.py")
    names: dict[str, Any] = {}
    exec((tmp_path / "exported.py").read_text(), names)
    u[12] = np.nan
    with pytest.raises(ValueError, match="u is missing in some rows"):
        names["simulate"](u, y[:10])


def test_an_exported_loop_that_is_lost_says_so_as_the_model_does(tmp_path) -> None:
    scaling = Standardization(np.zeros(0), np.zeros(0), np.zeros(1), np.ones(1))
    weights = {"readout/kernel": np.array([[2.0]]), "readout/bias": np.zeros(1)}
    m = Model(narnet((1,), ()), weights, scaling, y_range=np.array([[-1.0], [1.0]]))
    export(m, tmp_path / "exported.py")
    names: dict[str, Any] = {}
    exec((tmp_path / "exported.py").read_text(), names)
    assert names["simulate"](None, [1.0], 5)[-1] == 16.0
    with pytest.raises(ArithmeticError, match="row 5 is far outside the training record"):
        names["simulate"](None, [1.0], 10)
    with pytest.raises(ModelError, match="after 4 of 9 steps"):
        m.simulate(None, [1.0], rows=10)


CALL = """
import sys, json
sys.path.insert(0, {folder!r})
import exported as net
u, y = json.load(open({data!r}))
closed = net.simulate(u, y[:{start}], {rows}).tolist()
print(json.dumps([net.predict(u, y).tolist(), closed]))
heavy = ("forecast", "tensorflow", "scipy", "pandas")
assert not [name for name in sys.modules if name.split(".")[0] in heavy]
"""


@EVERY
def test_the_exported_function_needs_numpy_alone_and_gives_the_same(name, tmp_path) -> None:
    import json

    m = model(name)
    u, y = data(m.net)
    export(m, tmp_path / "exported.py")
    (tmp_path / "data.json").write_text(json.dumps([None if u is None else u.tolist(), y.tolist()]))
    values = {
        "folder": str(tmp_path),
        "data": str(tmp_path / "data.json"),
        "start": m.start,
        "rows": len(y),
    }
    code = CALL.format(**values)
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/"
    )
    opened, closed = json.loads(run.stdout)
    np.testing.assert_allclose(np.array(opened, float), m.predict(u, y).y, rtol=1e-9)
    np.testing.assert_allclose(closed, m.simulate(u, y[: m.start], rows=len(y)).y, rtol=1e-9)


U, Y = np.zeros((20, 2)), np.zeros((20, 2))
BAD = {
    "delays longer than the series": (
        lambda m: m.predict(U[:3], Y[:3]),
        "delays up to 3; the series has 3 rows",
    ),
    "too few rows to prepare": (
        lambda m: m.prepare(U[:2], Y[:2]),
        "delays up to 3; the series has 2 rows",
    ),
    "too few rows to start from": (
        lambda m: m.simulate(U, Y[:2]),
        "measured rows of y: 2; wanted at",
    ),
    "rank": (
        lambda m: m.predict(np.zeros((2, 20, 2)), Y),
        r"`u` has shape \(2, 20, 2\); wanted",
    ),
    "columns of u": (
        lambda m: m.predict(U[:, :1], Y),
        "u has 1 column; this net was trained on 2",
    ),
    "columns of y": (
        lambda m: m.predict(U, Y[:, 0]),
        "y has 1 column; this net was trained on 2",
    ),
    "rows": (lambda m: m.predict(U[:19], Y), "Rows of u: 19, of y: 20"),
    "neither u nor y": (
        lambda m: model("timedelay").predict(None, None),
        "u has 0 columns; this net was trained on 2",
    ),
    "NaN in u": (
        lambda m: m.predict(np.full((20, 2), np.nan), Y),
        "u is missing in row 0, column 0",
    ),
    "NaN in the first rows of y": (
        lambda m: m.simulate(U, np.full((3, 2), np.nan)),
        "y is missing before row 3",
    ),
    "text": (lambda m: m.predict(U, np.full((20, 2), "a")), "`y` is no table of numbers"),
    "infinite": (
        lambda m: m.predict(U, np.full((20, 2), np.inf)),
        "`y` has infinite values",
    ),
    "rows of u": (lambda m: m.simulate(U.T, Y[:3]), r"trained on 2\. Time runs .* give u\.T"),
    "no inputs": (lambda m: m.simulate(None, Y[:3]), "u has 0 columns; this net was trained on 2"),
    "columns of the next u": (
        lambda m: model("narx with the input of the same row").removedelay(U, Y, [1.0]),
        "u_next has 1 column; this net was trained on 2",
    ),
    "half a step": (lambda m: m.ahead(U, Y, steps=1.5), "`steps` is 1.5, the rows are 17"),
    "no y for a net that feeds it back": (
        lambda m: m.predict(U, None),
        r"goes on from measured rows of y; found none",
    ),
    "too many steps": (lambda m: m.ahead(U, Y, steps=17), "`steps` is 17, the rows are 17"),
}


@pytest.mark.parametrize("other", ["nar", "arx", "elman", "set"])
def test_the_state_of_another_net_is_refused(other) -> None:
    """Without it some of these end in an error of NumPy, others go on from wrong delays."""
    m = model(NARX)
    source = Model.average(m, m) if other == "set" else model(other)
    state = source.prepare(*((None, Y) if source.inputs == 0 else (U, Y)))
    with pytest.raises(InputError, match="state is that of another net than this narxnet"):
        m.simulate(U, state)


def test_the_state_of_a_net_that_other_rows_scaled_is_refused() -> None:
    """It would be read in the wrong units: each scaling has its own."""
    m = model(NARX)
    other = replace(m, scaling=replace(m.scaling, y_mean=m.scaling.y_mean + 1))
    with pytest.raises(InputError, match="or of one trained on other rows"):
        m.simulate(U, other.prepare(U, Y))


def test_a_loaded_model_goes_on_from_the_state_of_the_one_that_was_saved(tmp_path) -> None:
    m = model(NARX)
    m.save(tmp_path / "net")
    state = m.prepare(U, Y)
    resumed = Model.load(tmp_path / "net").simulate(U, state)
    np.testing.assert_array_equal(resumed.y, m.simulate(U, state).y)


def test_a_file_in_the_place_of_the_folder_of_a_model_is_left_alone(tmp_path) -> None:
    path = tmp_path / "net.mat"
    path.write_text("data")
    with pytest.raises(InputError, match="is a file; a model is saved as a folder"):
        model(NARX).save(path)
    assert path.read_text() == "data"


def test_the_record_of_a_training_shows_itself_without_its_curve() -> None:
    assert "curve" not in repr(TrainingRecord(curve=((0, 1.0, 1.0, 0.001),) * 100))


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD)
def test_wrong_ranks_sizes_and_values_are_refused(call, message) -> None:
    with pytest.raises(InputError, match=message):
        call(model(NARX))


def test_a_free_run_without_inputs_needs_its_number_of_rows() -> None:
    with pytest.raises(InputError, match="needs `rows`"):
        model("nar").simulate(None, np.zeros((3, 2)))


OPTIONS = {
    "delays not rising": (
        lambda: narxnet((2, 1)),
        r"`input_delays` is \(2, 1\); wanted whole steps from 0",
    ),
    "feedback without delay": (
        lambda: narnet((0, 1)),
        "`feedback_delays` is .* wanted whole steps from 1",
    ),
    "no delays": (lambda: timedelaynet(()), r"`input_delays` is \(\)"),
    "sets of delays": (lambda: distdelaynet(((1,),), 5), "1 sets of delays for 1 hidden layers"),
    "half a unit": (lambda: narxnet(hidden=2.7), "`hidden` is 2.7; wanted units per layer"),
    "half a unit in a layer": (
        lambda: narxnet(hidden=(2.7,)),
        r"`hidden` is \(2.7,\); wanted units per layer",
    ),
    "half a delay": (lambda: narxnet(1.5), r"`input_delays` is \(1.5,\); wanted whole steps"),
    "a truth value as delay": (
        lambda: narxnet((False, True)),
        r"`input_delays` is \(False, True\)",
    ),
    "a truth value as units": (lambda: narxnet(hidden=True), "`hidden` is True; wanted units"),
    "units": (lambda: narxnet(hidden=0), "`hidden` is 0; wanted units per layer"),
    "nothing to feed back": (lambda: layrecnet((1,), ()), "layrecnet without hidden units"),
    "experiment": (lambda: Experiment(np.zeros(5), np.zeros(4)), "Rows of u: 5, of y: 4"),
    "gap in u": (lambda: Experiment([0.0, np.nan], [0.0, 1.0]), "u is missing in row 1, column 0"),
    "no y": (lambda: Experiment(None, [np.nan, np.nan]), "no observed value at all"),
    "weights": (
        lambda: Experiment(None, [0.0, 1.0], [1.0, -1.0]),
        "`weight` has a value below 0 or missing; wanted numbers from 0 up",
    ),
}


@pytest.mark.parametrize(("make", "message"), OPTIONS.values(), ids=OPTIONS)
def test_nets_and_experiments_that_make_no_sense_are_refused(make, message) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_whole_numbers_of_numpy_are_whole_numbers() -> None:
    assert narxnet(np.arange(1, 3), np.arange(1, 3), np.int64(4)) == narxnet((1, 2), (1, 2), 4)
    assert narxnet(2, 1, 4) == narxnet((2,), (1,), 4)


@pytest.mark.parametrize("rows", [5, 0, 101, -1, 2.5])
def test_rows_that_u_does_not_have_are_refused(rows: Any) -> None:
    data = tank(100)
    model = train(narxnet((1,), (1,), 2), data, iterations=1)
    for run in (model.parallel, model.spread):
        with pytest.raises(InputError, match="`rows` is"):
            run(data.u, data.y[:1], rows=rows)
    assert len(model.simulate(data.u, data.y[:1], rows=100).y) == 100


@pytest.mark.parametrize("rows", [-1, 2.5])
def test_a_run_without_inputs_wants_whole_rows(rows: Any) -> None:
    series = sunspots_like(100)
    model = train(narnet((1, 2), 2), series, iterations=1)
    with pytest.raises(InputError, match="wanted a whole number"):
        model.simulate(None, series.y[:2], rows=rows)


@EVERY
def test_a_vector_stays_a_vector_through_every_loop(name) -> None:
    m = model(name, 1)
    u, y = data(m.net, outputs=1)
    vector = y[:, 0]
    opened = m.predict(u, vector)
    np.testing.assert_array_equal(opened.y, m.predict(u, y).y[:, 0])
    if not m.net.feedback:
        return
    state = m.prepare(cut(u, 0, 12), vector[:12])
    on = m.simulate(cut(u, 12, 30), state, rows=18)
    whole = m.simulate(u, vector[:12], rows=30)
    assert opened.y.shape == whole.y.shape == (30,) and on.y.shape == (18,)
    np.testing.assert_array_equal(whole.y[12:], on.y)
    assert m.ahead(u, vector, steps=4).shape == (26, 4)
    assert m.spread(u, vector[:12], rows=30).shape == (30,)
    late = u[-1] if m.net.input_delays and m.net.shift == 0 else None
    assert m.removedelay(u, vector, late).shape == (30,)


def test_a_net_without_feedback_forecasts_in_the_shape_it_was_trained_on(tmp_path) -> None:
    e = tank(60)
    for y in (e.y, e.y[:, 0]):
        train(timedelaynet((0, 1), 2), Experiment(e.u, y), iterations=1).save(tmp_path)
        assert Model.load(tmp_path).predict(e.u).y.shape == y.shape


@pytest.mark.parametrize("net", [narxnet((1,), (1,), 2), narxnet((1,), (1,), (2, 2))])
def test_an_exported_model_gives_the_shape_it_was_given(net, tmp_path) -> None:
    e = tank(60)
    export(train(net, e, iterations=1), tmp_path / "shapes.py")
    names: dict[str, Any] = {}
    exec((tmp_path / "shapes.py").read_text(), names)
    for y in (e.y, e.y[:, 0]):
        assert names["predict"](e.u, y).shape == y.shape
        assert names["simulate"](e.u, y[:1]).shape == y.shape


@pytest.mark.parametrize("net", [timedelaynet((0, 1), 2), layrecnet((1,), 2)])
def test_an_exported_net_without_feedback_needs_no_y(net, tmp_path) -> None:
    e = tank(60)
    for y in (e.y, e.y[:, 0]):
        trained = train(net, Experiment(e.u, y), iterations=1)
        export(trained, tmp_path / "inputs_only.py")
        names: dict[str, Any] = {}
        exec((tmp_path / "inputs_only.py").read_text(), names)
        for loop in ("predict", "simulate"):
            expected = getattr(trained, loop)(e.u).y
            np.testing.assert_allclose(names[loop](e.u), expected, rtol=1e-9)


def test_an_exported_net_with_feedback_asks_for_the_rows_it_begins_with(tmp_path) -> None:
    export(model(NARX), tmp_path / "exported.py")
    names: dict[str, Any] = {}
    exec((tmp_path / "exported.py").read_text(), names)
    with pytest.raises(ValueError, match=r"No y was given.*needs \d+ rows"):
        names["simulate"](np.zeros((9, 2)))


def test_a_transposed_record_is_recognised() -> None:
    with pytest.raises(InputError, match=r"y has shape \(1, 300\): fewer rows than columns.*y\.T"):
        Experiment(np.zeros((1, 300)), np.zeros((1, 300)))
    with pytest.raises(InputError, match=r"y has shape \(2, 300\): fewer rows than columns.*y\.T"):
        Experiment(np.zeros((2, 300)), np.zeros((2, 300)))


def test_the_names_of_matlab_are_the_same_loops_and_a_model_shows_itself_in_a_line() -> None:
    assert Model.series_parallel is Model.predict and Model.parallel is Model.simulate
    e = tank(60)
    trained = train(narxnet((1,), (1,), 2), e, iterations=2)
    assert repr(trained).startswith("<Model narxnet: u[t-1], y[t-1] -> 2 tanh")
    assert repr(trained).count("\n") == 0 and len(repr(trained)) < 120
    assert "median of 2 nets" in repr(Model.average(trained, trained))
    run = trained.predict(e.u, e.y)
    assert repr(run) == "<LoopRun y (60, 1)>" and repr(run.state) == "State(is_vector=False)"
    doubled = trained.simulate(2 * e.u, e.y[:1])
    assert doubled.notes[0] in repr(doubled)


def test_inputs_beyond_those_of_training_are_named_by_either_loop_and_where_it_diverges() -> None:
    e = tank(60)
    net = train(narxnet((1,), (1,), 2), e, iterations=2)
    for trained in (net, Model.average(net, net)):
        (note,) = trained.predict(2 * e.u, e.y).notes
        assert "u leaves the range it was trained on" in note
        with pytest.raises(ModelError, match=r"diverges: .* u leaves the range .* Give u as in"):
            trained.simulate(1e4 * e.u, e.y[:1])


def test_a_loop_that_diverges_beyond_the_range_of_u_is_not_said_to_do_so_by_that_alone() -> None:
    e = tank(60)
    trained = train(narxnet((1,), (1,), ()), e, iterations=2)
    kernel = trained.weights["readout/kernel"].copy()
    kernel[0] = 1.5  # y[t-1]
    growing = replace(trained, weights={**trained.weights, "readout/kernel": kernel})
    with pytest.raises(ModelError, match=r"If it diverges then too: Train it on its"):
        growing.simulate(1.2 * e.u, e.y[:1])


def test_nets_that_differ_within_the_range_of_u_are_noted_and_the_range_is_not_blamed() -> None:
    e = tank(60)
    net = train(narxnet((1,), (1,), ()), e, iterations=2)
    bias = net.weights["readout/bias"] + 0.5
    other = replace(net, weights={**net.weights, "readout/bias": bias})
    (note,) = Model.average(net, other).simulate(e.u, e.y[:1]).notes
    assert "where u is within the range of training" in note and "more measured rows" in note
    assert Model.average(net, net).simulate(e.u, e.y[:1]).notes == ()
    assert "leaves the range" in Model.average(net, other).simulate(1.2 * e.u, e.y[:1]).notes[1]


def test_an_exported_model_goes_on_row_by_row_as_it_does_over_the_whole_record(tmp_path) -> None:
    e = tank(60)
    trained = train(narxnet((1, 3), (1, 2), 3), e, iterations=3)
    export(trained, tmp_path / "exported.py")
    names: dict[str, Any] = {}
    exec((tmp_path / "exported.py").read_text(), names)
    state = names["initial"](e.u[0])
    rows = []
    for t in range(60):
        row, state = names["step"](state, e.u[t], e.y[t] if t < 20 else None)
        rows.append(row)
    np.testing.assert_allclose(rows[20:], trained.simulate(e.u, e.y[:20]).y[20:], rtol=1e-9)
    np.testing.assert_allclose(rows[3:20], trained.predict(e.u, e.y).y[3:20], rtol=1e-9)


def test_a_free_run_over_rows_that_are_all_measured_is_refused() -> None:
    u, y = data(NETS[NARX])
    with pytest.raises(InputError, match=r"fewer than of u: y\[:\d+\].*`predict\(u, y\)`"):
        model(NARX).simulate(u, y)


@pytest.mark.parametrize(
    "ask",
    [
        Model.parallel,
        Model.spread,
        Model.predict,
        Model.prepare,
        Model.removedelay,
        partial(Model.ahead, steps=3),
    ],
)
def test_missing_measured_rows_are_asked_for_with_the_call_to_type(ask: Any) -> None:
    u, _ = data(NETS[NARX])
    with pytest.raises(
        InputError, match=r"found none.*`model\.simulate\(u, y\[: model\.start\]\)`"
    ):
        ask(model(NARX), u)
