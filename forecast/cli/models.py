"""`forecast models`: the catalogue a run trains, and the families it can be extended with."""

from __future__ import annotations

from pathlib import Path

import typer

from forecast.cli.shown import FORMAT, ROOT, Format, require_project, show


def register(app: typer.Typer) -> None:
    app.command("models")(models)


def models(
    root: Path = ROOT,
    form: Format = FORMAT,
    every: bool = typer.Option(False, "--all", help="Families as well that configs/models.yaml does not use."),
) -> None:
    """List the models and what they are; `--format json` adds equation and source."""
    rows = catalogue(require_project(root))
    if every:
        rows += unused({row["family"] for row in rows})
    if form is Format.table:  # equation and source would leave a terminal no room
        rows = [{key: row[key] for key in ("model", "in_run", "family", "kind", "summary")} for row in rows]
    show(rows, form)


def catalogue(root: Path) -> list[dict[str, str]]:
    """One row per entry of configs/models.yaml: first those of the grid that a run compares, in its order."""
    from forecast.cli.check import load_specs
    from forecast.config.models import load_models

    models = load_models(root / "configs")
    specs = load_specs(models, root / "configs")
    grid = list(models.selected())
    order = [*grid, *(name for name in specs if name not in grid)]
    return [_row(name, type(specs[name]), specs[name].family, name in grid) for name in order]


def unused(used: set[str]) -> list[dict[str, str]]:
    from forecast.models import catalogue

    return [_row("", family, name, False) for name, family in catalogue().items() if name not in used]


def _row(name: str, family: type, family_name: str, in_run: bool) -> dict[str, str]:
    described = {key: getattr(family, key, "") for key in ("kind", "summary", "equation", "source")}
    return {"model": name, "in_run": "yes" if in_run else "", "family": family_name, **described}
