"""The core beside other forecasting libraries: each newest one, the wheel of this clone and a
forecast of both in one process, in an environment that is made for it and removed again.

    python -m bench.neighbours [--only sktime]      (make neighbours)

pip chooses the versions, so the answer is of the day. Libraries with torch take gigabytes.
AutoGluon is resolved and not installed. The table stands in docs/installing.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
IMPORTS = {
    "skforecast": "skforecast.recursive",
    "sktime": "sktime.forecasting.naive",
    "gluonts": "gluonts.dataset.pandas",
    "sysidentpy": "sysidentpy.model_structure_selection",
    "pytorch-forecasting": "pytorch_forecasting",
    "neuralforecast": "neuralforecast",
}
"""Name of the package → the module that is imported before our forecast."""
RESOLVED = ("autogluon.timeseries",)
SHOWN = ("pandas", "numpy", "scipy", "pyarrow")
FORECAST = """
import importlib, importlib.metadata, json, sys
importlib.import_module(sys.argv[1])
import forecast
df = forecast.example().tail(2000)
model = forecast.fit(df, "ridge", freq="1h", horizon=24, lookback=48)
frame = model.predict(levels=[80])
assert len(frame) == 24 and frame.notna().all(axis=None)
names = sys.argv[2:]
print(json.dumps({name: importlib.metadata.version(name) for name in names}))
"""


def main(only: str) -> None:
    """Print a row of the table for each neighbour; exit 1 where one did not go."""
    with tempfile.TemporaryDirectory() as folder:
        build = [
            sys.executable,
            "-m",
            "build",
            "--wheel",
            "--no-isolation",
            "-o",
            folder,
            str(ROOT),
        ]
        subprocess.run(build, check=True, capture_output=True)
        (wheel,) = Path(folder).glob("*.whl")
        has_failed = False
        for name in (*IMPORTS, *RESOLVED):
            if only in ("", name):
                row = install_and_forecast(name, wheel, Path(folder) / name)
                print(row, flush=True)
                has_failed |= "failed" in row
    sys.exit(has_failed)


def install_and_forecast(name: str, wheel: Path, folder: Path) -> str:
    """A row of Markdown: the neighbour and what pip chose, or what went wrong."""
    venv.create(folder, with_pip=True, clear=True)
    python = str(folder / "bin" / "python")
    install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    options = ["--dry-run", "--report", "-"] if name in RESOLVED else []
    done = subprocess.run([*install, *options, name, str(wheel)], capture_output=True, text=True)
    if done.returncode:
        return f"| {name} | failed to install: {done.stderr.strip().splitlines()[-1]} |"
    if name in RESOLVED:
        chosen = [package["metadata"] for package in json.loads(done.stdout)["install"]]
        versions = {package["name"].lower(): package["version"] for package in chosen}
        return _row(name, versions, "resolved only")
    command = [python, "-W", "ignore", "-c", FORECAST, IMPORTS[name], name, *SHOWN]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        return f"| {name} | failed to forecast: {done.stderr.strip().splitlines()[-1]} |"
    return _row(name, json.loads(done.stdout), "run")


def _row(name: str, versions: dict[str, str], how: str) -> str:
    cells = [f"{name} {versions[name]}", *(versions.get(each, "") for each in SHOWN), how]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="one of the neighbours")
    main(parser.parse_args().only)
