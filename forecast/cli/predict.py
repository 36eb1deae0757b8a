"""`forecast predict | watch | export`: prints the champion's forecast, alarms for observations that
it cannot explain, and results of the last run as a frame for other tools.

Results go to standard output (parquet not to a terminal) or to a file, notices to standard error.
csv has times as text, those of `predict` in the time zone of the dataset's source where it has one,
and numbers unrounded; parquet has times in UTC. Another format is a word of `ForecastFormat` and a
branch of `predict`, or a word of `FileFormat` and a branch of `_write`.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import typer

from forecast.cli.common import (
    DATASET,
    FORMAT,
    ROOT,
    Cell,
    Format,
    escape_formulas,
    now,
    print_rows,
    require_dataset,
    require_project,
    signed_percent,
)
from forecast.system.errors import UNHEALTHY, InputError, plural, with_minus
from forecast.system.stage import split_names

if TYPE_CHECKING:
    import pandas as pd

    from forecast.operations.predicting import Forecast, WatchedChampion


ISO_SECONDS = "%Y-%m-%dT%H:%M:%S"
ForecastFormat = Literal["table", "csv", "json", "parquet"]
FORECAST_FORMAT = typer.Option("table", "--format", help="parquet only into a file or pipe.")


FUTURE = typer.Option(
    None,
    "--future",
    help="A CSV or Parquet with the plan: ds and the columns known ahead.",
    show_default="rows of the snapshot after its last observation",
)


def predict(
    dataset: str = DATASET,
    horizon: int | None = typer.Option(
        None, "--horizon", min=1, max=100_000, help="Steps to forecast; by default as in training."
    ),
    levels: str = typer.Option(
        "", "--levels", help="Intervals in percent, such as 80,95; `none` for none."
    ),
    future: Path | None = FUTURE,
    output_format: ForecastFormat = FORECAST_FORMAT,
    root: Path | None = ROOT,
) -> None:
    """Forecast with the champion from the newest snapshot; neither trains nor fetches."""
    from forecast.config.models import load_evaluation
    from forecast.operations import predicting

    project = require_project(root)
    forecast = predicting.forecast_champion(
        project,
        dataset,
        now=now(),
        usual_levels=load_evaluation(project / "configs").levels,
        horizon=horizon,
        levels=parse_levels(levels),
        plan=future,
    )
    for notice in forecast.notices:
        print(notice, file=sys.stderr)
    if output_format == "csv":
        zone = forecast.settings.source.local_zone
        _write(_with_written_times(forecast.table, zone=zone), "csv")
    elif output_format == "parquet":
        _write(forecast.table, "parquet")
    elif output_format == "json":
        print(json.dumps(_json_content(forecast), indent=1, ensure_ascii=False))
    else:
        _print_table(forecast)


def watch(
    dataset: str = DATASET,
    rate: float = typer.Option(
        10, "--rate", help="Percent of the alarms that may be false, besides rare ones by chance."
    ),
    pooled: bool = typer.Option(
        False, "--pooled", help="Test all series together, against the errors of all."
    ),
    newest: int = typer.Option(
        0, "--newest", min=0, help="Newest rows whose alarms give exit code 5; 0: one horizon."
    ),
    output_format: Format = FORMAT,
    root: Path | None = ROOT,
) -> None:
    """Mark the observations that the champion's one-step forecasts cannot explain; exits 5 if a new
    one is among them.
    """
    from forecast.operations.predicting import watch_champion

    verdict = watch_champion(
        require_project(root), dataset, rate=rate, pooled=pooled, newest=newest
    )
    if verdict.champion.notice:
        print(verdict.champion.notice, file=sys.stderr)
    alarms = verdict.table[verdict.table["alarm"]].drop(columns="alarm")
    if output_format is Format.json:
        records = _with_written_times(alarms, ISO_SECONDS).to_dict("records")
        print_rows(cast("list[dict[str, Cell]]", records), output_format)
    else:
        if len(alarms):
            zone = verdict.settings.source.local_zone
            numbers = ["y", "y_hat", "p", "alarm_level"]
            keys = _keys(verdict.table)
            _print_numbers(_with_written_times(alarms, zone=zone), keys, numbers, "is_newest")
        print(_describe_alarms(verdict, rate))
    if verdict.has_new_alarms:
        raise typer.Exit(UNHEALTHY)


def _keys(table: pd.DataFrame) -> list[str]:
    """The columns among `unique_id` and `output` that have several values."""
    return [name for name in ("unique_id", "output") if table[name].nunique() > 1]


def _print_numbers(table: pd.DataFrame, keys: list[str], numbers: list[str], *others: str) -> None:
    """Print the columns `keys`, `ds`, `numbers` (to six digits) and `others`."""
    table = table.assign(**{name: table[name].map(_six_digits) for name in numbers})
    records = table[[*keys, "ds", *numbers, *others]].to_dict("records")
    print_rows(cast("list[dict[str, Cell]]", records), Format.table)


def _describe_alarms(verdict: WatchedChampion, rate: float) -> str:
    """How many observations were judged, how many alarms there are, and how many may be false."""
    current = verdict.champion
    judged = (
        f"{plural(len(verdict.table), 'observation')} after all that version {current.version}"
        f" ({current.card.candidate}) has seen"
    )
    n_alarms = int(verdict.table["alarm"].sum())
    if not len(verdict.table):
        return f"{judged}: nothing to judge yet."
    n_errors = min(verdict.watched.n_errors.values())
    by_chance = len(verdict.table) / (n_errors + 1)
    return (
        f"{judged}: {plural(n_alarms, 'alarm')}. False ones are expected to be at most"
        f" {by_chance:.0f} (one observation in {n_errors + 1}, by {n_errors} calibration errors)"
        f" and {rate:g} % of the alarms besides; more where errors are larger now than in"
        " calibration."
    )


@dataclass(frozen=True)
class Provenance:
    """Which model made a forecast, its age and test scores, and the forecast's cutoff."""

    dataset: str
    model: str
    version: int
    trained: str
    age_days: float
    training_cutoff: str
    cutoff: str | int
    test: dict[str, float]
    """Metrics on the test block."""


