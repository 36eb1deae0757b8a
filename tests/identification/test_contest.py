"""Rows of models on one record: what trains, validates and tests them, how they are ranked, what a
command leaves.
"""

from __future__ import annotations

import json
import re
import signal
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast.cli import identify as command
from forecast.cli.common import Format
from forecast.cli.run import remove_run_leftovers
from forecast.config.operation import ExperimentEntry, load_experiment
from forecast.config.reading import validate_config
from forecast.identification import (
    Experiment,
    Model,
    contest,
    grunet,
    lstmnet,
    narxnet,
    tank,
    train,
    trainlm,
)
from forecast.identification.contest import WARM_UP, compete, split
from forecast.system.errors import InputError, ModelError
from forecast.system.progress import Pace, Piece
from tests.support import small_project, warm_interpreter

PAGE = (small_project.ROOT / "docs" / "identification.md").read_text(encoding="utf-8")
(YAML,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def record(**changes: object) -> ExperimentEntry:
    given = {
        "kind": "experiment",
        "file": "tank.csv",
        "inputs": ["u"],
        "outputs": ["y"],
        "models": ["arx", "narx_lm"],
    }
    return validate_config(ExperimentEntry, {**given, **changes}, where="here")


def test_a_share_is_cut_from_the_end_of_every_record() -> None:
    fitted, blocks = split({"a": tank(200), "b": tank(100)}, 0.2)
    assert [len(e) for e in fitted.values()] == [160, 80]
    assert [(len(before), len(rows)) for before, rows in blocks] == [(160, 40), (80, 20)]


def test_whole_records_are_taken_by_name_and_begin_with_measured_rows() -> None:
    fitted, blocks = split({"a": tank(200), "b": tank(100)}, ("b",))
    assert list(fitted) == ["a"] and [tuple(map(len, block)) for block in blocks] == [
        (WARM_UP, 100 - WARM_UP)
    ]
    with pytest.raises(
        InputError, match=r"no record \['c'\] .* has \['a', 'b'\]\. .* `record` names their column"
    ):
        split({"a": tank(200), "b": tank(100)}, ("c",))


def test_a_record_too_short_to_test_or_fit_on_is_named_with_its_rows() -> None:
    with pytest.raises(InputError, match=r"^15 rows of record 'b' to test on, wanted more than 20"):
        split({"a": tank(200), "b": tank(15)}, ("b",))
    with pytest.raises(InputError, match=r"^19 rows of record 'b' to fit before the last 20%"):
        split({"a": tank(200), "b": tank(24)}, 0.2)
    with pytest.raises(InputError, match=r"^19 rows of the record to fit"):
        split({"": tank(24)}, 0.2)
    with pytest.raises(InputError, match=r"^Every record is named in `test`"):
        split({"a": tank(200), "b": tank(100)}, ("a", "b"))


def test_a_model_whose_delays_exceed_the_measured_rows_is_judged_from_where_it_begins() -> None:
    whole = tank(200)
    model = train(narxnet((1,), (1, WARM_UP + 9), 2), whole, iterations=3)
    (block,) = split({"a": whole, "b": whole}, ("b",))[1]
    errors = contest.free_run_rmse(model, [block])
    free = model.simulate(whole.u, whole.y[: WARM_UP + 9]).y[WARM_UP + 9 :]
    np.testing.assert_allclose(
        errors, np.sqrt(np.mean((free - whole.y[WARM_UP + 9 :]) ** 2, axis=0))
    )


def test_records_that_are_numbers_are_named_by_numbers() -> None:
    assert split({"1": tank(200), "2": tank(100)}, record(test=[2]).test)[0].keys() == {"1"}


def test_the_validation_error_ranks_and_the_test_rows_change_nothing_of_it() -> None:
    whole = tank(300, noise=0.005)
    spoilt = Experiment(whole.u, np.where(np.arange(300)[:, None] < 240, whole.y, 0.0))
    first, second = (compete(record(), {"": e}) for e in (whole, spoilt))
    assert [entry.name for entry in first] == ["narx_lm", "arx"]
    assert [entry.validation for entry in first] == sorted(entry.validation for entry in first)
    assert first[0].test < 0.1 and second[0].test > 1.0
    assert [e.model.weights["readout/bias"] for e in first] == [
        e.model.weights["readout/bias"] for e in second
    ]


def test_a_row_that_fails_says_why_and_is_the_last() -> None:
    alone = Experiment(None, tank(300).y)
    table: list[str] = []
    entries = compete(record(inputs=[], models=["gru", "arx"]), {"": alone}, table.append)
    assert table == ["gru", "arx"]
    assert entries[-1].name == "gru" and not np.isfinite(entries[-1].validation)
    assert "wants inputs" in entries[-1].note


def test_ctrl_c_keeps_the_rows_that_are_done_and_the_notes_of_a_row_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def pressed(experiments, seed):
        raise KeyboardInterrupt

    monkeypatch.setattr(contest, "FIT_BY_CONTESTANT", {**contest.FIT_BY_CONTESTANT, "gru": pressed})
    still = Experiment(np.ones(300), tank(300).y)
    entries = compete(record(models=["arx", "gru", "narx_lm"]), {"": still})
    assert [entry.name for entry in entries] == ["arx"]
    assert "Input 0 is constant in the rows that train" in entries[0].note


def test_a_second_ctrl_c_ends_publishing_after_one_that_kept_the_rows_that_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pressed(experiments, seed):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # as `stop_on_signals` does
        raise KeyboardInterrupt

    heard = []

    def publish(*_arguments):
        heard.append(signal.getsignal(signal.SIGINT))

    monkeypatch.setattr(contest, "FIT_BY_CONTESTANT", {**contest.FIT_BY_CONTESTANT, "gru": pressed})
    monkeypatch.setattr(command, "_publish", publish)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "experiments.yaml").write_text(
        YAML.replace("[level]", "[level], models: [arx, gru]")
    )
    e = tank(300)
    pd.DataFrame({"inflow": e.u[:, 0], "level": e.y[:, 0]}).to_csv(tmp_path / "tank.csv")
    before = signal.getsignal(signal.SIGINT)
    command.identify("tank", tmp_path, Format.json)
    assert heard == [before] and before is not signal.SIG_IGN


