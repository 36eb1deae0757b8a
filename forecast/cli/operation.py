"""`forecast promote | rollback | status | history | retrain | schedule`: models in service.

The work is done in `forecast.operations`; here arguments are read, outcomes are printed, and hooks
are called.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from typer._click.exceptions import ClickException

from forecast.cli.common import (
    AS_OF,
    CLUSTER,
    DATASET,
    FORMAT,
    ONE_DATASET,
    ROOT,
    Cell,
    Format,
    keep_output_clean,
    now,
    parse_as_of,
    print_rows,
    require_dataset,
    require_project,
    signed_percent,
    tracking_uri,
    use_cluster,
)
from forecast.cli.run import read_revision
from forecast.config.paths import ProjectPaths
from forecast.system.errors import (
    INTERRUPTED,
    UNHEALTHY,
    ChampionKeptError,
    ForecastError,
    InputError,
    explain,
    hours_or_days,
    plural,
    require_known,
)
from forecast.system.processes import require_unix
from forecast.system.progress import format_duration

if TYPE_CHECKING:
    import pandas as pd

    from forecast.config.operation import HookEvent, Schedule
    from forecast.operations.records import Decision, RetrainingFailure
    from forecast.operations.status import DatasetStatus

REASON = typer.Option("", "--reason", help="The reason, kept in the history.")


def promote(
    dataset: str = DATASET,
    version: int = typer.Option(
        0, "--version", min=0, help="A registered version; 0: what the last run selected."
    ),
    scored: bool = typer.Option(
        False, "--scored", help="Serve the fit that was scored, not one on all data."
    ),
    reason: str = REASON,
    root: Path | None = ROOT,
    output_format: Format = FORMAT,
) -> None:
    """Make a model the champion by hand: what the last run selected, fitted again on all data, or a
    registered version.
    """
    from forecast.data.results import Results
    from forecast.operations import challenger, evidence, registry
    from forecast.report.answer import describe_doubt

    project = require_dataset(root, dataset).resolve()
    uri = tracking_uri()
    reason = reason or "by hand"
    if version:
        with keep_output_clean(output_format):
            registry.promote(project, dataset, version, now=now(), reason=reason, tracking_uri=uri)
        _print_champion(project, dataset, version, output_format)
        return

    def start_refit(candidate: Path, target: Path) -> None:
        print(f"{dataset}: fitting {candidate.name} again on all data", file=sys.stderr, flush=True)
        challenger.run_refit(
            project,
            dataset,
            candidate / "record.json",
            target,
            on="all",
            environment=os.environ,
        )

    with keep_output_clean(output_format):
        promotion = registry.promote_selected(
            project,
            dataset,
            now=now(),
            revision=read_revision(project),
            refit=None if scored else start_refit,
            reason=reason,
            tracking_uri=uri,
        )
    if promotion.refit_fault:
        print(
            f"The fit on all data failed, so the scored version serves: {promotion.refit_fault}",
            file=sys.stderr,
        )
    serving = f"{dataset}: version {promotion.version}"
    if doubt := describe_doubt(Results(ProjectPaths.of(project), dataset), serving):
        print(doubt, file=sys.stderr)
    if fault := evidence.describe_missing_gate_rows(project, dataset):
        print(f"`forecast retrain {dataset}` would be refused: {fault}", file=sys.stderr)
    _print_champion(project, dataset, promotion.version, output_format)


def rollback(
    dataset: str = DATASET,
    reason: str = REASON,
    root: Path | None = ROOT,
    output_format: Format = FORMAT,
) -> None:
    """Make the previous champion the champion again; a second rollback undoes the first."""
    from forecast.operations import champion, registry
    from forecast.operations.status import read_champion

    project = require_dataset(root, dataset)
    moment = now()
    before = read_champion(project, dataset).version
    try:
        version = registry.rollback(
            project, dataset, now=moment, reason=reason, tracking_uri=tracking_uri()
        )
    except (ForecastError, OSError) as error:
        fault, exit_code = explain(error)
        has_moved = read_champion(project, dataset).version != before
        # only a store that does not answer is worked around, and only before the champion moved
        if has_moved or exit_code != ForecastError.exit_code:
            raise
        version = registry.rollback_here(project, dataset, now=moment, reason=reason)
        print(
            f"{fault}\nSo {dataset} is rolled back on this machine alone; `forecast doctor"
            " --repair` tells the registry once it answers.",
            file=sys.stderr,
        )
    taken_back = champion.read_events(project, dataset)[-1].replaced
    if taken_back and output_format is Format.table:
        print(f"{dataset}: taken back: {_describe_version(project, dataset, taken_back)}.")
    _print_champion(project, dataset, version, output_format, taken_back=taken_back)


def status(
    dataset: str = ONE_DATASET,
    registry: bool = typer.Option(
        False, "--registry", help="Also ask MLflow, and take over what was promoted there."
    ),
    root: Path | None = ROOT,
    output_format: Format = FORMAT,
) -> None:
    """Show each champion, its age, live error, drift, last and next run; exits 5 if something is
    wrong.
    """
    from forecast.operations.status import list_operated_datasets, read_status

    project = require_dataset(root, dataset) if dataset else require_project(root)
    names = [dataset] if dataset else list_operated_datasets(project)
    if not names:
        raise InputError(
            "configs/datasets.yaml: no dataset under `run`. `forecast check` names what is wrong."
        )
    statuses = []
    for name in names:
        faults = []
        if registry:
            from forecast.operations.registry import take_over

            try:
                for done in take_over(project, name, now=now(), tracking_uri=tracking_uri()):
                    print(done, file=sys.stderr)
            except ForecastError as error:
                faults = [f"registry: {error}"]
        statuses.append(read_status(project, name, now=datetime.now(UTC), known_faults=faults))
    if output_format is Format.json:
        print_rows([asdict(one_status) for one_status in statuses], output_format)
    else:
        print_rows([line for each in statuses for line in _status_lines(each)], output_format)
    if not all(one_status.is_good for one_status in statuses):
        raise typer.Exit(UNHEALTHY)


def history(
    dataset: str = DATASET, root: Path | None = ROOT, output_format: Format = FORMAT
) -> None:
    """List what happened to a dataset's model versions, oldest first."""
    from forecast.operations import champion, status

    project = require_dataset(root, dataset)
    rows = champion.history_rows(
        project, dataset, status.read_entry(project, dataset).calendar_kind
    )
    if not rows and output_format is Format.table:
        print(f"{dataset}: nothing yet; `forecast promote {dataset}` makes the first champion.")
        return
    table_rows = [asdict(row) for row in rows]
    if output_format is Format.table:
        for values in table_rows:
            values["test_skill"] = signed_percent(values["test_skill"])
    print_rows(table_rows, output_format)


