"""`forecast status | promote | rollback | history`: where each dataset stands, whatever is broken;
and what `forecast doctor` finds around champions: notes of dead processes, damaged and missing
copies.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from forecast.cli.operation import _last_observation, _status_lines
from forecast.config.paths import ProjectPaths
from forecast.operations import champion, repair, status
from forecast.operations.records import (
    Heartbeat,
    JobRun,
    LiveAccuracy,
    LiveScores,
    Shift,
    not_due_file,
)
from forecast.operations.status import read_status
from forecast.system import files
from forecast.system.errors import quote_names
from tests.operations import projects
from tests.operations.projects import NAME, prepared
from tests.operations.test_pending import decided
from tests.support import small_project, warm_interpreter

NOW = datetime(2024, 7, 21, 6, 30, tzinfo=UTC)


def test_all_is_well(running):
    state = read_status(running, NAME, now=NOW)
    assert (state.champion, state.model, state.age_days, state.state) == (2, "arx", 2.0, "good")
    assert state.live_error is None and state.drift == "not examined yet"
    assert (state.last_run, state.next_run) == ("none", "none planned: no scheduler runs")
    assert (state.last_observation, state.last_observation_age_h) == (
        "2024-07-18T00:00:00",
        54.5,
    )  # since the day ended


def test_rows_without_dates_are_named_by_their_number(moved):
    settings = {**small_project.DATASET, "calendar": {"kind": "index"}}
    small_project.write_yaml(
        moved / "configs" / "datasets.yaml", {"run": [NAME], "datasets": {NAME: settings}}
    )
    change_record(moved, last="1970-01-01T10:00:00")
    state = read_status(moved, NAME, now=NOW)
    assert (state.data_as_of, state.last_observation, state.last_observation_age_h) == (
        "row 600",
        "row 600",
        None,
    )
    assert state.training_cutoff.startswith("row ") and state.age_days == 2.0
    first, *_ = champion.history_rows(moved, NAME, status.read_entry(moved, NAME).calendar_kind)
    assert first.training_cutoff == state.training_cutoff


def test_without_a_champion_the_next_move_is_named(repro):
    state = read_status(repro, NAME, now=NOW)
    assert (
        state.champion is None
        and "`forecast promote wave`, or `forecast status --registry`" in state.state
    )


def test_without_or_with_a_locked_registry_this_machine_s_state_is_known(moved):
    with closing(sqlite3.connect(moved / "mlflow.db", isolation_level=None)) as other:
        other.execute("begin exclusive")
        assert read_status(moved, NAME, now=NOW).state == "good"
    (moved / "mlflow.db").unlink()
    assert read_status(moved, NAME, now=NOW).state == "good"


def test_a_damaged_champion_is_said(moved):
    (champion.version_folder(moved, NAME, 2) / "calibration.npz").write_bytes(b"")
    state = read_status(moved, NAME, now=NOW).state
    assert "champion: " in state and "`forecast doctor --repair` takes it" in state
    files.write_text(champion.version_folder(moved, NAME) / "aliases.json", "{")
    assert "aliases.json: cannot be read" in read_status(moved, NAME, now=NOW).state


@pytest.mark.parametrize("content", [None, "{", f'{{"schema": {champion.SCHEMA}}}'])
def test_a_champion_s_card_that_is_gone_or_damaged_is_said_with_the_next_move(moved, content):
    card = champion.version_folder(moved, NAME, 2) / champion.CARD_FILE
    shutil.rmtree(card.parent)
    if content:
        files.write_text(card, content)
    state = read_status(moved, NAME, now=NOW).state
    assert "champion.json: " in state and "`forecast doctor --repair` takes it" in state


def test_a_decision_of_an_older_format_is_said(moved):
    folder = ProjectPaths.of(moved).retraining(NAME) / "decisions"
    old = {**decided("kept").to_json(), "numbers": {"test": {"z": 1.0}}}
    files.write_json(folder / "a.json", old)
    state = read_status(moved, NAME, now=NOW).state
    assert f"{folder / 'a.json'}: no Decision of this version (numbers.test: " in state
    assert "). Delete it (or " in state


def test_a_champion_that_another_version_of_the_program_saved_is_said(moved):
    folder = champion.version_folder(moved, NAME, 2)
    manifest, card = folder / "ensemble.json", folder / "champion.json"
    files.write_json(manifest, {**files.read_json(manifest), "schema": 1})
    content = {**files.read_json(card), "model_sha256": files.sha256(manifest)}
    del content["digest"]
    files.write_json(card, {**content, "digest": files.sha256_of(content)})
    state = read_status(moved, NAME, now=NOW).state
    refusal = f"ensemble.json: saved with schema 1, this version reads {files.ENSEMBLE_SCHEMA}"
    assert refusal in state


def test_what_another_machine_promoted_is_seen_and_taken_over_when_the_registry_is_asked(moved):
    champion.write_aliases(moved, NAME, {"champion": 1})
    assert read_status(moved, NAME, now=NOW).champion == 1
    done = small_project.command(moved, "status", NAME, "--registry", "--format", "json")
    assert "aliases taken from the registry" in done.stderr
    assert (
        json.loads(done.stdout)[0]["champion"] == 2
        and champion.read_aliases(moved, NAME)["previous"] == 1
    )


def test_a_registry_that_does_not_answer_is_said_when_it_is_asked(moved):
    (moved / "mlflow.db").write_text("hello, this is a text file and no database")
    done = small_project.command(moved, "status", NAME, "--registry", "--format", "json")
    (row,) = json.loads(done.stdout)
    assert done.returncode == 5 and row["champion"] == 2
    assert "registry: " in row["state"] and "file is not a database" in row["state"]


def test_an_older_format_here_and_in_the_registry_is_said_once_and_by_no_scratch_folder(moved):
    projects.registry_aliases(moved, NAME)  # corrects the paths of the copy
    for card in moved.rglob("champion.json"):
        files.write_json(card, {**files.read_json(card), "schema": 1})
    words = ("status", NAME, "--registry", "--format", "json")
    (row,) = json.loads(small_project.command(moved, *words).stdout)
    card_file = champion.version_folder(moved, NAME, 2).relative_to(moved) / "champion.json"
    refusal = f"saved with schema 1, this version reads {champion.SCHEMA}"
    assert f"{card_file}: {refusal}" in row["state"] and row["state"].count(refusal) == 1
    shutil.rmtree(champion.version_folder(moved, NAME))
    (row,) = json.loads(small_project.command(moved, *words).stdout)
    assert f"registry: models:/{NAME}/2/champion.json: {refusal}" in row["state"]


def test_the_last_and_the_next_run_come_from_scheduler_and_retraining(moved):
    jobs = {"nightly": "retrain wave", "other": "predict wave"}
    content = {"jobs": {name: {"run": command, "at": "05:30"} for name, command in jobs.items()}}
    small_project.write_yaml(moved / "configs" / "schedule.yaml", content)
    folder = moved / ".forecast" / "schedule"
    planned = {"nightly": "2024-07-22T05:30:00+00:00", "other": "2024-07-21T07:30:00+00:00"}
    beat = Heartbeat(pid=1, at="2024-07-21T05:31:00+00:00", state="running", next=planned)
    beat.write(folder / "heartbeat.json")
    JobRun(started="2024-07-21T05:30:00+00:00", code=3).write(folder / "nightly.json")
    decisions = moved / ".forecast" / "retrain" / NAME / "decisions"
    decision = decided("kept", at="2024-07-20T05:31:00", reason="no evidence")
    decision.write(decisions / "a.json")
    state = read_status(moved, NAME, now=NOW)
    assert (
        state.last_run == "2024-07-21T05:30:00: exit 3" and state.next_run == "2024-07-22T05:30:00"
    )
    shift = Shift(what="wave: y", drifted=True)
    due_later = {"at": "2024-07-21T05:31:00", "drift": (shift,)}
    decision.model_copy(update=due_later).write(decisions / "b.json")
    state = read_status(moved, NAME, now=NOW)
    assert (
        state.last_run == "2024-07-21T05:31:00: kept (no evidence)"
        and state.drift == "wave: y (2024-07-21)"
    )
    not_due = decided("not due", at="2024-07-22T05:31:00", reason="no drift, 1 new step")
    not_due.write(not_due_file(moved, NAME))
    state = read_status(moved, NAME, now=NOW)
    assert state.last_run == "2024-07-22T05:31:00: not due (no drift, 1 new step)"
    assert state.drift == "not measured (2024-07-22)"
    not_due.model_copy(update={"drift": (Shift(what="wave: y"),)}).write(not_due_file(moved, NAME))
    assert read_status(moved, NAME, now=NOW).drift == "none (2024-07-22)"


def test_the_command_is_quick_and_exits_5_when_something_is_wrong(moved):
    # data that came with a package never get newer, so this project of 2024 is not stale today
    make_packaged(moved)
    done, used = small_project.run_measured(
        moved, small_project.arguments("status", "--format", "json")
    )
    assert done.returncode == 0 and json.loads(done.stdout)[0]["champion"] == 2
    assert used.ru_utime < 1.0
    champion.write_aliases(moved, NAME, {"champion": 3})
    done = small_project.command(moved, "status", NAME)
    assert done.returncode == 5 and "version 2" not in done.stdout


def test_a_model_is_promoted_rolled_back_and_remembered_by_hand(project):
    first = small_project.command(project, "promote", NAME, "--scored", "--reason", "the first")
    assert first.returncode == 0 and "version 1 (ridge, test skill" in first.stdout, first.stderr
    assert champion.read_card(project, NAME, 1).refit_of is None
    second_rollback = small_project.command(project, "rollback", NAME)
    assert (
        second_rollback.returncode == 2
        and "no previous champion to go back to" in second_rollback.stderr
    )
    events = json.loads(small_project.command(project, "history", NAME, "--format", "json").stdout)
    assert [(e["event"], e["version"], e["model"], e["reason"]) for e in events] == [
        ("promoted", 1, "ridge", "the first")
    ]


def test_a_promotion_of_what_is_not_shown_to_be_better_says_so(project):
    path = project / "data" / "compared" / NAME / "verdicts.json"
    content = files.read_json(path)
    tests = [{**test, "word": "not distinguishable"} for test in content["tests"]]
    files.write_json(path, {**content, "tests": tests})
    done = small_project.command(project, "promote", NAME, "--scored")
    sentence = "wave: version 1 is in service, although what validation selects is not shown"
    assert done.returncode == 0 and sentence in done.stderr
    assert "Put nothing" not in done.stderr and "prices" not in done.stderr


def make_packaged(root):
    settings = {**small_project.DATASET, "source": {"kind": "packaged", "name": "dublin_weather"}}
    small_project.write_yaml(
        root / "configs" / "datasets.yaml", {"run": [NAME], "datasets": {NAME: settings}}
    )


def test_a_promotion_fits_the_recipe_once_more_on_all_data_and_says_what_was_scored(
    project, capfd, monkeypatch
):
    monkeypatch.setattr(sys, "executable", warm_interpreter.warm_python())  # that of the fit
    first = small_project.command(project, "promote", NAME, "--reason", "the first")
    scored_errors = capfd.readouterr().err
    assert f"refit {NAME}: 1 of 1 done in " in scored_errors
    assert first.returncode == 0, first.stderr
    assert "wave: version 2 (version 1 (ridge, test skill" in first.stdout
    assert "fitted again on all data) is the champion" in first.stdout
    scored, serving = (champion.read_card(project, NAME, version) for version in (1, 2))
    last = prepared(project)["ds"].max()
    assert pd.Timestamp(serving.last_target_used) == last > pd.Timestamp(scored.last_target_used)
    assert serving.refit_of == 1 and serving.metrics == {} and serving.expected == scored.expected
    state = json.loads(small_project.command(project, "status", "--format", "json").stdout)[0]
    assert (state["champion"], state["scored_version"]) == (2, 1)
    assert state["skill"] == scored.metrics["skill"]
    scored_errors = small_project.command(project, "status", NAME).stdout
    assert "(version 1, fitted again on all data since)" in scored_errors
    second_promotion = small_project.command(project, "promote", NAME, "--format", "json")
    assert json.loads(second_promotion.stdout) == [{"dataset": NAME, "champion": 2}]
    assert second_promotion.returncode == 0 and "again on all data\n" not in second_promotion.stderr
    assert champion.stored_versions(project, NAME) == [1, 2]
    errors = [champion.load_version(project, NAME, version).ensemble for version in (1, 2)]
    for name, calibrated in errors[0].calibrated.items():
        for old, new in zip(calibrated.scores, errors[1].calibrated[name].scores, strict=True):
            assert np.array_equal(old, new)  # out-of-sample ones, of the scored version


def test_a_rollback_names_what_it_takes_back(moved):
    done = small_project.command(moved, "rollback", NAME)
    assert done.returncode == 0, done.stderr
    assert "wave: taken back: version 2 (arx, test skill" in done.stdout
    assert "wave: version 1 (ridge, test skill" in done.stdout
    assert champion.read_events(moved, NAME)[-1].reason == ""


def change_record(root, **changes):
    """The snapshot's record with other values of its keys."""
    pointer = root / "data" / "pointers" / f"{NAME}.json"
    record = (root / files.read_json(pointer)["snapshot"]).with_suffix(".json")
    files.write_json(record, {**files.read_json(record), **changes})


