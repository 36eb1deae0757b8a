"""Candidates (a model with the skip that its ranking gives it: one line of a leaderboard) and the
cache keys of their results.

`plan_candidates` turns configs/models.yaml into the candidates of one dataset, for tuning, training
and the settings of stages; combinations are not among them. `result_key` names a cached result:
equal keys mean equal results, so nothing is computed twice. An edit of one family's file changes
the keys of that family alone (and of those that import it), and rows after the validation block
change no tuning key. Everything that can change a result must enter its key.

A model of the grid that does not suit the data (`reason_unsuited`, asked of its family) is no
candidate and has no record; stage `train` prints the reason, and no table has it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from forecast import models
from forecast.config.models import NAIVE, SIMPLE_FORECASTS, Models
from forecast.config.paths import ProjectPaths
from forecast.config.task import Task
from forecast.models.base import ModelSpec
from forecast.models.search import Params
from forecast.models.skip import SkipKind
from forecast.system.code_closure import code_digest
from forecast.system.errors import InputError, quote_names
from forecast.system.files import sha256, sha256_of

Ranking = Literal["shipped", "architecture", "baseline"]
SKIP_OF: dict[Ranking, SkipKind] = {"shipped": "linear", "architecture": "last"}
"""The skip of a network in each ranking: fitted as shipped, the last value for architecture alone.
"""

REFERENCE_MODELS = (*SIMPLE_FORECASTS, "ridge", "arx")


@dataclass(frozen=True)
class Candidate:
    """A model in one ranking. `skip` is None for a model without one, which is a baseline and
    stands in both rankings.
    """

    model: str
    spec: ModelSpec
    ranking: Ranking
    skip: SkipKind | None

    @property
    def name(self) -> str:
        """The model, with `.linear` or `.last` for a network's skip."""
        if self.skip is None:
            return self.model
        return f"{self.model}.{self.skip}"

    def skip_model(self) -> str | None:
        """The model that forecasts by this candidate's skip alone; None without a skip."""
        if self.skip == "linear":
            return linear_skip_model(self.spec)
        return NAIVE if self.skip == "last" else None

    def with_values(self, values: Params) -> Candidate:
        """This candidate with other values of some of its spec's fields."""
        return replace(self, spec=self.spec.with_values(values))


def linear_skip_model(spec: ModelSpec) -> str:
    """The model that forecasts by the linear skip of `spec` alone."""
    return "arx" if spec.is_recursive else "ridge"


class CandidatePlan(NamedTuple):
    """Which models of a grid are trained on a dataset."""

    candidates: list[Candidate]
    """Every model that suits the data, networks once per configured ranking."""
    unsuited: dict[str, str]
    """Each model that is left out, with the reason."""


def plan_candidates(
    config: Models,
    only: tuple[str, ...] = (),
    *,
    season_length: int,
    vintages: bool = False,
) -> CandidatePlan:
    """The candidates of the grid's entries (or of `only`) that suit the data, and the other entries
    with the reason. A network is a candidate in each ranking, any other model one baseline.

    vintages: whether the provider's own forecasts are stored, which the family `service` needs

    `InputError` for a wrong entry, and for a linear model with another `refit` than the networks
    that have it as their skip.
    """
    plan = CandidatePlan([], {})
    for name, entry in config.entries_to_fit(only).items():
        spec = models.spec(
            entry,
            where=f"configs/models.yaml: models.{name}",
            training=config.training,
            refit=config.refit,
        )
        reason = reason_unsuited(spec, season_length, vintages)
        if reason:
            plan.unsuited[name] = reason
        elif spec.has_skip:
            for ranking, skip in SKIP_OF.items():
                if ranking in config.rankings:
                    plan.candidates.append(Candidate(name, spec, ranking, skip))
        else:
            plan.candidates.append(Candidate(name, spec, "baseline", None))
    for candidate in plan.candidates:
        if candidate.model in ("ridge", "arx"):
            _require_same_refit(candidate, plan.candidates)
    return plan


def _require_same_refit(linear: Candidate, candidates: list[Candidate]) -> None:
    """`InputError` if a linear model has another `refit` than the networks with it as skip."""
    frequency = linear.spec.refit_frequency
    frequencies = {
        candidate.spec.refit_frequency
        for candidate in candidates
        if candidate.skip == "linear" and candidate.skip_model() == linear.model
    }
    if frequencies and frequency not in frequencies:
        others = quote_names(sorted(map(str, frequencies)))
        raise InputError(
            f"configs/models.yaml: models.{linear.model} is the linear part of the networks"
            f" standing alone, so it is fitted as often as they are; found refit: {frequency}, and"
            f" of the networks {others}. Give them the same `refit`."
        )


def reason_unsuited(spec: ModelSpec, season_length: int, vintages: bool) -> str:
    """Why a model does not suit the data; empty if it does."""
    if spec.needs_vintages and not vintages:
        return "no forecasts of the data's own service are kept"
    return spec.reason_unsuited(season_length)


def add_references(only: tuple[str, ...], config: Models) -> tuple[str, ...]:
    """The models `only` and the configured reference models to compare them with; empty: all."""
    if not only:
        return ()
    references = [name for name in REFERENCE_MODELS if name in config.models]
    return tuple(dict.fromkeys((*references, *only)))


def lock_digest(paths: ProjectPaths) -> str:
    """The digest of the file with the installed versions; empty without such a file."""
    return sha256(paths.requirements) if paths.requirements.exists() else ""


def task_digest(task: Task) -> str:
    """The digest of the task. Splits are not in it: they act through the borders."""
    return sha256_of(task.model_dump(mode="json"))


def candidate_digest(spec: ModelSpec, engine: str) -> str:
    """The digest of the code that the module `engine` and this spec run."""
    return code_digest([engine, *spec.modules()])


def result_key(**parts: Any) -> str:
    """One digest of all `parts` that a result depends on, short enough for a file name."""
    return sha256_of(parts)[:40]
