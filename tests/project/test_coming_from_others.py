"""docs/coming-from-others.md: our snippets run, and each peer's where its package is installed."""

from __future__ import annotations

import importlib.util
import re
from typing import Any

import pytest

from tests.support.small_project import ROOT

PAGE = (ROOT / "docs" / "coming-from-others.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```python ?(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
PEERS = sorted({peer for peer, _ in SNIPPETS if peer})
SHOWN = 'tuning={"final_steps": 50}'
TESTED = 'tuning={"final_steps": 5}'
"""Few steps, and no search for units and rates, which the page leaves to its default."""


def run_snippets(of_peer: str) -> dict[str, Any]:
    """The names that are left after the snippets of ours and of one peer, in the page's order."""
    names: dict[str, Any] = {}
    for peer, snippet in SNIPPETS:
        if peer in ("", of_peer):
            quick = snippet.replace(SHOWN, TESTED)
            exec(compile(quick, "docs/coming-from-others.md", "exec"), names)
    return names


@pytest.mark.filterwarnings("ignore:df. gru did not train")  # in the few steps of a test
def test_our_snippets_run_one_after_another() -> None:
    assert PAGE.count(SHOWN) == 2
    names = run_snippets(of_peer="")
    assert names["board"].chosen in ("naive", "ridge", "arx", "auto_ets")
    assert len(names["model"].predict()) == 24


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.slow
def test_the_snippets_of_a_peer_run_where_it_is_installed(peer: str) -> None:
    if importlib.util.find_spec(peer) is None:
        pytest.skip(f"{peer} is not installed")
    run_snippets(of_peer=peer)


def test_the_page_has_a_snippet_of_each_peer_in_its_title() -> None:
    title = PAGE.splitlines()[0]
    assert all(peer in title for peer in PEERS) and len(PEERS) == 3
