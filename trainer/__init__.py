"""Trains recurrent sequence models with TensorFlow: sequences in, a served model out."""

__version__ = "0.1.0"
