"""What is compared, trained how, with what budget, by which protocol.

configs/models.yaml is `Models` (the grid, and every entry as a plain mapping that its family
checks), with `Training` and `LevenbergMarquardt` for the options of the trainers and `Combination`
for rows made of other rows; configs/tuning.yaml is `Tuning`, configs/evaluation.yaml `Evaluation`.
The families themselves are a room above, so an entry's own options are not known here.

Another option of every entry, trainer or budget is a field of its class here, with its bounds; an
option of one family is a field of that family's `Spec`.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from forecast.config.reading import (
    EACH_ONCE,
    ONE_OR_MANY,
    Config,
    load_config,
    validate_config,
)
from forecast.config.usual_names import require_model
from forecast.system.errors import InputError, require_known

Trainer = Literal["gradient", "lm"]
OptimizerName = Literal["sgd", "momentum", "adam", "adamw"]
LearningRateSchedule = Literal["constant", "linear", "exponential", "cosine"]
RefitFrequency = Literal["never", "quarterly", "monthly"] | Annotated[int, Field(ge=1)]
"""When a row is fitted again: never, at the first cutoff of a quarter or month, or at every k-th
cutoff.
"""


class Training(Config):
    """Options of gradient descent; what is left out is what every entry gets that says nothing."""

    rule: OptimizerName = Field(
        default="adamw", description="only sgd, momentum and adamw apply `weight_decay`"
    )
    schedule: LearningRateSchedule = Field(
        default="cosine",
        description="of the learning rate over the steps; `learning_rate` is its peak",
    )
    l1: float = Field(
        default=0.0, ge=0, description="how far a step draws kernels of inputs to zero, in rates"
    )
    l2: float = Field(
        default=0.0, ge=0, description="mu of the penalty mu |w|^2, through the gradient"
    )
    patience: int | None = Field(
        default=None,
        ge=1,
        description=(
            "looks at validation without a new best before the stop; none: half of all, at least 3,"
            " once a step was better than the beginning"
        ),
    )


class LevenbergMarquardt(Config):
    """Options of `trainer: lm`.

    Each restart is a run of its own; validation picks run and iteration.
    """

    iterations: int = Field(default=30, ge=1)
    restarts: int = Field(default=3, ge=1, description="random starts")
    patience: int = Field(
        default=6,
        ge=1,
        description="iterations without a new lowest validation error before a run stops",
    )
    bayesian: bool = Field(
        default=False, description="weight decay from the evidence, as MATLAB's trainbr"
    )


COMBINATION = "combination"
MEMBER_GROUPS = ("networks", "all")
"""Members that a combination may name together; of each the best on validation, at most twelve."""
MemberWeight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Combination(Config):
    """A row made of other rows: the weighted mean of their forecasts, the mean over the seeds taken
    first.
    """

    kind: ClassVar[str] = COMBINATION
    summary: ClassVar[str] = "Weighted mean of the forecasts of other rows, at no training cost."
    equation: ClassVar[str] = "y[t+h] = sum_m w_m y_m[t+h], w_m >= 0, sum_m w_m = 1"
    source: ClassVar[str] = (
        "Bates & Granger 1969; Timmermann 2006, section 4 (shrinkage towards equal weights)"
    )

    family: Literal["combination"] = "combination"
    members: Annotated[tuple[str, ...], ONE_OR_MANY] = Field(
        ("networks",),
        description="`networks`, `all`, or names of entries",
    )
    weights: Literal["equal", "stacked"] | dict[str, MemberWeight] = Field(
        "equal",
        description=(
            "stacked: learnt on validation, shrunk towards equal; or a number for each member"
        ),
    )
    refit: RefitFrequency = Field(
        "never",
        description=(
            "stacked weights learnt again behind validation: never, quarterly, monthly, or at every"
            " k-th origin"
        ),
    )

    @model_validator(mode="after")
    def _weights_are_some(self) -> Combination:
        """Refuses weights that are all 0, and refits of weights that nothing learns."""
        if isinstance(self.weights, dict) and not sum(self.weights.values()) > 0:
            raise ValueError("weights: every one is 0; give at least one member a weight above 0")
        if self.refit != "never" and not self.is_learnt:
            raise ValueError(
                f"refit: {self.refit} needs weights that are learnt: `weights: stacked`; or leave"
                " it out"
            )
        return self

    @property
    def is_learnt(self) -> bool:
        """Whether validation settles the weights."""
        return self.weights == "stacked"

    def without_members(self, names: Collection[str]) -> Combination:
        """The rule where entries of these names do not suit the data."""
        return self.model_copy(
            update={"members": tuple(name for name in self.members if name not in names)}
        )


NAIVE = "naive"
"""The entry that every grid has, since every score is compared with it."""
INTERMITTENT_GRID = "intermittent"
"""The grid for series of mostly zeros, whose median, which MAE and MASE reward, is zero."""
SIMPLE_FORECASTS = (
    NAIVE,
    "seasonal_naive",
    "seasonal_mean",
    "historical_mean",
    "historical_median",
    "lookback_mean",
    "drift",
)
"""Entries that any series has for nothing: who is called better has to beat each of them, its bars.
Prices have a drift, returns scatter about a mean, what grows goes on growing, and there the last
value is too low a bar. Another needs its words in `comparison.sentences.BARS`.

