"""`make site`, first half: the documents as the sources of the site, in .forecast/site/pages.

Pages are copied; links that leave docs/ become plain text, since the site has no source tree. The
pages of docs/learn are run and get their outputs and a notebook to download. The reference is one
page per public module, which mkdocstrings fills from the docstrings. Zensical makes the site of it
in .forecast/site/html, as mkdocs.yml says.
"""

from __future__ import annotations

import re
import shutil
import sys
import time
from pathlib import Path

from docs import notebooks
from forecast import PUBLIC_MODULES, identification

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = ROOT / ".forecast" / "site" / "pages"
COPIED = ("*.md", "*.js", "decisions/*.md", "research/*.md", "figures/*", "templates/*")
LINK = re.compile(r"(?<!!)\[((?:[^][]|\[[^]]*\])*)\]\(([^)\s]+)\)")


def main(names: list[str]) -> None:
    """Make the sources anew; `names`: only these pages of docs/learn are run, the others stay
    without outputs.
    """
    shutil.rmtree(PAGES, ignore_errors=True)
    for pattern in COPIED:
        for path in DOCS.glob(pattern):
            _copied(path, PAGES / path.relative_to(DOCS))
    for path in sorted((DOCS / "learn").glob("*.md")):
        began = time.monotonic()
        learnt(path, PAGES / "learn", run=not names or path.stem in names)
        print(f"{path.stem}: {time.monotonic() - began:.0f} s", flush=True)
    for name, text in reference().items():
        target = PAGES / "reference" / f"{name}.md"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


def _copied(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".md":
        target.write_text(mend_links(path.read_text(encoding="utf-8"), path), encoding="utf-8")
    else:
        shutil.copyfile(path, target)


def mend_links(text: str, path: Path) -> str:
    """The text of `path` with its links into docs/ alone; of any other link that is a path the
    words stay.
    """

    def mend_link(link: re.Match[str]) -> str:
        target = link[2].partition("#")[0]
        if not target or "://" in target:
            return link[0]
        linked_file = (path.parent / target).resolve()
        on_site = (
            linked_file.is_file()
            and linked_file.is_relative_to(DOCS)
            and linked_file.suffix != ".py"
        )
        return link[0] if on_site else link[1]

    return LINK.sub(mend_link, text)


def learnt(path: Path, folder: Path, *, run: bool) -> None:
    """One page of docs/learn with its outputs, its pictures and its notebook."""
    text = path.read_text(encoding="utf-8")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{path.stem}.ipynb").write_text(notebooks.notebook(text), encoding="utf-8")
    text = notebooks.run(path, folder) if run else text
    title, _, rest = text.partition("\n")
    offered = f"{title}\n\n[As a notebook]({path.stem}.ipynb)\n{rest}"
    (folder / path.name).write_text(offered, encoding="utf-8")


def reference() -> dict[str, str]:
    """Name → page of the public names, which mkdocstrings fills."""
    functions = "\n\n".join(f"::: {module}.{name}" for name, module in PUBLIC_MODULES.items())
    first = (
        "# forecast\n\n`import forecast` offers these names, which stay as they are"
        f" described.\n\n{functions}\n"
    )
    names = sorted(identification.__all__)
    places = {name: getattr(getattr(identification, name), "__module__", "") for name in names}
    sections = [
        f"::: {module}.{name}" for name, module in places.items() if module.startswith("forecast.")
    ]
    second = (
        "# forecast.identification\n\nSystem identification, with the names of MATLAB's"
        " toolbox.\n\n"
    )
    return {"forecast": first, "identification": second + "\n\n".join(sections) + "\n"}


if __name__ == "__main__":
    main(sys.argv[1:])
