from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from forecast import cli, snapshots
from forecast.errors import DataError, ForecastError, InputError
from tests.example_data import hourly, write_project
from tests.services import Services, answers, serving


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
    said = run("fetch", "mine", root=project)
    assert f"mine: taken {snapshots.read_pointer(project, 'mine').snapshot} (240 rows, +240;" in said


def test_fetch_names_what_the_checks_found(project: Path):
    hourly(rows=240).assign(temp=5.0).to_csv(project / "data" / "mine.csv", index=False)
    assert "warn (stale_repeats): series 'a', column 'temp'" in run("fetch", "mine", root=project)


def test_fetch_tells_revised_history(project: Path):
    run("fetch", "mine", root=project)
    hourly(rows=240).assign(temp=lambda f: f["temp"].replace(15.0, 16.5)).to_csv(
        project / "data" / "mine.csv", index=False
    )
    said = run("fetch", "mine", root=project)
    assert "revised history: 1 changed values" in said


def test_data_shows_a_row_for_each_dataset(project: Path):
    run("fetch", "mine", root=project)
    (row,) = json.loads(run("data", "--format", "json", root=project))
    assert (row["dataset"], row["rows"], row["gaps"], row["state"]) == ("mine", 240, 0, "good")
    assert row["last"] == "2024-01-10T23:00:00" and row["snapshots"] == 1


def test_data_says_what_was_never_fetched(project: Path):
    (row,) = json.loads(run("data", "mine", "--format", "json", root=project))
    assert row["state"] == "not fetched; run `forecast fetch mine`" and row["rows"] is None


def test_data_of_one_dataset_lists_its_findings(project: Path):
    hourly(rows=240).assign(temp=5.0).to_csv(project / "data" / "mine.csv", index=False)
    run("fetch", "mine", root=project)
    assert "warn (stale_repeats)" in run("data", "mine", root=project)


def test_plot_writes_a_picture_outside_of_the_report(project: Path):
    run("fetch", "mine", root=project)
    assert run("data", "mine", "--plot", root=project).strip().endswith("mine.png")
    assert (project / ".forecast" / "plots" / "mine.png").read_bytes().startswith(b"\x89PNG")


def test_plot_needs_a_name(project: Path):
    with pytest.raises(InputError, match="needs the name of a data set"):
        run("data", "--plot", root=project)


def test_a_date_that_is_none_is_refused(project: Path):
    with pytest.raises(InputError, match="--as-of: found 'soon'"):
        run("fetch", "mine", "--as-of", "soon", root=project)


def test_an_unknown_dataset_is_answered_with_the_nearest(project: Path):
    with pytest.raises(InputError, match=r"Did you mean 'mine'\?"):
        run("fetch", "mnie", root=project)


def live(root: Path, services: Services) -> Path:
    place = {"latitude": 53.35, "longitude": -6.26}
    source = {"kind": "open_meteo", "places": {"dublin": place}, "variables": {"temp": "temperature_2m"}}
    return write_project(
        root, city={"source": {**source, "start": "2024-01-01", "base_url": services.url, "deadline_s": 5}}
    )


def test_a_service_that_fails_exits_3_and_names_what_is_still_usable(tmp_path: Path):
    import pandas as pd

    with serving(Services(now=pd.Timestamp("2024-02-01"))) as services:
        live(tmp_path, services)
        run("fetch", "city", "--as-of", "2024-01-20", root=tmp_path)
        services.fail("", answers(404, "gone", "text/plain"))
        with pytest.raises(
            DataError, match=r"The snapshot of 2024-01-19T23:00:00 \(\d+ days old\) is untouched"
        ) as error:
            run("fetch", "city", root=tmp_path)
        assert error.value.exit_code == 3
        said = run("fetch", "city", "--allow-stale", root=tmp_path)
        assert "answered 404" in said and "Going on with the snapshot of 2024-01-19T23:00:00" in said


def test_stale_data_are_no_way_out_when_there_are_none(tmp_path: Path):
    import pandas as pd

    with serving(Services(now=pd.Timestamp("2024-02-01"))) as services:
        live(tmp_path, services)
        services.fail("", answers(404, "gone", "text/plain"))
        with pytest.raises(DataError, match="answered 404"):
            run("fetch", "city", "--allow-stale", root=tmp_path)
