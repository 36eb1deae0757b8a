"""`forecast identify`: models an input-output record, ranks the models by their free run, saves
them, and publishes them to MLflow.

`identification.contest` trains and ranks; here results are printed and written (result.json, the
models, and the selected one as a file that needs NumPy alone).
"""

from __future__ import annotations

import importlib.util
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from forecast.cli.common import (
    FORMAT,
    ROOT,
    Format,
    now,
    print_rows,
    require_project,
    tracking_uri,
)
from forecast.system import files
from forecast.system.errors import ModelError
from forecast.system.progress import Piece, show_progress

if TYPE_CHECKING:
    from forecast.identification.contest import ContestantResult

JSON_KEYS = ("model", "validation", "test", "rmse", "seconds")
"""What `--format json` prints of each contestant, by its keys in result.json."""

LOCK_TIMEOUT = 300.0  # seconds; another `identify` writes its models for a few

MEASURE = "free-run RMSE / deviation of y in the rows fitted"
"""The printed error measure, a mean over the outputs. The deviation is that of the fitted rows,
since y may be constant in the rows that are scored.
"""


def identify(
    experiment: str = typer.Argument(help="An entry of configs/experiments.yaml."),
    root: Path | None = ROOT,
    output_format: Format = FORMAT,
) -> None:
    """Model an input-output record: rank models by their simulation of the validation rows, and
    score them on the test rows.
    """
    from forecast.config.operation import load_experiment
    from forecast.config.paths import ProjectPaths
    from forecast.identification import contest
    from forecast.identification.data import read_by_name
    from forecast.identification.export import export

    root = require_project(root, "experiments.yaml")
    paths = ProjectPaths.of(root)
    entry = load_experiment(experiment, paths.configs)
    experiments = read_by_name(root / entry.file, entry.outputs, entry.inputs, entry.record)
    print(
        f"Training {', '.join(entry.models)}, twice each. Ctrl-C keeps those that are done.",
        file=sys.stderr,
    )
    pieces = {str(name): Piece(weight=contest.WEIGHT_BY_CONTESTANT[name]) for name in entry.models}
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with show_progress(len(pieces), f"identify {experiment}", pieces) as advance:
        contestants = contest.compete(entry, experiments, advance)
    # a first Ctrl-C makes the process ignore later ones, which shall end what follows
    for number, handler in handlers.items():
        signal.signal(number, handler)
    settings = {"data": files.sha256(root / entry.file), **entry.model_dump(mode="json")}
    result = {**settings, **_result(contestants)}
    folder = paths.identified(experiment)
    models = {
        contestant.name: contestant.model
        for contestant in contestants
        if contestant.model is not None
    }
    purpose = "Writing the models of `forecast identify`"
    with files.hold_lock(paths.lock("identified"), purpose=purpose, timeout=LOCK_TIMEOUT):
        files.remove_leftovers(folder.parent)
        with files.atomic_directory(folder) as temporary:
            files.write_json(temporary / "result.json", result)
            for name, model in models.items():
                model.save(temporary / name)
            export(models[contestants[0].name], temporary / "simulator.py")
    if output_format is Format.json:
        rows = [{key: row[key] for key in JSON_KEYS} for row in result["ranking"]]
        print_rows(rows, output_format)
    else:
        _print_result(result, contestants)
        print(f"Simulator: {folder / 'simulator.py'}.")
    if importlib.util.find_spec("mlflow") is not None:
        _publish(root, experiment, settings, result["ranking"], folder)


def _print_result(result: dict[str, Any], contestants: Sequence[ContestantResult]) -> None:
    """Print the errors as a table, then the notes of the first contestant and of those without a
    model, and the result's sentence.
    """
    rows = []
    for row in result["ranking"]:
        cells = {"model": row["model"]}
        for key in ("validation", "test"):
            # None: the error is not finite, such as that of a free run that diverges
            cells[f"{key}, {MEASURE}"] = "lost" if row[key] is None else f"{row[key]:.4g}"
        cells["CPU seconds"] = f"{row['seconds']:.4g}"
        rows.append(cells)
    print_rows(rows, Format.table)
    for contestant in contestants:
        if contestant is contestants[0] or contestant.model is None:
            print(f"{contestant.name}: {contestant.note}")
    print(result["sentence"])


def _result(contestants: Sequence[ContestantResult]) -> dict[str, Any]:
    """The contest's part of result.json: the contestants, and a sentence about the selected model.

    Raises `ModelError` where no contestant has a model.
    """
    if not contestants or contestants[0].model is None:
        notes = " ".join(f"{contestant.name}: {contestant.note}" for contestant in contestants)
        raise ModelError(f"No contestant gave a model. {notes}")
    first = contestants[0]
    best = min(contestants, key=lambda contestant: contestant.test)
    sentence = f"Selected on validation: `{first.name}`, {first.test:.3g} on test ({MEASURE})"
    sentence += "." if best is first else f"; `{best.name}` has the lowest there, {best.test:.3g}."
    ranking = [
        {
            "model": contestant.name,
            **{
                key: files.json_number(value)
                for key, value in vars(contestant).items()
                if key not in ("name", "model")
            },
        }
        for contestant in contestants
    ]
    return {"sentence": sentence, "ranking": ranking}


def _publish(
    root: Path,
    experiment: str,
    settings: dict[str, Any],
    contestants: Sequence[dict[str, Any]],
    folder: Path,
) -> None:
    """Publish each contestant, the chosen one first, as a run of the MLflow `experiment`."""
    from forecast.tracking import tracking_store
    from forecast.tracking.writing import log_content

    for contestant in contestants:
        name = contestant["model"]
        errors = {part: {"free_run": contestant[part]} for part in ("validation", "test")}
        content = {
            "model": name,
            "note": contestant["note"],
            "chosen": str(contestant is contestants[0]).lower(),
            "numbers": errors | {"cpu_seconds": contestant["seconds"]},
            "settings": settings,
            "key": files.sha256_of([settings, name, errors]),
        }
        log_content(
            tracking_store(root, tracking_uri()),
            experiment,
            name,
            content,
            "result.json",
            now=now().timestamp(),
            folder=folder / name,
        )
