"""Sequence to sequence: pairs of texts."""