def test_a_series_of_the_champion_that_the_data_lost_is_named_with_the_nearest_new_name(moved):
    change_record(moved, series=["waves", "tide"])
    state = read_status(moved, NAME, now=NOW).state
    assert state.startswith("lost: no row any more of series 'wave'. Did you mean 'waves'? Restore")


def change_entry(root, **changes):
    content = {"run": [NAME], "datasets": {NAME: {**small_project.DATASET, **changes}}}
    small_project.write_yaml(root / "configs" / "datasets.yaml", content)


def test_a_champion_of_another_horizon_or_target_than_the_entry_s_is_named(moved):
    served = "other task: the champion has horizon 2 and target 'y', configs/datasets.yaml horizon"
    change_entry(moved, horizon=3)
    assert read_status(moved, NAME, now=NOW).state.startswith(f"{served} 3 and target 'y';")
    change_entry(moved, target={"column": "tide"})
    assert read_status(moved, NAME, now=NOW).state.startswith(f"{served} 2 and target 'tide';")


@pytest.mark.parametrize(
    ("series", "champion_names", "lost"),
    [
        (["a", "b"], ["a/x m/s", "a/y", "b/x m/s", "b/y"], []),
        (["a"], ["a/x m/s", "a/y", "b/x m/s", "b/y"], ["b/x m/s", "b/y"]),
        (["North/1", "North/2"], ["total", "North", "North/1", "North/2"], []),
        (["North/1"], ["total", "North", "North/1", "North/2", "South"], ["North/2", "South"]),
    ],
)
def test_targets_and_sums_are_no_lost_series(running, series, champion_names, lost):
    card = champion.read_card(running, NAME, 2)
    card = card.model_copy(update={"expected": {name: [1.0] for name in champion_names}})
    lost_series = status._find_lost_series(NAME, card, status.NewestData(series=series))
    assert [quote_names(lost) in sentence for sentence in lost_series] == [True] * bool(lost)


