"""Family `chronos`: Chronos-Bolt, Chronos-2 and Chronos with pretrained weights (zero-shot, nothing
is fitted); and `PretrainedSpec`, the base of all pretrained families.

An entry names its `weights`, a folder or a name of the Hugging Face hub; a name is fetched only
with `download: true`. A fit stores the digest of the files alone, so that a forecast with other
weights is refused. Each target is forecast from its own lookback; no other column is read. Whether
the weights were trained on these very series cannot be known; the report shows `licence` and
`trained_until` from the weights' own card. Torch and the libraries of the extra `pretrained` are
imported when a model is loaded.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from forecast.data.windows import Windows, fill_gaps
from forecast.models.base import ModelSpec
from forecast.models.problem import FittedForecaster, Parameters, Problem
from forecast.system import files
from forecast.system.errors import InputError, one_line, quote

DIGEST = "weights_sha256"
WEIGHT_FILES = ("*.safetensors", "*.bin", "config.json")


class PretrainedSpec(ModelSpec):
    """A model whose weights were trained on other data."""

    kind = "pretrained"
    packages: ClassVar[tuple[str, ...]]
    """The packages that it imports beside torch."""

    weights: str = Field("", description="a folder, or a name of the Hugging Face hub")
    download: bool = Field(False, description="whether a name may be fetched from the hub")
    licence: str = Field("", description="of the weights, by their card")
    trained_until: str = Field("", description="the last day of their training data, by their card")

    def load_model(self, folder: Path) -> Any:
        """The library's model from a folder of weights; to be written by a family."""
        raise NotImplementedError

    def forecast_contexts(self, model: Any, contexts: np.ndarray, horizon: int) -> np.ndarray:
        """Point forecasts (B, H) after `contexts` (B, L), float32 without missing values; to be
        written by a family.
        """
        raise NotImplementedError

    def fit(self, problem: Problem, *, seed: int) -> Parameters:
        """The digest of the weights, which are loaded once so that errors come early. `InputError`
        where they are missing, or no weights of this family.
        """
        folder = self.find_weights()
        digest = digest_weights(folder)
        _load_cached(self, folder, digest)
        return Parameters({DIGEST: np.frombuffer(bytes.fromhex(digest), dtype=np.uint8)})

    def scaled_forecast(self, model: FittedForecaster, windows: Windows) -> np.ndarray:
        """Forecasts (B, H, O) in scaled units; `InputError` for other weights than at the fit."""
        folder = self.find_weights()
        digest = digest_weights(folder)
        fitted_with = bytes(model.weights[DIGEST]).hex()
        if digest != fitted_with:
            raise InputError(
                f"{folder}: the weights have the digest {digest[:12]}, those of the fit"
                f" {fitted_with[:12]}. Bring the old ones back, or run again."
            )
        loaded = _load_cached(self, folder, digest)
        outputs, horizon = model.channels.outputs, model.task.horizon
        contexts = fill_gaps(windows.z[:, :, :outputs])[0].astype(np.float32)
        forecasts = [
            self.forecast_contexts(loaded, contexts[:, :, output], horizon)
            for output in range(outputs)
        ]
        return np.stack(forecasts, axis=2).astype(np.float64)

    def n_params(self, model: FittedForecaster) -> int:
        """How many numbers were fitted to data: none."""
        return 0

    @property
    def remark(self) -> str:
        """A note on the weights for the report, without a full stop."""
        licence = self.licence or "not named in the entry"
        until = self.trained_until or "an unnamed day"
        return (
            f"Weights {self.weights}: licence {licence}, trained on data until {until};"
            " whether on these series is not known, and no audit can tell"
        )

    def find_weights(self) -> Path:
        """The folder of the weights; `InputError` where they or their packages are missing."""
        if not self.weights:
            raise InputError(
                f"family {self.family}: found no `weights`, wanted a folder or a name of the"
                " Hugging Face hub. Add it to the entry."
            )
        for package in ("torch", *self.packages):
            if importlib.util.find_spec(package) is None:
                raise InputError(
                    f"family {self.family} needs {package}. Install it: `pip install"
                    " 'rolling-forecast[pretrained]'`."
                )
        folder = Path(self.weights)
        if not folder.is_dir():
            folder = self._find_in_hub()
        if not (folder / "config.json").exists():
            raise InputError(
                f"{folder}: found no config.json, wanted the folder of saved weights. Correct"
                " `weights`."
            )
        return folder

    def _find_in_hub(self) -> Path:
        """The local copy of the hub's weights, which are fetched only with `download`."""
        hub = importlib.import_module("huggingface_hub")
        try:
            return Path(hub.snapshot_download(self.weights, local_files_only=not self.download))
        except (OSError, ValueError) as error:
            remedy = "Give a folder, or `download: true` to fetch them from the hub"
            if self.download:
                remedy = f"The hub says: {one_line(error)[:200]}. Give a folder"
            raise InputError(
                f"family {self.family}: weights {quote(self.weights)} are not on this machine."
                f" {remedy}."
            ) from None


@lru_cache(maxsize=2)
def _load_cached(spec: PretrainedSpec, folder: Path, digest: str) -> Any:
    """The loaded model, cached; `digest` is there for the key of the cache."""
    if "tensorflow" in sys.modules:
        # Triton has an LLVM of its own, which ends a process that has loaded TensorFlow's. Torch
        # needs it only to compile kernels for a GPU, and works without.
        sys.modules.setdefault("triton", None)  # type: ignore[arg-type]
    try:
        return spec.load_model(folder)
    except (ValueError, KeyError, OSError, RuntimeError, AttributeError) as error:
        cause = one_line(error)[:200]
        raise InputError(
            f"{folder}: not weights of family {spec.family} ({cause}). Correct `weights`."
        ) from None


def digest_weights(folder: Path) -> str:
    """The sha256 of the files in `folder` that a forecast depends on."""
    digests: dict[str, str] = {}
    for pattern in WEIGHT_FILES:
        for path in folder.glob(pattern):
            status = path.stat()
            digests[path.name] = _digest_unchanged(path, status.st_mtime_ns, status.st_size)
    return files.sha256_of(digests)


@lru_cache(maxsize=64)
def _digest_unchanged(path: Path, modified: int, size: int) -> str:
    """The sha256 of a file, cached by its time and size, as weights have hundreds of megabytes."""
    return files.sha256(path)


class Spec(PretrainedSpec):
    """An entry of this family."""

    packages = ("chronos",)
    summary = "Chronos-Bolt, Chronos-2 or Chronos with given weights: zero-shot, nothing fitted."
    equation = "y[t+h] = median of the pretrained model's quantiles, from y[t-L+1..t]"
    source = "Ansari et al. 2024 (Chronos); Ansari et al. 2025 (Chronos-2)"

    def load_model(self, folder: Path) -> Any:
        """The pipeline that config.json names."""
        chronos = importlib.import_module("chronos")
        return chronos.BaseChronosPipeline.from_pretrained(folder, local_files_only=True)

    def forecast_contexts(self, model: Any, contexts: np.ndarray, horizon: int) -> np.ndarray:
        """(B, H): the medians."""
        torch = importlib.import_module("torch")
        quantiles, _ = model.predict_quantiles(
            [torch.from_numpy(context) for context in np.ascontiguousarray(contexts)],
            prediction_length=horizon,
            quantile_levels=[0.5],
        )
        return np.stack([np.asarray(of_series).reshape(horizon) for of_series in quantiles])
