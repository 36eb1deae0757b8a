"""Old keys of configs/datasets.yaml: read for one release, named in one notice, and no result depends on them."""

from __future__ import annotations

from typing import Any

import pytest

from forecast.backtest import candidates, stage_settings
from forecast.cli import main
from forecast.config.datasets import load_dataset, load_datasets
from forecast.config.paths import ProjectPaths
from forecast.config.reading import notices
from forecast.system.errors import InputError
from tests.support import problems, small_project

OLD = {
    "past_exogenous": "past",
    "calendar_features": "future",
    "season_length": "season",
    "step_size": "stride",
    "calibration_step_size": "calibration_stride",
}
SHOPS = {**problems.SHOPS, "calibration_step_size": 1}


@pytest.fixture(autouse=True)
def told_nothing():
    """What other tests read is not told here, and what is read here is not told elsewhere."""
    notices()
    yield
    notices()


def old_form(entry: dict[str, Any]) -> dict[str, Any]:
    """The entry as it was written before the keys were renamed."""

    def column(new: dict[str, Any]) -> dict[str, Any]:
        level = {True: "drifting", False: "fixed"}[new.get("difference_inputs", False)]
        return {**{k: v for k, v in new.items() if k != "difference_inputs"}, "level": level}

    renamed = {OLD.get(key, key): value for key, value in entry.items()}
    return {
        **renamed,
        "target": [column(c) for c in entry["target"]],
        "past": [column(c) for c in entry["past_exogenous"]],
    }


def write(folder, entry):
    folder.mkdir(exist_ok=True)
    small_project.write_yaml(folder / "datasets.yaml", {"run": ["shops"], "datasets": {"shops": entry}})
    return folder


def test_an_entry_with_old_keys_is_the_entry_with_new_ones(tmp_path):
    old, new = write(tmp_path / "old", old_form(SHOPS)), write(tmp_path / "new", SHOPS)
    assert load_dataset("shops", old) == load_dataset("shops", new)


def test_writing_a_key_by_its_new_name_changes_no_key_and_makes_no_stage_stale(tmp_path):
    project = small_project.write(tmp_path)
    paths, entry = ProjectPaths.of(project), small_project.DATASET
    new = stage_settings.stage_settings(paths)
    task = load_dataset("wave", paths.configs).task
    old = {OLD.get(key, key): value for key, value in entry.items()} | {"target": {"column": "y", "level": "fixed"}}
    assert old != entry
    small_project.write_yaml(paths.datasets_yaml, {"run": ["wave"], "datasets": {"wave": old}})
    assert stage_settings.stage_settings(paths) == new
    assert candidates.task_digest(load_dataset("wave", paths.configs).task) == candidates.task_digest(task)


def test_one_notice_per_file_names_every_old_key_with_its_new_name(tmp_path):
    load_datasets(write(tmp_path, SHOPS))
    assert notices() == []
    load_datasets(write(tmp_path, old_form(SHOPS)))
    load_datasets(write(tmp_path / "again", old_form(SHOPS)))
    (notice,) = notices()
    for old, new in {**{old: new for new, old in OLD.items()}, "level": "difference_inputs"}.items():
        assert notice.count(f"`{old}` is now `{new}`") == 1
    assert notice.startswith(f"{tmp_path}/datasets.yaml: ") and notice.endswith("rename them.")
    assert notices() == []


@pytest.mark.parametrize(("command", "code"), [(["check"], 0), (["data"], 0), (["predict", "wave"], 2)])
def test_every_command_that_reads_old_keys_tells_them_once(tmp_path, capsys, command, code):
    project = small_project.write(tmp_path)
    datasets = project / "configs" / "datasets.yaml"
    datasets.write_text(datasets.read_text().replace("season_length:", "season:"))
    with pytest.raises(SystemExit) as ended:
        main([*command, "--root", str(project)])
    told = capsys.readouterr()
    assert ended.value.code == code, told
    assert told.err.count("`season` is now `season_length`") == 1


def test_both_names_of_a_key_are_an_error_that_names_both(tmp_path):
    with pytest.raises(InputError, match=r"`season` is the old name of `season_length`, and both are given"):
        load_datasets(write(tmp_path, {**SHOPS, "season": 4}))


def test_a_wrong_value_under_an_old_key_is_told_with_what_is_wanted_now(tmp_path):
    with pytest.raises(InputError, match=r"level: found 'driftin'; wanted `difference_inputs: false` \(was fixed\)"):
        load_datasets(write(tmp_path, {**SHOPS, "target": {"column": "y", "level": "driftin"}}))
    entry = {key: value for key, value in SHOPS.items() if key != "season_length"}
    with pytest.raises(InputError, match=r"key 'datasets\.shops\.season': .*greater than or equal to 1"):
        load_datasets(write(tmp_path, {**entry, "season": 0}))


def test_an_unknown_key_is_still_refused_with_the_nearest_name(tmp_path):
    with pytest.raises(InputError, match=r"unknown key .*seasonlength.*Did you mean 'season_length'"):
        load_datasets(write(tmp_path, {**SHOPS, "seasonlength": 4}))