def test_holes_of_a_plan_are_told_as_a_single_fault(moved):
    sentences = [f"'promo' has no value at 2024-07-{day}. Give it." for day in (19, 20, 21)]
    findings = [
        {"rule": "plan", "series": f"shop {place}", "sentence": sentence}
        for place, sentence in enumerate(sentences)
    ]
    change_record(moved, findings=[{"rule": "gaps", "series": "x", "sentence": "."}, *findings])
    faults = read_status(moved, NAME, now=NOW).state.split("; ")
    (fault_of_plan,) = [fault for fault in faults if fault.startswith("plan: ")]
    assert fault_of_plan == (
        "plan: series 'shop 0', 'shop 1', 'shop 2': 'promo' has no value at 2024-07-19. Give it"
    )


def test_a_champion_is_older_than_its_data_by_whole_steps(moved):
    """As of the end of its last day, which is the name of the next one."""
    card = champion.read_card(moved, NAME, 2)
    small_project.write_yaml(
        moved / "configs" / "retraining.yaml", {"defaults": {"max_age_days": 1}}
    )
    for day, is_stale in ((0, False), (1, True)):
        last = pd.Timestamp(card.as_of) + pd.Timedelta(day - 1, "D")
        known = last + pd.Timedelta(1, "D")
        change_record(moved, last=last.isoformat(), known=known.isoformat())
        state = read_status(moved, NAME, now=NOW).state
        assert ("stale: the champion's snapshot is 1 day old" in state) == is_stale