def _print_champion(
    project: Path, dataset: str, version: int, output_format: Format, **others: int | None
) -> None:
    """Print which version is the champion: as a table with the next command, as JSON with
    `others`.
    """
    if output_format is Format.json:
        print_rows([{"dataset": dataset, "champion": version, **others}], output_format)
        return
    print(
        f"{dataset}: {_describe_version(project, dataset, version)} is the champion."
        f" `forecast predict {dataset}`"
    )


def _describe_version(project: Path, dataset: str, version: int) -> str:
    """`version 3 (gru, test skill +40.1 % over the last value)`.

    For a refit, which has no score, `version 4 (version 3 (gru, ...) fitted again on all data)`;
    for a version that is not stored here only its number.
    """
    from forecast.operations import champion

    card = champion.find_card(project, dataset, version)
    if card is None:
        return f"version {version}"
    if card.refit_of:
        scored = _describe_version(project, dataset, card.refit_of)
        return f"version {version} ({scored} fitted again on all data)"
    skill = ""
    if "skill" in card.metrics:
        skill = f", test skill {signed_percent(card.metrics['skill'])} over the last value"
    return f"version {version} ({card.candidate}{skill})"


def _status_lines(row: DatasetStatus) -> list[dict[str, str]]:
    """A status as rows of `what` and `value`: its fields are too many columns for a terminal."""
    data = f"as of {row.data_as_of}{_last_observation(row)}"
    values = {
        "data": data if row.data_as_of else "not fetched",
        "drift": row.drift,
        "last run": row.last_run,
        "next run": row.next_run,
        "state": row.state,
    }
    if row.champion is None:
        del values["drift"], values["next run"]
        if row.last_run == "none":
            del values["last run"]
    else:
        values = _champion_lines(row) | values
    return [
        {"dataset": row.dataset, "what": what, "value": value} for what, value in values.items()
    ]


