"""The notebooks of docs/learn: each runs from its first cell to its last; their site has all of
them.
"""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from docs import notebooks
from docs.notebooks import CellError, cells, executed, notebook, run
from docs.site import COPIED, DOCS, mend_links, reference
from forecast import PUBLIC_MODULES, identification
from tests.support.small_project import ROOT

PAGES = sorted((DOCS / "learn").glob("*.md"))
DRAWN = {"first-forecast": 3, "own-csv": 1, "stock-prices": 1, "narx-from-matlab": 3, "new-cell": 1}
DRAWN |= {"reading-the-report": 2, "operating": 0, "exercises": 0}
"""Page → its figures."""
WITH_EXAMPLES = sorted(
    path
    for path in (ROOT / "forecast").rglob("*.py")
    if ">>> " in path.read_text("utf-8")
    and path.parent.name != "api"  # tests/api/test_docstrings.py: they share names
)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_notebook_runs_from_its_first_cell_to_its_last(page: Path, tmp_path: Path) -> None:
    outputs = run(page, tmp_path)
    assert len(list(tmp_path.glob("*.png"))) == DRAWN[page.stem]
    assert outputs.count("```text") + outputs.count("<table>") >= 2


def test_a_page_shows_the_catalogue_as_committed_whatever_was_changed_in_its_clone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    shutil.copy(ROOT / "docs" / "notebooks.py", clone / "docs")
    (clone / "configs" / "models.yaml").write_text("models: {mine: [\n")
    page = tmp_path / "page.md"
    cell = "from forecast.api.stages import model_entries\nsorted(model_entries('gru'))"
    page.write_text(f"```python\n{cell}\n```\n")
    monkeypatch.setattr(notebooks, "ROOT", clone)
    monkeypatch.setenv("PYTHONPATH", str(clone))
    (tmp_path / "shown").mkdir()
    assert "['gru']" in run(page, tmp_path / "shown")


@pytest.mark.skipif(
    importlib.util.find_spec("sktime") is None, reason="sktime, which pins pandas, is no dependency"
)
def test_the_page_of_sktime_runs_where_sktime_is(tmp_path: Path) -> None:
    outputs = run(DOCS / "sktime.md", tmp_path)
    assert outputs.count("<table>") == 3 and "<th>seasonal naive</th>" in outputs


def test_a_cell_shows_what_it_prints_its_last_value_and_its_figure(tmp_path: Path) -> None:
    page = """# A page
```python
import pandas
from matplotlib.figure import Figure
print("seen")
40 + 2
```
Words.
```python
pandas.DataFrame({"a": [1.23456]})
```
```python
Figure()
```
```sh
echo done
```
"""
    assert [kind for kind, _ in cells(page)] == [
        "markdown",
        "python",
        "markdown",
        "python",
        "python",
        "sh",
    ]
    cell_outputs = executed(page, "page", tmp_path, tmp_path)
    assert (
        "```text\nseen\n```\n\n```text\n42\n```" in cell_outputs
        and "<td>1.235</td>" in cell_outputs
    )
    assert (
        "(page-1.png)" in cell_outputs
        and (tmp_path / "page-1.png").exists()
        and "```text\ndone\n```" in cell_outputs
    )
    kinds = [cell["cell_type"] for cell in json.loads(notebook(page))["cells"]]
    assert kinds == ["markdown", "code", "markdown", "code", "code", "code"]


def test_a_cell_that_fails_is_named(tmp_path: Path) -> None:
    for broken in ("```python\n1 / 0\n```\n", "```sh\nfalse\n```\n"):
        with pytest.raises(CellError, match=r"page, cell\n(1 / 0|false)"):
            executed(broken, "page", tmp_path, tmp_path)


def test_the_site_has_every_page_and_every_notebook() -> None:
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    listed = set(re.findall(r"[\w/-]+\.md", json.dumps(config["nav"])))
    pages = {path.relative_to(DOCS).as_posix() for path in [*DOCS.glob("*.md"), *PAGES]}
    assert listed == pages | {f"reference/{name}.md" for name in reference()}
    assert config["strict"] and config["theme"]["font"] is False and len(PAGES) == 8


def test_the_reference_has_every_public_name() -> None:
    pages = reference()
    assert set(re.findall(r"^::: [\w.]+\.(\w+)$", pages["forecast"], re.MULTILINE)) == set(
        PUBLIC_MODULES
    )
    listed = set(re.findall(r"^::: [\w.]+\.(\w+)$", pages["identification"], re.MULTILINE))
    assert {
        name for name in identification.__all__ if callable(getattr(identification, name))
    } <= listed | {"Path"}


def test_the_search_works_from_the_disk_and_fetches_nothing() -> None:
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert "offline" in config["plugins"]
    # without a name like it the plugin takes one from the network
    (script,) = config["extra"]["polyfills"]
    assert (
        "iframe-worker" in script
        and (DOCS / script).is_file()
        and f"*{Path(script).suffix}" in COPIED
    )


def test_the_reference_shows_examples_as_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "griffe", SimpleNamespace(Extension=object, Object=object))
    from docs.examples import Examples

    public = SimpleNamespace(
        docstring=SimpleNamespace(value="Words.\n\n>>> 1 + 1\n2\n>>> 3\n3\n\nMore.")
    )
    Examples().on_object(obj=public)
    assert public.docstring.value == "Words.\n\n```pycon\n>>> 1 + 1\n2\n>>> 3\n3\n```\n\nMore."
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    options = next(
        plugin["mkdocstrings"] for plugin in config["plugins"] if isinstance(plugin, dict)
    )["handlers"]["python"]
    assert options["options"]["extensions"] == ["docs/examples.py"]


def test_links_that_leave_the_documents_become_words() -> None:
    page = DOCS / "python.md"
    text = mend_links(
        "[a](models.md#x) [b](../README.md) [c](#here) [d](https://x.example/y) [e](generate.py)",
        page,
    )
    assert text == "[a](models.md#x) b [c](#here) [d](https://x.example/y) e"


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_examples_of_a_docstring_give_what_they_show(path: Path) -> None:
    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted and not result.failed
