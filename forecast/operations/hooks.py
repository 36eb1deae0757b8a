"""Who is told of a retraining: a command and a web address. That they fail changes no result."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forecast.config.retraining import Event, Hooks

ADDRESS = "FORECAST_WEBHOOK"
EVENT = "FORECAST_EVENT"


def tell(
    hooks: Hooks, event: Event, decision: Mapping[str, Any], *, root: Path, given: Mapping[str, str]
) -> list[str]:
    """Run the command and call the webhook where `event` is asked for; a sentence for each that failed."""
    if event not in hooks.on:
        return []
    content = json.dumps({"event": event, **decision}, default=str) + "\n"
    faults = []
    if hooks.command:
        faults.append(_run(hooks, event, content, root, given))
    address = given.get(ADDRESS) or hooks.webhook
    if address:
        faults.append(_post(address, content, hooks.timeout_seconds))
    return [fault for fault in faults if fault]


def _run(hooks: Hooks, event: str, content: str, root: Path, given: Mapping[str, str]) -> str:
    name = " ".join(hooks.command)
    try:
        done = subprocess.run(
            list(hooks.command), cwd=root, env={**given, EVENT: event}, input=content, text=True,
            capture_output=True, timeout=hooks.timeout_seconds, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"hook {name!r}: {error}"
    return f"hook {name!r} ended with {done.returncode}: {done.stderr.strip()[:300]}" if done.returncode else ""


def _post(address: str, content: str, seconds: float) -> str:
    import httpx

    try:
        answer = httpx.post(address, content=content, headers={"content-type": "application/json"}, timeout=seconds)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return f"webhook: {type(error).__name__}: {error}"  # the address may be a secret
    return f"webhook answered {answer.status_code}" if answer.status_code >= 400 else ""
