"""The same-budget check: networks are compared only when each was given what configs/tuning.yaml gives to all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from forecast.config.tuning import Tuning
from forecast.system.errors import InputError


def check_same_budget(records: Iterable[Mapping[str, Any]], tuning: Tuning) -> list[dict[str, str]]:
    """The networks exempt from a part of the check, `{"model", "ranking", "why"}`; `InputError` naming every other.

    `records`: those of the train stage. Baselines are not tuned, and a failed model is in no comparison. A network
    trained by Levenberg-Marquardt takes no gradient steps, so its trials and steps are not held against the budget:
    its seeds are, and its CPU seconds stand in the ledger beside everybody's.
    """
    exempt, faults = [], []
    for record in records:
        if record["kind"] != "network" or record["status"] != "ok":
            continue
        by_gradient = record["params"].get("trainer", "gradient") == "gradient"
        if not by_gradient:
            about = {key: str(record[key]) for key in ("model", "ranking")}
            exempt.append({**about, "why": "trained by Levenberg-Marquardt, whose iterations are no gradient steps"})
        faults += [f"{record['candidate']} has {fault}" for fault in _faults(record, tuning, by_gradient=by_gradient)]
    if faults:
        raise InputError(
            f"Not the same budget for every network, so nothing is compared: {'; '.join(faults)}. The budget of "
            "configs/tuning.yaml is for all; run `dvc repro` to train these models with it."
        )
    return exempt


def _faults(record: Mapping[str, Any], tuning: Tuning, *, by_gradient: bool) -> list[str]:
    """What this network was given and should not have been, in words."""
    seeds = sorted(int(seed["seed"]) for seed in record["seeds"])
    found = [] if seeds == sorted(tuning.seeds) else [f"seeds {seeds}, wanted {sorted(tuning.seeds)}"]
    if not by_gradient:
        return found
    given = {
        "tuning trials": (len(record["trials"]), tuning.n_trials),
        "gradient steps in tuning": (record["tuning_gradient_steps"], tuning.n_trials * tuning.trial_steps),
        "gradient steps in training": (record["gradient_steps"], tuning.final_steps * len(tuning.seeds)),
    }
    return found + [f"{has} {what}, wanted {wanted}" for what, (has, wanted) in given.items() if has != wanted]