References are others: `backtest.candidates.REFERENCE_MODELS` are trained beside models that a user
names, `comparison.intervals.SHOWN_REFERENCES` are charted beside the selected ones.
"""


class Models(Config):
    """`models` maps a name to its family and options; they are checked by the family itself
    (`forecast.models`).

    `training`: what every network trained by gradient starts from; an entry's own `training` goes
    before it. `refit`: how often every row is fitted again in a backtest; an entry's own goes
    before it. `rankings`: the leaderboards that every network is tuned and trained for, once for
    each.
    """

    grid: str
    grids: dict[str, tuple[str, ...]]
    refit: RefitFrequency = "never"
    rankings: tuple[Literal["shipped", "architecture"], ...] = Field(
        ("shipped", "architecture"), min_length=1
    )
    training: Training = Field(default_factory=Training)
    models: dict[str, dict[str, Any]]

    @model_validator(mode="after")
    def _names_are_known(self) -> Models:
        """Refuses a `grid` that is not there, and a grid that names a model without an entry."""
        require_known(self.grid, self.grids, "unknown grid", ValueError)
        for grid, names in self.grids.items():
            for name in names:
                fault = f"grid {grid!r} names unknown model"
                require_model(name, self.models, fault, ValueError)
        return self

    def entries_to_fit(self, only: tuple[str, ...] = ()) -> dict[str, dict[str, Any]]:
        """The entries of the grid, in its order, or of `only`; no combinations.

        `InputError` if unknown.
        """
        return {
            name: entry
            for name, entry in self._entries(only).items()
            if entry.get("family") != COMBINATION
        }

    def combinations(self, only: tuple[str, ...] = ()) -> dict[str, Combination]:
        """The other entries of the grid, or of `only`: rows made of the fitted ones; `InputError`
        for members that are unknown, or named twice.
        """
        # a service's forecasts cannot be served from here
        rules, unfit = {}, (COMBINATION, "service")
        fitted = [name for name, entry in self.models.items() if entry.get("family") not in unfit]
        for name, entry in self._entries(only).items():
            if entry.get("family") != COMBINATION:
                continue
            where = f"configs/models.yaml: models.{name}"
            rules[name] = rule = validate_config(Combination, entry, where=where)
            names = rule.weights if isinstance(rule.weights, dict) else rule.members
            if names is rule.weights and "members" in entry:
                raise InputError(f"{where}: `weights` name the members already. Drop `members`.")
            groups = () if names is rule.weights else MEMBER_GROUPS
            for member in names:
                require_known(member, [*groups, *fitted], f"{where}: unknown member")
        return rules

    def _entries(self, only: tuple[str, ...]) -> dict[str, dict[str, Any]]:
        """The entries `only`, else those of the grid in its order; `InputError` if unknown."""
        for name in only:
            require_model(name, self.models)
        return {name: self.models[name] for name in only or self.grids[self.grid]}


def load_models(folder: Path | str = "configs", grid: str = "") -> Models:
    """configs/models.yaml of `folder`, with another grid than its own where `grid` names one.

    `InputError` for a fault in it, and for a grid that it does not have.
    """
    path = Path(folder) / "models.yaml"
    models = load_config(Models, path)
    if not grid:
        return models
    return validate_config(Models, {**models.model_dump(), "grid": grid}, where=str(path))


JUDGED_STEPS = 300
"""Final gradient steps of configs/tuning.yaml: by fewer no network should be judged."""


Seed = Annotated[int, Field(ge=0, lt=2**31)]
"""NumPy and Keras take no others."""


class Tuning(Config):
    """Trials per network, gradient steps per trial, then gradient steps and seeds of the final
    training. A comparison refuses networks with fewer trials than `n_trials`
    (`comparison.comparing.check_same_budget`).
    """

    n_trials: int = Field(ge=1, le=10_000)
    trial_steps: int = Field(ge=1, le=10_000_000)
    final_steps: int = Field(ge=1, le=10_000_000)
    evaluate_every: int = Field(50, ge=1)
    seeds: Annotated[tuple[Seed, ...], EACH_ONCE] = Field(min_length=1, max_length=1000)
    base_seed: Seed


def load_tuning(folder: Path | str) -> Tuning:
    """configs/tuning.yaml of `folder`; `InputError` for a fault in it."""
    return load_config(Tuning, Path(folder) / "tuning.yaml")


Level = Annotated[float, Field(ge=1, lt=100)]


class Evaluation(Config):
    """`alpha`: level of every family of tests after Holm's correction.

    `levels`: how many percent of the actuals each prediction interval should cover, rising.
    """

    alpha: float = Field(gt=0, lt=0.5)
    levels: tuple[Level, ...] = Field(min_length=1)

    @field_validator("levels")
    @classmethod
    def _levels_rise(cls, levels: tuple[float, ...]) -> tuple[float, ...]:
        """Refuses levels that repeat or do not rise."""
        if list(levels) != sorted(set(levels)):
            raise ValueError("wanted each level once, rising, such as [80, 95]")
        return levels


def load_evaluation(folder: Path | str) -> Evaluation:
    """configs/evaluation.yaml of `folder`; `InputError` for a fault in it."""
    return load_config(Evaluation, Path(folder) / "evaluation.yaml")