def test_a_champion_or_an_observation_older_than_the_rhythm_of_the_data_is_stale(moved):
    moment_later = datetime(2024, 9, 1, tzinfo=UTC)
    change_record(moved, last="2024-08-23T00:00:00", known="2024-08-24T00:00:00")
    state = read_status(moved, NAME, now=moment_later).state
    assert (
        "stale: the champion's snapshot is 36 days old, 30 allowed; `forecast retrain wave`"
        in state
    )
    assert (
        "stale: the last observation is 8 days old, 7 allowed; `forecast fetch wave`, once newer"
        " rows are in data/wave.csv" in state
    )
    small_project.write_yaml(
        moved / "configs" / "retraining.yaml", {"defaults": {"max_age_days": 60}}
    )
    assert "the champion" not in read_status(moved, NAME, now=moment_later).state
    make_packaged(moved)
    assert read_status(moved, NAME, now=moment_later).state == "good"


def test_a_champion_is_stale_where_newer_rows_are_also_after_a_refused_challenger(moved):
    moment_later = datetime(2024, 8, 24, tzinfo=UTC)
    assert "forecast retrain" not in read_status(moved, NAME, now=moment_later).state
    change_record(moved, last="2024-08-23T00:00:00", known="2024-08-24T00:00:00")
    assert "forecast retrain" in read_status(moved, NAME, now=moment_later).state
    decisions = moved / ".forecast" / "retrain" / NAME / "decisions"
    decided("kept", at="2024-08-24T05:31:00", data_end="2024-08-23T00:00:00", reason="worse").write(
        decisions / "a.json"
    )
    assert (
        "stale: the champion's snapshot is 36 days old, 30 allowed; decided on 2024-08-24: kept"
        " (worse); with newer rows `forecast retrain wave`"
    ) in read_status(moved, NAME, now=moment_later).state


