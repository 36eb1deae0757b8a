"""Hooks: what a command and a web address are told, and that their faults are only told."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from forecast.config.operation import Hooks, load_retraining
from forecast.operations.hooks import notify
from forecast.operations.records import RetrainingFailure

GIVEN = {"PATH": os.environ["PATH"]}
NEWS = RetrainingFailure(dataset="wave", exit_code=3, reason="a test")


@pytest.fixture
def listener() -> Iterator[tuple[str, list[dict[str, object]]]]:
    """A web server on loopback; `/no` answers 500."""
    heard: list[dict[str, object]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(500 if self.path == "/no" else 204)
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
    slow = hooks(command=["sleep", "30"], timeout_seconds=0.1)
    assert "timed out" in notify(slow, "failed", NEWS, root=tmp_path, environment=GIVEN)[0]
    assert notify(
        hooks(webhook=f"{address}/no"), "failed", NEWS, root=tmp_path, environment=GIVEN
    ) == [f"webhook at {address} answered 500"]
    gone = notify(
        hooks(webhook="http://127.0.0.1:1/secret"),
        "failed",
        NEWS,
        root=tmp_path,
        environment=GIVEN,
    )[0]
    assert gone == "webhook at http://127.0.0.1:1: ClientConnectorError" and "secret" not in gone


@pytest.mark.parametrize("form", ["  hooks:\n    on: [kept]\n", "  hooks: {on: [kept]}\n"])
def test_the_key_on_needs_no_quotes(tmp_path: Path, form: str) -> None:
    (tmp_path / "retraining.yaml").write_text(f"defaults:\n{form}")
    assert load_retraining("wave", tmp_path).hooks.on == ("kept",)
