"""Forecasters, their distributions and calibration."""
