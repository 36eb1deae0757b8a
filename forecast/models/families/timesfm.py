"""Family `timesfm`: Google's TimesFM 1 and 2 with given weights, by the library transformers.

`Spec` (a `PretrainedSpec`, see `families.chronos` for weights, their digest and the licence) is
what an entry of configs/models.yaml with this family is read as. `load_model` reads a folder of
weights that is on this machine; `forecast_contexts` maps contexts (B, L), one row per target and
window, to means (B, H) in the same unit, and refuses more steps than the weights forecast
(`InputError`). Nothing is fitted, no other column is read, and torch is imported on use. Another
pretrained model is a file like this one.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from forecast.models.families.chronos import PretrainedSpec
from forecast.system.errors import InputError


class Spec(PretrainedSpec):
    """An entry of this family."""

    packages = ("transformers",)
    summary = "TimesFM with given weights: zero-shot, nothing fitted."
    equation = "y[t+h] = the pretrained decoder's mean, from y[t-L+1..t]"
    source = "Das et al. 2024"

    frequency: Literal["high", "medium", "low"] = Field(
        "high", description="high: up to days; medium: weeks and months; low: quarters and years"
    )

    def load_model(self, folder: Path) -> Any:
        """The model, ready for inference."""
        library = importlib.import_module("transformers")
        model = library.TimesFmModelForPrediction.from_pretrained(folder, local_files_only=True)
        return model.eval()

    def forecast_contexts(self, model: Any, contexts: np.ndarray, horizon: int) -> np.ndarray:
        """(B, H): the means; `InputError` for more steps than the weights forecast."""
        longest = model.config.horizon_length
        if horizon > longest:
            raise InputError(
                f"family timesfm: the weights forecast {longest} steps, the task wants {horizon}."
                " Take other weights, or a shorter `horizon`."
            )
        torch = importlib.import_module("torch")
        code = ("high", "medium", "low").index(self.frequency)
        with torch.no_grad():
            answer = model(
                past_values=[torch.from_numpy(c) for c in np.ascontiguousarray(contexts)],
                freq=[code] * len(contexts),
            )
        return np.asarray(answer.mean_predictions)[:, :horizon]
