"""Decisions are written down first and carried out step by step; every step can be repeated."""

from __future__ import annotations

import itertools
import json
import os
import resource
import shutil
import signal
from pathlib import Path

import pytest
from mlflow import MlflowClient
from sqlalchemy import Engine, event

from forecast.cli.operation import _print_decision
from forecast.config.paths import ProjectPaths
from forecast.data.results import Results
from forecast.operations import champion, pending, records, registry
from forecast.operations.records import Decision, GateNumbers
from forecast.operations.registry import make_card
from forecast.system import files
from forecast.system.errors import DamagedError, ForecastError, ModelError
from forecast.tracking import mlflow_client, tracking_store
from tests.operations import projects
from tests.operations.projects import NAME, NOW

GONE = "http://127.0.0.1:1"


def decided(word: str, key: str = "a", **more: object) -> Decision:
    common = {
        "as_of": "2024-07-19",
        "data_sha256": "d",
        "data_end": "2024-07-18",
        "config_hash": "c",
        "revision": "r",
        "at": NOW.isoformat(),
        "reason": "a test",
        "numbers": {"n_fresh": 28, "evidence": {"z": 4.5}},
    }
    return Decision(key=key, dataset=NAME, word=word, **{**common, **more})  # type: ignore[arg-type]


def write_down(root: Path, word: str = "better", **more: object) -> None:
    folder = root / "data" / "trained" / NAME / "ridge"
    meta = make_card(Results(ProjectPaths.of(root), NAME), folder.name, now=NOW, revision="abc")
    pending.write_pending(root, decided(word, **more), folder, meta)


def finish(root: Path, refit: registry.Refit | None = None) -> Decision:
    steps: list[str] = []
    decision = pending.finish_pending(
        root, NAME, now=NOW, tracking_uri="", refit=refit, log_step=steps.append
    )
    assert steps[0] == "register" and steps[-1] == "record"
    return decision


def refit(candidate: Path, target: Path) -> None:
    trained = candidate.parent.parent.parent.parent.parent / "data" / "trained" / NAME / "arx"
    ends = dict.fromkeys(
        ("train_end", "validation_end", "calibration_end", "test_end"), "2024-07-18T00:00:00"
    )
    with files.atomic_directory(target) as folder:
        shutil.copytree(trained, folder, dirs_exist_ok=True)
        files.write_json(folder / "borders.json", ends)


def test_a_promotion_is_registered_promoted_refitted_and_recorded(project: Path) -> None:
    write_down(project)
    decision = finish(project, refit)
    assert (decision.version, decision.refit_version) == (1, 2)
    state = champion.load(project, NAME)
    assert state.version == 2 and state.card.refit_of == 1 and not state.card.metrics
    assert state.card.last_target_used == "2024-07-18T00:00:00"
    assert not (ProjectPaths.of(project).retraining(NAME) / "pending").exists()
    assert [d.version for d in records.read_decisions(project, NAME)] == [1]
    assert [event.event for event in champion.read_events(project, NAME)] == [
        "promoted",
        "promoted",
        "gate passed",
    ]


def test_a_damaged_file_of_a_pending_decision_says_how_to_decide_again(project: Path) -> None:
    for name in ("decision.json", "card.json"):
        write_down(project)
        file = ProjectPaths.of(project).retraining(NAME) / "pending" / name
        file.write_text("{", encoding="utf-8")
        refusal = rf"{name}: no .* of this version .* Delete"
        with pytest.raises(DamagedError, match=refusal) as fault:
            finish(project)
        assert "decide" in str(fault.value) and "dvc repro" not in str(fault.value)
        shutil.rmtree(file.parent)  # as the sentence says
    write_down(project)
    assert finish(project, refit).version == 1


