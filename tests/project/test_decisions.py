"""docs/decisions: numbered without holes, each with its question, measurement, choice and what
would change it.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.small_project import ROOT

PAGES = sorted((ROOT / "docs" / "decisions").glob("*.md"))
PARTS = {"Question", "Measured", "Chosen", "What would change it"}


def test_they_are_numbered_from_one_without_a_hole() -> None:
    assert [page.name[:5] for page in PAGES] == [
        f"{number:04}-" for number in range(1, len(PAGES) + 1)
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_has_a_title_a_date_and_its_four_parts(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    day = r"\d{4}-\d\d-\d\d"
    assert re.match(rf"# \S.*\n\n{day}(\. (Superseded|Amended) {day}: .+)?\n\n## ", text)
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)[1:]
    filled = {head for head, body in zip(parts[::2], parts[1::2], strict=True) if body.strip()}
    assert filled >= PARTS, f"missing: {PARTS - filled}"


def test_every_decision_named_in_code_or_documents_is_there() -> None:
    names = {page.stem for page in PAGES}
    files = [
        p
        for folder in ("forecast", "docs", "bench", "configs")
        for p in (ROOT / folder).rglob("*.*")
        if ".venv" not in p.parts
    ]
    for path in [*files, *ROOT.glob("*.md")]:
        if path.suffix in {".py", ".md", ".yaml"}:
            decisions_named = set(
                re.findall(
                    r"(?:decisions/|\]\()(\d{4}-[\w-]+)\.md", path.read_text(encoding="utf-8")
                )
            )
            assert decisions_named <= names, (
                f"{path.relative_to(ROOT)} names {sorted(decisions_named - names)}"
            )
