from __future__ import annotations

import json
import os
import shutil
import signal
import warnings
from pathlib import Path

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from forecast import cli
from forecast.cli import check, common
from forecast.config.datasets import load_datasets
from forecast.data import preparation, snapshots
from forecast.system.errors import DataError, ForecastError, InputError
from tests.support import small_project
from tests.support.example_data import hourly, write_project
from tests.support.services import Services, answers, serving


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_project(tmp_path, mine={})
    hourly(rows=240).to_csv(tmp_path / "data" / "mine.csv", index=False)
    return tmp_path


def run(*arguments: str, root: Path) -> str:
    result = CliRunner().invoke(cli.app, [*arguments, "--root", str(root)])
    if isinstance(result.exception, ForecastError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_fetch_takes_a_snapshot_and_says_where(project: Path):
    output = run("fetch", "mine", root=project)
    assert (
        f"mine: taken {snapshots.read_pointer(project, 'mine').snapshot} (240 rows, +240;" in output
    )


def test_an_entry_that_is_taken_out_is_guessed_anew_and_another_file_takes_another_name(
    project: Path,
) -> None:
    path, config = project / "data" / "power.csv", project / "configs" / "datasets.yaml"
    before = config.read_text()
    rows = hourly(rows=300)
    rows.to_csv(path, index=False)
    run("add", "data/power.csv", root=project)
    for name in ("power", "Power"):  # one folder on the disks of macOS and Windows
        with pytest.raises(InputError, match=r"has an entry 'power' already.*take it out"):
            run("add", "data/power.csv", "--horizon", "3", "--name", name, root=project)
    config.write_text(before)
    run("add", "data/power.csv", "--horizon", "3", root=project)
    assert load_datasets(project / "configs").datasets["power"].horizon == 3
    config.write_text(before)
    rows[:200].to_csv(path, index=False)
    with pytest.raises(InputError, match=r"shrinkage.*Rows of an earlier.*--name"):
        run("add", "data/power.csv", root=project)
    run("add", "data/power.csv", "--name", "fewer", root=project)


def test_fetch_says_that_nothing_is_new_and_how_many_rows_of_a_plan_got_values(tmp_path: Path):
    plan = {"future_exogenous": [{"column": "promo", "known_ahead": True}]}
    root = write_project(tmp_path, mine=plan)
    rows = hourly(rows=240).assign(promo=1.0)
    rows.assign(temp=rows["temp"].where(rows.index < 237)).to_csv(root / "data" / "mine.csv")
    assert "(240 rows, +240, observations +237; last observation 2024-01-10 20:00 UTC;" in run(
        "fetch", "mine", root=root
    )
    assert "mine: nothing new in data/snapshots" in run("fetch", "mine", root=root)
    rows.to_csv(root / "data" / "mine.csv")
    assert "(240 rows, +0, observations +3; last observation" in run("fetch", "mine", root=root)


def test_fetch_for_a_program_prints_what_data_prints(project: Path):
    done = small_project.command(project, "fetch", "mine", "--format", "json")
    (row,) = json.loads(done.stdout)
    assert (
        row["rows"] == 240 and row == json.loads(run("data", "--format", "json", root=project))[0]
    )
    assert "mine: taken" in done.stderr


def test_what_a_dataset_joins_is_fetched_before_it_where_it_is_named_alone(tmp_path: Path):
    """Else the newest rows would have none of it, which `max_missing` lets pass."""
    joined = {"dataset": "other", "series": "other", "column": "temp", "max_age_days": 1}
    near = {"column": "near", "max_missing": 0.02, "joined": joined}
    write_project(
        tmp_path,
        mine={"past_exogenous": [near]},
        other={"source": {"kind": "file", "path": "data/other.csv"}},
    )
    for rows in (240, 300):
        for name in ("mine", "other"):
            hourly(rows=rows).drop(columns="unique_id").to_csv(
                tmp_path / "data" / f"{name}.csv", index=False
            )
        output = run("fetch", "mine", root=tmp_path)
        assert [line.partition(":")[0] for line in output.splitlines()] == ["other", "mine"]
        frame, _ = preparation.check_data(
            "mine", load_datasets(tmp_path / "configs").datasets["mine"], root=tmp_path
        )
        assert frame["near"].equals(frame["temp"].rename("near")) and len(frame) == rows


def test_a_series_without_any_value_is_named_wherever_the_data_are_told(tmp_path: Path):
    write_project(
        tmp_path,
        mine={"source": {"kind": "file", "path": "data/mine.csv"}},
    )
    rows = hourly(rows=240, series=["a", "b"])
    rows.assign(temp=rows["temp"].mask(rows["unique_id"] == "b")).to_csv(
        tmp_path / "data" / "mine.csv", index=False
    )
    for name in ("models", "tuning", "evaluation"):
        shutil.copy(Path("configs") / f"{name}.yaml", tmp_path / "configs")
    run("fetch", "mine", root=tmp_path)
    output = run("check", "mine", root=tmp_path)
    assert "1 series left out" in output and "b has no value of 'temp'" in " ".join(output.split())
    assert "240 rows of 1 series" in output
    assert "series 'b', column 'temp': has no value of 'temp'" in run("data", "mine", root=tmp_path)


@pytest.fixture
def with_new_series(tmp_path: Path) -> Path:
    """A project whose data have two series of 240 rows, and one of 9."""
    write_project(tmp_path, mine={})
    rows = pd.concat([hourly(rows=240, series=["a", "b"]), hourly(rows=9, series=["new"])])
    rows.to_csv(tmp_path / "data" / "mine.csv", index=False)
    for name in ("models", "tuning", "evaluation"):
        shutil.copy(Path("configs") / f"{name}.yaml", tmp_path / "configs")
    return tmp_path


def test_a_series_that_lacks_a_block_is_named_with_the_rows_it_needs_wherever_data_are_told(
    with_new_series: Path,
):
    for command in ("fetch", "check"):
        output = " ".join(run(command, "mine", root=with_new_series).split())
        assert "1 series not scored (they lack a block" in output
        assert "new its validation block has 0 of 9 steps, needs 2" in output
    assert "of 3 series, 2024-01-01 to 2024-01-10; 1 series not scored" in output
    assert "not scored (length): series 'new'" in run("data", "mine", root=with_new_series)


def test_check_names_a_stuck_sensor_with_its_times_and_what_becomes_of_the_rows(
    with_new_series: Path,
):
    path = with_new_series / "data" / "mine.csv"
    rows = pd.read_csv(path)
    rows.loc[(rows["unique_id"] == "b") & (rows.index % 240).isin(range(100, 172)), "temp"] = 7.5
    rows.to_csv(path, index=False)
    run("fetch", "mine", root=with_new_series)
    output = run("check", "mine", root=with_new_series)
    assert "series 'b', column 'temp': equal values: 7.5 in 72 rows from 2024-01-05 04:00" in output
    assert (
        "to 2024-01-08 03:00. They are fitted and scored" in output and "empty the cells" in output
    )


def test_check_for_a_program_prints_nothing_but_json(with_new_series: Path):
    run("fetch", "mine", root=with_new_series)
    done = small_project.command(with_new_series, "check", "mine", "--format", "json")
    assert json.loads(done.stdout)[-1]["what"] == "dataset mine"
    assert "1 series not scored" in done.stderr


def test_fetch_names_what_the_checks_found(project: Path):
    hourly(rows=240).assign(temp=5.0).to_csv(project / "data" / "mine.csv", index=False)
    assert "warn (stale_repeats): series 'a', column 'temp'" in run("fetch", "mine", root=project)


def test_fetch_tells_revised_history(project: Path):
    run("fetch", "mine", root=project)
    hourly(rows=240).assign(temp=lambda f: f["temp"].replace(15.0, 16.5)).to_csv(
        project / "data" / "mine.csv", index=False
    )
    output = run("fetch", "mine", root=project)
    assert "revised history, values: 1 changed;" in output
    assert "times what it was" not in output


def test_fetch_names_another_unit_of_the_whole_history(project: Path):
    run("fetch", "mine", root=project)
    frame = hourly(rows=240)
    frame.assign(temp=frame["temp"] / 1000).to_csv(project / "data" / "mine.csv", index=False)
    output = run("fetch", "mine", root=project)
    assert (
        "The median one of 'temp' is 0.001 times what it was. After a change of the unit" in output
    )
    assert "then `forecast promote mine`" in output
    frame.assign(temp=frame["temp"] / 999).to_csv(project / "data" / "mine.csv", index=False)
    assert "times what it was" not in run("fetch", "mine", root=project)


def test_fetch_asks_each_column_whether_its_unit_changed(tmp_path: Path):
    names = ["temp", "wind", "rain", "sun"]
    write_project(tmp_path, mine={"past_exogenous": [{"column": name} for name in names[1:]]})
    frame = hourly(rows=240)
    frame = frame.assign(wind=frame["temp"] + 1, rain=frame["temp"] + 2, sun=frame["temp"] + 3)
    path = tmp_path / "data" / "mine.csv"
    frame.to_csv(path, index=False)
    run("fetch", "mine", root=tmp_path)
    # a fifth of the cells of each of four columns: together more cells than half of the rows
    frame.loc[frame.index % 5 == 0, names] *= 10
    frame.to_csv(path, index=False)
    output = run("fetch", "mine", root=tmp_path)
    assert "revised history, values: 192 changed;" in output
    assert "times what it was" not in output


def test_fetch_takes_corrected_zeros_for_no_other_unit(project: Path):
    frame = hourly(rows=240)
    path = project / "data" / "mine.csv"
    frame.assign(temp=frame["temp"].where(frame.index >= 160, 0.0)).to_csv(path, index=False)
    run("fetch", "mine", root=project)
    frame.to_csv(path, index=False)
    output = run("fetch", "mine", root=project)
    assert "revised history" in output and "times what it was" not in output


def test_what_is_true_of_many_series_is_one_line(project: Path):
    hourly(rows=240, series=("a", "b", "c", "d", "e")).assign(temp=5.0).to_csv(
        project / "data" / "mine.csv", index=False
    )
    output = run("fetch", "mine", root=project)
    assert (
        "warn (stale_repeats): series 'a', 'b', 'c' and 2 more, column 'temp': equal"
        " values: 5 in 240 rows from 2024-01-01 to 2024-01-10 23:00." in output
    )
    assert output.count("stale_repeats") == 1


def test_fetch_without_a_name_takes_what_run_needs_and_what_is_joined_first(tmp_path: Path):
    joined = {"dataset": "other", "series": "a", "column": "temp"}
    with_other = {"past_exogenous": [{"column": "also", "max_missing": 0.5, "joined": joined}]}
    write_project(tmp_path, mine=with_other, other={}, unused={})
    place = tmp_path / "configs" / "datasets.yaml"
    place.write_text(place.read_text().replace("- other\n", "").replace("- unused\n", ""))
    hourly(rows=240).to_csv(tmp_path / "data" / "mine.csv", index=False)
    lines = run("fetch", root=tmp_path).splitlines()
    assert [line.partition(":")[0] for line in lines if " taken " in line] == ["other", "mine"]


def test_one_service_that_fails_keeps_no_other_dataset_from_being_fetched(tmp_path: Path):
    with serving(Services(now=pd.Timestamp("2024-02-01"))) as services:
        services.fail("", answers(404, "gone", "text/plain"))
        live(tmp_path, services)
        entries = yaml.safe_load((tmp_path / "configs" / "datasets.yaml").read_text())
        write_project(tmp_path, city=entries["datasets"]["city"], mine={})
        hourly(rows=240).to_csv(tmp_path / "data" / "mine.csv", index=False)
        with pytest.raises(DataError, match="answered 404") as error:
            run("fetch", root=tmp_path)
    assert error.value.exit_code == 3 and snapshots.read_pointer(tmp_path, "mine")


def test_a_ticker_that_never_gave_a_row_is_left_out_and_one_that_did_is_kept(tmp_path: Path):
    source = {"kind": "yahoo", "tickers": ["AAA", "BBB"], "start": "2024-01-02", "max_failed": 0.5}
    with serving(Services(now=pd.Timestamp("2024-02-01 22:00"), delisted={"BBB"})) as services:
        entry = {"source": {**source, "base_url": services.url}, "target": {"column": "close"}}
        write_project(
            tmp_path, shares={**entry, "calendar": {"kind": "sessions", "exchange": "XNYS"}}
        )
        assert "BBB left out: Yahoo, ticker 'BBB': no prices" in run(
            "fetch", "shares", root=tmp_path
        )
        services.delisted = {"AAA"}
        assert "AAA kept as it was: Yahoo, ticker 'AAA': no prices" in run(
            "fetch", "shares", root=tmp_path
        )


def test_data_shows_a_row_for_each_dataset(project: Path):
    run("fetch", "mine", root=project)
    (row,) = json.loads(run("data", "--format", "json", root=project))
    assert (row["dataset"], row["rows"], row["gaps"], row["state"]) == ("mine", 240, 0, "good")
    assert row["last"] == "2024-01-10T23:00:00" and row["snapshots"] == 1


def test_data_says_what_was_never_fetched(project: Path):
    (row,) = json.loads(run("data", "mine", "--format", "json", root=project))
    assert row["state"] == "not fetched; run `forecast fetch mine`" and row["rows"] == 0


def test_check_names_what_fetch_found_and_data_that_the_rows_are_old(with_new_series: Path):
    path = with_new_series / "data" / "mine.csv"
    frame = pd.read_csv(path)
    frame.loc[100, "temp"] += 1000.0
    frame.to_csv(path, index=False)
    fetched = run("fetch", "mine", root=with_new_series)
    checked = run("check", "mine", root=with_new_series)
    assert "warn (spikes)" in fetched and "warn (spikes)" in checked
    assert "series 'a'" not in checked.partition("(freshness)")[2]
    assert "warn (freshness): series 'a'" in run("data", "mine", root=with_new_series)


def test_data_of_one_dataset_lists_its_findings(project: Path):
    hourly(rows=240).assign(temp=5.0).to_csv(project / "data" / "mine.csv", index=False)
    run("fetch", "mine", root=project)
    assert "warn (stale_repeats)" in run("data", "mine", root=project)


def test_in_a_folder_below_it_the_project_is_found_and_a_named_one_is_not_looked_above(
    project: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(project / "data")
    result = CliRunner().invoke(cli.app, ["fetch", "mine"])
    assert result.exit_code == 0 and "mine: taken" in result.output
    assert snapshots.read_pointer(project, "mine").snapshot in result.output
    for folder in (project / "data", Path()):
        with pytest.raises(InputError, match=r"no configs/datasets.yaml here\. Run"):
            run("fetch", "mine", root=folder)
    assert common.complete_dataset("mi") == ["mine"]


@pytest.mark.parametrize("action", ["warn", "refuse", "off"])
def test_check_tells_repeats_by_the_action_of_their_rule(
    action: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    write_project(tmp_path, mine={"quality": {"stale_repeats": {"action": "warn", "limit": 48}}})
    frame = hourly(rows=240).assign(temp=5.0)
    frame.to_csv(tmp_path / "data" / "mine.csv", index=False)
    run("fetch", "mine", root=tmp_path)
    rule = {"stale_repeats": {"action": action, "limit": 48}}
    settings = load_datasets(write_project(tmp_path, mine={"quality": rule}) / "configs")
    check.read_data("mine", settings.datasets["mine"], tmp_path, files_may_differ=True)
    output = capsys.readouterr().out
    assert ("stale_repeats" in output) == (action != "off")
    assert (f"{action} (stale_repeats)" in output) == (action != "off")


def test_a_date_that_is_none_is_refused(project: Path):
    with pytest.raises(InputError, match="--as-of: found 'soon'"):
        run("fetch", "mine", "--as-of", "soon", root=project)


@pytest.mark.parametrize("command", ["fetch", "retrain"])
def test_a_date_of_the_future_is_refused_before_anything_is_made(project: Path, command: str):
    """A retraining would tune first; in a folder without a commit it would complain of that."""
    with pytest.raises(InputError, match="--as-of: 2199-01-01 00:00:00 lies in the future"):
        run(command, "mine", "--as-of", "2199-01-01", root=project)
    assert not (project / ".forecast" / "retrain").exists()


def test_an_unknown_dataset_is_answered_with_the_nearest(project: Path):
    with pytest.raises(InputError, match=r"Did you mean 'mine'\?"):
        run("fetch", "mnie", root=project)


def live(root: Path, services: Services) -> Path:
    place = {"latitude": 53.35, "longitude": -6.26}
    source = {
        "kind": "open_meteo",
        "places": {"dublin": place},
        "variables": {"temp": "temperature_2m"},
    }
    return write_project(
        root,
        city={
            "source": {**source, "start": "2024-01-01", "base_url": services.url, "deadline_s": 5}
        },
    )


def test_a_service_that_fails_exits_3_and_names_what_is_still_usable(tmp_path: Path):
    with serving(Services(now=pd.Timestamp("2024-02-01"))) as services:
        live(tmp_path, services)
        run("fetch", "city", "--as-of", "2024-01-20", root=tmp_path)
        services.fail("", answers(404, "gone", "text/plain"))
        with pytest.raises(
            DataError, match=r"The snapshot of 2024-01-19T23:00:00 \(\d+ days old\) is untouched"
        ) as error:
            run("fetch", "city", root=tmp_path)
        assert error.value.exit_code == 3
        output = run("fetch", "city", "--allow-stale", root=tmp_path)
        assert (
            "answered 404" in output
            and "Going on with the snapshot of 2024-01-19T23:00:00" in output
        )


def test_stale_data_are_no_way_out_when_there_are_none(tmp_path: Path):
    with serving(Services(now=pd.Timestamp("2024-02-01"))) as services:
        live(tmp_path, services)
        services.fail("", answers(404, "gone", "text/plain"))
        with pytest.raises(DataError, match=r"answered 404.* There is no older snapshot"):
            run("fetch", "city", "--allow-stale", root=tmp_path)


def test_add_says_how_long_it_reads_before_it_reads(project: Path):
    (project / "data" / "mine2.csv").write_text("a,b\nx,y\n")
    result = CliRunner().invoke(cli.app, ["add", "data/mine2.csv", "--root", str(project)])
    assert isinstance(result.exception, InputError)
    assert result.stderr.startswith("Reading the file; a million rows take")


def test_one_command_writes_the_entry_of_an_own_file_and_takes_its_data(project: Path):
    configs = project / "configs" / "datasets.yaml"
    configs.write_text(configs.read_text().replace("run:\n- mine", "run: [mine]"))
    power = (
        hourly(rows=600)
        .assign(ds=lambda f: f["ds"].dt.strftime("%d.%m.%Y %H:%M"))
        .drop(columns="unique_id")
    )
    power.to_csv(project / "data" / "My power.csv", sep=";", decimal=",", index=False)
    output = run("add", "data/My power.csv", root=project)
    assert "  My_power:\n" in output and "forecast run --dataset My_power" in output
    assert load_datasets(project / "configs").run == ("mine", "My_power")
    assert len(snapshots.read_pointed(project, "My_power")) == 600
    with pytest.raises(InputError, match=r"`forecast fetch My_power`.*--name"):
        run("add", "data/My power.csv", root=project)


def test_a_table_with_a_column_for_each_month_leaves_nothing_behind(project: Path):
    configs = project / "configs" / "datasets.yaml"
    before = configs.read_bytes()
    months = pd.date_range("2012-01-01", periods=120, freq="MS").strftime("%Y-%m")
    wide = pd.DataFrame({"what": ["births"], **dict.fromkeys(months, 5.0)})
    wide.to_csv(project / "data" / "wide.csv", index=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError, match=r"120 columns are named by times.*melt"):
            run("add", "data/wide.csv", root=project)
    assert configs.read_bytes() == before and not (project / "data/snapshots/wide").exists()


@pytest.mark.parametrize("moment", range(6))
def test_add_killed_before_any_of_its_writes_goes_on(
    project: Path, moment: int, monkeypatch: pytest.MonkeyPatch
):
    hourly(rows=240).drop(columns="unique_id").to_csv(project / "data" / "own.csv", index=False)
    configs = project / "configs" / "datasets.yaml"
    before, replace = configs.read_text(), Path.replace
    left = iter(range(moment, -1, -1))

    def dying(self: Path, target: Path) -> Path:
        if next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(self, target)

    child = os.fork()
    if child == 0:
        # not pytest's, after which this twin would run the other tests
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(120)
        monkeypatch.setattr(Path, "replace", dying)
        CliRunner().invoke(cli.app, ["add", "data/own.csv", "--root", str(project)])
        os._exit(0)
    _, status = os.waitpid(child, 0)
    expected = signal.SIGKILL if moment < 5 else 0
    assert status == expected  # before: snapshot, record, pointer, when it was taken, entry
    whole = "own" in load_datasets(project / "configs").datasets
    assert whole == (moment == 5) and (whole or configs.read_text() == before)
    if not whole:
        run("add", "data/own.csv", root=project)
    assert load_datasets(project / "configs").run == ("mine", "own")
    assert len(snapshots.read_pointed(project, "own")) == 240


def test_a_file_whose_data_are_refused_leaves_the_configuration_as_it_was(project: Path):
    before = (project / "configs" / "datasets.yaml").read_text()
    (project / "data" / "twice.csv").write_text(
        "ds,y\n2024-01-01,1\n2024-01-02,1\n2024-01-02,2\n2024-01-03,2\n"
    )
    with pytest.raises(InputError, match="stands twice"):
        run("add", "data/twice.csv", root=project)
    assert (project / "configs" / "datasets.yaml").read_text() == before


def test_a_series_without_dates_goes_from_its_file_to_a_checked_dataset(tmp_path: Path):
    write_project(tmp_path, mine={"calendar": {"kind": "index"}})
    hourly(rows=240)[["temp"]].to_csv(tmp_path / "data" / "mine.csv", index=False)
    assert "(240 rows, +240; as of row 239)" in run("fetch", "mine", root=tmp_path)
    for name in ("models", "tuning", "evaluation"):
        shutil.copy(Path("configs") / f"{name}.yaml", tmp_path / "configs" / f"{name}.yaml")
    assert "right: 240 rows of 1 series, row 0 to row 239" in run("check", "mine", root=tmp_path)
    (row,) = json.loads(run("data", "--format", "json", root=tmp_path))
    assert (row["first"], row["last"], row["as_of"], row["age"]) == (
        "row 0",
        "row 239",
        "row 239",
        None,
    )


def test_many_findings_of_one_rule_are_two_lines_and_all_in_the_summary(tmp_path: Path) -> None:
    target = {"column": "temp", "max_missing": 0.1}
    write_project(tmp_path, mine={"calendar": {"kind": "regular", "freq": "1D"}, "target": target})
    days = pd.date_range("2024-01-01", periods=240)
    parts = [
        pd.DataFrame({"unique_id": f"K{i}", "ds": days, "temp": range(240)}).drop(index=20 * i)
        for i in range(1, 9)
    ]
    pd.concat(parts).to_csv(tmp_path / "data" / "mine.csv", index=False)
    output = run("fetch", "mine", root=tmp_path)
    assert output.count("warn (gaps): series 'K1'") == output.count("warn (gaps)") == 1
    assert "7 lines more: `forecast data mine`" in output
    assert run("data", "mine", root=tmp_path).count("warn (gaps)") == 8


def test_findings_of_rows_without_dates_name_the_rows(tmp_path: Path):
    target = {"column": "temp", "max_missing": 0.1}
    write_project(tmp_path, mine={"calendar": {"kind": "index"}, "target": target})
    values = [*range(100), *[7.5] * 20, "", *range(100)]
    lines = [f"{number},{value}" for number, value in enumerate(values) if number != 150]
    (tmp_path / "data" / "mine.csv").write_text("\n".join(["ds,temp", *lines]) + "\n")
    run("fetch", "mine", root=tmp_path)
    output = run("data", "mine", root=tmp_path)
    assert (
        "row 100 to row 119" in output
        and "(row 120)" in output
        and "begin at row 150." in output
        and "1970" not in output
    )


@pytest.mark.parametrize(
    "kind", ["a loop of links", "a pipe", "a folder", "nothing", "a dead link"]
)
def test_what_is_no_file_is_refused_in_a_sentence(project: Path, kind: str) -> None:
    path = project / "data" / "another.csv"
    if kind == "a loop of links":
        path.symlink_to("another.csv")
    elif kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a folder":
        path.mkdir()
    elif kind == "a dead link":
        path.symlink_to("gone.csv")
    with pytest.raises(InputError, match=r"no such file\. Name a CSV or Parquet"):
        run("add", str(path), root=project)
