"""Datasets on disk: manifest, shards, records, and their preparation."""
