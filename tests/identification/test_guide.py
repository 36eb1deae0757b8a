"""docs/coming-from-matlab.md: every line of its tables does what it says, and so does its
script.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.small_project import ROOT

PAGE = (ROOT / "docs" / "coming-from-matlab.md").read_text(encoding="utf-8")
HERE, MISSING = PAGE.split("## Not here")
LINES = [
    tuple(part.strip() for part in line.strip("|").split("|"))
    for line in HERE.splitlines()
    if line.startswith("| `")
]

TOOLBOX = """
timedelaynet distdelaynet narxnet narnet elmannet layrecnet linearlayer preparets closeloop openloop
removedelay adddelay train trainlm trainbr trainscg traingdx trainbfg trainrp view perform mse mae
sse sae divideblock divideind divideint dividerand dividetrain genFunction gensim ploterrcorr
plotinerrcorr plotregression plotresponse ploterrhist plotperform plottrainstate con2seq seq2con
catsamples catsignals catelements cattimesteps getsamples getsignals gettimesteps getelements
getsiminit setsiminit numsamples numtimesteps numelements numsignals numfinite numnan nndata
tonndata fromnndata nndata2sim sim2nndata fixunknowns mapminmax mapstd removeconstantrows configure
init sim adapt nncorr defaultderiv bttderiv fpderiv staticderiv simplenarx_dataset
simpleseries_dataset maglev_dataset ntstool nlarx compare
"""


def indented(after: str) -> str:
    """The first indented block after a sentence of the page."""
    block = PAGE.split(after)[1]
    match = re.search(r"(?:^    .*\n)+", block, re.MULTILINE)
    assert match
    return re.sub(r"^    ", "", match[0], flags=re.MULTILINE)


@pytest.fixture(scope="module")
def variables() -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(indented("All lines below use the names defined here"), names)
    return names


@pytest.mark.parametrize(
    ("matlab", "ours", "so_that"), LINES, ids=[line[0].strip("`") for line in LINES]
)
def test_a_line_of_the_guide_does_what_it_says(
    matlab: str, ours: str, so_that: str, variables: dict[str, Any], tmp_path: Path
) -> None:
    names = {**variables, "folder": tmp_path}
    exec(ours.strip("`"), names)
    assert eval(so_that.strip("`"), names), (matlab, so_that)


@pytest.mark.parametrize("name", TOOLBOX.split())
def test_every_function_of_the_toolbox_has_its_line(name: str) -> None:
    first = [line.split("|")[1] for line in PAGE.splitlines() if re.match(r"\| .*`", line)]
    assert any(re.search(rf"\b{name}\b", cell) for cell in first)


def test_what_is_not_here_says_why() -> None:
    rows = [line for line in MISSING.splitlines() if line.startswith("| `")]
    assert "`gensim`" in rows[0]
    assert all(len(row.split("|")[2].split()) > 4 for row in rows)


def test_a_narxnet_script_is_ported_in_ten_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    script = indented("## A narxnet script")
    assert len(script.strip().splitlines()) <= 10
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(script, names)
    one_step, free, following = (
        float(line.strip("[]")) for line in capsys.readouterr().out.splitlines()
    )
    spread = float(names["y"].var())
    assert one_step < 1e-3 * spread and free < 1e-2 * spread
    assert abs(following - names["y"][-1, 0]) < 0.5
    assert (tmp_path / "tank_net.py").exists()