def leave_unrecorded_promotion(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Version 1 is replaced by a retraining that is killed once its refit, version 3, serves."""
    registry.promote(project, NAME, projects.register(project, "naive"), now=NOW)
    write_down(project, champion=1, served_version=1)

    def die(*_words: object, **_options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pending, "conclude", die)
        with pytest.raises(KeyboardInterrupt):
            finish(project, refit)


def test_a_retraining_killed_while_its_refit_serves_is_finished_without_a_step_back(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_unrecorded_promotion(project, monkeypatch)
    served: list[str] = []
    move = MlflowClient.set_registered_model_alias

    def note_champion(client: MlflowClient, name: str, alias: str, version: str) -> None:
        served.extend([version] if alias == "champion" else [])
        move(client, name, alias, version)

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", note_champion)
    decision = finish(project, refit)
    assert (decision.version, decision.refit_version) == (2, 3) and set(served) <= {"3"}
    expected = {"champion": 3, "previous": 1}
    assert champion.read_aliases(project, NAME) == expected
    assert projects.registry_aliases(project, NAME) == expected
    happened = [(event.event, event.version) for event in champion.read_events(project, NAME)]
    assert happened == [("promoted", 1), ("promoted", 2), ("promoted", 3), ("gate passed", 2)]


@pytest.mark.parametrize("hour", [7, 5], ids=["later", "by a clock that was set back"])
def test_a_killed_retraining_whose_model_was_rolled_back_does_not_serve_it_again(
    project: Path, monkeypatch: pytest.MonkeyPatch, hour: int
) -> None:
    leave_unrecorded_promotion(project, monkeypatch)
    assert registry.rollback(project, NAME, now=NOW.replace(hour=hour)) == 1
    decision = finish(project, refit)
    assert decision.word == "kept" and "became the champion again" in decision.reason
    assert champion.read_aliases(project, NAME)["champion"] == 1
    assert projects.registry_aliases(project, NAME)["champion"] == 1


@pytest.mark.parametrize("fault", ["cut forecasts", "a library that is missing here"])
def test_a_pending_decision_whose_model_cannot_be_loaded_says_what_to_do(
    project: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    write_down(project)
    folder = ProjectPaths.of(project).retraining(NAME) / "pending"
    if fault == "cut forecasts":
        forecasts = folder / "candidate" / "forecasts.parquet"
        forecasts.write_bytes(forecasts.read_bytes()[:-20])
    else:

        def need_library(_folder: Path) -> None:
            raise ModuleNotFoundError("No module named 'chronos'")

        monkeypatch.setattr(registry, "load_trained_ensemble", need_library)
    pattern = rf"{folder}: promoting 'ridge', as decided at {NOW.isoformat()}, failed .* delete the"
    with pytest.raises(ForecastError, match=pattern) as error:
        finish(project)
    assert fault == "cut forecasts" or "chronos" in str(error.value)
    assert folder.exists() and not champion.read_aliases(project, NAME)


def test_a_rollback_takes_back_a_whole_retraining_and_a_second_one_undoes_it(
    project: Path,
) -> None:
    root = project
    before = projects.register(root, "naive")
    registry.promote(root, NAME, before, now=NOW)
    write_down(root, champion=before, served_version=before)
    decision = finish(root, refit)
    assert (decision.version, decision.refit_version) == (2, 3)
    expected = {"champion": decision.refit_version, "previous": before}
    assert champion.read_aliases(root, NAME) == expected
    write_down(root, champion=before, served_version=before)  # killed before it was recorded
    finish(root, refit)
    assert champion.read_aliases(root, NAME) == expected
    assert registry.rollback(root, NAME, now=NOW) == before
    assert registry.rollback(root, NAME, now=NOW) == decision.refit_version


def test_a_refit_that_fails_leaves_the_scored_version_in_service(project: Path) -> None:
    def fails(candidate: Path, target: Path) -> None:
        raise ModelError("it diverged")

    write_down(project)
    decision = finish(project, fails)
    assert decision.refit_version is None and "it diverged" in decision.note
    assert champion.load(project, NAME).version == 1


def test_what_mlflow_does_not_take_costs_no_decision_and_the_same_is_logged_once(
    project: Path,
) -> None:
    pending.conclude(project, decided("kept"), now=NOW, tracking_uri=GONE)
    assert [d.word for d in records.read_decisions(project, NAME)] == ["kept"]
    for _ in range(2):  # a kill after logging
        pending.conclude(project, decided("kept"), now=NOW, tracking_uri="")
    with mlflow_client.connect(tracking_store(project)) as client:
        experiment = client.get_experiment_by_name(f"{NAME} retraining")
        runs = client.search_runs([experiment.experiment_id])
        assert (
            len(runs) == 1
            and runs[0].data.tags["word"] == "kept"
            and runs[0].data.tags["reason"] == "a test"
        )
        assert runs[0].data.metrics == {"n_fresh": 28.0, "evidence/z": 4.5}
        assert [file.path for file in client.list_artifacts(runs[0].info.run_id)] == [
            "decision.json"
        ]
    assert (
        len([e for e in champion.read_events(project, NAME) if e.event == "gate kept champion"])
        == 1
    )


def test_a_promotion_that_mlflow_cannot_take_waits_and_the_champion_stays(
    running: Path, tmp_path: Path
) -> None:
    root = tmp_path / "copy"
    shutil.copytree(running, root)
    write_down(
        root, champion=1, served_version=2
    )  # the champion was damaged, the previous one stood in for it
    database = root / "mlflow.db"
    bytes_before = database.read_bytes()
    database.write_bytes(b"this is no database")
    with pytest.raises(Exception, match=r"mlflow\.db: damaged"):
        finish(root)
    assert (
        champion.load(root, NAME).version == 2
        and (ProjectPaths.of(root).retraining(NAME) / "pending").exists()
    )
    database.write_bytes(bytes_before)
    decision = finish(root)
    assert champion.load(root, NAME).card.candidate == "ridge"
    assert projects.registry_aliases(root, NAME)["champion"] == decision.version


@pytest.mark.parametrize(
    "step",
    [
        "register",
        "refit",
        *(pytest.param(step, marks=pytest.mark.slow) for step in ("promote", "record")),
    ],
)
def test_a_disk_that_is_full_from_a_late_step_on_costs_no_champion_and_the_next_call_finishes(
    step: str, running: Path, tmp_path: Path
) -> None:
    root = tmp_path / "copy"
    shutil.copytree(running, root)
    write_down(root, champion=2, served_version=2)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_disk(name: str) -> None:
        if name == step:
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))  # no file may grow by a byte

    try:
        with pytest.raises((ForecastError, OSError)):
            pending.finish_pending(
                root, NAME, now=NOW, tracking_uri="", refit=refit, log_step=fill_disk
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not champion.load(root, NAME).notice
    decision = finish(root, refit)
    assert decision.refit_version is not None
    assert champion.load(root, NAME).version == decision.refit_version
    assert projects.registry_aliases(root, NAME) == champion.read_aliases(root, NAME)
    assert not list((root / ".forecast").rglob(f"{files.TEMPORARY}*"))


def kill_at_write(number: int) -> None:
    """Kill this process -9 before it renames a file of the project, or commits to a database, for
    the `number`th time.
    """
    writes: list[object] = []
    rename = os.replace

    def write(what: object) -> None:
        writes.append(what)
        if len(writes) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def replace(source: str | Path, target: str | Path) -> None:
        if ".forecast" in Path(target).parts:
            write(target)
        rename(source, target)

    os.replace = replace  # type: ignore[assignment]
    event.listen(Engine, "commit", write)


@pytest.mark.slow
def test_a_kill_at_any_write_of_a_promotion_is_finished_by_the_next_call(
    project: Path, tmp_path: Path
) -> None:
    """Registering, both moves of the champion and the record: every fifth write."""
    registry.promote(project, NAME, projects.register(project, "naive"), now=NOW)
    write_down(project, champion=1, served_version=1)
    root = tmp_path / "copy"
    for n_killed in itertools.count():
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(project, root)
        child = os.fork()
        if child == 0:
            kill_at_write(1 + 5 * n_killed)
            finish(root, refit)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            break
        assert not champion.load(root, NAME).notice
        files.remove_leftovers(ProjectPaths.of(root).retraining(NAME))  # as `retrain` begins
        if (ProjectPaths.of(root).retraining(NAME) / "pending").exists():
            finish(root, refit)
        expected = {"champion": 3, "previous": 1}
        assert champion.read_aliases(root, NAME) == expected
        assert projects.registry_aliases(root, NAME) == expected
        assert [decision.refit_version for decision in records.read_decisions(root, NAME)] == [3]
        happened = [(event.event, event.version) for event in champion.read_events(root, NAME)]
        for step in (("promoted", 2), ("promoted", 3), ("gate passed", 2)):
            assert happened.count(step) == 1, happened
        assert not list((root / ".forecast").rglob(f"{files.TEMPORARY}*"))
    assert n_killed >= 5 and status == 0


def test_a_promotion_by_hand_makes_an_earlier_decision_void(running: Path, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(running, root)
    write_down(root, champion=1, served_version=1)
    decision = finish(root, refit)
    assert decision.word == "kept" and decision.refit_version is None
    assert (
        decision.reason
        == "version 2 became the champion in the meantime; this one was judged against version 1"
    )
    assert (
        projects.registry_aliases(root, NAME)["champion"] == 2
        and champion.load(root, NAME).version == 2
    )
    assert not (ProjectPaths.of(root).retraining(NAME) / "pending").exists()


def test_a_decision_that_a_changed_champion_stopped_is_no_refusal_of_the_gate(moved: Path) -> None:
    write_down(moved, champion=1, served_version=1)
    stopped = finish(moved)
    pending.conclude(moved, decided("kept", key="b"), now=NOW, tracking_uri=GONE)
    last, refusal = champion.read_events(moved, NAME)[-2:]
    assert (last.event, last.version) == ("gate passed, champion changed", stopped.version)
    assert last.reason == stopped.reason and not stopped.promotes
    assert (refusal.event, refusal.version) == ("gate kept champion", None)


def test_a_rehearsal_that_would_promote_names_no_champion(
    repro: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for decision, outcome in (
        (decided("better", candidate="gru"), "would become the champion"),
        (decided("better", candidate="gru", version=2), "is the champion (version 2)"),
        (
            decided("better", candidate="gru", version=2, refit_version=3),
            "is the champion (version 3)",
        ),
    ):
        _print_decision(decision, repro, took=1.0)
        assert capsys.readouterr().out.startswith(f"{NAME}: gru {outcome}: a test\n")


def test_a_champion_that_was_set_on_mlflow_s_page_is_the_next_gate_s(moved: Path) -> None:
    version = projects.register(moved, "naive")
    with mlflow_client.connect(tracking_store(moved)) as client:
        client.set_registered_model_alias(NAME, "champion", str(version))
    write_down(moved, champion=2, served_version=2)
    assert finish(moved).word == "kept"
    assert champion.load(moved, NAME).version == version
    events = [event.event for event in champion.read_events(moved, NAME)][-2:]
    assert events == ["taken over", "gate passed, champion changed"]


def test_a_gate_replaces_a_champion_that_was_deleted_on_mlflow_s_page(moved: Path) -> None:
    with mlflow_client.connect(tracking_store(moved)) as client:
        client.delete_model_version(NAME, "2")
    write_down(moved, champion=2, served_version=2)
    decision = finish(moved)
    assert decision.promotes and champion.load(moved, NAME).version == decision.version


@pytest.mark.parametrize(
    ("word", "event"),
    [
        ("better", "promoted"),
        ("equivalent", "promoted"),
        ("renewed", "promoted"),
        ("first", "promoted"),
        ("kept", "kept"),
        ("not due", "not_due"),
    ],
)
def test_hooks_are_told_what_happened(word: str, event: str) -> None:
    assert decided(word).event == event


def test_decisions_are_known_by_what_made_them() -> None:
    names = ("as_of", "data_sha256", "config_hash", "revision")
    assert pending.decision_key(decided("kept")) == pending.decision_key(
        decided("better", at="later", numbers=GateNumbers())
    )
    others = [pending.decision_key(decided("kept", **{name: "other"})) for name in names]
    assert len({pending.decision_key(decided("kept")), *others}) == 5


@pytest.mark.parametrize(
    "content",
    [
        '{"half": ',
        '{"key": "c", "word": "kept"}',
        json.dumps({**decided("kept").to_json(), "numbers": {"test": {"z": 1.0}}}),
    ],
    ids=["half", "fields", "old numbers"],
)
def test_a_decision_that_cannot_be_read_is_named_and_not_passed_over(
    tmp_path: Path, content: str
) -> None:
    folder = ProjectPaths.of(tmp_path).retraining(NAME) / "decisions"
    decided("kept", key="b").write(folder / "b.json")
    assert [d.key for d in records.read_decisions(tmp_path, NAME)] == ["b"]
    files.write_text(folder / "a.json", content)
    with pytest.raises(DamagedError, match=r"a\.json: .*Delete it .* once more"):
        records.read_decisions(tmp_path, NAME)
