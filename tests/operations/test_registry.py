"""Registering, promoting and rolling back: aliases, local copies, and what a kill or a loss leaves
behind.
"""

import errno
import itertools
import json
import shutil
import sqlite3
from contextlib import closing
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED
from typer.testing import CliRunner

from forecast.cli import app
from forecast.config.datasets import load_dataset
from forecast.data import ingest
from forecast.data.panel import from_frame
from forecast.data.sources import Request
from forecast.forecaster.ensemble import Ensemble
from forecast.operations import champion, registry
from forecast.operations.records import ChampionCard, HistoryEvent
from forecast.operations.status import list_champion_datasets, read_champion
from forecast.system import files
from forecast.system.errors import DamagedError, ForecastError, InputError, ModelError
from forecast.tracking import mlflow_client, model_registry, stores, tracking_store
from tests.operations import projects, retraining
from tests.operations.projects import NAME, NOW
from tests.support import small_project

AWAY = "http://127.0.0.1:9"
"""A server that does not answer."""


def read_database(path):
    """All rows of an SQLite file, as SQL."""
    with closing(sqlite3.connect(path)) as reader:
        return list(reader.iterdump())


def tried_aliases(root):
    return projects.registry_aliases(root, NAME), champion.read_aliases(root, NAME)


def test_the_candidate_chosen_on_validation_is_described_with_its_test_scores(repro):
    folder, meta = registry.selected_candidate(repro, NAME, now=NOW, revision="abc")
    assert folder.name == meta.candidate == "ridge" and meta.created_at == "2024-07-19T06:30:00"
    assert meta.training_cutoff.startswith("2024-05-19") and meta.last_target_used.startswith(
        "2024-06-08"
    )
    assert 0 < meta.metrics["skill"] < 1 and len(meta.expected["wave"]) == 2
    assert len(meta.naive["wave"]) == 2 and meta.naive["wave"][0] > meta.expected["wave"][0]


def test_the_card_names_the_data_of_the_run_although_a_fetch_has_taken_newer_ones_since(project):
    _, before = registry.selected_candidate(project, NAME, now=NOW, revision="abc")
    with (project / "data" / "wave.csv").open("a") as file:
        file.write("2024-07-19,1.0\n")
    request = Request(NAME, load_dataset(NAME, project / "configs"), project)
    fetched = ingest.fetch_snapshot(request, now=NOW + pd.Timedelta(2, "D"))
    assert fetched.pointer.sha256 != before.data_sha256
    _, after = registry.selected_candidate(project, NAME, now=NOW, revision="abc")
    assert (after.as_of, after.data_sha256) == (before.as_of, before.data_sha256)


def test_without_a_comparison_there_is_nothing_to_register(project):
    shutil.rmtree(project / "data" / "compared")
    with pytest.raises(
        InputError, match=rf"^{NAME}: no whole run compared.* --model.*Run `forecast run --dataset"
    ):
        registry.selected_candidate(project, NAME, now=NOW, revision="")


def test_where_no_model_is_selected_the_reason_of_the_comparison_is_told(project):
    path = project / "data" / "compared" / NAME / "verdicts.json"
    verdicts = {
        **files.read_json(path),
        "chosen": {},
        "sentences": ["No model can be compared: it is flat."],
    }
    files.write_json(path, verdicts)
    reason = r"no model is selected as shipped\. No model can be compared: it is flat\.$"
    with pytest.raises(InputError, match=reason):
        registry.selected_candidate(project, NAME, now=NOW, revision="")


def test_a_run_of_another_horizon_than_the_entry_s_is_not_promoted(project):
    entry = {**small_project.DATASET, "horizon": 3}
    small_project.write_yaml(
        project / "configs" / "datasets.yaml", {"run": [NAME], "datasets": {NAME: entry}}
    )
    with pytest.raises(InputError, match="'horizon' of 'wave' changed since the last run"):
        registry.promote_selected(project, NAME, now=NOW, revision="", refit=None)


def test_the_first_promotion_makes_a_champion_and_the_second_keeps_it_as_previous(running):
    assert tried_aliases(running) == ({"champion": 2, "previous": 1},) * 2
    assert champion.load(running, NAME).card.candidate == "arx"
    assert [e.version for e in champion.read_events(running, NAME)] == [1, 2]


def test_the_history_says_the_skill_in_percent_as_the_status_does(running):
    def printed(*words: str) -> str:
        return CliRunner().invoke(app, [*words, NAME, "--root", str(running)]).output

    skill = champion.find_card(running, NAME, 2).metrics["skill"]
    assert f"{100 * skill:+.1f} %" in printed("history")
    assert f"{100 * skill:+.1f} %" in printed("status")
    assert f'"test_skill": {skill}' in printed("history", "--format", "json")


def test_a_version_carries_what_it_was_made_of_as_tags(running):
    first = model_registry.read_registry(tracking_store(running), NAME).versions[1]
    assert first["candidate"] == "ridge" and first["git_revision"] == "abc"
    assert {
        "as_of",
        "data_sha256",
        "config_hash",
        "training_cutoff",
        "test_skill",
    } <= first.keys()


