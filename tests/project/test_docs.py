"""What the documents name exists: targets, commands, options, files."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from forecast.cli import app
from tests.support.small_project import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/learn/*.md")])
DECISIONS = [
    page
    for page in sorted(ROOT.glob("docs/decisions/*.md"))
    if "Superseded" not in page.read_text().splitlines()[2]
]
"""Those that hold; one that was superseded names the code of its day."""
NOT_YET = {
    "forecast/data/sources/sqlite.py",
    "forecast/models/families/conv_lstm.py",
    "forecast/models/families/mgu.py",
    "forecast/models/families/pls.py",
    "forecast/networks/cells/mgu.py",
    "forecast/networks/heads/laplace.py",
}
"""What docs/extending.md and docs/learn/new-cell.md ask a reader to make."""
GROUPS = {group.name for group in app.registered_groups}
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
COMMANDS = {command.name: command for command in app.registered_commands}


def read_current(page: Path) -> str:
    """The text of a page; of the changelog what is not yet released: the rest tells of its day."""
    text = page.read_text(encoding="utf-8")
    if page.name == "CHANGELOG.md":
        return "".join(text.partition("\n## ")[1:]).partition("\n## 0.12")[0]
    return text


def find_names(page: Path, pattern: str) -> set[str]:
    text = read_current(page)
    code = re.findall(r"`([^`\n]+)`", text) + re.findall(r"^    (.+)$", text, re.MULTILINE)
    return {name for piece in code for name in re.findall(pattern, piece)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_make_target_in_a_document_exists(page: Path) -> None:
    assert find_names(page, r"^(?:\S+ )*make ([a-z-]+)") <= TARGETS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_in_a_document_exists(page: Path) -> None:
    assert find_names(page, r"(?:^|/)forecast ([a-z]+)\b(?!/)") <= {*COMMANDS, *GROUPS}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    assert not [link for link in links if not (page.parent / link).exists()]


@pytest.mark.parametrize("name", sorted(filter(None, COMMANDS)))
def test_every_command_explains_itself(name: str) -> None:
    result = CliRunner().invoke(app, [name, "--help"])
    assert result.exit_code == 0
    docstring, output = (
        re.sub(r"\s+", " ", part or "") for part in (COMMANDS[name].callback.__doc__, result.output)
    )
    assert docstring.split(".")[0] in output


@pytest.mark.parametrize(
    "page", [*PAGES, *DECISIONS], ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_every_module_and_path_of_the_package_in_a_document_exists(page: Path) -> None:
    text = read_current(page)
    paths = (
        set(
            re.findall(
                r"(?<![.\w/])((?:forecast|tests|pipelines|bench|configs)/[\w/]+(?:\.\w+)?)", text
            )
        )
        - NOT_YET
    )
    assert not [path for path in paths if not (ROOT / path).exists()]
    dotted = {
        name
        for piece in re.findall(r"`([^`\n]+)`", text)
        for name in re.findall(r"\bforecast(?:\.\w+)+", piece)
    }
    assert not [name for name in dotted if not is_known(name)]


def is_known(name: str) -> bool:
    """Whether `forecast.a.b` is a module, or a name in one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:length])
        if path.with_suffix(".py").exists() or (path / "__init__.py").exists():
            module = importlib.import_module(".".join(parts[:length]))
            return length == len(parts) or hasattr(module, parts[length])
    return False


GENERATED = re.compile(r"<!-- generated: (.*?) -->.*?<!-- end of \1 -->", re.DOTALL)


def count_words(page: Path) -> int:
    """The words of a page, code and tables included, without what `make docs` writes."""
    return len(GENERATED.sub("", page.read_text(encoding="utf-8")).split())


def test_the_pages_have_at_most_26000_words_and_the_protocol_3500() -> None:
    pages = [*ROOT.glob("docs/*.md"), *ROOT.glob("docs/learn/*.md")]
    words = {page.relative_to(ROOT).as_posix(): count_words(page) for page in pages}
    total = sum(words.values())
    assert total <= 26_000, f"docs/ has {total} words: who adds a sentence takes one out"
    assert words["docs/protocol.md"] <= 3_500


@pytest.mark.parametrize(
    "page",
    [*ROOT.glob("docs/*.md"), *ROOT.glob("docs/learn/*.md")],
    ids=lambda page: page.relative_to(ROOT).as_posix(),
)
def test_a_page_says_in_its_first_sentence_what_the_reader_can_do(page: Path) -> None:
    first = page.read_text(encoding="utf-8").split("\n\n")[1]
    assert re.match(r"(Here you|After this page you can) \w+", first), first