@pytest.mark.parametrize(
    ("scored", "error", "is_poor"),
    [(8, 1.4, False), (8, 1.6, True), (1, 2.5, False), (1, 11.9, False), (1, 12.1, True)],
)
def test_forecasts_are_poor_where_those_to_come_cannot_make_up_for_them(
    moved, scored, error, is_poor
):
    live = LiveAccuracy(version=2, issues=scored, scored=scored, error=error, skill=None)
    path = ProjectPaths.of(moved).live_forecasts(NAME).with_suffix(".json")
    LiveScores(live=(live,)).write(path)
    state = read_status(moved, NAME, now=NOW).state
    poor = f"poor: the live error is {error:.2f} x what was expected, 1.5 allowed;"
    assert state.startswith(poor) if is_poor else state == "good"
    path.unlink()


@pytest.mark.parametrize("change", ["a row appended", "a row changed", "a row gone"])
def test_a_file_that_was_changed_since_its_snapshot_is_said(moved, change):
    path = moved / "data" / "wave.csv"
    original = path.read_text()
    lines = original.splitlines()
    changed = {
        "a row appended": [*lines, "2024-07-19,1.0"],
        "a row changed": [*lines[:50], f"{lines[50].partition(',')[0]},9.5", *lines[51:]],
        "a row gone": lines[:-1],
    }
    assert "changed" not in read_status(moved, NAME, now=NOW).state
    path.write_text("\n".join(changed[change]) + "\n")
    sentence = (
        "stale: data/wave.csv was changed since its snapshot was taken; `forecast fetch wave`"
    )
    assert read_status(moved, NAME, now=NOW).state == sentence
    outside = moved.parent / "wave.csv"
    shutil.copy(path, outside)
    datasets = moved / "configs" / "datasets.yaml"
    entries = datasets.read_text()
    datasets.write_text(entries.replace("data/wave.csv", str(outside)))
    sentence = (
        "was changed since its snapshot was taken; copy it to data/, name that as `source` and"
    )
    assert sentence in read_status(moved, NAME, now=NOW).state  # `fetch` takes none from there
    datasets.write_text(entries)
    path.write_text(original)
    assert read_status(moved, NAME, now=NOW).is_good


