"""Candidates, tuning, training runs and their forecasts from every origin."""