def test_a_loaded_champion_forecasts_what_its_training_forecast(running):
    frame = projects.prepared(running)
    ensemble = champion.load_version(running, NAME, 1).ensemble
    panel = from_frame(frame, NAME, ensemble.task)
    from forecast.forecaster import Forecaster

    saved = Forecaster.load(running / "data" / "trained" / NAME / "ridge" / "seed-0")
    rows = {"wave": np.arange(150, 190)}
    np.testing.assert_array_equal(
        ensemble.predict(panel, rows)["wave"], saved.predict(panel, rows)["wave"]
    )


def test_registering_the_same_candidate_again_is_the_same_version(project):
    assert projects.register(project, "ridge") == projects.register(project, "ridge") == 1
    assert tried_aliases(project) == ({"challenger": 1},) * 2
    with pytest.raises(InputError, match="no version 7"):
        registry.promote(project, NAME, 7, now=NOW)
    with pytest.raises(InputError, match="no previous champion"):
        registry.rollback(project, NAME, now=NOW)


def test_a_copy_that_forecasts_nothing_finite_becomes_no_version(project):
    folder = project / "data" / "trained" / NAME / "ridge"
    broken = {
        k: np.full_like(v, np.nan)
        for k, v in files.read_arrays(folder / "seed-0" / "skip.npz").items()
    }
    files.write_arrays(folder / "seed-0" / "skip.npz", broken)
    with pytest.raises(ModelError, match="forecasts nothing finite; it was not registered"):
        projects.register(project, "ridge")
    assert not model_registry.read_registry(
        tracking_store(project), NAME
    ).versions and not champion.stored_versions(project, NAME)


