"""A month of both datasets as an operator has them: every time of configs/schedule.yaml through the
commands, with the clock set to it, from a local Open-Meteo and Yahoo that lag, correct themselves
and fail as theirs do.

What is expected after each command is computed here from what the services say in the end.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from forecast import cli
from forecast.cli import common, operation
from forecast.config.datasets import load_dataset
from forecast.config.operation import load_schedule
from forecast.data import preparation, snapshots, vintages
from forecast.operations import champion
from forecast.operations.records import read_decisions
from forecast.operations.schedule import next_time
from forecast.operations.worktree import newest_data_root
from tests.operations import projects, retraining
from tests.support import services as fake
from tests.support import small_project
from tests.support.services import Services, answers, serving

pytestmark = pytest.mark.slow

FIRST, LAST = pd.Timestamp("2023-10-27 06:00"), pd.Timestamp("2023-11-29 12:00")
"""With the changes of clocks in Dublin (October 29) and New York (November 5), Thanksgiving and the
half day after.
"""
HOUR, DAY = pd.Timedelta("1h"), pd.Timedelta("1D")
LAG = 5 * DAY
REVISED = pd.date_range("2023-11-12 03:00", periods=4, freq="h")
"""Hours that the archive has half a degree warmer from November 21 on, when they are no longer
provisional.
"""
CORRECTED = pd.Timestamp("2023-11-13")
"""The session whose close is corrected by a hundredth from November 20 on."""
COMMON = {
    "splits": {"train": 0.6, "validation": 0.15, "calibration": 0.1},
    "licence": {"name": "none", "attribution": "made up"},
}
WEATHER = {
    "title": "Dublin",
    "calendar": {"kind": "regular", "freq": "1h"},
    "horizon": 24,
    "lookback": 48,
    "season_length": 24,
    "step_size": 6,
    "target": {"column": "temp", "max_missing": 0.001},
    "future_exogenous": [{"column": "temp", "max_missing": 0.05, "issued": True}],
    **COMMON,
}
STOCKS = {
    "title": "Two shares",
    "calendar": {"kind": "sessions", "exchange": "XNYS"},
    "horizon": 5,
    "lookback": 16,
    "season_length": 1,
    "target": {"column": "close", "transform": "log"},
    **COMMON,
    "past_exogenous": [
        {
            "column": "warmth",
            "max_missing": 0.05,
            "joined": {
                "dataset": "weather",
                "series": "dublin",
                "column": "temp",
                "max_age_days": 2,
            },
        }
    ],
}
RULES = {
    "defaults": {"psi": 100, "live_error": 100, "max_age_days": 11, "fresh_steps": 40},
    "datasets": {"weather": {"new_steps": 240, "fresh_steps": 480}, "stocks": {"new_steps": 12}},
}
WALK = fake.walk
TARGET = {"weather": "temp", "stocks": "close"}


def prices(ticker: str) -> pd.Series:
    """A walk with a wave on it, so that there is something to forecast."""
    plain = WALK(ticker)
    return plain * np.exp(0.03 * np.sin(np.arange(len(plain)) / 2))


def configured(root: Path, url: str) -> None:
    """Two entries of one's own in an empty project, committed; nothing was fetched."""
    small_project.write_real(root, models=())
    shutil.rmtree(root / "data")
    hosts = dict.fromkeys(("base_url", "recent_url", "forecast_url", "previous_runs_url"), url)
    city = {
        "places": {"dublin": {"latitude": 53.35, "longitude": -6.26}},
        "variables": {"temp": "temperature_2m"},
    }
    hours = {"kind": "open_meteo", **city, "start": "2023-06-01", "deadline_s": 30, **hosts}
    bars = {
        "kind": "yahoo",
        "tickers": ["IBM", "KO"],
        "start": "2023-06-05",
        "deadline_s": 30,
        "base_url": url,
    }
    datasets = {"weather": {**WEATHER, "source": hours}, "stocks": {**STOCKS, "source": bars}}
    small_project.write_yaml(
        root / "configs" / "datasets.yaml", {"run": ["stocks", "weather"], "datasets": datasets}
    )
    small_project.write_yaml(root / "configs" / "retraining.yaml", RULES)
    retraining.configure(root, ("naive", "ridge"))
    for name in ("configs/schedule.yaml", ".gitignore"):
        shutil.copy(small_project.ROOT / name, root / name)
    retraining.git(root, "init", "-q")
    retraining.commit(root)


