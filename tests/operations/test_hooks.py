"""Hooks: what a command is told, and that its faults are only told."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from forecast.config.operation import HookEvent, Hooks, load_retraining
from forecast.operations.decision import notify
from forecast.operations.records import RetrainingFailure

GIVEN = {"PATH": os.environ["PATH"]}
NEWS = RetrainingFailure(dataset="wave", exit_code=3, reason="a test")


def hooks(**keys: object) -> Hooks:
    return Hooks.model_validate(
        {"on": ["success", "failure", "promotion"], "timeout_seconds": 5, **keys}
    )


@pytest.mark.parametrize("event", ["success", "failure", "promotion"])
def test_a_command_gets_the_event_and_the_decision(tmp_path: Path, event: HookEvent) -> None:
    hook = hooks(command=["sh", "-c", 'cat > told.json; echo "$FORECAST_EVENT" > event'])
    assert notify(hook, event, NEWS, root=tmp_path, environment=GIVEN) == ""
    told = json.loads((tmp_path / "told.json").read_text())
    assert told == {"event": event, **NEWS.to_json()}
    assert (tmp_path / "event").read_text() == f"{event}\n"


def test_an_event_nobody_asked_for_is_not_told(tmp_path: Path) -> None:
    quiet = hooks(command=["sh", "-c", "touch told"], on=["failure"])
    assert (
        notify(quiet, "success", NEWS, root=tmp_path, environment=GIVEN) == ""
        and not (tmp_path / "told").exists()
    )


def test_what_goes_wrong_is_a_sentence_and_no_error(tmp_path: Path) -> None:
    for hook, fault in (
        (
            hooks(command=["sh", "-c", "echo no >&2; exit 3"]),
            "ended with 3: no",
        ),
        (hooks(command=["./absent"]), "No such file"),
        (hooks(command=["sleep", "30"], timeout_seconds=0.1), "timed out"),
    ):
        assert fault in notify(hook, "failure", NEWS, root=tmp_path, environment=GIVEN)


@pytest.mark.parametrize("form", ["  hooks:\n    on: [success]\n", "  hooks: {on: [success]}\n"])
def test_the_key_on_needs_no_quotes(tmp_path: Path, form: str) -> None:
    (tmp_path / "retraining.yaml").write_text(f"defaults:\n{form}")
    assert load_retraining("wave", tmp_path).hooks.on == ("success",)
