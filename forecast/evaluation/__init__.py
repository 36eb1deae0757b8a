"""Candidates, their backtests and the scores of their forecasts."""
