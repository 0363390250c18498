"""The configuration of `train`: what any task has a use for. Tasks add groups of flags of their own."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from trainer.config.fields import Configuration, FlagGroup, at_least, flag, within
from trainer.config.places import Places
from trainer.config.storage import StorageFlags
from trainer.errors import Problem


class TaskTrainFlags(FlagGroup):
    """Base of the groups that a task brings for training."""

    @property
    def batch_parts(self) -> Mapping[str, int]:
        """Flag -> the number of equal parts that it cuts a replica's share of every batch into."""
        return {}

    @property
    def rows_from_data(self) -> bool:
        """Whether `--batch_size` counts something else than rows, so that only the data tells how many rows a batch
        has.
        """
        return False

    def rows_problem(self, reason: str) -> Problem:
        """The problem where `rows_from_data` gives batches that cannot be shared."""
        raise NotImplementedError


@dataclass(frozen=True)
class ModelFlags(FlagGroup):
    GROUP: ClassVar[str] = "model"
    FIELD: ClassVar[str] = "model"

    cell: str = flag("recurrent cell", default="lstm", choices=("lstm", "gru"))
    num_layers: int = flag("recurrent layers", default=1)
    units: int = flag("units of a layer", default=128)
    dropout: float = flag("share of activations dropped between layers and before the output", default=0.0)

    variational_dropout: bool = flag("drop the same units at all time steps of a sequence", default=False)
    recurrent_dropout: float = flag(
        "share of the recurrent weights dropped, the same ones at all time steps of a batch", default=0.0
    )
    residual: bool = flag("add each layer's input to its output, from the second layer on", default=False)
    layer_norm: bool = flag("normalise the output of every layer", default=False)

    def problems(self) -> Iterator[Problem]:
        yield from at_least(self, 1, "num_layers", "units")
        yield from within(self, 0, 1, "dropout", "recurrent_dropout")


@dataclass(frozen=True)
class OptimizerFlags(FlagGroup):
    GROUP: ClassVar[str] = "optimizer"
    FIELD: ClassVar[str] = "optimization"

    optimizer: str = flag(
        "update rule; muon is for the matrices of recurrent layers, with adamw for all else",
        default="adam",
        choices=("adam", "adamw", "muon", "sgd"),
    )
    learning_rate: float = flag("highest learning rate of the schedule", default=1e-3)
    schedule: str = flag(
        "course of the learning rate after the warm-up", default="cosine", choices=("constant", "linear", "cosine")
    )
    warmup_steps: int = flag("steps over which the learning rate rises from 0", default=0)
    clip_norm: float = flag(
        "largest global norm of the gradients, after the reduction over replicas; 0 does not clip", default=1.0
    )
    weight_decay: float = flag(
        "decoupled weight decay a step, times the learning rate (adamw, muon, sgd); matrices only", default=0.0
    )
    momentum: float = flag("momentum of sgd", default=0.0)

    def problems(self) -> Iterator[Problem]:
        yield from at_least(self, 0, "warmup_steps", "clip_norm", "weight_decay")
        yield from within(self, 0, 1, "momentum")
        if not 0 < self.learning_rate < math.inf:
            yield Problem("learning_rate", self.learning_rate, "is not a positive number", "use one such as 0.001")
        if self.optimizer == "adam" and self.weight_decay:
            yield Problem(
                "weight_decay", self.weight_decay, "has no effect with --optimizer=adam", "use --optimizer=adamw"
            )
        if self.optimizer != "sgd" and self.momentum:
            yield Problem(
                "momentum", self.momentum, f"has no effect with --optimizer={self.optimizer}", "use --optimizer=sgd"
            )


