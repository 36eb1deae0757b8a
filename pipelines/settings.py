"""Stage `settings`: what every other stage computes with, so that DVC runs a stage when its result
can change.

A thin door for DVC: `forecast.backtest.stage_settings` does the work.
"""

from __future__ import annotations

from forecast.backtest.stage_settings import stage_settings
from forecast.config.paths import ProjectPaths
from forecast.system import files
from forecast.system.stage import run_stage


def main(root: str = ".") -> None:
    """Write data/settings/<dataset>/<stage>.json for every dataset of `run`, and
    data/settings/report.json.
    """
    paths = ProjectPaths.of(root)
    with files.atomic_directory(paths.settings) as folder:
        for name, content in stage_settings(paths).items():
            files.write_json(folder / name, content)


if __name__ == "__main__":
    run_stage(main)
