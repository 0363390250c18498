"""Scores of forecasts, and the baselines that a model has to beat."""