def test_a_run_removes_nothing_that_identify_is_writing_and_identify_what_it_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Model.save

    def save_and_remove(model: Model, folder: Path) -> None:
        save(model, folder)
        assert remove_run_leftovers(tmp_path) == []

    monkeypatch.setattr(Model, "save", save_and_remove)
    monkeypatch.setattr(command, "_publish", lambda *_: None)
    left = tmp_path / "data" / "identified" / ".tmp-tank-0a0b0c0d"
    left.mkdir(parents=True)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "experiments.yaml").write_text(
        YAML.replace("[level]", "[level], models: [arx]")
    )
    e = tank(300)
    pd.DataFrame({"inflow": e.u[:, 0], "level": e.y[:, 0]}).to_csv(tmp_path / "tank.csv")
    command.identify("tank", tmp_path, Format.json)
    assert [path.name for path in left.parent.iterdir()] == ["tank"]


def test_a_row_whose_last_training_fails_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    def once(experiments, seed):
        if len(experiments[0]) > 200:
            raise ModelError("lost")
        return contest.FIT_BY_CONTESTANT["narx_lm"](experiments, seed)

    monkeypatch.setattr(contest, "FIT_BY_CONTESTANT", {**contest.FIT_BY_CONTESTANT, "gru": once})
    entries = compete(record(models=["gru", "arx"]), {"": tank(300)})
    assert [entry.name for entry in entries] == ["arx", "gru"] and entries[1].validation < entries[
        0
    ].validation


@pytest.mark.parametrize("net", [grunet(4), lstmnet(4)], ids=lambda net: net.kind)
def test_a_gated_net_simulates_from_its_inputs_alone(net) -> None:
    whole = tank(240)
    model = train(net, whole.part(slice(0, 180)), trainer=trainlm(epochs=25))
    state = model.prepare(whole.u[:180], whole.y[:180])
    run = model.predict(whole.u[180:], np.full((60, 1), np.nan), state).y
    assert np.sqrt(np.mean((run - whole.y[180:]) ** 2)) < 0.3 * whole.y.std()


def test_a_model_without_validation_rows_or_with_a_lost_free_run_is_saved_and_read_again(
    tmp_path: Path,
) -> None:
    entries = compete(record(models=["arx"]), {"": tank(300)})
    entries[0].model.save(tmp_path)
    training = Model.load(tmp_path).training
    assert (
        np.isnan(training.curve[0][2]) and training.free_run == entries[0].model.training.free_run
    )