def test_a_row_of_a_day_that_has_not_come_is_no_good_news(moved):
    last = datetime.fromisoformat(read_status(moved, NAME, now=NOW).last_observation)
    eve = last.replace(tzinfo=UTC) - timedelta(hours=23)
    assert read_status(moved, NAME, now=eve).is_good  # it is that day in New Zealand
    state = read_status(moved, NAME, now=eve - timedelta(hours=2)).state
    assert state.startswith(f"ahead: the last observation is of {last:%Y-%m-%d}, later than now;")


def test_rules_of_retraining_that_check_refuses_are_refused(moved):
    small_project.write_yaml(
        moved / "configs" / "retraining.yaml", {"defaults": {"max_age_day": 30}}
    )
    row = read_status(moved, NAME, now=NOW)
    assert row.state.startswith(f"{moved / 'configs' / 'retraining.yaml'}: unknown key")
    assert "Did you mean 'max_age_days'?" in row.state and row.champion == 2


@pytest.mark.parametrize("content", [b"", b"PA", b"junk\n", b"PAR1, and the rest was cut off"])
def test_a_damaged_snapshot_is_named(moved, content):
    pointer = moved / "data" / "pointers" / "wave.json"
    snapshot = moved / json.loads(pointer.read_text())["snapshot"]
    snapshot.write_bytes(content)
    state = read_status(moved, NAME, now=NOW).state
    assert state.startswith(f"{snapshot.name} is damaged, so no data are found: restore it")


def test_a_source_file_that_is_gone_is_named_where_it_was_taken_but_in_no_colleagues_clone(moved):
    (moved / "data" / "wave.csv").unlink()
    assert read_status(moved, NAME, now=NOW).is_good
    taking = moved / ".forecast" / "taken" / "wave.json"
    taking.parent.mkdir(parents=True)
    taking.write_text("{}")
    state = read_status(moved, NAME, now=NOW).state
    assert state == "gone: data/wave.csv; restore it, or correct `source` in configs/datasets.yaml"


DAMAGED = (
    "7",
    "[]",
    "{}",
    "{",
    "\xff",
    '{"as_of": 5, "sha256": null, "snapshot": 3}',
    '{"last": 3, "first": "2024-01-01", "rows": "x", "series": 1, "file_sha256": 5}',
)


@pytest.mark.parametrize("content", DAMAGED)
@pytest.mark.parametrize("which", ["pointer", "record"])
def test_a_damaged_pointer_or_record_is_named_by_status_and_no_traceback(moved, which, content):
    pointer = moved / "data" / "pointers" / "wave.json"
    record = (moved / json.loads(pointer.read_text())["snapshot"]).with_suffix(".json")
    path = {"pointer": pointer, "record": record}[which]
    path.write_text(content, encoding="latin-1")
    done = small_project.command(moved, "status")
    assert done.returncode == 5 and f"{path.name} is damaged" in " ".join(done.stdout.split())
    assert small_project.command(moved, "data").returncode == 5


