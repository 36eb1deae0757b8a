"""`forecast predict | export`: what the champion says about the steps after the newest snapshot;
and forecasts, observations or the leaderboard of the last run as a frame for other tools.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from forecast.cli.shown import ROOT, Format, harmless, now, require_project, show
from forecast.system.errors import InputError, counted

if TYPE_CHECKING:
    import pandas as pd

    from forecast.config.datasets import Dataset
    from forecast.operations.predicting import Forecast


ISO = "%Y-%m-%dT%H:%M:%S"
Form = Literal["table", "csv", "json", "parquet"]
FORM = typer.Option("table", "--format", help="parquet needs a file or pipe behind it.")


def predict(
    dataset: str = typer.Argument(help="An entry of configs/datasets.yaml that has a champion."),
    horizon: int = typer.Option(
        0, "--horizon", min=0, max=100_000, help="Steps ahead; 0: as many as in training."
    ),
    levels: str = typer.Option(
        "", "--levels", help="Intervals in percent, such as 80,95; `none` for none."
    ),
    form: Form = FORM,
    plot: bool = typer.Option(False, "--plot", help="Also write a picture of it."),
    root: Path = ROOT,
) -> None:
    """Forecast with the champion from the newest snapshot; neither trains nor fetches."""
    from forecast.config.datasets import load_dataset
    from forecast.config.experiment import load_evaluation
    from forecast.operations import predicting

    project = require_project(root)
    # a misspelt name is told here, with the nearest right one
    entry = load_dataset(dataset, project / "configs")
    asked = shares_of(levels)
    usual = load_evaluation(project / "configs").levels
    found = predicting.forecast_champion(
        project, dataset, now=now(), usual_levels=usual, horizon=horizon or None, levels=asked
    )
    for notice in found.notices:
        print(notice, file=sys.stderr)
    if form in ("csv", "parquet"):
        _write(_dated(found.table) if form == "csv" else found.table, form)
    elif form == "json":
        rows = _dated(found.table, ISO).to_dict("records")
        own = [
            {name: None if value != value else value for name, value in row.items()} for row in rows
        ]
        content = {**about(found, now()), "notices": list(found.notices), "forecast": own}
        print(json.dumps(content, indent=1, ensure_ascii=False))
    else:
        _table(found, entry)
    if plot:
        path = project / ".forecast" / "plots" / f"{dataset}-forecast.png"
        print(predicting.draw_forecast(found, path, entry.units), file=sys.stderr)


def about(found: Forecast, moment: pd.Timestamp) -> dict[str, Any]:
    """What stands beside a forecast: which model, how old, how good."""
    import pandas as pd

    from forecast.config.task import format_time

    meta = found.champion.card
    return {
        "dataset": meta.dataset,
        "model": meta.candidate,
        "version": found.champion.version,
        "trained": meta.created_at,
        "age_days": round((moment - pd.Timestamp(meta.created_at)) / pd.Timedelta(1, "D"), 1),
        "training_cutoff": format_time(found.panel.task.calendar.kind, meta.training_cutoff, 19),
        "cutoff": max(_dated(found.table, ISO)["cutoff"].tolist()),
        "test": dict(meta.metrics),
    }


def _table(found: Forecast, entry: Dataset) -> None:
    known = about(found, now())
    units = [entry.units.get(name, "") for name in found.panel.task.targets]
    table = _dated(found.table)
    several = [name for name in ("unique_id", "output") if table[name].nunique() > 1]
    numbers = [name for name in table.columns if name == "y_hat" or name.startswith(("lo_", "hi_"))]
    for name in numbers:
        table[name] = table[name].map(lambda value: "" if value != value else f"{value:.6g}")
    rows = table[[*several, "ds", *numbers]].to_dict("records")
    unit = units[0] if len(units) == 1 else ""
    after = table["cutoff"].max()
    after = f"{after} UTC" if isinstance(after, str) else f"row {after}"
    print(f"{entry.title}{f' ({unit})' if unit else ''}, after {after}")
    show(rows, Format.table)  # type: ignore[arg-type]
    print(_sentence(known))


def _sentence(known: dict[str, Any]) -> str:
    """`Version 2 (gru.linear), trained 3 days ago on data up to 2025-02-28; on test MAE 1.28, skill
    +40.7 % ...`
    """
    test = known["test"]
    error = (
        f"MAE {test['mae']:.4g}"
        if "mae" in test
        else f"MASE {test['mase']:.3g}"
        if "mase" in test
        else ""
    )
    skill = (
        f"skill {100 * test['skill']:+.1f} % against repeating the last value"
        if "skill" in test
        else ""
    )
    scores = ", ".join(part for part in (error, skill) if part)
    fitted = known["training_cutoff"].partition("T")[0]
    made = f"made {counted(max(known['age_days'], 0), 'day')} ago, fitted on data up to {fitted}"
    return (
        f"Version {known['version']} ({known['model']}),"
        f" {made}{f'; on test {scores}' if scores else ''}."
    )


def _dated(table: pd.DataFrame, style: str = "") -> pd.DataFrame:
    """Times as people write them: a session is a date, an hour is an hour (UTC), a row without a
    date its number.
    """
    import pandas as pd

    times = pd.concat([table["cutoff"], table["ds"]])
    if times.dtype.kind != "M":
        return table
    whole = (times == times.dt.normalize()).all()
    style = style or ("%Y-%m-%d" if whole else "%Y-%m-%d %H:%M")
    return table.assign(**{name: table[name].dt.strftime(style) for name in ("cutoff", "ds")})


def shares_of(text: str) -> tuple[float, ...] | None:
    """`80,95` → (0.8, 0.95); `none` → (); empty → None, the usual ones."""
    if text in ("", "none"):
        return () if text else None
    try:
        shares = tuple(float(part) / 100 for part in text.split(","))
    except ValueError:
        shares = (0.0,)
    if not all(0 < share < 1 for share in shares):
        raise InputError(
            f"--levels: found {text!r}, wanted percent separated by commas above 0 and below 100,"
            " as 80,95."
        )
    return tuple(dict.fromkeys(shares))


File = Literal["parquet", "csv"]
FILE = typer.Option("csv", "--format", help="parquet needs a file or pipe behind it.")
STANDARD_OUTPUT = Path("-")
OUTPUT = typer.Option(STANDARD_OUTPUT, "--output", "-o", help="The file; - is standard output.")


def export(
    dataset: str = typer.Argument(help="An entry of configs/datasets.yaml that was run."),
    what: Literal["cross-validation", "observations", "leaderboard", "network"] = typer.Option(
        "cross-validation",
        "--what",
        help="Which frame; or a network, as -o FILE.py (NumPy), .keras or .onnx.",
    ),
    form: File = FILE,
    models: str = typer.Option(
        "", "--models", help="Only these, separated by commas; of networks one."
    ),
    levels: str = typer.Option("", "--levels", help="Intervals in percent, such as 80,95."),
    ranking: Literal["shipped", "architecture"] = typer.Option(
        "shipped", "--ranking", help="Networks with or without their linear part."
    ),
    output: Path = OUTPUT,
    root: Path = ROOT,
) -> None:
    """Write results as `unique_id, ds, cutoff, y, <model>, …`, as neuralforecast and utilsforecast
    have them.

    Or the network of `--models` (of the row that validation chose) as a file for other tools.
    """
    from forecast.api import export as frames
    from forecast.api.network_file import write_network
    from forecast.config.datasets import load_dataset
    from forecast.config.paths import ProjectPaths
    from forecast.data.results import Results

    project = require_project(root)
    # a misspelt name is told here, with the nearest right one
    load_dataset(dataset, project / "configs")
    results = Results(ProjectPaths.of(project), dataset)
    if what == "observations":
        _write(frames.observations(results), form, output)
    elif what == "network":
        write_network(frames.load_ensemble(results, models, ranking), output)
    elif what == "leaderboard":
        _write(frames.leaderboard(results, ranking=ranking), form, output)
    else:
        wanted = tuple(name.strip() for name in models.split(",") if name.strip())
        percent = [100 * share for share in shares_of(levels) or ()]
        _write(
            frames.cross_validation(results, ranking=ranking, models=wanted, levels=percent),
            form,
            output,
        )


def _write(frame: pd.DataFrame, form: File, output: Path = STANDARD_OUTPUT) -> None:
    from forecast.system import files

    if form == "parquet" and output == STANDARD_OUTPUT:
        if sys.stdout.isatty():
            raise InputError(
                "--format parquet writes bytes: send them into a file, such as `>"
                " forecast.parquet`."
            )
        frame.to_parquet(sys.stdout.buffer, index=False, compression="zstd")
    elif form == "parquet":
        files.write_frame(output, frame)
    elif output == STANDARD_OUTPUT:
        print(harmless(frame).to_csv(index=False), end="")
    else:
        files.write_text(output, harmless(frame).to_csv(index=False))
