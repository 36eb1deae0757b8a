"""Servers that tests start: a free port, and waiting until one answers."""

from __future__ import annotations

import socket
import subprocess
import time
from typing import IO

import requests

SECONDS = 120


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait_for_server(url: str, process: subprocess.Popen, log: IO[str]) -> None:
    """Returns once `url`/ping answers; `AssertionError` with the log where it does not."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            if requests.get(f"{url}/ping", timeout=5).status_code == 200:
                return
        except requests.RequestException:
            time.sleep(0.1)
    log.seek(0)
    raise AssertionError(f"the server did not start:\n{log.read()[-3000:]}")
