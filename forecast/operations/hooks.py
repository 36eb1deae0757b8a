"""Notifications of how a retraining ended: a command of the user and a webhook.

`notify` is called at the end of a retraining, by `cli.operation` alone: a promotion by hand, a
rollback, and a forecast or a fetch that fails, by hand or by the scheduler, tell nobody. A further
event is a word of `config.operation.HookEvent`, and a call where it happens. A hook that fails is a
returned sentence and never an error, so that it cannot undo a decision. Addresses may hold secrets,
so only their host is printed. The module imports no pandas, so that a retraining that fails early
can notify at once.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

from forecast.config.operation import HookEvent, Hooks
from forecast.data import web
from forecast.operations.records import Decision, RetrainingFailure
from forecast.system.addresses import hide_addresses, public_address


def notify(
    hooks: Hooks,
    event: HookEvent,
    news: Decision | RetrainingFailure,
    *,
    root: Path,
    environment: Mapping[str, str],
) -> list[str]:
    """Run the command and call the webhook with the JSON of `news`, if `hooks.on` has `event`. The
    address in FORECAST_WEBHOOK goes before that of `hooks`.

    Returns a sentence for each hook that failed.
    """
    if event not in hooks.on:
        return []
    content = json.dumps({"event": event, **news.to_json()}, default=str) + "\n"
    address = environment.get("FORECAST_WEBHOOK") or hooks.webhook
    faults = []
    if hooks.command:
        # the command and its output may contain a secret address
        faults.append(hide_addresses(_run_command(hooks, event, content, root, environment)))
    if "://" in address:
        faults.append(_post(address, content, hooks.timeout_seconds))
    elif address:
        faults.append("the webhook's address has no scheme; wanted http://... or https://...")
    return [fault for fault in faults if fault]


def _run_command(
    hooks: Hooks, event: str, content: str, root: Path, environment: Mapping[str, str]
) -> str:
    """Run the hook's command; returns why it failed or took too long, or "" where it exits 0."""
    name = " ".join(hooks.command)
    try:
        done = subprocess.run(
            list(hooks.command),
            cwd=root,
            env={**environment, "FORECAST_EVENT": event},
            input=content,
            encoding="utf-8",
            errors="replace",
            capture_output=True,
            timeout=hooks.timeout_seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"hook {name!r}: {error}"
    if done.returncode == 0:
        return ""
    return f"hook {name!r} ended with {done.returncode}: {done.stderr.strip()[:300]}"


def _post(address: str, content: str, seconds: float) -> str:
    """Send `content` to the webhook at `address`; returns why that failed, or "".

    The message has no text of aiohttp, which may contain the whole address.
    """
    import aiohttp

    headers = {"content-type": "application/json"}
    try:
        answer = web.send("POST", address, seconds=seconds, content=content, headers=headers)
    except (aiohttp.ClientError, TimeoutError, web.OversizeError) as error:
        return f"webhook at {public_address(address)}: {type(error).__name__}"
    if answer.status >= 300:  # redirects are not followed
        return f"webhook at {public_address(address)} answered {answer.status}"
    return ""
