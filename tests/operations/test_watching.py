"""The champion marks what it cannot explain in observations that are new to it."""

from __future__ import annotations

import json
from dataclasses import replace

import pandas as pd
import pytest

from forecast.cli.common import Format
from forecast.config.datasets import load_dataset
from forecast.data import ingest
from forecast.data.sources import Request
from forecast.operations import champion
from forecast.operations.predicting import watch_champion
from forecast.system.errors import InputError
from tests.operations.projects import NAME, NOW
from tests.support import small_project


def forecast_command(root, *words):
    return small_project.run_warm(root, *words)


def add_days(root, values):
    """Append observations to the file and fetch them."""
    path = root / "data" / "wave.csv"
    wave = pd.read_csv(path, parse_dates=["ds"])
    days = pd.date_range(wave["ds"].iloc[-1], periods=len(values) + 1)[1:]
    new_rows = pd.DataFrame({"ds": days, "y": values})
    pd.concat([wave, new_rows]).to_csv(path, index=False)
    ingest.fetch_snapshot(Request(NAME, load_dataset(NAME, root / "configs"), root), now=NOW)


def test_only_observations_behind_all_that_the_champion_has_seen_are_judged(moved):
    judged = watch_champion(moved, NAME, rate=10)
    last_used = pd.Timestamp(champion.load(moved, NAME).card.last_target_used)
    assert len(judged.table) and (judged.table["ds"] > last_used).all()
    # each by the forecast that was made one row before it
    assert (judged.table["y"] - judged.table["y_hat"]).abs().median() < 1


def test_a_fault_in_the_newest_rows_is_an_alarm_and_the_command_exits_5(moved):
    quiet = forecast_command(moved, "watch", NAME, "--newest", "3")
    assert quiet.returncode == 0, quiet.stdout + quiet.stderr
    wave = pd.read_csv(moved / "data" / "wave.csv")["y"]
    add_days(moved, [wave.iloc[-1], wave.iloc[-1] + 30.0])
    faulty = forecast_command(moved, "watch", NAME, "--format", "json")
    assert faulty.returncode == 5, faulty.stdout + faulty.stderr
    newest = json.loads(faulty.stdout)[-1]
    assert newest["ds"].startswith("2024-07-20") and newest["is_newest"]
    assert newest["p"] <= newest["alarm_level"]
    table = forecast_command(moved, "watch", NAME)
    assert table.returncode == 5 and "False ones are expected to be at most" in table.stdout


def test_an_alarm_counts_as_new_only_among_the_newest_rows_and_stays_one(moved):
    wave = pd.read_csv(moved / "data" / "wave.csv", parse_dates=["ds"])
    fault = wave["ds"].iloc[-1] + pd.Timedelta(1, "D")
    add_days(moved, [wave["y"].iloc[-7] + 30.0])
    before = watch_champion(moved, NAME, rate=10, newest=1)
    assert before.has_new_alarms
    add_days(moved, wave["y"].iloc[-6:].to_numpy())
    after = watch_champion(moved, NAME, rate=10, newest=3)
    (row,) = after.table[after.table["ds"] == fault].to_dict("records")
    assert row["alarm"] and not row["is_newest"] and after.table["is_newest"].sum() == 3
    shared = [name for name in before.table if name != "is_newest"]
    pd.testing.assert_frame_equal(after.table[shared][: len(before.table)], before.table[shared])


def test_a_rate_that_the_calibration_errors_cannot_keep_is_refused_with_the_number(moved):
    with pytest.raises(InputError, match="calibration errors, wanted at least 9999"):
        watch_champion(moved, NAME, rate=0.01)
    refused = forecast_command(moved, "watch", NAME, "--rate", "0")
    assert refused.returncode == 2 and "wanted above 0" in refused.stderr


def test_without_new_observations_the_command_says_that_there_is_nothing_to_judge(
    moved, monkeypatch, capsys
):
    from forecast.cli.predict import watch
    from forecast.operations import predicting

    current = champion.load(moved, NAME)
    card = current.card.model_copy(update={"last_target_used": "2024-07-18T00:00:00"})
    monkeypatch.setattr(
        predicting.champion, "load", lambda root, dataset: replace(current, card=card)
    )
    watch(NAME, 10, False, 0, Format.table, moved)
    assert "nothing to judge yet" in capsys.readouterr().out


def test_alarms_of_one_series_of_several_name_it_and_chance_has_its_number(moved, capsys):
    from forecast.cli import predict

    verdict = watch_champion(moved, NAME, rate=10)
    row = verdict.table[:1].assign(alarm=True)
    several = pd.concat([row, row.assign(unique_id="quiet", alarm=False)])
    predict._print_numbers(row, predict._keys(several), ["y"])
    assert NAME in capsys.readouterr().out and predict._keys(row) == []
    (n_errors,) = verdict.watched.n_errors.values()
    crowd = replace(verdict, table=pd.concat([row] * 3 * (n_errors + 1)))
    assert f"at most 3 (one observation in {n_errors + 1}," in predict._describe_alarms(crowd, 10)
