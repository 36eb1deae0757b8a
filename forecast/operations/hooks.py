"""Hooks, which tell how a retraining ended: a command of the user's and a webhook (`notify`).

It imports no pandas, so that a retraining which fails at once can tell of it at once.

`notify` is called at the end of a retraining with its `Decision` or `RetrainingFailure`. A hook
that fails is a returned sentence and never an error, so that it cannot undo a decision; addresses
may hold secrets, so only their host is ever printed. Another way to tell is one more field of
`Hooks` (`forecast.config.operation`) and one more call in `notify`.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

from forecast.config.operation import HookEvent, Hooks
from forecast.data import web
from forecast.operations.records import Decision, RetrainingFailure
from forecast.system.addresses import hide_addresses, show_address


def notify(
    hooks: Hooks,
    event: HookEvent,
    news: Decision | RetrainingFailure,
    *,
    root: Path,
    environment: Mapping[str, str],
) -> list[str]:
    """Run the command and call the webhook with the JSON of `news`, where `event` is asked for; a
    sentence, no error, for each that failed.
    """
    if event not in hooks.on:
        return []
    content = json.dumps({"event": event, **news.to_json()}, default=str) + "\n"
    address = environment.get("FORECAST_WEBHOOK") or hooks.webhook
    faults = []
    if hooks.command:
        # its words and what it prints may hold a secret address
        faults.append(hide_addresses(_run_command(hooks, event, content, root, environment)))
    if "://" in address:
        faults.append(_post(address, content, hooks.timeout_seconds))
    elif address:
        faults.append("the webhook's address has no scheme; wanted http://... or https://...")
    return [fault for fault in faults if fault]


def _run_command(
    hooks: Hooks, event: str, content: str, root: Path, environment: Mapping[str, str]
) -> str:
    """Why the hook's command failed, could not be started or took too long; empty where it ended
    with 0.
    """
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
    """Why the webhook at `address` did not take the event; empty where it did.

    The address may be a secret, so only its host is printed, and nothing that aiohttp says of it.
    """
    import aiohttp

    headers = {"content-type": "application/json"}
    try:
        answer = web.send("POST", address, seconds=seconds, content=content, headers=headers)
    except (aiohttp.ClientError, TimeoutError, web.OversizeError) as error:
        return f"webhook at {show_address(address)}: {type(error).__name__}"
    if answer.status >= 300:  # another address would have to be called
        return f"webhook at {show_address(address)} answered {answer.status}"
    return ""
