"""One machine of a team as a process of its own: it says when it has loaded everything, and begins
when it is told.

python -m tests.operations.team_worker carry-out | killed | promote    in the project's folder
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from forecast.operations import pending, registry
from forecast.tracking import sync
from tests.operations import projects
from tests.operations.projects import NAME, NOW


def carry_out(root: Path, uri: str) -> None:
    """Publish all records, then carry the pending decision out."""
    published = sync(root, uri, now=NOW.timestamp()).published
    finished = pending.finish_pending(
        root, NAME, now=NOW, tracking_uri=uri, refit=None, log_step=lambda step: None
    )
    print(
        json.dumps(
            {
                "made": published,
                "word": finished.word,
                "reason": finished.reason,
                "version": finished.version,
            }
        )
    )


def killed(root: Path, uri: str) -> None:
    """Make version 1 the champion, begin to promote version 2, and die by -9 between two moves of
    aliases.
    """
    from mlflow import MlflowClient

    for candidate in ("ridge", "arx"):
        projects.register(root, candidate, uri)
    registry.promote(root, NAME, 1, now=NOW, tracking_uri=uri)

    move = MlflowClient.set_registered_model_alias

    def dies(client: MlflowClient, name: str, alias: str, version: str) -> None:
        if alias == "champion":
            os.kill(os.getpid(), signal.SIGKILL)
        move(client, name, alias, version)

    MlflowClient.set_registered_model_alias = dies
    registry.promote(root, NAME, 2, now=NOW, tracking_uri=uri)


def promote_in_turn(root: Path, uri: str) -> None:
    """Versions 1 and 2 in turn, each promotion a line."""
    for version in (1, 2, 1, 2):
        registry.promote(root, NAME, version, now=NOW, tracking_uri=uri)
        print(version, flush=True)


if __name__ == "__main__":
    import mlflow.pyfunc  # noqa: F401

    work = {"carry-out": carry_out, "killed": killed, "promote": promote_in_turn}[sys.argv[1]]
    print("ready", flush=True)
    sys.stdin.readline()
    work(Path.cwd(), os.environ["MLFLOW_TRACKING_URI"])