RECORD_FAULTS = {
    "a number for a text": ("file_sha256", 5),
    "a text for a number": ("rows", "x"),
    "a text for names": ("series", "wave"),
    "a list for reasons": ("failed", [1]),
    "nothing for a number": ("revised_values", None),
    "no time": ("last", "yesterday"),
    "no provisional time": ("provisional_from", "soon"),
}


@pytest.mark.parametrize(("key", "value"), RECORD_FAULTS.values(), ids=RECORD_FAULTS)
def test_a_record_with_a_wrong_key_is_refused_alike_by_every_command(moved, key, value):
    pointer = json.loads((moved / "data" / "pointers" / "wave.json").read_text())
    record = (moved / pointer["snapshot"]).with_suffix(".json")
    record.write_text(json.dumps({**json.loads(record.read_text()), key: value}))
    for words in (("status",), ("check",), ("predict",), ("fetch",), ("data",)):
        done = small_project.command(moved, *words, NAME)
        printed = " ".join((done.stdout + done.stderr).split())
        assert done.returncode == 5 and "Traceback" not in printed, (words, printed)
        assert record.name in printed


@pytest.mark.parametrize("content", ["- a", "run: 5", "run: [", "datasets:\n\t- a", "run: []"])
def test_status_of_a_configuration_without_datasets_is_no_good_news(moved, content):
    (moved / "configs" / "datasets.yaml").write_text(content)
    done = small_project.command(moved, "status")
    assert done.returncode == 2 and "no dataset under `run`" in done.stderr


@pytest.mark.parametrize("is_configured", [True, False])
def test_a_champion_of_a_dataset_that_no_longer_runs_is_shown(moved, is_configured):
    datasets = {NAME: small_project.DATASET} if is_configured else {}
    content = {"run": ["tide"], "datasets": {**datasets, "tide": small_project.DATASET}}
    small_project.write_yaml(moved / "configs" / "datasets.yaml", content)
    done = small_project.command(moved, "status", "--format", "json")
    tide, wave = json.loads(done.stdout)
    assert (tide["dataset"], tide["champion"]) == ("tide", None)
    assert (wave["dataset"], wave["champion"]) == (NAME, 2)
    assert ("has no entry that can be read" in wave["state"]) == (not is_configured)


@pytest.mark.parametrize("fault", [{"horizon": "two"}, {"source": None}, {"target": {}}])
def test_an_entry_that_cannot_be_read_is_no_good_news(moved, fault):
    change_entry(moved, **fault)
    assert "has no entry that can be read" in read_status(moved, NAME, now=NOW).state


def test_a_holiday_that_closes_a_market_for_ten_days_makes_no_data_stale(moved):
    """Shanghai's spring festival: February 8 is the last session, the 19th and 20th are next."""
    change_record(moved, last="2024-02-08T00:00:00", known="2024-02-08T07:00:00")
    change_entry(moved, calendar={"kind": "sessions", "exchange": "XSHG"})
    for day, is_stale in ((18, False), (20, False), (22, True)):
        state = read_status(moved, NAME, now=datetime(2024, 2, day, tzinfo=UTC)).state
        assert ("the last observation is" in state) == is_stale, (day, state)


@pytest.mark.parametrize(
    "changes", [{"calendar": {"kind": "sessions", "exchange": "XSHG"}}, {"lookback": "long"}]
)
def test_data_are_stale_too_where_the_next_sessions_are_not_known(moved, changes):
    """Shanghai's are known to the end of the year in which the installed calendars were made."""
    last = {"last": "2099-12-30T00:00:00", "known": "2099-12-30T07:00:00"}
    change_record(moved, first="2099-12-01T00:00:00", **last)
    change_entry(moved, **{"calendar": {"kind": "sessions", "exchange": "XNYS"}, **changes})
    state = read_status(moved, NAME, now=datetime(2100, 3, 1, tzinfo=UTC)).state
    assert "stale: the last observation is 61 days old" in state


def said_of(root):
    return {what: (finding, repair) for what, finding, repair in repair.find_faults(root, "")}


def test_nothing_is_wrong_with_a_running_project(running):
    findings = said_of(running)
    assert findings["champion wave"] == ("version 2, intact", "")
    assert findings["MLflow's paths"] == ("lead into this folder", "")


