"""Tasks for the workers of a cluster. Each worker process imports this file to run one, so it
imports next to nothing itself.
"""

import os
import signal
import time
from pathlib import Path

from forecast.system.errors import InputError


def square(x):
    return x * x


def refuse():
    raise InputError("the file is wrong")


def once_killed(marker: Path, value):
    """The first time the process that runs this is killed as the kernel would."""
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return value


def hungry():
    """More than a worker may have; its nanny then ends it.

    Dask starts no worker again that died as it started.
    """
    blocks = []
    while True:
        if len(blocks) < 16:
            blocks.append(b"x" * 50_000_000)
        time.sleep(0.05)


def slow(marker: Path, seconds):
    marker.with_suffix(".begun").touch()
    time.sleep(seconds)
    marker.touch()
    return seconds


def pages_of_arrays():
    """Page faults while arrays of half a megabyte come and go."""
    import resource

    import numpy as np

    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(1000):
        np.ones(60_000) * 2 + 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