@dataclass(frozen=True)
class BudgetFlags(FlagGroup):
    GROUP: ClassVar[str] = "training"
    FIELD: ClassVar[str] = "budget"
    ALTERNATIVES: ClassVar[tuple[str, ...]] = ("train_steps", "epochs", "train_seconds")

    batch_size: int = flag("examples a step over all replicas (the global batch)", default=32)
    accumulate_steps: int = flag(
        "parts in which a device computes its share of a step, one after the other, to save memory", default=1
    )
    train_steps: int | None = flag("stop after this many steps", default=None)
    epochs: float | None = flag("stop after this many passes over the training split", default=None)
    train_seconds: float | None = flag(
        "stop after this much training time; the schedule is stretched to it", default=None
    )
    evaluate_every_steps: int = flag(
        "validate after every so many steps; 0 is once an epoch (at the latest at the end)", default=0
    )
    save_every_steps: int = flag("save after every so many steps; 0 is at every validation", default=0)
    keep_checkpoints: int = flag("last checkpoints kept, beside the best", default=3)
    early_stop_patience: int = flag("stop after so many validations without a better score; 0 is never", default=0)

    def problems(self) -> Iterator[Problem]:
        yield from at_least(self, 1, "batch_size", "accumulate_steps", "train_steps", "keep_checkpoints")
        yield from at_least(self, 0, "evaluate_every_steps", "save_every_steps", "early_stop_patience")
        for name in ("epochs", "train_seconds"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                yield Problem(name, value, "is not a positive number", "use a number above 0")
        budgets = [name for name in self.ALTERNATIVES if getattr(self, name) is not None]
        if len(budgets) != 1:
            reason = "are all given: " + ", ".join(f"--{name}" for name in budgets) if budgets else "is missing"
            yield Problem(
                "train_steps", self.train_steps, reason, "give one of --train_steps, --epochs, --train_seconds"
            )


@dataclass(frozen=True)
class DeviceFlags(FlagGroup):
    GROUP: ClassVar[str] = "devices"
    FIELD: ClassVar[str] = "device"

    strategy: str = flag(
        "how devices share the work", default="auto", choices=("auto", "one_device", "mirrored", "multi_worker")
    )
    devices_per_worker: int = flag("devices of this host to use; 0 is every GPU, or one CPU device", default=0)
    require_gpus: int = flag(
        "GPUs that this host must have, else the run ends with 64; 0 takes what there is", default=0
    )
    precision: str = flag(
        "number format of the products", default="float32", choices=("float32", "bfloat16", "float16")
    )
    jit_compile: bool = flag("compile the loss and its gradients with XLA", default=False)
    kernel: str = flag(
        "how recurrent layers run; auto takes cudnn on GPUs", default="auto", choices=("auto", "cudnn", "cpu")
    )
    deterministic: bool = flag(
        "use deterministic kernels on GPUs, slower (CPU runs repeat bit for bit anyway)", default=False
    )
    grace_seconds: float = flag("longest time from SIGTERM, SIGHUP or Ctrl-C to the exit, for saving", default=25.0)
    peer_timeout_seconds: float = flag(
        "many workers: longest time without a step, a validation batch or a save", default=300.0
    )

    def problems(self) -> Iterator[Problem]:
        yield from at_least(self, 0, "devices_per_worker", "require_gpus")
        for name in ("grace_seconds", "peer_timeout_seconds"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                yield Problem(name, value, "is not a positive number", "use a number of seconds above 0")
        if self.kernel == "cudnn" and self.jit_compile:
            yield Problem("kernel", self.kernel, "cannot be compiled by --jit_compile", "leave one of the two out")
        if self.strategy == "one_device" and self.devices_per_worker > 1:
            yield Problem(
                "strategy",
                self.strategy,
                f"does not use --devices_per_worker={self.devices_per_worker}",
                "use --strategy=mirrored",
            )


@dataclass(frozen=True)
class DebugFlags(FlagGroup):
    GROUP: ClassVar[str] = "debugging"
    FIELD: ClassVar[str] = "debug"

    dry_run: bool = flag("check configuration, data and model, take one step, write nothing", default=False)
    check_numerics: bool = flag(
        "stop at the first op that makes a NaN or an infinity, and name it (slow)", default=False
    )
    profile_steps: tuple[str, ...] = flag("first and last step of a TensorBoard profile, as in 10,20", default=())

    def problems(self) -> Iterator[Problem]:
        if self.profile_steps and self.profile_range() is None:
            yield Problem(
                "profile_steps", ",".join(self.profile_steps), "is not a range of steps", "give first,last as in 10,20"
            )

    def profile_range(self) -> tuple[int, int] | None:
        """First and last step to profile; None where none were asked for or they are no range."""
        if len(self.profile_steps) != 2 or not all(step.isdigit() for step in self.profile_steps):
            return None
        first, last = int(self.profile_steps[0]), int(self.profile_steps[1])
        return (first, last) if 1 <= first <= last else None


@dataclass(frozen=True)
class TrainConfig(Configuration):
    """`python -m trainer.train`."""

    GROUP: ClassVar[str] = "run"
    TAKES_RECIPE: ClassVar[bool] = True

    data_dir: str = flag("dataset that trainer.prepare wrote")
    model_dir: str = flag("directory of checkpoints and logs; an existing one is resumed")
    seed: int = flag("seed of the weights, the order of the data and the noise", default=0)
    model: ModelFlags = dataclasses.field(default_factory=ModelFlags)
    optimization: OptimizerFlags = dataclasses.field(default_factory=OptimizerFlags)
    budget: BudgetFlags = dataclasses.field(default_factory=BudgetFlags)
    device: DeviceFlags = dataclasses.field(default_factory=DeviceFlags)
    storage: StorageFlags = dataclasses.field(default_factory=StorageFlags)
    debug: DebugFlags = dataclasses.field(default_factory=DebugFlags)

    @property
    def task_groups(self) -> tuple[TaskTrainFlags, ...]:
        return tuple(group for group in self.groups if isinstance(group, TaskTrainFlags))

    @property
    def batch_parts(self) -> dict[str, int]:
        """Flag -> the number of equal parts that it cuts a replica's share of every batch into."""
        parts = {"accumulate_steps": self.budget.accumulate_steps}
        return parts | {name: count for group in self.task_groups for name, count in group.batch_parts.items()}

    @property
    def batch_rows(self) -> int | None:
        """Rows of every global batch; None where only the data tells them."""
        return None if any(group.rows_from_data for group in self.task_groups) else self.budget.batch_size

    def places(self) -> Places:
        return Places(read_directories={"data_dir": self.data_dir}, written_directories={"model_dir": self.model_dir})

    def command_problems(self) -> Iterator[Problem]:
        yield from at_least(self, 0, "seed")