def _champion_lines(row: DatasetStatus) -> dict[str, str]:
    """The rows of `_status_lines` about the champion and its issued forecasts."""
    test_skill = signed_percent(row.skill)
    if row.scored_version is None:
        test_skill = "unknown: the version that was scored is not stored here"
    elif row.scored_version != row.champion:
        test_skill += f" (version {row.scored_version}, fitted again on all data since)"
    live_error = "no issued forecast has met its actuals yet"
    if row.live_error is not None:
        live_error = f"{row.live_error:.2f} x what was expected"
    fitted_on = row.training_cutoff.partition("T")[0]
    covered = [f"{level} %: {share:.0%}" for level, share in row.live_coverage.items()]
    return {
        "champion": f"version {row.champion} ({row.model})",
        "age": f"{plural(row.age_days or 0.0, 'day')}, fitted on data up to {fitted_on}",
        "test skill": test_skill,
        "live error": f"{live_error} ({plural(row.live_issues, 'issue')})",
        "live skill": signed_percent(row.live_skill),
        "live coverage": ", ".join(covered),
    }


def _last_observation(row: DatasetStatus) -> str:
    """`; last observation 2024-06-03T21:00, 5 hours old`, or "" where none is known."""
    hours = row.last_observation_age_h
    if hours is None:
        return ""
    span = hours_or_days(abs(hours))
    age = f"{span} old" if hours >= 0 else f"over in {span}"
    clock = " UTC" if ":" in row.last_observation else ""
    return f"; last observation {row.last_observation[:16]}{clock}, {age}"


def retrain(
    dataset: str = DATASET,
    as_of: str = AS_OF,
    dry_run: bool = typer.Option(
        False, "--dry-run", help="Decide, but record and promote nothing."
    ),
    cluster: str = CLUSTER,
    root: Path | None = ROOT,
    output_format: Format = FORMAT,
) -> None:
    """Fetch data, train a challenger outside your checkout, and promote it if it passes the gate.

    Exits 0 if done or nothing was due, 2 for wrong input, 3 if a data service fails, 4 if the gate
    keeps the champion, 5 for a damaged file, 75 if a retraining of the dataset is running or the
    cluster does not answer, 130 if interrupted.
    """
    from forecast.operations.records import RetrainingFailure
    from forecast.operations.worktree import require_committed

    require_unix("`forecast retrain`")
    use_cluster(cluster)
    project = require_project(root).resolve()
    moment = parse_as_of(as_of)
    started = time.monotonic()
    try:
        require_committed(require_dataset(project, dataset), dataset)
        with keep_output_clean(output_format):
            decision = _decide(project, dataset, moment, dry_run=dry_run)
    except (Exception, KeyboardInterrupt) as error:
        reason, exit_code = explain(error)
        if isinstance(error, KeyboardInterrupt):
            exit_code = INTERRUPTED
            reason = (
                "Interrupted; the champion is as it was, or the next run finishes the promotion."
            )
            print(f"\n{reason}", file=sys.stderr)
        if not dry_run:
            failure = RetrainingFailure(
                dataset=dataset, exit_code=exit_code, reason=reason or repr(error)
            )
            _notify(project, dataset, "failed", failure)
        raise
    if output_format is Format.json:
        print_rows([decision.model_dump(mode="json")], output_format)
    else:
        _print_decision(decision, project, took=time.monotonic() - started)
    if not dry_run:
        _notify(project, dataset, decision.event, decision)
    if decision.word == "kept":
        raise ChampionKeptError(f"{dataset}: the champion stays: {decision.reason}.")


def _decide(root: Path, dataset: str, as_of: pd.Timestamp | None, *, dry_run: bool) -> Decision:
    """Run `retrain.retrain`, or `retrain.rehearse` for a `dry_run`, and print the steps."""
    # imported late, which takes a second: an early failure can then notify at once
    from forecast.operations import retrain as retraining
    from forecast.operations.challenger import RetrainingJob

    def log_step(step: str) -> None:
        _log(f"retrain {dataset}: {step}")

    job = RetrainingJob(
        root=root,
        dataset=dataset,
        now=now(),
        environment=dict(os.environ),
        as_of=as_of,
        log_step=log_step,
    )
    return retraining.rehearse(job) if dry_run else retraining.retrain(job)