def warmth(hours: pd.DatetimeIndex, issued_at: pd.Timestamp) -> np.ndarray:
    """The temperatures of an answer at `asked`: the newest five days are half a degree off."""
    number = hours.as_unit("s").astype("int64").to_numpy() // 3600
    swing = 5 * np.sin(2 * np.pi * number / 24) + np.sin(number / 50.0)
    return np.asarray(5.335 + swing + np.where(hours > issued_at - LAG, 0.5, 0.0))


def last_close(now: pd.Timestamp) -> pd.Timestamp:
    """The newest close up to `now`, written down without the calendar that is tested."""
    for day in (now.normalize() - back * DAY for back in range(6)):
        close = day + HOUR * (
            20 if day < pd.Timestamp("2023-11-05") else 18 if day.day == 24 else 21
        )
        if day.day_of_week < 5 and day != pd.Timestamp("2023-11-23") and close <= now:
            return close
    raise AssertionError(now)


@dataclass
class Month:
    """`asked`: when each dataset's last good answer came, `told` by the service's clock; `issued`:
    every forecast that was shown; `wrong`: whatever was not as expected, in words.
    """

    root: Path
    services: Services
    now: pd.Timestamp = FIRST
    fetched_at: dict[str, pd.Timestamp] = field(default_factory=dict)
    answered_at: dict[str, pd.Timestamp] = field(default_factory=dict)
    issued: dict[str, dict[tuple[str, int], pd.DataFrame]] = field(default_factory=dict)
    vintages: dict[tuple[Any, ...], float] = field(default_factory=dict)
    codes: Counter[tuple[str, int]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def check(self, holds: object, what: str) -> None:
        if not holds:
            self.wrong.append(f"{self.now:%Y-%m-%d %H:%M}: {what}")

    def command(self, *words: str) -> tuple[int, str, str]:
        result = CliRunner().invoke(cli.app, [*words, "--root", str(self.root)])
        code, errors = result.exit_code, result.stderr
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            code, errors = getattr(result.exception, "exit_code", 99), f"{errors}{result.exception}"
        self.codes[words[0], code] += 1
        return code, result.stdout, errors

    def read_snapshot(self, name: str) -> pd.DataFrame:
        return snapshots.read_pointed(newest_data_root(self.root, name), name)

    def retrained(self, name: str, *, expected_codes: tuple[int, ...] = (0, 4)) -> None:
        before = champion.read_aliases(self.root, name)
        code, output, errors = self.command("retrain", name)
        self.check(code in expected_codes, f"retrain {name} ended with {code}: {errors[-600:]}")
        if code in (0, 4):
            self.fetched_at[name], self.answered_at[name] = self.now.floor("s"), self.services.now
            self.judged(name, code, output, before)
        else:
            self.check(
                champion.read_aliases(self.root, name) == before,
                f"{name}: a fault moved the champion",
            )
        if name in self.fetched_at:
            (self.hours if name == "weather" else self.sessions)()

    def judged(self, name: str, code: int, output: str, before: dict[str, int]) -> None:
        """Exit code, words, record and alias tell the same."""
        after = champion.read_aliases(self.root, name)
        decisions = [
            d for d in read_decisions(self.root, name) if d.at == self.now.floor("s").isoformat()
        ]
        if "nothing to do" in output:
            self.check(
                not decisions and after == before, f"{name}: nothing to do, but something was done"
            )
            return
        self.check(len(decisions) == 1, f"{name}: {len(decisions)} decisions")
        if not decisions:
            return
        decision = decisions[0]
        losses = [decision.numbers.challenger_loss, decision.numbers.naive_loss]
        if decision.word == "kept":
            self.check(
                code == 4 and after == before, f"{name}: kept, exit {code}, {before} to {after}"
            )
        else:
            serves = decision.refit_version or decision.version
            self.check(
                code == 0 and after["champion"] == serves and decision.reason in output,
                f"{name}: {decision.word}",
            )
            self.check(losses[0] < losses[1], f"{name}: {losses} promoted")
        same = decision.numbers.relative_difference == 0
        self.check(
            decision.word != "equivalent" or (same and "stale" in decision.reason),
            f"{name}: {decision.reason}",
        )

    def hours(self) -> None:
        """Every hour once, to the last that had ended; the archive's where it had them, and not
        what it took back.
        """
        fetched_at, frame = (
            self.fetched_at["weather"],
            self.read_snapshot("weather").set_index("ds"),
        )
        hours = pd.date_range("2023-06-01", fetched_at.floor("h") - HOUR, freq="h")
        self.check(
            frame.index.equals(hours), f"{len(frame)} hours of {len(hours)} to {frame.index[-1]}"
        )
        is_revised = hours.isin(REVISED) & (fetched_at >= pd.Timestamp("2023-11-21"))
        off = (
            np.abs(
                frame["temp"].reindex(hours)
                - warmth(hours, self.answered_at["weather"])
                - 0.5 * is_revised
            )
            > 0.006
        )
        self.check(not off.any(), f"{off.sum()} hours differ, first {hours[off.argmax()]}")
        place = newest_data_root(self.root, "weather")
        table = vintages.read_vintages(place, "weather")
        now = dict(
            zip(zip(table["ds"], table["issued_at"], strict=True), table["temp"], strict=True)
        )
        lost = [key for key, value in self.vintages.items() if now.get(key) != value]
        self.check(
            not lost and not table.duplicated(["ds", "issued_at"]).any(),
            f"{len(lost)} issues lost or changed",
        )
        fresh = table[
            [key not in self.vintages for key in zip(table["ds"], table["issued_at"], strict=True)]
        ]
        self.dated(fresh.dropna())
        self.vintages = now
        self.inputs(place, table)

    def dated(self, fresh: pd.DataFrame) -> None:
        """The answer's own forecasts from when it came, without error here; archived ones of n days
        before, n tenths off, from eight hours after the hour they name.
        """
        answered_at = self.answered_at["weather"]
        days = (10 * (fresh["temp"] - warmth(pd.DatetimeIndex(fresh["ds"]), answered_at))).round()
        archived = fresh["ds"] - pd.to_timedelta(days, unit="D") + 8 * HOUR
        right = fresh["issued_at"] == archived.where(
            days > 0, max(answered_at, self.fetched_at["weather"])
        )
        self.check(
            right.all(),
            f"{(~right).sum()} of {len(fresh)} issues are dated wrong: {fresh[~right].head(1)}",
        )

    def inputs(self, place: Path, table: pd.DataFrame) -> None:
        """Of the newest two days: the newest forecast for 24 hours later that was out when the row
        was known.
        """
        frame, _ = preparation.check_data(
            "weather", load_dataset("weather", self.root / "configs"), root=place
        )
        for ds, issued in frame.set_index("ds")["temp+24"].tail(48).items():
            newest_issues = table[
                (table["ds"] == ds + DAY) & (table["issued_at"] <= ds + HOUR)
            ].dropna()
            expected = (
                newest_issues.sort_values("issued_at")["temp"].iloc[-1]
                if len(newest_issues)
                else np.nan
            )
            self.check(
                np.isclose(issued, expected, equal_nan=True),
                f"issued at {ds} for a day later: {issued}, wanted {expected}",
            )

    def sessions(self) -> None:
        """Every session once, to the last that had closed; and beside it the last hour known at its
        close.
        """
        fetched_at, prices_kept = self.fetched_at["stocks"], self.read_snapshot("stocks")
        day = last_close(fetched_at).normalize()
        for ticker, of_ticker in prices_kept.groupby("unique_id"):
            expected = prices(str(ticker))["2023-06-05":day]
            if fetched_at >= pd.Timestamp("2023-11-20"):
                expected = expected.where(expected.index != CORRECTED, expected * 1.01)
            rows = of_ticker.set_index("ds")["close"]
            self.check(
                rows.index.equals(expected.index),
                f"{ticker}: {len(rows)} of {len(expected)} to {rows.index[-1]}",
            )
            self.check(
                np.allclose(rows, expected.reindex(rows.index), rtol=1e-6),
                f"{ticker}: other prices",
            )
        place = newest_data_root(self.root, "stocks")
        frame, _ = preparation.check_data(
            "stocks", load_dataset("stocks", self.root / "configs"), root=place
        )
        last = last_close(fetched_at) - HOUR
        warmth_of_frame, other = (
            frame["warmth"].iloc[-1],
            snapshots.read_pointed(place, "weather").set_index("ds")["temp"],
        )
        self.check(
            warmth_of_frame == other.get(last),
            f"{warmth_of_frame} stands beside the close, {other.get(last)} was known",
        )

    def predicted(self, name: str) -> None:
        code, output, errors = self.command("predict", name, "--format", "json")
        self.check(code == 0, f"predict {name} ended with {code}: {errors}")
        if code:
            return
        content = json.loads(output)
        table = pd.DataFrame(content["forecast"])
        table["ds"] = pd.to_datetime(table["ds"])
        fetched_at = self.fetched_at[name]
        if name == "weather":
            cutoff, steps = (
                fetched_at.floor("h") - HOUR,
                pd.date_range(fetched_at.floor("h"), periods=24, freq="h"),
            )
        else:
            cutoff = last_close(fetched_at).normalize()
            steps = prices("IBM")[cutoff:].index[1:6]
        self.check(
            content["cutoff"] == cutoff.isoformat(),
            f"{name} follows {content['cutoff']}, wanted {cutoff}",
        )
        for _, of_series in table.groupby("unique_id"):
            self.check(
                list(of_series["ds"]) == list(steps), f"{name} answers for {list(of_series['ds'])}"
            )
        last = self.read_snapshot(name).groupby("unique_id")[TARGET[name]].last()
        key = (str(content["cutoff"]), int(content["version"]))
        self.issued.setdefault(name, {}).setdefault(
            key, table.assign(last=table["unique_id"].map(last))
        )
        self.status(name)

    def status(self, name: str) -> None:
        """Age and live skill, computed here from what was shown and what is kept."""
        code, output, _ = self.command("status", name, "--format", "json")
        row = json.loads(output)[0]
        limit = RULES["defaults"]["max_age_days"]
        is_due_next = code == 5 and f"is {limit} days old, {limit} allowed" in row["state"]
        self.check(code == 0 or is_due_next, f"status {name}: {row['state']}")
        fetched_at = self.fetched_at[name]
        known = fetched_at.floor("h") if name == "weather" else last_close(fetched_at)
        age = (self.now - known) / HOUR
        self.check(
            abs(row["last_observation_age_h"] - age) < 0.051,
            f"{row['last_observation_age_h']} h old, not {age}",
        )
        issued_tables = [
            table for (_, version), table in self.issued[name].items() if version == row["champion"]
        ]
        self.check(
            row["live_issues"] == len(issued_tables),
            f"{name}: {row['live_issues']} issues, {len(issued_tables)} were shown",
        )
        actual = self.read_snapshot(name).set_index(["unique_id", "ds"])[TARGET[name]].rename("y")
        met = (
            pd.concat(issued_tables).join(actual, on=["unique_id", "ds"], how="inner")
            if issued_tables
            else pd.DataFrame()
        )
        errors = np.zeros(2)
        card = champion.find_card(self.root, name, row["champion"])
        for series, rows in met.groupby("unique_id") if len(met) else ():
            both = [(rows["y"] - rows[column]).abs().mean() for column in ("y_hat", "last")]
            errors += np.array(both) / sum(card.naive[str(series)])  # the last value's on test
        live_skill = row["live_skill"]
        skill = 1 - errors[0] / errors[1] if errors[1] else None
        wrong = (
            (live_skill is not None)
            if skill is None
            else live_skill is None or abs(live_skill - skill) > 1e-9
        )
        self.check(not wrong, f"{name}: live skill {live_skill}, {skill} by hand")


Event = Callable[[Month], None]
KILLED = """
import os, signal, sys
from datetime import datetime
from forecast.cli import common, main, operation
moment, step = datetime.fromisoformat(sys.argv.pop(1)), sys.argv.pop(1)
class Clock(datetime):
    @classmethod
    def now(cls, tz=None): return moment
common.datetime = operation.datetime = Clock
def fatal(*words, **options):
    print(*words, **options)
    if str(words[0]).endswith(": " + step): os.kill(os.getpid(), signal.SIGKILL)
operation.print = fatal
main()
"""


def refused(path: str, fault: fake.Fault) -> Event:
    """The service fails: exit 3, and whatever was kept and serves stays."""

    def event(month: Month) -> None:
        month.services.fail(path, fault)
        month.retrained("stocks" if "finance" in path else "weather", expected_codes=(3,))
        month.services.faults.clear()

    return event


def answered(path: str, change: Callable[[Any], Any], expected_codes: tuple[int, ...]) -> Event:
    def event(month: Month) -> None:
        usual = list(month.services.changes)
        month.services.change(path, change)
        month.retrained("weather", expected_codes=expected_codes)
        month.services.changes[:] = usual

    return event


def hourly(content: Any, value: Callable[[int, Any], Any]) -> Any:
    changed = {
        name: (
            values
            if name == "time"
            else [value(number, cell) for number, cell in enumerate(values)]
        )
        for name, values in content["hourly"].items()
    }
    return {**content, "hourly": changed}


def without(content: Any, keep: Callable[[int], bool]) -> Any:
    return hourly(content, lambda number, cell: cell if keep(number) else None)


def set_clock_behind(month: Month) -> None:
    """This machine's clock is three hours slow."""
    month.services.now = month.now + 3 * HOUR
    month.retrained("weather")


def killed(month: Month) -> None:
    """kill -9 when the promoted recipe is about to be fitted again; the same command goes on from
    there.
    """
    words = small_project.arguments("retrain", "weather")
    killed_command = [words[0], "-c", KILLED, f"{month.now.isoformat()}+00:00", "refit", *words[3:]]
    environment = small_project.environment(FORECAST_JOBS="1")
    done = subprocess.run(
        killed_command, cwd=month.root, env=environment, capture_output=True, text=True, check=False
    )
    month.check(
        done.returncode == -signal.SIGKILL, f"not killed: {done.returncode}, {done.stderr[-300:]}"
    )
    month.retrained("weather", expected_codes=(0,))


def revised(content: Any) -> Any:
    times = pd.to_datetime(content["hourly"]["time"])
    return hourly(
        content,
        lambda number, cell: cell if cell is None or times[number] not in REVISED else cell + 0.5,
    )


def warmer(month: Month) -> None:
    """The archive corrects hours that were final; each is in the table of revisions."""
    month.services.change("/v1/archive", revised)
    month.retrained("weather")
    place = newest_data_root(month.root, "weather")
    table = pd.read_csv(
        (place / snapshots.read_pointer(place, "weather").snapshot).with_suffix(".revisions.csv")
    )
    final = table[table["kind"] == "changed"]
    month.check(list(pd.to_datetime(final["ds"])) == list(REVISED), f"revisions {table}")
    month.check(np.allclose(final["after"] - final["before"], 0.5), f"revisions {final}")


def late(content: Any) -> Any:
    """The newest run of the archived forecasts is not out yet: nothing of the last day's answer is
    there.
    """
    return without(content, lambda number: number < len(content["hourly"]["time"]) - 48)


EVENTS: dict[tuple[str, str], Event] = {
    ("11-01", "stocks"): refused(
        "/finance/chart/", answers(429, "Too Many Requests", "text/plain")
    ),
    ("11-03", "weather"): refused("/v1/", answers(503)),
    ("11-04", "weather"): refused(
        "/v1/archive", answers(429, '{"reason": "Hourly API request limit exceeded."}')
    ),
    ("11-05", "weather"): refused(
        "/v1/forecast", answers(200, "<html>back soon</html>", "text/html")
    ),
    ("11-07", "weather"): answered(
        "/v1/", lambda content: hourly(content, lambda *_: float("nan")), (3,)
    ),
    ("11-08", "weather"): killed,
    ("11-09", "stocks"): refused("/finance/chart/KO", answers(503)),
    ("11-10", "weather"): answered(
        "/v1/", lambda content: without(content, lambda number: number % 2 == 0), (3,)
    ),
    ("11-18", "weather"): set_clock_behind,
    ("11-21", "weather"): warmer,
    ("11-25", "weather"): answered("_previous_day1", late, (0, 4)),
}
OFF = [f"11-{day}" for day in (13, 14, 15, 16)]
SLOW = ("11-01", "11-02", "11-22")
"""On these the archive is eight days behind."""


def lived(month: Month) -> Month:
    jobs = load_schedule(month.root / "configs").jobs
    for name in ("weather", "stocks"):  # by hand: the first champions
        month.retrained(name, expected_codes=(0,))
    while True:
        after = month.now.tz_localize("UTC").to_pydatetime()
        moment, name = min((next_time(name, job, after), name) for name, job in jobs.items())
        month.now = pd.Timestamp(moment).tz_convert("UTC").tz_localize(None)
        if month.now > LAST:
            return month
        day, dataset = f"{month.now:%m-%d}", name.partition("-")[0]
        if day in OFF:
            continue
        month.services.now = month.now
        month.services.archive_lag = LAG + (3 * DAY if day in SLOW else 0 * DAY)
        if name != dataset:
            month.predicted(dataset)
        elif (day, name) in EVENTS:
            EVENTS[day, name](month)
        else:
            month.retrained(name)


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Month]:
    root = tmp_path_factory.mktemp("month") / "project"
    with (
        pytest.MonkeyPatch.context() as patch,
        serving(Services(now=FIRST, archive_lag=LAG)) as services,
    ):
        for name, value in small_project.environment(FORECAST_JOBS="1").items():
            patch.setenv(name, value)
        simulated_month = Month(root, services)

        def quoted(ticker: str) -> pd.Series:
            plain = prices(ticker)
            late = services.now >= pd.Timestamp("2023-11-20")
            return plain.where(plain.index != CORRECTED, plain * 1.01) if late else plain

        class Clock(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> datetime:
                return simulated_month.now.tz_localize("UTC").to_pydatetime()

        patch.setattr(fake, "walk", quoted)
        for module in (common, operation):
            patch.setattr(module, "datetime", Clock)
        configured(root, services.url)
        yield lived(simulated_month)


def test_every_command_of_the_month_was_right(month: Month) -> None:
    assert month.wrong == []


def test_the_month_was_as_long_and_as_bad_as_it_is_meant_to_be(month: Month) -> None:
    assert month.codes["retrain", 3] == 7 and month.codes["retrain", 4] >= 1
    assert (len(month.issued["weather"]), len(month.issued["stocks"])) >= (24, 16)


def test_each_decision_is_one_run_of_mlflow_and_the_registry_agrees(month: Month) -> None:
    query = (
        "SELECT e.name, COUNT(*) FROM runs r JOIN experiments e USING (experiment_id) GROUP BY"
        " e.name"
    )
    with contextlib.closing(sqlite3.connect(month.root / "mlflow.db")) as database:
        runs = dict(database.execute(query).fetchall())
    for name in TARGET:
        decisions = read_decisions(month.root, name)
        assert runs[f"{name} retraining"] == len(decisions) >= 3
        assert {d.word for d in decisions} >= {"first", "equivalent"}
        assert projects.registry_aliases(month.root, name) == champion.read_aliases(
            month.root, name
        )
