"""Recurrent layers, their kernels and losses: what any task may use."""