def _print_decision(decision: Decision, root: Path, *, took: float) -> None:
    """Print a decision, and that it took `took` seconds; notes go to standard error.

    The reason why a champion was kept is not printed here: `retrain` raises it as an error.
    """
    from forecast.config.task import format_time
    from forecast.operations.status import read_entry

    for path in decision.unused_edits[:5]:
        print(f"Not used, because it is not committed: {path}", file=sys.stderr)
    if decision.word == "not due":
        print(f"{decision.dataset}: nothing to do, a retraining is not due: {decision.reason}")
    elif decision.promotes:
        outcome = "would become the champion"  # a rehearsal registers no version
        if version := decision.refit_version or decision.version:
            outcome = f"is the champion (version {version})"
        print(f"{decision.dataset}: {decision.candidate} {outcome}: {decision.reason}")
    if decision.note:
        print(decision.note, file=sys.stderr)
    data_end = format_time(read_entry(root, decision.dataset).calendar_kind, decision.data_end)
    # a rehearsal and a retraining that is not due write no decision
    decisions = ProjectPaths.of(root).retraining(decision.dataset) / "decisions"
    is_written = (decisions / f"{decision.key}.json").exists()
    key = f", decision {decision.key}" if is_written else ""
    print(f"Data up to {data_end}{key}; took {format_duration(took)}")


def _notify(root: Path, dataset: str, event: HookEvent, news: Decision | RetrainingFailure) -> None:
    """Call the hooks of the checkout's configuration; their faults are only printed."""
    from forecast.config.operation import load_retraining
    from forecast.operations.hooks import notify

    try:
        hooks = load_retraining(dataset, ProjectPaths.of(root).configs).hooks
        faults = notify(hooks, event, news, root=root, environment=dict(os.environ))
    except ForecastError as error:
        faults = [f"hooks: {error}"]
    for fault in faults:
        print(fault, file=sys.stderr)


schedule = typer.Typer(
    no_args_is_help=True, help="Run commands at the times of configs/schedule.yaml."
)


@schedule.command("run")
def run(root: Path | None = ROOT) -> None:
    """Start each job at its time until SIGTERM or Ctrl-C; both end running jobs cleanly."""
    from forecast.operations.schedule import Scheduler

    require_unix("`forecast schedule run`")
    project = require_project(root).resolve()
    jobs = load_jobs(project / "configs")
    scheduler = Scheduler(project, jobs, dict(os.environ), log_event=_log)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: scheduler.ending.set())
    scheduler.run()
    _log("ended")


@schedule.command("next")
def print_next_runs(root: Path | None = ROOT, output_format: Format = FORMAT) -> None:
    """Show when each job runs next, and how its last run ended."""
    from forecast.operations.schedule import next_times, read_last_run

    project = require_project(root).resolve()
    jobs = load_jobs(project / "configs")
    rows: list[dict[str, Cell]] = []
    for name, moment in next_times(jobs, datetime.now(UTC)).items():
        job = jobs.jobs[name]
        last = read_last_run(project, name)
        shown_moment = moment.isoformat()
        if output_format is Format.table:
            shown_moment = f"{moment.astimezone(job.zone):%a %Y-%m-%d %H:%M %Z}"
        rows.append(
            {
                "job": name,
                "command": " ".join(job.run),
                "next": shown_moment,
                "last_started": last.started if last else None,
                "last_code": last.code if last else None,
            }
        )
    print_rows(rows, output_format)


def load_jobs(folder: Path) -> Schedule:
    """Read configs/schedule.yaml in `folder`.

    Raises `InputError` for a fault in it, for arguments that a job's command does not take, and for
    an unknown dataset.
    """
    from forecast.cli import app
    from forecast.config.operation import load_schedule
    from forecast.operations.status import read_datasets_yaml

    schedule = load_schedule(folder)
    known = read_datasets_yaml(folder.parent).get("datasets")
    commands = typer.main.get_group(app).commands
    for name, job in schedule.jobs.items():
        command, *words = job.run
        try:
            # without --help, which would print the help and end this command
            context = commands[command].make_context(command, words, help_option_names=[])
        except ClickException as error:
            raise InputError(
                f"{folder / 'schedule.yaml'}: {name}: `run: {' '.join(job.run)}`: wrong words"
                f" ({error.format_message()}). `forecast {command} --help` says what it takes."
            ) from None
        datasets = context.params.get("datasets") or [context.params.get("dataset")]
        if isinstance(known, dict):  # other faults of datasets.yaml are reported where it is read
            for dataset in filter(None, datasets):
                where = f"{folder / 'schedule.yaml'}: correct or remove job {name}: unknown dataset"
                require_known(dataset, known, where)
    return schedule


def _log(line: str) -> None:
    """Print a line with the time (UTC) to standard error."""
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S UTC} {line}", file=sys.stderr, flush=True)
