"""Metrics and the baselines that a model has to beat."""
