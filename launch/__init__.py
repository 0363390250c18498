"""Starts training runs: as processes of this host, or on a cluster. Nothing here imports TensorFlow."""
