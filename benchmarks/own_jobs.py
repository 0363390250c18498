"""Our trainer's loop for `benchmarks/train.py`: pipeline, steps, metrics file and all."""

from __future__ import annotations

from side_by_side import Meter


def run(meter: Meter, arguments: list[str]) -> None:
    """Trains with train flags; the meter ticks after every inner loop."""
    from trainer.cli import flags
    from trainer.cli.lean_imports import without_matplotlib
    from trainer.tasks.configurations import TrainConfig
    from trainer.tasks.datasets import read

    config = flags.parse(TrainConfig, arguments)
    with without_matplotlib():
        from trainer.tasks.registry import task_for
        from trainer.training import run_files
        from trainer.training.checkpoint import Checkpoints, LoopState
        from trainer.training.loop import Loop, RunLength
        from trainer.training.preemption import Preemption
        from trainer.training.reporting import Report
        from trainer.training.run import build
        from trainer.training.strategy import configure_devices, make_strategy
        from trainer.training.supervisor import Heartbeat
        from trainer.training.workers import Workers

    strategy = make_strategy(config.device, configure_devices(config.device))
    task = task_for(config, read(config.data_dir))
    plan = RunLength.of(config, task.data.examples_per_epoch, task.data.steps_for)  # reads the training split
    meter.ready()
    stepper, state = build(task, strategy), LoopState()
    checkpoints = Checkpoints(config.model_dir, stepper.model, stepper.optimizer, state, keep=1)
    run_files.write(config, task.manifest)
    report = Report(config.model_dir, 0, 0.0, plan.total_steps, None)
    loop = Loop(task, stepper, plan, checkpoints, state, report, Workers(strategy, None), Preemption(), Heartbeat())
    before = 0
    for step in loop.run([]):
        meter.tick(step - before)
        before = step
