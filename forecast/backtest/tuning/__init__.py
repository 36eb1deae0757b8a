"""The only door to Optuna: seeded studies that can be killed at any moment and resumed to the same result."""

from forecast.backtest.tuning.study import Objective, Report, StudyResult, Trial, TrialOutcome, run_study

__all__ = ["Objective", "Report", "StudyResult", "Trial", "TrialOutcome", "run_study"]