def test_a_kill_between_the_alias_moves_leaves_a_champion_and_repair_finishes(project, monkeypatch):
    for candidate in ("ridge", "arx"):
        projects.register(project, candidate)
    registry.promote(project, NAME, 1, now=NOW)
    real = champion.write_aliases

    def killed(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(champion, "write_aliases", killed)
    with pytest.raises(KeyboardInterrupt):
        registry.promote(project, NAME, 2, now=NOW)
    monkeypatch.setattr(champion, "write_aliases", real)
    assert champion.load(project, NAME).version == 1
    assert registry.repair_registry(project, NAME, now=NOW)
    assert tried_aliases(project) == ({"champion": 2, "previous": 1},) * 2


def test_rolling_back_twice_comes_back_to_where_it_began(project):
    for candidate in ("ridge", "arx"):
        registry.promote(project, NAME, projects.register(project, candidate), now=NOW)
    assert registry.rollback(project, NAME, now=NOW, reason="worse") == 1
    assert tried_aliases(project) == ({"champion": 1, "previous": 2},) * 2
    assert registry.rollback(project, NAME, now=NOW) == 2
    assert [e.event for e in champion.read_events(project, NAME)] == ["promoted"] * 2 + [
        "rolled back"
    ] * 2


def test_a_rollback_that_was_killed_halfway_is_finished_by_the_same_command(moved, monkeypatch):
    def kill(*_words):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(champion, "write_aliases", kill)
        with pytest.raises(KeyboardInterrupt):
            registry.rollback(moved, NAME, now=NOW)
    assert champion.load(moved, NAME).version == 2
    assert registry.rollback(moved, NAME, now=NOW) == 1
    assert tried_aliases(moved) == ({"champion": 1, "previous": 2},) * 2
    assert champion.find_last_move(moved, NAME).version == 1


def roll_back(root, server=""):
    words = ["rollback", NAME, "--reason", "worse", "--root", str(root)]
    return CliRunner().invoke(app, words, env={"MLFLOW_TRACKING_URI": server})


def test_a_rollback_works_while_the_registry_is_away_which_follows_later(moved):
    done = roll_back(moved, AWAY)
    assert done.exit_code == 0 and "rolled back on this machine alone" in done.output, done.output
    assert champion.load(moved, NAME).version == 1
    assert champion.read_events(moved, NAME)[-1].event == "rolled back"
    assert "on this machine alone" in read_champion(moved, NAME).faults[0]
    assert projects.registry_aliases(moved, NAME)["champion"] == 2
    assert registry.repair_registry(moved, NAME, now=NOW) == [
        "wave: version 2 is previous in the registry too",
        "wave: version 1 is champion in the registry too",
    ]
    assert tried_aliases(moved) == ({"champion": 1, "previous": 2},) * 2
    assert not read_champion(moved, NAME).faults


def test_a_rollback_works_where_the_registry_may_not_be_written(moved, monkeypatch):
    def refuse(*_words, **_options):
        raise PermissionError(errno.EACCES, "Permission denied", "mlflow.db.lock")

    monkeypatch.setattr(registry, "rollback", refuse)
    done = roll_back(moved)
    assert done.exit_code == 0 and "mlflow.db.lock" in done.output, done.output
    assert champion.load(moved, NAME).version == 1


def test_a_rollback_whose_history_cannot_be_written_is_not_undone(moved, monkeypatch):
    def fill_disk(*_words, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(champion, "record_event", fill_disk)
    assert roll_back(moved).exit_code != 0
    assert tried_aliases(moved) == ({"champion": 1, "previous": 2},) * 2


def test_two_rollbacks_while_the_registry_is_away_change_nothing_in_it(moved):
    assert [roll_back(moved, AWAY).exit_code for _ in range(2)] == [0, 0]
    assert champion.load(moved, NAME).version == 2
    registry.repair_registry(moved, NAME, now=NOW)
    assert tried_aliases(moved) == ({"champion": 2, "previous": 1},) * 2


def test_what_was_promoted_while_a_machine_was_cut_off_stays_after_its_rollback(moved):
    third = projects.register(moved, "naive")
    before = champion.read_aliases(moved, NAME)
    registry.promote(moved, NAME, third, now=NOW)  # by another machine
    champion.write_aliases(moved, NAME, before)
    assert roll_back(moved, AWAY).exit_code == 0
    registry.repair_registry(moved, NAME, now=NOW)
    assert tried_aliases(moved) == ({"champion": third, "previous": 2},) * 2


def test_a_rolled_back_machine_serves_no_version_of_others_that_it_does_not_have(moved):
    third = projects.register(moved, "naive")
    before = champion.read_aliases(moved, NAME)
    registry.promote(moved, NAME, third, now=NOW)  # by another machine
    champion.write_aliases(moved, NAME, before)
    shutil.rmtree(champion.version_folder(moved, NAME, third))
    assert roll_back(moved, AWAY).exit_code == 0
    projects.register(moved, "ridge")
    served = champion.load(moved, NAME)
    assert (served.version, served.notice) == (1, "")


def test_without_a_champion_a_rollback_without_a_registry_is_refused(moved):
    champion.write_aliases(moved, NAME, {"previous": 1})
    done = roll_back(moved, AWAY)
    assert isinstance(done.exception, InputError) and "no previous champion" in str(done.exception)


def test_a_rollback_that_the_registry_missed_outlives_the_loss_of_it(repro, moved):
    assert roll_back(moved, AWAY).exit_code == 0
    shutil.copy(repro / "mlflow.db", moved)  # a new one: it knows nothing
    registry.repair_registry(moved, NAME, now=NOW)
    assert tried_aliases(moved) == ({"champion": 1, "previous": 2},) * 2


def test_a_rollback_without_a_registry_to_damaged_files_is_refused(moved):
    (champion.version_folder(moved, NAME, 1) / "calibration.npz").write_bytes(b"")
    done = roll_back(moved, AWAY)
    assert done.exit_code != 0 and isinstance(done.exception, DamagedError)
    assert champion.load(moved, NAME).version == 2


def test_a_damaged_champion_falls_back_to_the_previous_one_and_says_so(moved):
    weights = champion.version_folder(moved, NAME, 2) / "forecaster-0" / "skip.npz"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    state = champion.load(moved, NAME)
    assert (
        state.version == 1
        and "Version 2 cannot be used" in state.notice
        and "sha256 differs" in state.notice
    )
    (champion.version_folder(moved, NAME, 1) / "ensemble.json").unlink()
    with pytest.raises(DamagedError, match="previous version fails as well"):
        champion.load(moved, NAME)


@pytest.mark.parametrize(
    "fault",
    [
        ModuleNotFoundError("No module named 'chronos'"),
        OSError(errno.EIO, "Input/output error"),
        MemoryError(),
        KeyError("0000-season"),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_whatever_hinders_loading_the_champion_the_previous_one_stands_in(
    running, monkeypatch, fault
):
    fail_to_load(monkeypatch, "2", fault)
    state = champion.load(running, NAME)
    assert state.version == 1 and type(fault).__name__ in state.notice
    fail_to_load(monkeypatch, "1", fault)
    with pytest.raises(ForecastError, match=r"cannot be loaded here .* previous version fails"):
        champion.load(running, NAME)


def fail_to_load(monkeypatch, version, fault):
    load = Ensemble.load

    def load_or_fail(folder):
        if folder.name == version:
            raise fault
        return load(folder)

    monkeypatch.setattr(Ensemble, "load", load_or_fail)


def test_a_champion_that_cannot_be_loaded_here_is_not_taken_over_and_can_be_rolled_back(
    moved, monkeypatch
):
    third = projects.register(moved, "naive")
    registry.promote(moved, NAME, third, now=NOW)  # by another machine
    champion.write_aliases(moved, NAME, {"champion": 2, "previous": 1})
    events = champion.read_events(moved, NAME)
    with monkeypatch.context() as patch:
        fail_to_load(patch, str(third), ModuleNotFoundError("No module named 'chronos'"))
        with pytest.raises(ForecastError, match=f"version {third} cannot be loaded here .*chronos"):
            registry.take_over(moved, NAME, now=NOW, tracking_uri="")
        assert champion.load(moved, NAME).version == 2
        assert champion.read_events(moved, NAME) == events
        assert registry.rollback(moved, NAME, now=NOW) == 2
    assert tried_aliases(moved) == ({"champion": 2, "previous": third},) * 2
    assert champion.read_events(moved, NAME)[-1].replaced == third


def test_registering_a_candidate_again_mends_its_damaged_copy_here(moved):
    (champion.version_folder(moved, NAME, 1) / "calibration.npz").write_bytes(b"")
    assert projects.register(moved, "ridge") == 1
    champion.verify_version(moved, NAME, 1)


def test_a_promotion_that_is_repeated_leaves_no_challenger(project):
    def refit(_candidate, target):
        shutil.copytree(project / "data" / "trained" / NAME / "arx", target)
        names = ("train_end", "validation_end", "calibration_end", "test_end")
        ends = dict.fromkeys(names, "2024-07-18T00:00:00")
        files.write_json(target / "borders.json", ends)

    promoted = [
        registry.promote_selected(project, NAME, now=NOW, revision="", refit=refit).version
        for _ in range(2)
    ]
    assert promoted == [2, 2]
    assert tried_aliases(project) == ({"champion": 2},) * 2


def test_a_champion_of_an_older_schema_is_refused_in_one_sentence(moved):
    champion.write_aliases(moved, NAME, {"champion": 2})
    path = champion.version_folder(moved, NAME, 2) / "ensemble.json"
    files.write_json(path, {**files.read_json(path), "schema": 1})
    refusal = rf"schema 1, this version reads {files.ENSEMBLE_SCHEMA}\. Train it again"
    with pytest.raises(InputError, match=refusal):
        champion.load(moved, NAME)


def test_an_intact_version_that_cannot_be_loaded_here_is_not_promoted(moved, monkeypatch):
    """As where it needs a library that is not installed: the champion that serves stays."""
    before = tried_aliases(moved)
    events = champion.read_events(moved, NAME)
    fail_to_load(monkeypatch, "1", ModuleNotFoundError("No module named 'chronos'"))
    for change in (
        lambda: registry.promote(moved, NAME, 1, now=NOW),
        lambda: registry.rollback(moved, NAME, now=NOW),
        lambda: registry.rollback_here(moved, NAME, now=NOW, reason="no registry"),
    ):
        with pytest.raises(ForecastError, match=r"version 1 cannot be loaded here .*chronos"):
            change()
        assert tried_aliases(moved) == before and champion.read_events(moved, NAME) == events


def test_a_lost_local_store_is_rebuilt_from_the_registry(running, project):
    shutil.copy(running / "mlflow.db", project)
    shutil.copytree(running / "mlartifacts", project / "mlartifacts", dirs_exist_ok=True)
    assert registry.repair_registry(project, NAME, now=NOW)
    assert (
        champion.load(project, NAME).version == 2
        and champion.read_aliases(project, NAME)["previous"] == 1
    )


def test_a_lost_registry_is_made_again_with_the_same_numbers(repro, moved):
    shutil.copy(repro / "mlflow.db", moved)  # a new one: it knows nothing
    shutil.rmtree(champion.version_folder(moved, NAME, 1))
    champion.write_aliases(moved, NAME, {"champion": 2})
    assert registry.repair_registry(moved, NAME, now=NOW) == [
        "wave: version 2 registered again",
        "wave: version 2 is champion in the registry too",
    ]
    assert projects.registry_aliases(moved, NAME) == {"champion": 2}


def test_a_registry_restored_from_an_older_backup_takes_no_champion_back(moved):
    shutil.copy(moved / "mlflow.db", moved / "backup.db")
    third = projects.register(moved, "naive")
    registry.promote(moved, NAME, third, now=NOW)
    shutil.copy(moved / "backup.db", moved / "mlflow.db")
    assert registry.take_over(moved, NAME, now=NOW, tracking_uri="") == [
        "wave: the registry does not have version 3, which serves here; `forecast doctor --repair`"
        " registers it again"
    ]
    assert champion.load(moved, NAME).version == third
    registry.repair_registry(moved, NAME, now=NOW)
    assert tried_aliases(moved) == ({"champion": third, "previous": 2},) * 2


def test_a_server_whose_champion_is_not_this_machine_s_names_the_champion(repro, moved, tmp_path):
    """As where a clone with a registry of its own joins a team."""
    other = tmp_path / "other"
    shutil.copytree(repro, other)
    registry.promote(other, NAME, projects.register(other, "naive"), now=NOW)
    shutil.copy(other / "mlflow.db", moved)
    shutil.copytree(other / "mlartifacts", moved / "mlartifacts", dirs_exist_ok=True)
    registry.repair_registry(moved, NAME, now=NOW)
    assert champion.load(moved, NAME).card.candidate == "naive"


@pytest.mark.parametrize("moves", range(3))
def test_a_kill_while_a_lost_registry_is_told_its_aliases_loses_no_champion(
    repro, moved, monkeypatch, moves
):
    shutil.copy(repro / "mlflow.db", moved)  # a new one: it knows nothing
    repair_after_a_kill(moved, moves, monkeypatch)
    assert tried_aliases(moved) == ({"champion": 2, "previous": 1},) * 2


@pytest.mark.parametrize("step", ["_find_run", "_log_model_copy"])
def test_a_kill_while_a_lost_registry_is_given_its_versions_changes_no_number(
    repro, moved, monkeypatch, step
):
    shutil.copy(repro / "mlflow.db", moved)  # a new one: it knows nothing
    shutil.rmtree(champion.version_folder(moved, NAME, 1))
    champion.write_aliases(moved, NAME, {"champion": 2})
    with monkeypatch.context() as patch:
        patch.setattr(model_registry, step, Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            registry.repair_registry(moved, NAME, now=NOW)
    registry.repair_registry(moved, NAME, now=NOW)
    assert projects.registry_aliases(moved, NAME) == {"champion": 2}


@pytest.mark.parametrize("moves", range(3))
def test_a_kill_while_the_registry_is_told_of_a_rollback_leaves_it_told_the_next_time(
    moved, monkeypatch, moves
):
    assert roll_back(moved, AWAY).exit_code == 0
    repair_after_a_kill(moved, moves, monkeypatch)
    assert tried_aliases(moved) == ({"champion": 1, "previous": 2},) * 2


def repair_after_a_kill(root, moves, monkeypatch):
    """A repair of the registry that is killed after so many moved aliases, and a whole one."""
    with monkeypatch.context() as patch:
        kill_after(moves, patch)
        with pytest.raises(KeyboardInterrupt):
            registry.repair_registry(root, NAME, now=NOW)
    registry.repair_registry(root, NAME, now=NOW)


def kill_after(moves, patch):
    """Let this process be killed before the call that follows `moves` other ones that move aliases
    or tag the version that becomes `previous`.
    """
    left = iter(range(moves))

    def or_die(change):
        def change_or_die(*words):
            if next(left, None) is None:
                raise KeyboardInterrupt
            change(*words)

        return change_or_die

    names = ("set_registered_model_alias", "delete_registered_model_alias", "set_model_version_tag")
    for name in names:
        patch.setattr(MlflowClient, name, or_die(getattr(MlflowClient, name)))


def until_not_killed(change, monkeypatch):
    """Kill `change` before its first call that moves an alias, then before its second, until one
    is not killed; yields after each kill.
    """
    for moves in itertools.count():
        with monkeypatch.context() as patch:
            kill_after(moves, patch)
            try:
                change()
            except KeyboardInterrupt:
                pass
            else:
                return
        yield moves


@pytest.fixture
def other_machine(moved, tmp_path):
    """Another machine, without versions, that uses the registry of `moved`."""
    root = tmp_path / "other"
    shutil.copytree(moved / "configs", root / "configs")
    return root


def taken_over(root, uri):
    """The aliases on a machine that has just asked the registry, without those for retraining."""
    registry.take_over(root, NAME, now=NOW, tracking_uri=uri)
    aliases = champion.read_aliases(root, NAME)
    aliases.pop("challenger", None)
    return aliases


def test_a_rollback_killed_between_any_two_calls_is_finished_by_the_second(
    moved, other_machine, monkeypatch
):
    uri = f"sqlite:///{moved}/mlflow.db"
    pairs = [{"champion": 2, "previous": 1}, {"champion": 1, "previous": 2}]
    goal = 1
    for _ in until_not_killed(lambda: registry.rollback(moved, NAME, now=NOW), monkeypatch):
        assert taken_over(other_machine, uri) in pairs
        assert registry.rollback(moved, NAME, now=NOW) == goal
        assert tried_aliases(moved) == (pairs[goal % 2],) * 2
        assert champion.find_last_move(moved, NAME).version == goal
        goal = 3 - goal
    assert tried_aliases(moved) == (pairs[goal % 2],) * 2


def test_a_promotion_killed_between_any_two_calls_loses_no_way_back(
    moved, other_machine, monkeypatch
):
    uri = f"sqlite:///{moved}/mlflow.db"
    third = projects.register(moved, "naive")
    before, after = {"champion": 2, "previous": 1}, {"champion": third, "previous": 2}

    def promote():
        registry.promote(moved, NAME, third, now=NOW)

    n_killed = 0
    for _ in until_not_killed(promote, monkeypatch):
        n_killed += 1
        there = taken_over(other_machine, uri)
        assert there in (before, after)
        assert registry.rollback(moved, NAME, now=NOW) == there["previous"]
        assert taken_over(moved, uri)["previous"] == there["champion"]
        registry.promote(moved, NAME, 1, now=NOW)
        registry.promote(moved, NAME, 2, now=NOW)
        assert taken_over(moved, uri) == before
    assert n_killed >= 4
    assert taken_over(moved, uri) == after


def test_an_alias_that_the_registry_refuses_to_remove_is_told(moved, monkeypatch):
    third = projects.register(moved, "naive")

    def refuse(*_words):
        raise MlflowException("Permission denied", PERMISSION_DENIED)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "delete_registered_model_alias", refuse)
        with pytest.raises(ForecastError, match=r"MLflow at .*: Permission denied"):
            registry.promote(moved, NAME, third, now=NOW)
    registry.promote(moved, NAME, third, now=NOW)
    assert tried_aliases(moved) == ({"champion": third, "previous": 2},) * 2


def test_a_rollback_from_a_deleted_champion_that_is_killed_is_finished_by_the_second(
    moved, monkeypatch
):
    with mlflow_client.connect(tracking_store(moved)) as client:
        client.delete_model_version(NAME, "2")
    with monkeypatch.context() as patch:
        kill_after(1, patch)
        with pytest.raises(KeyboardInterrupt):
            registry.rollback(moved, NAME, now=NOW)
    assert registry.rollback(moved, NAME, now=NOW) == 1
    assert tried_aliases(moved) == ({"champion": 1},) * 2


def test_the_history_of_a_recipe_fitted_again_on_all_data_has_the_skill_it_was_scored_with(moved):
    refit = files.read_json(champion.version_folder(moved, NAME, 2) / champion.CARD_FILE)["card"]
    card = ChampionCard.model_validate({**refit, "metrics": {}, "refit_of": 2})
    with files.scratch_folder() as scratch:
        champion.write_version(scratch / "3", champion.load(moved, NAME).ensemble, card)
        champion.store_version(moved, NAME, 3, scratch / "3")
    event = HistoryEvent(at="2026-01-01T00:00:00", event="promoted", version=3)
    champion.record_event(moved, NAME, event)
    row = champion.history_rows(moved, NAME, "regular")[-1]
    skill = champion.find_card(moved, NAME, 2).metrics["skill"]
    assert (row.version, row.scored_version, row.test_skill) == (3, 2, skill)


def test_the_version_that_scored_the_previous_champion_stays_on_the_disk(moved):
    card = champion.load(moved, NAME).card.model_copy(update={"metrics": {}, "refit_of": 2})
    with files.scratch_folder() as scratch:
        champion.write_version(scratch / "3", champion.load(moved, NAME).ensemble, card)
        champion.store_version(moved, NAME, 3, scratch / "3")
    for version in (4, 5, 6):
        shutil.copytree(
            champion.version_folder(moved, NAME, 1), champion.version_folder(moved, NAME, version)
        )
    champion.write_aliases(moved, NAME, {"champion": 6, "previous": 3})
    champion.prune_versions(moved, NAME)
    assert champion.stored_versions(moved, NAME) == [2, 3, 4, 5, 6]
    assert champion.find_score(moved, NAME, 3)[0] == 2
    shutil.rmtree(champion.version_folder(moved, NAME, 2))
    other = champion.version_folder(moved, NAME, 6)  # of a clone that has joined a server since
    shutil.copytree(other, champion.version_folder(moved, NAME, 2))
    assert champion.find_score(moved, NAME, 3) == (None, None)


def test_a_copy_of_a_version_that_the_user_made_beside_it_is_no_version(running, tmp_path):
    shutil.copytree(champion.version_folder(running, NAME), champion.version_folder(tmp_path, NAME))
    folder = champion.version_folder(tmp_path, NAME, 2)
    for name in ("2.bak", "2-old", "old"):
        shutil.copytree(folder, folder.with_name(name))
    assert champion.stored_versions(tmp_path, NAME) == [1, 2]
    shutil.copytree(running / "configs", tmp_path / "configs")
    for name in (f"{NAME}.bak", f"{NAME}-old", "old"):
        shutil.copytree(folder.parent, folder.parent.with_name(name))
    assert list_champion_datasets(tmp_path) == [NAME]
    files.write_text(tmp_path / "configs" / "datasets.yaml", "datasets: 5\n")
    assert list_champion_datasets(tmp_path) == [NAME], "by its card"
    champion.prune_versions(tmp_path, NAME)
    assert folder.with_name("2.bak").exists()


def test_old_versions_leave_the_disk_but_not_those_an_alias_names(moved):
    source = champion.version_folder(moved, NAME, 2)
    for version in (3, 4, 5, 6):
        shutil.copytree(source, champion.version_folder(moved, NAME, version))
    champion.write_aliases(moved, NAME, {"champion": 6, "previous": 1})
    champion.prune_versions(moved, NAME)
    assert champion.stored_versions(moved, NAME) == [1, 4, 5, 6]


def test_the_model_of_another_project_with_a_dataset_of_this_name_is_refused(project, tmp_path):
    """On a store that both use; a clone, whose first commit is the same, is the same project."""
    uri = f"sqlite:///{tmp_path}/shared.db"
    (project / "README").write_text("one")
    retraining.git(project, "init", "-q")
    retraining.commit(project)
    clone = tmp_path / "clone"
    shutil.copytree(project, clone)
    other = tmp_path / "other"
    shutil.copytree(project, other, ignore=shutil.ignore_patterns(".git"))
    (other / "README").write_text("another")
    retraining.git(other, "init", "-q")
    retraining.commit(other)
    version = projects.register(project, "ridge", uri)
    registry.promote(project, NAME, version, now=NOW, tracking_uri=uri)
    before = read_database(tmp_path / "shared.db")
    assert registry.take_over(clone, NAME, now=NOW, tracking_uri=uri)
    assert champion.load(clone, NAME).version == version
    with pytest.raises(InputError, match="belongs to another project"):
        registry.take_over(other, NAME, now=NOW, tracking_uri=uri)
    assert read_database(tmp_path / "shared.db") == before
    for change in (
        lambda: registry.repair_registry(other, NAME, now=NOW, tracking_uri=uri),
        lambda: projects.register(other, "arx", uri),
    ):
        with pytest.raises(InputError, match=r"'wave' at .* belongs to another project"):
            change()
    assert projects.registry_aliases(project, NAME, tracking_uri=uri) == {"champion": version}


def lose_local_store(root):
    shutil.rmtree(champion.version_folder(root, NAME))


def test_asking_the_registry_writes_nothing_there_also_where_it_lost_the_champion(repro, moved):
    projects.registry_aliases(moved, NAME)  # corrects the paths of the copy
    before = read_database(moved / "mlflow.db")
    lose_local_store(moved)
    assert registry.take_over(moved, NAME, now=NOW, tracking_uri="")
    assert champion.load(moved, NAME).version == 2
    assert read_database(moved / "mlflow.db") == before
    shutil.copy(repro / "mlflow.db", moved)  # a new one: it knows nothing
    before = read_database(moved / "mlflow.db")
    assert not registry.take_over(moved, NAME, now=NOW, tracking_uri="")
    assert champion.load(moved, NAME).version == 2
    assert read_database(moved / "mlflow.db") == before


@pytest.mark.parametrize("others", [{"previous": 1}, {"challenger": 1}])
def test_asking_a_registry_without_a_champion_takes_none_away(moved, others):
    """As a restoration leaves it that was killed, or another machine that registers first."""
    before = champion.read_aliases(moved, NAME)
    moves = [("champion", None), ("previous", None), *others.items()]
    model_registry.move_aliases(tracking_store(moved), NAME, moves)
    assert registry.take_over(moved, NAME, now=NOW, tracking_uri="") == []
    assert champion.read_aliases(moved, NAME) == before


def test_of_a_version_with_an_alias_of_the_user_no_copy_is_asked_for(moved):
    model_registry.move_aliases(tracking_store(moved), NAME, [("previous", None), ("mine", 1)])
    lose_local_store(moved)
    registry.take_over(moved, NAME, now=NOW, tracking_uri="")
    assert champion.stored_versions(moved, NAME) == [2]


def test_a_rollback_names_the_version_that_it_took_back(moved):
    words = ["rollback", NAME, "--root", str(moved), "--format", "json"]
    result = CliRunner().invoke(app, words)
    assert json.loads(result.stdout) == [{"dataset": NAME, "champion": 1, "taken_back": 2}]


def test_asking_the_registry_leaves_a_rollback_that_was_made_here_alone(moved):
    assert roll_back(moved, AWAY).exit_code == 0
    assert registry.take_over(moved, NAME, now=NOW, tracking_uri="") == []
    assert champion.load(moved, NAME).version == 1
    assert "`forecast doctor --repair`" in read_champion(moved, NAME).faults[0]


def test_a_champion_that_is_taken_over_enters_the_history_once(moved):
    lose_local_store(moved)
    for _ in range(2):
        registry.take_over(moved, NAME, now=NOW, tracking_uri="")
    (event,) = champion.read_events(moved, NAME)
    assert (event.event, event.version, event.replaced) == ("taken over", 2, None)


def test_a_registered_model_of_another_program_is_neither_read_nor_changed(project):
    store = tracking_store(project)
    with mlflow_client.connect(store) as client:
        client.create_registered_model(NAME)
        client.create_model_version(NAME, mlflow_client.NOWHERE)
        client.set_registered_model_alias(NAME, "champion", "1")
    before = read_database(project / "mlflow.db")
    for change in (
        lambda: registry.take_over(project, NAME, now=NOW, tracking_uri=""),
        lambda: projects.register(project, "ridge"),
        lambda: registry.promote(project, NAME, 1, now=NOW),
    ):
        with pytest.raises(InputError, match=r"'wave' at .* belongs to another program.*name\.$"):
            change()
    assert read_database(project / "mlflow.db") == before


def test_opening_a_shared_registry_asks_it_once_and_git_at_most_once(
    project, tmp_path, monkeypatch
):
    uri = f"sqlite:///{tmp_path}/shared.db"
    retraining.git(project, "init", "-q")
    retraining.commit(project)
    projects.register(project, "ridge", uri)
    requests = []
    real = MlflowClient.search_registered_models

    def count(*words, **options):
        requests.append("MLflow")
        return real(*words, **options)

    monkeypatch.setattr(MlflowClient, "search_registered_models", count)
    monkeypatch.setattr(stores, "run_git", lambda *_: pytest.fail("git was asked again"))
    registry.promote(project, NAME, 1, now=NOW, tracking_uri=uri)
    assert requests == ["MLflow"]


def test_a_version_that_was_deleted_on_mlflow_s_page_stays_deleted(moved):
    """MLflow gives no number twice: each change registered it once more under a further one."""
    with mlflow_client.connect(tracking_store(moved)) as client:
        client.delete_model_version(NAME, "1")
    for _ in range(2):
        registry.repair_registry(moved, NAME, now=NOW)
    assert projects.register(moved, "naive") == 3
    assert list(model_registry.read_registry(tracking_store(moved), NAME).versions) == [2, 3]


@pytest.mark.parametrize("gives_way", ["rollback", "promote"])
def test_a_champion_that_was_deleted_on_mlflow_s_page_is_told_and_gives_way(moved, gives_way):
    with mlflow_client.connect(tracking_store(moved)) as client:
        client.delete_model_version(NAME, "2")
    deleted = "version 2, which serves here, was deleted from the registry"
    (repair,) = registry.repair_registry(moved, NAME, now=NOW)
    assert deleted in repair
    for _ in range(2):
        done = small_project.command(moved, "status", NAME, "--registry", "--format", "json")
        (row,) = json.loads(done.stdout)
        assert done.returncode == 5 and f"registry: {NAME}: {deleted}" in row["state"]
    assert champion.load(moved, NAME).version == 2
    if gives_way == "rollback":
        assert roll_back(moved).exit_code == 0
    else:
        registry.promote(moved, NAME, projects.register(moved, "arx"), now=NOW)
    expected = {"rollback": 1, "promote": 3}[gives_way]
    assert champion.load(moved, NAME).version == expected
    assert projects.registry_aliases(moved, NAME)["champion"] == expected
    assert registry.take_over(moved, NAME, now=NOW, tracking_uri="") == []


def test_a_champion_that_cannot_be_taken_over_is_not_replaced_by_another_model_of_its_number(moved):
    """The registry's copy is of an older format, the one here another model that can be loaded."""
    projects.registry_aliases(moved, NAME)  # corrects the paths of the copy
    shutil.rmtree(champion.version_folder(moved, NAME, 2))
    shutil.copytree(
        champion.version_folder(moved, NAME, 1), champion.version_folder(moved, NAME, 2)
    )
    for card in (moved / "mlartifacts").rglob("champion.json"):
        files.write_json(card, {**files.read_json(card), "schema": 1})
    champion.write_aliases(moved, NAME, {"champion": 1})
    with pytest.raises(InputError, match=f"models:/{NAME}/2/champion.json: saved with schema 1"):
        registry.take_over(moved, NAME, now=NOW, tracking_uri="")
    assert champion.read_aliases(moved, NAME) == {"champion": 1}


def test_after_a_rollback_from_a_deleted_champion_no_version_is_its_own_predecessor(moved):
    with mlflow_client.connect(tracking_store(moved)) as client:
        client.delete_model_version(NAME, "2")
    assert roll_back(moved).exit_code == 0
    assert tried_aliases(moved) == ({"champion": 1},) * 2
    registry.promote(moved, NAME, projects.register(moved, "arx"), now=NOW)
    assert tried_aliases(moved) == ({"champion": 3, "previous": 1},) * 2


def test_a_version_that_a_kill_left_without_its_tag_stays_deleted(moved, monkeypatch):
    real = MlflowClient.create_model_version

    def die(*words, **options):
        real(*words, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(MlflowClient, "create_model_version", die)
        with pytest.raises(KeyboardInterrupt):
            projects.register(moved, "naive")
    assert projects.register(moved, "naive") == 3, "the version that is there"
    with mlflow_client.connect(tracking_store(moved)) as client:
        client.delete_model_version(NAME, "3")
    registry.repair_registry(moved, NAME, now=NOW)
    assert list(model_registry.read_registry(tracking_store(moved), NAME).versions) == [1, 2]


def test_a_candidate_whose_files_were_pruned_from_the_store_is_registered_again(moved):
    projects.registry_aliases(moved, NAME)  # corrects the paths of the copy
    shutil.rmtree(moved / "mlartifacts")
    version = projects.register(moved, "arx")
    assert version == 3
    registry.promote(moved, NAME, version, now=NOW)
    lose_local_store(moved)
    # another machine takes what is there, though the previous version is not
    missing, *_ = registry.take_over(moved, NAME, now=NOW, tracking_uri="")[1:]
    assert "previous version is not taken over" in missing and "version 2" in missing
    assert champion.load(moved, NAME).version == version
    with pytest.raises(DamagedError, match=rf"version 2: .* `forecast promote {NAME}` registers"):
        registry.promote(moved, NAME, 2, now=NOW)