def test_the_command_repairs_a_damaged_champion(moved):
    (champion.version_folder(moved, NAME, 2) / "forecaster-0" / "spec.json").write_text("{}")
    result = small_project.command(moved, "doctor", "--repair", "--format", "json")
    assert "version 2 (champion) taken from the registry" in result.stderr
    rows = {row["what"]: row for row in json.loads(result.stdout)}
    assert rows["champion wave"]["found"] == "version 2, intact"
    assert champion.load(moved, NAME).version == 2
    assert projects.registry_aliases(moved, NAME) == {"champion": 2, "previous": 1}


def test_a_database_that_cannot_be_read_is_one_finding(moved):
    (moved / "mlflow.db").write_text("hello, this is a text file and no database")
    finding, repair = said_of(moved)["MLflow's paths"]
    assert "mlflow.db: damaged (file is not a database)" in finding and repair


@pytest.mark.parametrize(
    ("hours", "age"),
    [
        (1.4, "1 hour old"),
        (47.0, "47 hours old"),
        (12235.0, "510 days old"),
        (-9.6, "over in 10 hours"),
        (-2555.0, "over in 106 days"),
    ],
)
def test_the_age_of_the_last_observation_is_told_in_days_from_the_second_on(running, hours, age):
    row = read_status(running, NAME, now=datetime(2024, 7, 20, tzinfo=UTC))
    row = replace(row, last_observation_age_h=hours)
    (line,) = [line["value"] for line in _status_lines(row) if line["what"] == "data"]
    assert line.endswith(age)


@pytest.mark.parametrize("source_kind", ["packaged", "file", "", "no such kind"])
def test_only_data_of_a_package_never_get_newer_and_a_wrong_kind_is_no_traceback(
    moved, source_kind: str
) -> None:
    source = {"kind": source_kind, "name": "dublin_weather"}
    settings = {**small_project.DATASET, "source": source}
    small_project.write_yaml(
        moved / "configs" / "datasets.yaml", {"run": [NAME], "datasets": {NAME: settings}}
    )
    state = read_status(moved, NAME, now=datetime(2026, 7, 21, tzinfo=UTC)).state
    assert (state == "good") == (source_kind == "packaged"), state


def test_the_command_loads_no_pandas_also_where_forecasts_are_kept_and_data_are_stale(moved):
    assert small_project.command(moved, "predict", NAME).returncode == 0
    words = [sys.executable, "-X", "importtime", "-m", "forecast", "status", NAME]
    done = subprocess.run(
        words, cwd=moved, env=small_project.environment(), capture_output=True, text=True
    )
    assert done.returncode == 5 and "stale" in done.stdout, done.stdout
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not loaded & {"numpy", "pandas", "pyarrow", "sqlalchemy", "mlflow"}
    assert "forecast.operations.status" in loaded


def test_a_dataset_without_a_champion_is_two_lines(project):
    row = replace(read_status(project, NAME, now=NOW), champion=None)
    assert [line["what"] for line in _status_lines(row)] == ["data", "state"]
    failed = replace(row, last_run="2024-07-21T05:30:00: exit 3")
    assert [line["what"] for line in _status_lines(failed)] == ["data", "last run", "state"]
    assert _status_lines(replace(row, data_as_of=""))[0]["value"] == "not fetched"


def test_the_age_of_a_row_is_one_number_wherever_it_stands(moved):
    change_record(moved, last="2024-08-23T23:59:59")
    row = read_status(moved, NAME, now=datetime(2024, 8, 24, 18, tzinfo=UTC))
    assert _last_observation(row).endswith("37 days old")
    assert "the last observation is 37 days old" in row.state


def test_a_champion_made_before_the_clock_was_set_back_is_not_of_negative_age(running):
    row = read_status(running, NAME, now=projects.NOW.tz_localize("UTC") - timedelta(days=1))
    (age,) = [line["value"] for line in _status_lines(row) if line["what"] == "age"]
    assert age.startswith("0 days, ") and row.age_days == 0
