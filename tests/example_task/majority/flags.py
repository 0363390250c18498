"""The command line: the source that it reads, with the flags that all tasks share."""

from trainer.config.task_flags import TaskFlags

FLAGS = TaskFlags(sources=("bits",), file_sources=("bits",))
