"""What a module runs, from its import statements."""

from __future__ import annotations

from pathlib import Path

import pytest

from forecast.system import code_closure
from forecast.system.code_closure import code_digest
from forecast.system.errors import InputError
from tests.support.module_files import module_files


@pytest.fixture
def project(tmp_path: Path) -> Path:
    files = {
        "forecast/__init__.py": "",
        "forecast/errors.py": "class E(Exception): pass\n",
        "forecast/a.py": (
            '"""A."""\nfrom forecast import errors\nfrom forecast.pack.inner import x\n'
        ),
        "forecast/late.py": "def f():\n    import forecast.a\n",
        "forecast/typed.py": (
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from forecast import a\n"
        ),
        "forecast/near.py": "from .errors import E\n",
        "forecast/pack/__init__.py": "",
        "forecast/pack/inner.py": "x = 1\n",
        "forecast/shelf/__init__.py": (
            "import pkgutil\nnames = list(pkgutil.iter_modules(__path__))\n"
        ),
        "forecast/shelf/one.py": "y = 1\n",
        "forecast/shelf/two.py": "from forecast import errors\n",
        "forecast/user.py": "from forecast.shelf import names\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def names(paths: list[Path]) -> list[str]:
    return [path.as_posix().removeprefix("forecast/") for path in paths]


def test_packages_above_a_module_and_imported_submodules_belong_to_it(project: Path) -> None:
    closure = names(module_files("forecast.a", project))
    assert closure == ["__init__.py", "a.py", "errors.py", "pack/__init__.py", "pack/inner.py"]


def test_an_import_inside_a_function_counts(project: Path) -> None:
    assert "pack/inner.py" in names(module_files("forecast.late", project))


def test_a_relative_import_is_resolved(project: Path) -> None:
    assert names(module_files("forecast.near", project)) == ["__init__.py", "errors.py", "near.py"]


def test_an_import_for_the_type_checker_does_not_run(project: Path) -> None:
    assert names(module_files("forecast.typed", project)) == ["__init__.py", "typed.py"]


def test_an_import_that_the_type_checker_alone_does_not_see_runs(project: Path) -> None:
    typed = project / "forecast" / "typed.py"
    typed.write_text(typed.read_text().replace("if TYPE", "if not TYPE"))
    assert "a.py" in names(module_files("forecast.typed", project))


def test_a_package_that_finds_members_by_name_brings_all_of_them(project: Path) -> None:
    assert {"shelf/one.py", "shelf/two.py", "errors.py"} <= set(
        names(module_files("forecast.user", project))
    )
    assert "shelf/one.py" not in names(module_files("forecast.user", project, found_by_name=False))


def test_the_digest_changes_with_the_code_and_not_with_its_comments(project: Path) -> None:
    before = code_digest(["forecast.a"], project)
    file = project / "forecast/a.py"
    file.write_text('"""Another sentence."""\n# a remark\n' + file.read_text().partition("\n")[2])
    assert code_digest(["forecast.a"], project) == before
    (project / "forecast/pack/inner.py").write_text("x = 2222\n")
    assert code_digest(["forecast.a"], project) != before


def test_the_digest_ignores_what_is_said_of_a_constant(project: Path) -> None:
    file = project / "forecast/pack/inner.py"
    file.write_text('x = 2222\n"""Metres."""\n')
    before = code_digest(["forecast.a"], project)
    file.write_text('x = 2222\n"""The length of a step in metres."""\n')
    assert code_digest(["forecast.a"], project) == before


def test_the_digest_of_one_member_ignores_the_others(project: Path) -> None:
    before = code_digest(["forecast.user", "forecast.shelf.one"], project)
    (project / "forecast/shelf/two.py").write_text("z = 5\n")
    assert code_digest(["forecast.user", "forecast.shelf.one"], project) == before


@pytest.mark.parametrize("module", ["forecast.nothing", "__main__"])
def test_an_unknown_module_such_as_a_script_with_a_loss_is_named_with_where_to_put_it(
    project: Path, module: str
) -> None:
    refusal = rf"^Module '{module}': found in none of .* such as a loss, into a file there"
    with pytest.raises(InputError, match=refusal):
        module_files(module, project)


def digest_of_another_process(project: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, int]:
    """And how many files it had to read for it."""
    read, read_source = [], code_closure._read_source
    monkeypatch.setattr(
        code_closure,
        "_read_source",
        lambda *arguments: read.append(arguments) or read_source(*arguments),
    )
    code_closure._read_cache.cache_clear()
    digest = code_digest(["forecast.a"], project)
    monkeypatch.undo()
    return digest, len(read)


def test_what_a_file_says_is_read_once_for_all_processes_and_again_after_an_edit(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, read = digest_of_another_process(project, monkeypatch)
    assert read == 5
    assert digest_of_another_process(project, monkeypatch) == (first, 0)
    (project / "forecast/pack/inner.py").write_text("x = 2\n")
    second, read = digest_of_another_process(project, monkeypatch)
    assert second != first and read == 1
    (project / "forecast/pack/inner.py").write_text("x = 1\n")
    assert digest_of_another_process(project, monkeypatch) == (first, 1)


@pytest.mark.parametrize("damage", ["", "{", "[]", "3", '{"forecast.a": {"state": ""}}'])
def test_a_damaged_record_of_what_was_read_is_made_again(
    project: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    first, _ = digest_of_another_process(project, monkeypatch)
    (record,) = (project / "forecast/__pycache__").glob("sources.*.json")
    record.write_text(damage)
    assert digest_of_another_process(project, monkeypatch) == (first, 5)
    assert digest_of_another_process(project, monkeypatch) == (first, 0)


def test_where_nothing_can_be_kept_the_code_is_read_as_ever(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "forecast/__pycache__").write_text("no folder")
    first, _ = digest_of_another_process(project, monkeypatch)
    assert digest_of_another_process(project, monkeypatch) == (first, 5)
