"""Time of a training step, a forward pass and one forecast, in turns with torch and Keras.

    python -m bench.speed [--turns 8] [--only LSTM] [--again]      (or: make bench)

Rows go to bench/results/speed.json as they are measured, and a second run goes on where the first
stopped. A bar is met when the lower 95 % bound of the ratio, peer's time over ours, reaches it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench import page
from bench.results_file import RESULTS, ROOT, ResultsFile, Row, command, options_of
from bench.turns import COPIES, Contender, NotRun, measured, ratio

# units, steps, batch
SIZES = {"small": (32, 24, 64), "large": (64, 48, 128), "window": (32, 168, 64)}
CELLS = ("LSTM", "GRU", "GRU before", "SimpleRNN")
CALLS = {"small": 20, "large": 5, "window": 5}
STEP_BARS = {
    ("LSTM", "small"): {"torch": 1.7, "keras": 1.9},
    ("LSTM", "large"): {"torch": 1.5, "keras": 1.0},
    ("LSTM", "window"): {"torch": 1.2},
    **{("GRU", size): {"torch": 1.5, "keras": 1.5} for size in SIZES},
    **{("SimpleRNN", size): {"torch": 1.3, "keras": 1.3} for size in SIZES},
}
PREDICT_MS = {"p50": 3.0, "p99": 10.0}


@command
def main() -> None:
    parser = options_of(__doc__)
    parser.add_argument("--turns", type=int, default=8, help="turns of every contender that count")
    options = parser.parse_args()
    store = ResultsFile(RESULTS / "speed.json")
    every = tasks()
    for key in store.missing(every, options):
        task = every[key]
        row = (
            predict_row() if task["what"] == "predict" else compare_with_peers(task, options.turns)
        )
        store.write(key, row)
        print("\n".join(page.speed_lines({key: row})), flush=True)
    page.write(show="speed")


def tasks() -> dict[str, dict[str, Any]]:
    """What is timed, by key, in the order of the table."""
    by_key = {}
    for what, cells in (("step", CELLS), ("forward", [c for c in CELLS if c != "GRU before"])):
        for cell in cells:
            for size, (units, steps, batch) in SIZES.items():
                task = {
                    "what": what,
                    "cell": cell,
                    "size": size,
                    "units": units,
                    "steps": steps,
                    "batch": batch,
                }
                by_key[f"{what}/{cell}/{size}"] = task
    return by_key | {"predict/GRU": {"what": "predict"}}


def compare_with_peers(task: Mapping[str, Any], turns: int) -> Row:
    """Ours against every peer that has the same maths."""
    names = ["torch"] if task["cell"] != "GRU before" else []
    names += ["keras", "keras-xla"] if task["what"] == "step" else []
    contenders = {name: {**task, "who": name} for name in ("ours", *names)}
    measurements = measured(contenders, turns, CALLS[task["size"]])
    ours = measurements.pop("ours")
    if "not run" in ours:
        return dict(task) | {"not run": f"ours {ours['not run']}"}
    if task["what"] == "step":
        bars: Mapping[str, float] = STEP_BARS.get((task["cell"], task["size"]), {})
    else:
        bars = {"torch": 1.0}
    return {
        **task,
        "threads": 1,
        "copies": COPIES,
        "turns": turns,
        "ours": summary(ours),
        "peers": {
            name: judged(ours, peer, bars.get(name))
            for name, peer in faster_keras(measurements).items()
        },
    }


def faster_keras(measurements: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Keras as one peer: the faster of with and without XLA."""
    keras = {name: measurements[name] for name in ("keras", "keras-xla") if name in measurements}
    run = {name: peer for name, peer in keras.items() if "not run" not in peer}
    best = min(run, key=lambda name: np.median(run[name]["ms"])) if run else next(iter(keras), None)
    chosen = (
        {}
        if best is None
        else {"keras": {**keras[best], "note": "XLA" if best == "keras-xla" else "without XLA"}}
    )
    return {name: peer for name, peer in measurements.items() if name not in keras} | chosen


def judged(ours: Mapping[str, Any], peer: Mapping[str, Any], bar: float | None) -> Row:
    if "not run" in peer:
        return {"not run": peer["not run"], "bar": bar}
    times = ratio(ours["ms"], peer["ms"])
    note = {"note": peer["note"]} if "note" in peer else {}
    return {**summary(peer), **note, "ratio": times.mean, "lower": times.lower, "bar": bar}


def summary(contender: Mapping[str, Any]) -> Row:
    return {
        "ms": float(np.median(contender["ms"])),
        "first call s": contender["first"],
        "versions": contender["versions"],
    }


def predict_row(calls: int = 500) -> Row:
    """p50 and p99 of one `predict` with intervals from a loaded model: wall time of one process."""
    task = {"what": "predict", "who": "ours", "folder": str(ROOT / ".forecast" / "bench" / "gru")}
    try:
        contender = Contender(task, copies=1)
        times: Sequence[float] = contender.turn(calls)
    except NotRun as reason:
        return {"what": "predict", "not run": str(reason)}
    contender.close()
    percentiles = {"p50": float(np.percentile(times, 50)), "p99": float(np.percentile(times, 99))}
    return {
        "what": "predict",
        "calls": calls,
        "ms": percentiles,
        "bars": PREDICT_MS,
        "versions": contender.versions,
    }


if __name__ == "__main__":
    sys.exit(main())