@pytest.mark.parametrize(
    "change",
    [
        {"test": 0.7},
        {"test": []},
        {"test": [2, 2]},
        {"models": ["gr"]},
        {"models": []},
        {"models": ["arx", "arx"]},
        {"seed": -1},
    ],
)
def test_a_wrong_entry_is_refused_by_the_name_of_its_key(change: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(change))):
        record(**change)


@pytest.mark.slow  # ranking and writing: above
def test_the_command_of_the_page_ranks_writes_and_publishes(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    short = YAML.replace("[level]", "[level], models: [narx_lm, arx]")
    (tmp_path / "configs" / "experiments.yaml").write_text(short)
    e = tank(300, noise=0.005)
    e.y[290:294] = np.nan  # in the test rows
    pd.DataFrame({"inflow": e.u[:, 0], "level": e.y[:, 0]}).to_csv(
        tmp_path / "tank.csv", index=False
    )
    done = small_project.command(tmp_path, "identify", "tank", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert "identify tank: 2 of 2 done" in done.stderr
    ranked = json.loads(done.stdout)
    assert [row["model"] for row in ranked] == ["narx_lm", "arx"]
    folder = tmp_path / "data" / "identified" / "tank"
    assert {path.name for path in folder.iterdir()} == {
        "result.json",
        "simulator.py",
        "narx_lm",
        "arx",
    }
    code = "import mlflow; r = mlflow.search_runs(experiment_names=['tank'], "
    code += "order_by=['metrics.`validation/free_run`'])\n"
    code += (
        "print(list(zip(r['tags.model'], r['tags.chosen'], r['metrics.test/free_run'].round(9))))"
    )
    uri = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    answer = warm_interpreter.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=small_project.environment(**uri)
    )
    chosen = [("narx_lm", "true"), ("arx", "false")]
    assert answer.stdout.strip().endswith(
        str(
            [
                (*chosen_row, round(row["test"], 9))
                for chosen_row, row in zip(chosen, ranked, strict=True)
            ]
        )
    ), answer.stdout + answer.stderr


def test_the_command_finds_the_project_above_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "experiments.yaml").write_text(YAML)
    monkeypatch.chdir(tmp_path / "configs")
    with pytest.raises(InputError, match=re.escape(str(tmp_path / "tank.csv"))):
        command.identify("tank", root=None)
    monkeypatch.chdir(tmp_path.parent)
    with pytest.raises(InputError, match=r"no configs/experiments\.yaml here"):
        command.identify("tank", root=None)


def test_the_columns_of_the_table_name_their_measure(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"model": "arx", "validation": 0.25, "test": None, "seconds": 1.5}
    command._print_result({"ranking": [row], "sentence": ""}, [])
    table = " ".join(capsys.readouterr().out.split())
    measure = "free-run RMSE / deviation of y in the rows fitted"
    assert f"validation, {measure} test, {measure} CPU seconds" in table
    assert "arx 0.25 lost 1.5" in table


def test_an_unknown_name_gets_the_nearest_one(tmp_path: Path) -> None:
    assert (
        load_experiment("tank", small_project.ROOT / "configs" / "examples").models
        == ExperimentEntry.model_fields["models"].default
    )
    (tmp_path / "experiments.yaml").write_text(YAML)
    assert load_experiment("tank", tmp_path).outputs == ("level",)
    with pytest.raises(InputError, match="tank"):
        load_experiment("tonk", tmp_path)


def test_the_time_left_knows_that_contestants_take_unlike_long() -> None:
    """An ARX model was thought to take as long as a whole search."""
    seconds = iter([0.0, 100.0, 101.0])
    pieces = {row: Piece(weight=contest.WEIGHT_BY_CONTESTANT[row]) for row in ("identify", "arx")}
    assert set(contest.WEIGHT_BY_CONTESTANT) == set(contest.FIT_BY_CONTESTANT)
    pace = Pace(2, pieces, lambda: next(seconds))
    assert pace.finish("identify", None) == ", about 1 s left"


def test_nets_of_a_kind_are_counted_and_not_listed_in_the_note_of_a_row() -> None:
    several = Model.average(*[contest.FIT_BY_CONTESTANT["arx"]([tank(300)], 0)] * 10)
    fits = {**contest.FIT_BY_CONTESTANT, "identify": lambda experiments, seed: several}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contest, "FIT_BY_CONTESTANT", fits)
        (entry,) = compete(record(models=["identify"]), {"": tank(300)})
    assert entry.note == "median of 10 nets"
