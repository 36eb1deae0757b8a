"""Stage compare: scores, rankings, significance and alarms of one dataset, from the forecasts alone."""

from __future__ import annotations

from forecast.comparison.comparing import compared
from forecast.config.experiment import load_evaluation, load_tuning
from forecast.config.paths import ProjectPaths
from forecast.config.task import load_task
from forecast.data.results import Results
from forecast.data.splits import Borders
from forecast.system import files
from forecast.system.stage import run_stage

DIGITS = "%.12g"


def main(dataset: str, root: str = ".") -> None:
    """Write data/compared/<dataset>/: the tables as .csv, bands.parquet, residuals.json and verdicts.json."""
    paths = ProjectPaths.of(root)
    frame = files.read_frame(paths.frame(dataset))
    borders = Borders.from_json(files.read_json(paths.borders(dataset)))
    task, evaluation, tuning = (
        load_task(paths.task(dataset)), load_evaluation(paths.configs), load_tuning(paths.configs)
    )  # fmt: skip
    found = compared(Results(paths, dataset), frame, task, borders, evaluation, tuning)
    with files.atomic_directory(paths.compared(dataset)) as folder:
        for name, table in found.tables.items():
            files.write_text(folder / f"{name}.csv", table.to_csv(index=False, float_format=DIGITS))
        files.write_json(folder / "residuals.json", found.residuals)
        files.write_frame(folder / "bands.parquet", found.bands)
        files.write_json(folder / "verdicts.json", found.verdicts)


if __name__ == "__main__":
    run_stage(main)
