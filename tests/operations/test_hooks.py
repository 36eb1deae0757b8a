"""Hooks: what a command and a web address are told, and that their faults are only told."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from forecast.cli import app, operation
from forecast.config.operation import Hooks, load_retraining
from forecast.operations.hooks import notify
from forecast.operations.records import RetrainingFailure
from forecast.system.errors import InputError
from tests.support import small_project

GIVEN = {"PATH": os.environ["PATH"]}
NEWS = RetrainingFailure(dataset="wave", exit_code=3, reason="a test")


@pytest.fixture
def listener() -> Iterator[tuple[str, list[dict[str, object]]]]:
    """A web server on loopback; `/no` answers 500, `/gone` leads to another address."""
    heard: list[dict[str, object]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response({"/no": 500, "/gone": 308}.get(self.path, 204))
            self.end_headers()

        def log_message(self, *words: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", heard
        server.shutdown()
        thread.join()


def hooks(**keys: object) -> Hooks:
    return Hooks.model_validate(
        {"on": ["promoted", "kept", "not_due", "failed"], "timeout_seconds": 5, **keys}
    )


@pytest.mark.parametrize("event", ["promoted", "kept", "not_due", "failed"])
def test_command_and_webhook_get_the_event_and_the_decision(
    tmp_path: Path, listener: tuple[str, list[dict[str, object]]], event: str
) -> None:
    address, heard = listener
    both = hooks(
        command=["sh", "-c", 'cat > told.json; echo "$FORECAST_EVENT" > event'], webhook=address
    )
    assert notify(both, event, NEWS, root=tmp_path, environment=GIVEN) == []  # type: ignore[arg-type]
    assert heard == [{"event": event, **NEWS.to_json()}]
    assert json.loads((tmp_path / "told.json").read_text()) == heard[0]
    assert (tmp_path / "event").read_text() == f"{event}\n"


def test_an_address_in_the_environment_goes_before_the_file(
    tmp_path: Path, listener: tuple[str, list[dict[str, object]]]
) -> None:
    address, heard = listener
    secret = {**GIVEN, "FORECAST_WEBHOOK": address}
    assert (
        notify(hooks(webhook="http://127.0.0.1:1"), "kept", NEWS, root=tmp_path, environment=secret)
        == []
    )
    assert len(heard) == 1


def test_an_event_nobody_asked_for_is_not_told(tmp_path: Path) -> None:
    quiet = hooks(command=["sh", "-c", "touch told"], on=["failed"])
    assert (
        notify(quiet, "kept", NEWS, root=tmp_path, environment=GIVEN) == []
        and not (tmp_path / "told").exists()
    )


def test_what_goes_wrong_is_a_sentence_and_no_error(
    tmp_path: Path, listener: tuple[str, list[dict[str, object]]]
) -> None:
    address, _ = listener
    assert notify(
        hooks(command=["sh", "-c", "echo no >&2; exit 3"]),
        "failed",
        NEWS,
        root=tmp_path,
        environment=GIVEN,
    ) == ["hook 'sh -c echo no >&2; exit 3' ended with 3: no"]
    assert (
        "No such file"
        in notify(hooks(command=["./absent"]), "failed", NEWS, root=tmp_path, environment=GIVEN)[0]
    )
    binary = hooks(command=["sh", "-c", "printf '\\377' >&2; exit 1"])
    assert notify(binary, "failed", NEWS, root=tmp_path, environment=GIVEN)[0].endswith(": \ufffd")
    slow = hooks(command=["sleep", "30"], timeout_seconds=0.1)
    assert "timed out" in notify(slow, "failed", NEWS, root=tmp_path, environment=GIVEN)[0]
    assert notify(
        hooks(webhook=f"{address}/no"), "failed", NEWS, root=tmp_path, environment=GIVEN
    ) == [f"webhook at {address} answered 500"]
    moved = hooks(webhook=f"{address}/gone")
    assert notify(moved, "failed", NEWS, root=tmp_path, environment=GIVEN) == [
        f"webhook at {address} answered 308"
    ]
    problem = notify(
        hooks(webhook="http://127.0.0.1:1/secret"),
        "failed",
        NEWS,
        root=tmp_path,
        environment=GIVEN,
    )[0]
    assert (
        problem == "webhook at http://127.0.0.1:1: ClientConnectorError" and "secret" not in problem
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 1),
        (ValueError("a bug"), 1),
        (InputError("a wrong key"), 2),
        (KeyboardInterrupt(), 130),  # also a scheduler's timeout
    ],
    ids=["disk", "bug", "input", "interrupt"],
)
def test_every_end_without_a_decision_is_a_failure_that_hooks_are_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    root = small_project.write(tmp_path / "project")
    settings = {"hooks": {"command": ["sh", "-c", "cat > told.json"]}}
    small_project.write_yaml(root / "configs" / "retraining.yaml", {"defaults": settings})

    def fail(*_words: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr(operation, "require_dataset", fail)
    CliRunner().invoke(app, ["retrain", "wave", "--root", str(root)])
    news = json.loads((root / "told.json").read_text())
    assert (news["event"], news["exit_code"]) == ("failed", code)
    assert news["reason"]


@pytest.mark.parametrize("form", ["  hooks:\n    on: [kept]\n", "  hooks: {on: [kept]}\n"])
def test_the_key_on_needs_no_quotes(tmp_path: Path, form: str) -> None:
    (tmp_path / "retraining.yaml").write_text(f"defaults:\n{form}")
    assert load_retraining("wave", tmp_path).hooks.on == ("kept",)