def describe_provenance(forecast: Forecast) -> Provenance:
    """The provenance of a forecast, with the model's age now."""
    import pandas as pd

    from forecast.config.task import format_time

    card = forecast.champion.card
    age = now() - pd.Timestamp(card.created_at)
    return Provenance(
        dataset=card.dataset,
        model=card.candidate,
        version=forecast.champion.version,
        trained=card.created_at,
        age_days=round(age / pd.Timedelta("1D"), 1),
        training_cutoff=format_time(forecast.panel.task.calendar.kind, card.training_cutoff, 19),
        cutoff=max(_with_written_times(forecast.table, ISO_SECONDS)["cutoff"].tolist()),
        test=dict(card.metrics),
    )


def _json_content(forecast: Forecast) -> dict[str, Any]:
    """What `--format json` prints: provenance, notices, and a row per step, with null for NaN."""
    table = _with_written_times(forecast.table, ISO_SECONDS).astype(object)
    return {
        **asdict(describe_provenance(forecast)),
        "notices": list(forecast.notices),
        "forecast": table.where(table.notna(), None).to_dict("records"),
    }


def _print_table(forecast: Forecast) -> None:
    """Print the forecast as a title, a row per step, and a sentence about its provenance."""
    settings = forecast.settings
    table = _with_written_times(forecast.table, zone=settings.source.local_zone)
    numbers = [name for name in table.columns if name == "y_hat" or name.startswith(("lo_", "hi_"))]
    targets = forecast.panel.task.targets
    title = settings.title
    if len(targets) == 1 and settings.units.get(targets[0]):
        title += f" ({settings.units[targets[0]]})"
    cutoff = table["cutoff"].max()
    clock = "" if settings.source.local_zone else " UTC"
    after = f"{cutoff}{clock}" if isinstance(cutoff, str) else f"row {cutoff}"
    print(f"{title}, after {after}")
    _print_numbers(table, _keys(table), numbers)
    print(_provenance_sentence(describe_provenance(forecast)))


def _six_digits(value: float) -> str:
    """The number as text with six significant digits; "" for NaN."""
    return "" if math.isnan(value) else with_minus(f"{value:.6g}")


def _provenance_sentence(provenance: Provenance) -> str:
    """`Version 2 (gru.linear), made 3 days ago, fitted on data up to 2025-02-28; on test MAE 1.28,
    skill +40.7 % ...`
    """
    scores = []
    if "mae" in provenance.test:
        scores.append(f"MAE {provenance.test['mae']:.4g}")
    elif "mase" in provenance.test:
        scores.append(f"MASE {provenance.test['mase']:.3g}")
    if "skill" in provenance.test:
        skill = signed_percent(provenance.test["skill"])
        scores.append(f"skill {skill} against repeating the last value")
    sentence = (
        f"Version {provenance.version} ({provenance.model}), made"
        f" {plural(max(provenance.age_days, 0), 'day')} ago, fitted on data up to"
        f" {provenance.training_cutoff.partition('T')[0]}"
    )
    if scores:
        sentence += f"; on test {', '.join(scores)}"
    return f"{sentence}."


