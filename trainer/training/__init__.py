"""The training loop, its devices, optimizer, checkpoints and reports."""
