"""Configurations: frozen dataclasses, whose fields are the flags."""
