"""The documents use the field's terms: words of our own that were replaced do not come back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.small_project import ROOT

PAGES = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/**/*.md"),
    *ROOT.glob("bench/*.py"),
    ROOT / "Makefile",
    *ROOT.glob("configs/**/*.yaml"),
]
REPLACED = {
    r"cries? wolf": "rejects too often",
    r"against luck|by luck\b|luck is kept out": "false promotions",
    r"what (?:the|its|one-step) (?:one-step )?errors still contain": "residual diagnostics",
    r"\boutlooks?\b": "distribution scores",
    r"what is held of": "summary of the stored snapshot",
    r"had said\b|said by\b|had spoken": "provider forecasts, vintages",
    r"\boverheard\b": "file access",
    r"\bharder bar\b|\bweak bar\b": "reference",
}
"""Pattern → the term that stands in its place."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_uses_the_term_of_the_field(page: Path) -> None:
    text = " ".join(page.read_text(encoding="utf-8").split())
    # from code, or the name of a test
    text = re.sub(r"<!-- generated: .*?<!-- end of|\[[^]]*\]\([^)]*\)", "", text)
    replaced = {old: new for old, new in REPLACED.items() if re.search(old, text, re.IGNORECASE)}
    assert not replaced, f"replace {replaced}"