def _with_written_times(table: pd.DataFrame, style: str = "", *, zone: str = "") -> pd.DataFrame:
    """The table with `cutoff` and `ds` as text, in the strftime format `style`.

    By default dates and hours: `2024-06-03`, or `2024-06-03 21:00` in UTC, or in the time zone
    `zone` with its offset; `zone` counts only without a `style`. Row numbers of data without dates
    are unchanged.
    """
    import pandas as pd

    names = [name for name in ("cutoff", "ds") if name in table]
    times = pd.concat([table[name] for name in names])
    if times.dtype.kind != "M":
        return table
    are_dates = (times == times.dt.normalize()).all()
    if zone and not style and not are_dates:
        local = table[names].apply(
            lambda moments: moments.dt.tz_localize("UTC").dt.tz_convert(zone)
        )
        return table.assign(**local.map(lambda moment: moment.isoformat(" ", "minutes")))
    style = style or ("%Y-%m-%d" if are_dates else "%Y-%m-%d %H:%M")
    return table.assign(**{name: table[name].dt.strftime(style) for name in names})


def parse_levels(text: str) -> tuple[float, ...] | None:
    """`80,95` → (80.0, 95.0); `none` → (); "" → None, which means the usual levels.

    Raises `InputError` for any other text.
    """
    if not text:
        return None
    if text == "none":
        return ()
    from forecast.forecaster.ensemble import read_levels

    try:
        return read_levels([float(part) for part in text.split(",")])
    except (ValueError, InputError):
        raise InputError(
            f"--levels: found {text!r}, wanted percent from 1 to below 100, separated by commas, as"
            " 80,95."
        ) from None


FileFormat = Literal["parquet", "csv"]
FILE_FORMAT = typer.Option(
    None,
    "--format",
    help="By default by the name of the file, or csv; parquet only into a file or pipe.",
)
STANDARD_OUTPUT = Path("-")
OUTPUT = typer.Option(STANDARD_OUTPUT, "--output", "-o", help="The file; - is standard output.")


def export(
    dataset: str = DATASET,
    what: Literal["cross-validation", "observations", "leaderboard", "network"] = typer.Option(
        "cross-validation",
        "--what",
        help="Which table; or `network`: a file for NumPy alone, to -o FILE.py.",
    ),
    file_format: FileFormat | None = FILE_FORMAT,
    models: str = typer.Option(
        "", "--models", help="Only these models, separated by commas; for a network, one."
    ),
    levels: str = typer.Option("", "--levels", help="Intervals in percent, such as 80,95."),
    output: Path = OUTPUT,
    root: Path | None = ROOT,
) -> None:
    """Write results in the columns of neuralforecast and utilsforecast: `unique_id, ds, cutoff, y,
    <model>, …`.

    Or write the network of `--models` (by default the selected model) as a Python file.
    """
    from forecast.api import export as result_frames
    from forecast.api.network_file import write_network
    from forecast.config.paths import ProjectPaths
    from forecast.data.results import Results

    results = Results(ProjectPaths.of(require_dataset(root, dataset)), dataset)
    if what == "network":
        print(f"Writing the network to {output}", file=sys.stderr, flush=True)
        write_network(result_frames.load_ensemble(results, models), output)
        return
    if what == "observations":
        table = result_frames.observations(results)
    elif what == "leaderboard":
        table = result_frames.leaderboard(results)
    else:
        table = result_frames.cross_validation(
            results, models=split_names(models), levels=parse_levels(levels) or ()
        )
    by_name: FileFormat = "parquet" if output.suffix == ".parquet" else "csv"
    _write(table, file_format or by_name, output)


def _write(frame: pd.DataFrame, file_format: FileFormat, output: Path = STANDARD_OUTPUT) -> None:
    """Write the frame to a file or to standard output; csv with `escape_formulas`. `InputError` for
    parquet on a terminal.
    """
    from forecast.system import files

    is_parquet = file_format == "parquet"
    if is_parquet and output == STANDARD_OUTPUT:
        if sys.stdout.isatty():
            raise InputError(
                "--format parquet writes bytes: send them into a file, such as `>"
                " forecast.parquet`."
            )
        frame.to_parquet(sys.stdout.buffer, index=False, compression="zstd")
    elif is_parquet:
        files.write_frame(output, frame)
    else:
        text = escape_formulas(frame).to_csv(index=False, lineterminator="\n")
        if output == STANDARD_OUTPUT:
            print(text, end="")
        else:
            files.write_text(output, text)
