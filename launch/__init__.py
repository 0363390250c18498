"""Starts training runs: as processes of this host, or on a cluster. Nothing here imports TensorFlow."""

from recurrent_trainer import check_packages

check_packages(
    "launch", "trainer"
)  # before the modules here import a foreign `trainer`, such as a folder in the working directory
