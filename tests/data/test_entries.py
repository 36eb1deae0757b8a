"""An entry in configs/datasets.yaml, whatever form the file has."""

import pytest
import yaml

from forecast.data.entries import add_entry
from forecast.data.guesses.entry import guess_entry
from forecast.system.errors import InputError

RUNS = {
    "flow": "run: [a, b]",
    "flow with a comment": "run: [a, b] # both",
    "block": "run:\n- a\n- b",
    "empty": "run: []",
    "flow over lines": "run: [\n  a, # one\n  b, # two\n]",
    "indented block": "run:\n    - a # one\n    # between\n    - b # two",
    "quoted": "'run': ['a', \"b\"]",
    "quoted block": "run:\n  - \"a\"\n  - 'b'",
    "missing": "# no list",
}
ENTRIES = {
    "block": "datasets:\n  a: {x: 1} # one\n  b:\n    x: 2",
    "wide": "datasets: # ours\n\n    # the first\n    a:\n        x: 1\n    b: {x: 2}",
    "quoted": '"datasets":\n  "a": {x: 1}\n  \'b\': {x: 2}',
    "anchors": "datasets:\n  a: &one {x: 1}\n  b:\n    <<: *one\n    x: 2",
    "missing": "# none yet",
}
BLOCK = "  mine:\n    x: 3 # guessed\n    y: [1, 2]\n"


@pytest.mark.parametrize("entries", ENTRIES.values(), ids=ENTRIES)
@pytest.mark.parametrize("names", RUNS.values(), ids=RUNS)
@pytest.mark.parametrize("n_lines_changed", [False, True], ids=["run first", "datasets first"])
@pytest.mark.parametrize("end", ["", "\n", "\n\n# the end\n"], ids=["cut", "line", "comment"])
def test_an_entry_is_added_to_a_file_in_any_form_and_its_comments_stay(
    names, entries, n_lines_changed, end
):
    text = "\n".join([entries, names] if n_lines_changed else ["# mine", names, "", entries]) + end
    before = yaml.safe_load(text) or {}
    after = add_entry(text, "mine", BLOCK)
    read_back = yaml.safe_load(after)
    assert read_back["run"] == [*(before.get("run") or []), "mine"]
    assert read_back["datasets"] == {
        **(before.get("datasets") or {}),
        "mine": {"x": 3, "y": [1, 2]},
    }
    comments = [line.partition("#")[2] for line in text.splitlines() if "#" in line]
    assert [
        line.partition("#")[2]
        for line in after.splitlines()
        if "#" in line and "guessed" not in line
    ] == comments


@pytest.mark.parametrize(
    "text",
    [
        "run: &all [a]\ndatasets: {a: {x: *all}}",
        "datasets: {a: {x: &all [a]}}\nrun: *all",
        "run: [a]\ndatasets: {a: {x: 1}}",
        "run: a\ndatasets: {a: {}}",
        "run: [a]\ndatasets: a",
        "run: 5\ndatasets: {a: {}}",
        "- run\n- datasets",
        "run: [a\ndatasets: {a: {}}",
    ],
    ids=["used elsewhere", "alias", "braces", "no list", "text", "number", "list", "no YAML"],
)
def test_a_form_that_would_change_more_is_refused_with_what_to_write(text):
    with pytest.raises(InputError, match=r"(?s)Add 'mine' to `run` .* by hand.*  mine:"):
        add_entry(text, "mine", BLOCK)


@pytest.mark.parametrize(
    "text",
    [
        "run: [a]\ndatasets:\n",
        "run: [a]\n\ndatasets: # none yet",
        "run: [a]\ndatasets: {} # none\n",
    ],
)
def test_a_file_whose_entries_were_all_removed_gets_one(text):
    after = yaml.safe_load(add_entry(text, "mine", BLOCK))
    assert after["run"] == ["a", "mine"] and list(after["datasets"]) == ["mine"]


@pytest.mark.parametrize("name", ["123", "true", "null", "1e5"])
def test_a_name_that_yaml_reads_as_something_else_is_quoted(tmp_path, name):
    (tmp_path / "mine.csv").write_text("ds,y\n2024-01-01,1\n2024-01-02,2\n2024-01-03,2\n")
    block = guess_entry(tmp_path / "mine.csv", "mine.csv", name)
    assert yaml.safe_load(add_entry("run: [a]\ndatasets:\n  a: {}", name, block))["run"] == [
        "a",
        name,
    ]
