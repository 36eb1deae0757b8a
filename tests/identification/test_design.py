"""Inputs that excite, files that are read, and what a model does around an operating point: known
answers.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from forecast.identification import (
    Experiment,
    Model,
    choose_delays,
    frequency_response,
    multisine,
    narxnet,
    plottrainstate,
    prbs,
    random_steps,
    read_record,
    stability,
    tank,
    timedelaynet,
    train,
)
from forecast.identification.experiment import Standardization
from forecast.system.errors import InputError


def linear() -> Model:
    """y[t] = 0.8 y[t-1] + 0.5 u[t-1], in the units of the data."""
    weights = {"readout/kernel": np.array([[0.8], [0.5]]), "readout/bias": np.zeros(1)}
    scaling = Standardization(np.zeros(1), np.ones(1), np.zeros(1), np.ones(1))
    return Model(narxnet((1,), (1,), ()), weights, scaling)


def test_a_multisine_has_its_band_and_nothing_else_at_a_low_crest_factor() -> None:
    u = multisine(256, low=2.0, high=6.0, band=(0.05, 0.2))
    sizes = np.abs(np.fft.rfft(u - u.mean()))
    band = np.arange(13, 52)
    assert u.min() == pytest.approx(2.0) and u.max() == pytest.approx(6.0)
    np.testing.assert_allclose(sizes[band], sizes[20], rtol=1e-9)
    assert np.delete(sizes, band).max() < 1e-9 * sizes[20]
    assert np.abs(u - u.mean()).max() < 2.0 * u.std()
    with pytest.raises(InputError, match="No cosine with whole periods in 10 rows"):
        multisine(10, band=(0.01, 0.02))


def test_steps_are_held() -> None:
    bits = prbs(90, 1.0, 4.0, hold=6)
    assert set(bits.tolist()) == {1.0, 4.0} and not np.diff(bits)[np.arange(89) % 6 != 5].any()
    steps = random_steps(95, 1.0, 4.0, hold=10)
    assert (
        len(steps) == 95
        and len(set(steps.tolist())) == 10
        and 1.0 <= steps.min() < steps.max() <= 4.0
    )


POLES = {"fast": 0.8, "slower than the rows": 0.999, "integrates": 1.0}


@pytest.mark.parametrize("pole", POLES.values(), ids=POLES)
def test_the_frequency_response_is_that_of_the_linear_model_however_long_it_remembers(pole) -> None:
    """A pulse cut off after 512 rows had 0.4 of the gain of a pole at 0.999, and nothing of an
    integrator's.
    """
    weights = {**linear().weights, "readout/kernel": np.array([[pole], [0.5]])}
    model = Model(linear().net, weights, linear().scaling)
    frequencies, response = frequency_response(model, 0.0)
    np.testing.assert_array_equal(frequency_response(model, [[0.0]])[1], response)
    z = np.exp(2j * np.pi * frequencies[1:])
    np.testing.assert_allclose(response[1:, 0], 0.5 / (z - pole), rtol=5e-3)
    assert response[0, 0] == (np.inf if pole == 1.0 else pytest.approx(0.5 / (1 - pole), rel=5e-3))


WRONG = {
    "no such column": (
        lambda: frequency_response(linear(), 0.0, column=1),
        "Column 1 of .* the model has 1 inputs",
    ),
    "none counted from behind": (
        lambda: frequency_response(linear(), 0.0, column=-1),
        "Column -1 of inputs",
    ),
    "too many inputs": (
        lambda: frequency_response(linear(), [0.0, 1.0]),
        "held at 2 values; the model has 1 inputs",
    ),
    "levels held for no row": (
        lambda: random_steps(10, hold=0),
        "`hold` is 0; wanted a whole number from 1 up",
    ),
    "half a row": (lambda: prbs(10, hold=2.5), "`hold` is 2.5"),
    "no row": (lambda: prbs(0), "`rows` is 0; wanted a whole number from 1 up"),
    "a thousand as MATLAB writes it": (lambda: multisine(1e3), "`rows` is 1000.0"),
}


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_inputs_that_are_not_there_and_levels_held_for_no_row_are_refused(call, message) -> None:
    with pytest.raises(InputError, match=message):
        call()


def test_a_net_without_feedback_has_a_frequency_response() -> None:
    weights = {"readout/kernel": np.array([[0.5], [0.25]]), "readout/bias": np.ones(1)}
    model = Model(timedelaynet((1, 3), ()), weights, linear().scaling)
    frequencies, response = frequency_response(model, 0.3, rows=64)
    z = np.exp(2j * np.pi * frequencies)
    np.testing.assert_allclose(response[:, 0], 0.5 / z + 0.25 / z**3, atol=1e-9)


def test_the_response_of_a_linear_model_is_its_transfer_function() -> None:
    frequencies, response = frequency_response(linear(), 0.3)
    z = np.exp(2j * np.pi * frequencies)
    np.testing.assert_allclose(response[:, 0], 0.5 / (z - 0.8), rtol=1e-6)


def test_the_order_of_a_linear_system_is_found() -> None:
    rng = np.random.default_rng(0)
    u, y = rng.normal(size=600), np.zeros(600)
    for t in range(3, 600):
        y[t] = 0.7 * y[t - 1] - 0.3 * y[t - 2] + u[t - 1] + 0.5 * u[t - 3] + 0.1 * rng.normal()
    assert choose_delays(Experiment(u, y), longest=6) == ((0, 1, 2, 3), (1, 2))
    inputs, outputs = choose_delays(Experiment(u, y), longest=6)
    assert len(inputs) >= 4 and len(outputs) >= 2


def test_a_file_is_read_by_the_names_of_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("run,u,y\na,1,2\na,2,\nb,3,4\nb,4,5\n")
    first, second = read_record(path, ["y"], ["u"], experiment="run")
    assert (
        first.u.tolist() == [[1.0], [2.0]]
        and np.isnan(first.y[1, 0])
        and second.y.tolist() == [[4.0], [5.0]]
    )
    (whole,) = read_record(path, ["y"])
    assert whole.u.shape == (4, 0) and len(whole) == 4
    with pytest.raises(InputError, match=r"has no column \['level'\]; it has \['run', 'u', 'y'\]"):
        read_record(path, ["level"])


def test_a_single_name_is_a_name_not_letters(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    path.write_text("flow,level\n1,2\n2,3\n3,5\n")
    (record,) = read_record(path, "level", "flow")
    np.testing.assert_array_equal(record.y[:, 0], [2, 3, 5])


@pytest.mark.parametrize(
    "content",
    [
        "time;u;y, m\n2020-01-01;1,5;2\n2020-01-02;3,5;4\n",
        'time\tu\t"y, m"\n2020-01-01\t1,5\t2\n2020-01-02\t3,5\t4\n',
        '"time";"u";"y, m"\n"2020-01-01";1.5;2\n"2020-01-02";3.5;4\n',
        '\ufefftime,u,"y, m"\n2020-01-01,1.5,2\n2020-01-02,3.5,4\n',
    ],
)
def test_a_file_may_part_columns_by_semicolons_or_tabs(tmp_path: Path, content: str) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(content, encoding="utf-8")
    (record,) = read_record(path, ["y, m"], ["u"])
    assert record.u.tolist() == [[1.5], [3.5]] and record.y.tolist() == [[2.0], [4.0]]


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (["0", "0.1", "0.2", "0.3"], None),
        (["0,0", "0,1", "0,2", "0,3"], None),
        (["2020-01-01", "2020-01-02", "2020-01-03", "2020-01-04"], None),
        (["0", "0.1", "0.3", "0.4"], "Rows 1 and 2 are those of 0.1 and 0.3"),
        (["0", "0.2", "0.1", "0.3"], "Rows 1 and 2 are those of 0.2 and 0.1"),
        (["0", "0.1", "soon", "0.3"], "column 't' has 'soon' in row 2"),
    ],
)
def test_a_named_column_of_times_tells_rows_that_do_not_follow_each_other(
    tmp_path: Path, times: list[str], message: str | None
) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("u;t;y\n" + "".join(f"{row};{t};{row}\n" for row, t in enumerate(times)))
    if message:
        with pytest.raises(InputError, match=message):
            read_record(path, ["y"], ["u"], time="t")
        assert len(read_record(path, ["y"], ["u"])[0]) == 4
    else:
        (record,) = read_record(path, ["y"], ["u"], time="t")
        assert record.y[:, 0].tolist() == [0.0, 1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    "content",
    ["t,u,y\n0.0,1,2\n0.1,1,2\n0.3,1,2\n0.4,1,2\n", "t;u;y\n0,0;1;2\n0,1;1;2\n0,3;1;2\n0,4;1;2\n"],
)
def test_a_first_column_of_numbers_that_is_not_named_tells_no_times(
    tmp_path: Path, content: str
) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(content)
    assert len(read_record(path, ["y"], ["u"])[0]) == 4
    with pytest.raises(InputError, match=r"Rows 1 and 2 are those of 0\.1 and 0\.3"):
        read_record(path, ["y"], ["u"], time="t")


def test_a_compressed_file_is_read_like_any_other(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv.gz"
    path.write_bytes(gzip.compress(b'"u";"y, m"\n1,5;2\n3,5;4\n'))
    (record,) = read_record(path, ["y, m"], ["u"])
    assert record.u.tolist() == [[1.5], [3.5]] and record.y.tolist() == [[2.0], [4.0]]


def test_columns_parted_by_another_mark_and_numbers_by_two_are_told(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("u|y\n1|2\n3|4\n")
    with pytest.raises(InputError, match=r"has no column \['y'\].* semicolons or tabs separate"):
        read_record(path, ["y"])
    path.write_text("u;y\n1.234,5;2\n3.234,5;4\n")
    with pytest.raises(InputError, match=r"column 'u' has '1\.234,5' in row 0"):
        read_record(path, ["y"], ["u"])


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["1,5", "2,5", "1.000,5"], r"column 'u' has '1\.000,5' in row 2"),
        (["1,5", "2,5", "1.000"], r"column 'u' has '1\.000' in row 2"),
        (["1.5", "3,5", "2.5"], r"column 'u' has '3,5' in row 1"),
        (["1,5", "bad", "2,5"], r"column 'u' has 'bad' in row 1"),
        (["1,5", "", "2,5"], None),
    ],
)
def test_a_bad_cell_among_decimal_commas_is_named_and_no_good_cell(
    tmp_path: Path, cells: list[str], message: str | None
) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("v;u\n" + "".join(f"0,5;{cell}\n" for cell in cells))
    if message:
        with pytest.raises(InputError, match=message):
            read_record(path, ["u"], ["v"])
    else:
        (record,) = read_record(path, ["u"], ["v"])
        np.testing.assert_array_equal(record.y[:, 0], [1.5, np.nan, 2.5])


def test_a_file_that_is_no_record_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("run,u,y\na,1,2\n,2,3\nb,3,4\n")
    with pytest.raises(InputError, match="has rows without 'run'"):
        read_record(path, ["y"], ["u"], experiment="run")
    with pytest.raises(InputError, match=r"\['y'\] is named twice"):
        read_record(path, ["y"], ["u", "y"])
    with pytest.raises(InputError, match=r"\['u'\] is named twice"):
        read_record(path, ["y"], ["u", "u"])
    path.write_text("")
    with pytest.raises(InputError, match="is no CSV file in UTF-8 with a row of names"):
        read_record(path, ["y"])


def test_a_file_whose_rows_end_with_a_separator_keeps_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "logger.csv"
    for separator in ",;":
        lines = ["row,level,inflow", "0,5,1,", "1,6,2,", "2,7,3,"]
        path.write_text("\n".join(lines).replace(",", separator))
        (record,) = read_record(path, ["level"], ["row"])
        assert record.y[:, 0].tolist() == [5, 6, 7] and record.u[:, 0].tolist() == [0, 1, 2]


def test_names_of_rows_without_a_name_of_their_own_are_no_column(tmp_path: Path) -> None:
    path = tmp_path / "frame.csv"
    path.write_text("level,inflow\n1,5,1\n2,6,2\n")
    (record,) = read_record(path, ["level"], ["inflow"])
    assert record.y[:, 0].tolist() == [5, 6] and record.u[:, 0].tolist() == [1, 2]


def test_a_folder_in_the_place_of_a_file_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no file"):
        read_record(tmp_path, ["y"])


@pytest.mark.parametrize("clock", [" 00:0{}:00", ""])
def test_dates_as_matlab_writes_them_are_times(tmp_path: Path, clock: str) -> None:
    path = tmp_path / "table.csv"
    day = "01-Mar-2020" if clock else "0{}-Mar-2020"
    cells = [f"{day}{clock}".format(step) for step in (1, 2, 3, 4, 6, 7)]
    path.write_text("Time,y\n" + "".join(f"{cell},1\n" for cell in cells))
    with pytest.raises(InputError, match="Rows 3 and 4"):
        read_record(path, ["y"])
    path.write_text("Time,y\n" + "".join(f"{cell},1\n" for cell in cells[:4]))
    (record,) = read_record(path, ["y"], time="Time")
    assert len(record) == 4


def test_a_cell_that_is_no_number_is_named_by_file_column_and_row(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    for content, cell in (
        ("u,y\n1,2\n2,\n3,bad\n", "runs.csv: column 'y' has 'bad' in row 2"),
        (
            "u,y\n1,2\n,3\n",
            "column 'u' has 'nan' in row 1, .* wanted a number. Only y may be empty",
        ),
        ("u,y\ninf,2\n2,3\n", "column 'u' has 'inf' in row 0"),
    ):
        path.write_text(content)
        with pytest.raises(InputError, match=cell):
            read_record(path, ["y"], ["u"])
    with pytest.raises(InputError, match="No output is named"):
        read_record(path, [], ["u"])


def test_an_array_in_the_place_of_an_experiment_is_refused() -> None:
    with pytest.raises(InputError, match=r"Got ndarray .* Give `Experiment\(u, y\)`"):
        stability(linear(), np.zeros(20))


def test_the_train_state_shows_mu_and_the_iterations_since_the_best() -> None:
    model = train(narxnet((1,), (1,), 2), tank(100, noise=0.05), iterations=8)
    above, below = plottrainstate(model.training).axes
    curve = np.array(model.training.curve)
    np.testing.assert_array_equal(above.lines[0].get_ydata(), curve[:, 3])
    best = int(np.argmin(curve[:, 2]))
    assert below.lines[0].get_ydata()[-1] == curve[-1, 0] - best


def test_cells_and_structs_of_matlab_are_read_as_preparets_takes_them(tmp_path: Path) -> None:
    from scipy.io import savemat

    u, y = np.arange(12.0).reshape(6, 2), np.arange(6.0)[:, None]
    cells = {"X": np.empty((1, 6), object), "T": np.empty((1, 6), object)}
    for row in range(6):
        cells["X"][0, row], cells["T"][0, row] = u[row][:, None], y[row][:, None]
    savemat(tmp_path / "cells.mat", cells)
    (record,) = read_record(tmp_path / "cells.mat", ["T"], ["X"])
    np.testing.assert_array_equal(record.u, u)
    np.testing.assert_array_equal(record.y, y)
    savemat(tmp_path / "struct.mat", {"data": {"u": u, "y": y, "note": "first"}})
    (record,) = read_record(tmp_path / "struct.mat", ["y"], ["u"])
    np.testing.assert_array_equal(record.u, u)
    uneven = np.empty((1, 2), object)
    uneven[0, 0], uneven[0, 1] = np.arange(2.0), "text"
    savemat(tmp_path / "uneven.mat", {"y": uneven})
    with pytest.raises(InputError, match="has no column"):
        read_record(tmp_path / "uneven.mat", ["y"])


def test_a_field_that_several_structs_have_is_named_with_its_struct(tmp_path: Path) -> None:
    from scipy.io import savemat

    path, y = tmp_path / "two.mat", np.arange(9.0)[:, None]
    parts = {"train": {"u": -y[:5], "y": y[:5]}, "test": {"u": -y[5:], "y": y[5:]}}
    savemat(path, parts)
    with pytest.raises(InputError, match=r"'y' more than once.* \['train.y', 'test.y'\]"):
        read_record(path, ["y"], ["u"])
    (record,) = read_record(path, ["train.y"], ["train.u"])
    np.testing.assert_array_equal(record.y, y[:5])
    savemat(path, {"u": -y, "y": y, "opt": {"y": y[::-1]}})
    (record,) = read_record(path, ["y"], ["u"])
    np.testing.assert_array_equal(record.y, y)


def test_variables_of_unequal_rows_are_refused_with_the_rows_of_each(tmp_path: Path) -> None:
    from scipy.io import savemat

    path = tmp_path / "cut.mat"
    savemat(path, {"u": np.arange(9.0), "y": np.arange(10.0)})
    with pytest.raises(InputError, match="y 10, u 9; wanted equal numbers of rows"):
        read_record(path, ["y"], ["u"])


def test_a_cell_of_matlab_that_holds_a_record_is_an_experiment(tmp_path: Path) -> None:
    from scipy.io import savemat

    path, cells = tmp_path / "iddata.mat", {"u": np.empty((1, 2), object)}
    cells["u"][0, 0], cells["u"][0, 1] = np.ones((5, 1)), np.zeros((4, 1))
    savemat(path, cells | {"y": cells["u"], "whole": np.ones((9, 1))})
    first, second = read_record(path, ["y"], ["u"])
    assert first.u.tolist() == [[1.0]] * 5 and second.y.tolist() == [[0.0]] * 4
    with pytest.raises(InputError, match="y 2, whole 1; wanted equal numbers of experiments"):
        read_record(path, ["y"], ["whole"])


def test_an_element_of_a_struct_array_of_matlab_is_an_experiment(tmp_path: Path) -> None:
    from scipy.io import savemat

    path, runs = tmp_path / "runs.mat", np.zeros((1, 2), [("u", object), ("y", object)])
    runs[0, 0], runs[0, 1] = (
        (np.ones((1, 5)), np.ones((1, 5))),
        (np.zeros((4, 1)), np.eye(4)[:, :1]),
    )
    savemat(path, {"runs": runs})
    first, second = read_record(path, ["y"], ["u"])
    assert first.u.tolist() == [[1.0]] * 5 and second.y[:, 0].tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("kind", ["complex", "sparse", "text", "three axes"])
def test_a_variable_of_matlab_that_is_no_table_of_numbers_is_refused_as_such(
    tmp_path: Path, kind: str
) -> None:
    from scipy.io import savemat
    from scipy.sparse import csc_matrix

    path, y = tmp_path / "kinds.mat", np.arange(6.0)[:, None]
    values = {"complex": y + 1j, "sparse": csc_matrix(y), "text": "y", "three axes": y[None]}
    savemat(path, {"u": y, "y": values[kind]})
    with pytest.raises(InputError, match=r"no column 'y' of real numbers; it has \['u'\].*sparse"):
        read_record(path, ["y"], ["u"])


def test_a_division_by_its_name_in_matlab_is_refused_in_a_sentence() -> None:
    with pytest.raises(InputError, match=r"`divide` is 'dividerand'; wanted such as divideblock"):
        train(narxnet((1,), (1,), 2), tank(60), divide="dividerand", iterations=1)  # type: ignore[arg-type]


def test_a_file_of_matlab_is_read_by_the_names_of_its_variables(tmp_path: Path) -> None:
    from scipy.io import savemat

    u = np.arange(12.0).reshape(6, 2)
    savemat(tmp_path / "run.mat", {"u": u, "y": np.arange(6.0), "Ts": 0.1, "note": "first"})
    (record,) = read_record(tmp_path / "run.mat", ["y"], ["u"])
    np.testing.assert_array_equal(record.u, u)
    np.testing.assert_array_equal(record.y[:, 0], np.arange(6.0))
    with pytest.raises(
        InputError, match=r"has no column 'level' of real numbers; it has \['u', 'y', 'Ts'\]"
    ):
        read_record(tmp_path / "run.mat", ["level"])
    rows = {"u": u.T, "y": np.arange(6.0)[:, None]}
    savemat(tmp_path / "rows.mat", rows)
    (along,) = read_record(tmp_path / "rows.mat", ["y"], ["u"])
    np.testing.assert_array_equal(along.u, u)
    whole = (tmp_path / "run.mat").read_bytes()
    for content in (b"nothing", *(whole[:length] for length in (0, 6, 60, 130, 180, 200))):
        (tmp_path / "bad.mat").write_bytes(content)
        with pytest.raises(InputError, match="nor a MATLAB file up to version 7"):
            read_record(tmp_path / "bad.mat", ["y"])
    for absent in ("absent.mat", "absent.csv"):
        with pytest.raises(InputError, match=f"There is no file .*{absent}"):
            read_record(tmp_path / absent, ["y"])
