"""A candidate is one line of a leaderboard: a model, with the skip its ranking gives it; and the
keys of its results.

`plan_candidates` turns configs/models.yaml into the candidates of one dataset, for tuning, training
and the settings of stages; models that do not suit the data are named with the reason, combinations
are not planned here. `result_key` and the digests beside it make the names under which results are
cached: equal key, equal result, so nothing is computed twice. An edit of one family's file changes
that family's keys alone; later data change no tuning key.

Whatever else changes a result must enter `result_key`.
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
"""As shipped, a network stands on the fitted skip; architecture alone, it has the last value and
nothing else.
"""

REFERENCE_MODELS = (*SIMPLE_FORECASTS, "ridge", "arx")


@dataclass(frozen=True)
class Candidate:
    """`skip` is None for models that have none; they stand in both rankings as `baseline`."""

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
        """The model that is this candidate's skip standing alone; None without a skip, or with one
        that is no model.
        """
        if self.skip == "linear":
            return linear_skip_model(self.spec)
        return NAIVE if self.skip == "last" else None

    def with_values(self, values: Params) -> Candidate:
        """This candidate with other values of some of its spec's fields."""
        return replace(self, spec=self.spec.with_values(values))


def linear_skip_model(spec: ModelSpec) -> str:
    """The model that is the linear skip of `spec` standing alone."""
    return "arx" if spec.is_recursive else "ridge"


class CandidatePlan(NamedTuple):
    """Which models of a grid are trained on a dataset."""

    candidates: list[Candidate]
    """Every model that suits the data, networks once per configured ranking."""
    unsuited: dict[str, str]
    """Model to the reason why it is left out."""


def plan_candidates(
    config: Models,
    only: tuple[str, ...] = (),
    *,
    season_length: int,
    vintages: bool = False,
) -> CandidatePlan:
    """Sort the fitted entries of the grid (or of `only`) by whether they suit the data: candidates,
    of a network one for each ranking, of any other model one as a baseline; and the unsuited with
    the reason.

    vintages: whether the provider's own forecasts are stored, so that they can be a candidate.
    `InputError` for an entry that is wrong, and for a linear model that is fitted at other times
    than the networks on it.
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
    """`InputError` where a linear model is fitted at other times than the networks on its skip."""
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
    """Why a model is left out of these data; empty when it suits them."""
    if spec.needs_vintages and not vintages:
        return "no forecasts of the data's own service are kept"
    return spec.unsuited_reason(season_length)


def add_references(only: tuple[str, ...], config: Models) -> tuple[str, ...]:
    """A narrowed grid and the rows it has to be compared with, as far as they are configured."""
    if not only:
        return ()
    references = [name for name in REFERENCE_MODELS if name in config.models]
    return tuple(dict.fromkeys((*references, *only)))


def lock_digest(paths: ProjectPaths) -> str:
    """The installed versions, as far as the lock tells them."""
    return sha256(paths.requirements) if paths.requirements.exists() else ""


def task_digest(task: Task) -> str:
    """The digest of the whole task: it holds nothing that only describes.

    The splits act through the borders.
    """
    return sha256_of(task.model_dump(mode="json"))


def candidate_digest(spec: ModelSpec, engine: str) -> str:
    """The code that `engine` (a module) and this spec run."""
    return code_digest([engine, *spec.modules()])


def result_key(**parts: Any) -> str:
    """One digest of everything a result depends on; short enough for a file name."""
    return sha256_of(parts)[:40]
