"""configs/models.yaml (`Models`), configs/tuning.yaml (`Tuning`) and configs/evaluation.yaml
(`Evaluation`): what is compared, how it is trained, and how it is tested.

An entry of models.yaml is a mapping that its family checks (`forecast.models`, which this package
may not import). `Training` and `LevenbergMarquardt` are the options of the trainers, `Combination`
is a model made of other models. An option of all entries is a field here; an option of one family
is a field of that family's `Spec`.

The levels of `Evaluation` are those of the tables, the page, `forecast predict` and the issues that
are scored live. A level needs enough calibration errors
(`forecaster.intervals.require_enough_errors`), and for the intervals of a distribution head its
ends among `forecaster.distributions.STORED_QUANTILES`.
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
"""When a model is fitted again in a backtest: never, at the first cutoff of a quarter or month, or
at every k-th cutoff.
"""


class Training(Config):
    """Options of gradient descent, with the defaults of every entry."""

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
    """Options of `trainer: lm`. Validation selects the restart and the iteration."""

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
"""Groups of members of a combination, of whose members at most twelve count in all, the best on
validation.
"""
MemberWeight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Combination(Config):
    """A model made of other models: the weighted mean of their forecasts, each averaged over its
    seeds.
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
    steady: tuple[str, ...] = Field(
        (),
        description="entries whose equal mean has a third of the weight; `weights` are of the rest",
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
        """Refuses weights that are all 0, and refits of weights that are not learnt."""
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
        """Whether the weights are learnt on validation."""
        return self.weights == "stacked"

    def without_members(self, names: Collection[str]) -> Combination:
        """The rule without these members, which do not suit the data."""
        left = {
            "members": tuple(name for name in self.members if name not in names),
            "steady": tuple(name for name in self.steady if name not in names),
        }
        return self.model_copy(update=left)


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
"""Simple forecasts, which need no training. The best of them on validation, and those near to it,
are the bars (`comparison.losses.select_bars`): a model that is called better is better than each,
except for bars from which its loss only drifts (`comparison.verdicts`). The last value alone would
be too easy to beat: prices drift, returns scatter about a mean, and growth goes on. A new one is
the name of an entry of configs/models.yaml and needs its words in `comparison.sentences.BAR_WORDS`;
a level of all history also belongs to `report.answer.CONSTANT_BARS`.

Reference models are something else: `backtest.candidates.REFERENCE_MODELS` are trained beside
models that a user names, `comparison.intervals.SHOWN_REFERENCES` are in charts beside selected
models.
"""


class Models(Config):
    """`models`: by name, the family of a model and its options, which the family checks
    (`forecast.models`). `training`: the defaults of networks trained by gradient; an entry's
    `training` overrides them. `refit`: how often models are fitted again in a backtest, unless
    their entry says otherwise. `rankings`: the leaderboards; networks are tuned and trained for
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
        """Refuses a `grid` that is not in `grids`, and a grid with a model without an entry."""
        require_known(self.grid, self.grids, "unknown grid", ValueError)
        for grid, names in self.grids.items():
            for name in names:
                fault = f"grid {grid!r} names unknown model"
                require_model(name, self.models, fault, ValueError)
        return self

    def entries_to_fit(self, only: tuple[str, ...] = ()) -> dict[str, dict[str, Any]]:
        """The entries of the grid in its order, or those in `only`, without combinations.
        `InputError` for an unknown name.
        """
        return {
            name: entry
            for name, entry in self._entries(only).items()
            if entry.get("family") != COMBINATION
        }

    def combinations(self, only: tuple[str, ...] = ()) -> dict[str, Combination]:
        """The combinations of the grid, or of `only`; `InputError` for a member that is unknown or
        named twice.
        """
        # forecasts of a service cannot be members: they cannot be made here
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
            for member in (*names, *rule.steady):
                require_known(member, [*groups, *fitted], f"{where}: unknown member")
        return rules

    def _entries(self, only: tuple[str, ...]) -> dict[str, dict[str, Any]]:
        """The entries `only`, else those of the grid in its order; `InputError` if unknown."""
        for name in only:
            require_model(name, self.models)
        return {name: self.models[name] for name in only or self.grids[self.grid]}


def load_models(folder: Path | str = "configs", grid: str = "") -> Models:
    """configs/models.yaml of `folder`, with the grid `grid` if it is not empty. `InputError` for a
    fault in the file, and for an unknown grid.
    """
    path = Path(folder) / "models.yaml"
    models = load_config(Models, path)
    if not grid:
        return models
    return validate_config(Models, {**models.model_dump(), "grid": grid}, where=str(path))


JUDGED_STEPS = 300
"""Networks with fewer `final_steps` (configs/tuning.yaml) should not be judged."""


Seed = Annotated[int, Field(ge=0, lt=2**31)]
"""The range of NumPy and Keras."""


class Tuning(Config):
    """Trials per network and gradient steps per trial, then gradient steps and seeds of the final
    training. A comparison refuses networks with another budget
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


class Evaluation(Config):
    """`alpha`: the level of every family of tests after Holm's correction. `levels`: the percent of
    the actuals that each prediction interval should cover, rising.
    """

    alpha: float = Field(gt=0, lt=0.5)
    levels: tuple[float, ...] = Field(min_length=1)

    @field_validator("levels")
    @classmethod
    def _are_rising_percent(cls, levels: tuple[float, ...]) -> tuple[float, ...]:
        """Refuses levels that repeat, do not rise, or are no percentages."""
        is_percent = all(1 <= level < 100 for level in levels)
        if not is_percent or list(levels) != sorted(set(levels)):
            raise ValueError("wanted percent from 1 to below 100, rising, such as [80, 95]")
        return levels


def load_evaluation(folder: Path | str) -> Evaluation:
    """configs/evaluation.yaml of `folder`; `InputError` for a fault in it."""
    return load_config(Evaluation, Path(folder) / "evaluation.yaml")
