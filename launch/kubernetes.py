"""Runs the trainer on a Kubernetes cluster: shows the objects, submits them, follows, explains, and removes them
again.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from launch import job as jobs
from launch.arguments import split
from launch.job import JobFlags
from recurrent_trainer import DISTRIBUTION
from trainer.cli import flags
from trainer.cli.command import finish
from trainer.cli.flag_help import help_text, wants_help
from trainer.config.fields import flag
from trainer.errors import EXIT_CONFIG, EXIT_DONE, ArgumentProblem, ConfigError, Problem, TrainerError

if TYPE_CHECKING:
    from launch.client import Client
    from launch.follow import Outcome
    from launch.run_objects import Run

LAST_LINES = 20
EXTRA = {
    "kubernetes": "the package kubernetes",
    "yaml": "the package PyYAML",
}  # of the extra `launch`, by the modules' names


@dataclass(frozen=True)
class SubmitFlags(JobFlags):
    """`submit` takes the flags of a job and its own."""

    follow: bool = flag("show the workers' logs until the run is over, and end with its exit code", default=False)


@dataclass(frozen=True)
class RunFlags:
    """`status` and `cancel`: which run."""

    GROUP: ClassVar[str] = "run"

    name: str = flag("name of the run")
    namespace: str = flag("Kubernetes namespace", default="default")


@dataclass(frozen=True)
class LogsFlags(RunFlags):
    """`logs`: which run, and how much of it."""

    worker: int | None = flag("index of the one worker to show", default=None)
    follow: bool = flag("go on until the run is over, and end with its exit code", default=False)

    def problems(self) -> Sequence[Problem]:
        if self.worker is not None and self.follow:
            return [Problem("worker", self.worker, "has no effect with --follow", "leave one of them out")]
        return []


class RunFailedError(TrainerError):
    """A run that was followed did not succeed; `exit_code` is the run's own."""

    def __init__(self, text: str, exit_code: int):
        super().__init__(text)
        self.exit_code = exit_code


class MissingPackageError(TrainerError):
    """The extra `launch` is not installed."""

    exit_code = EXIT_CONFIG


def render(arguments: Sequence[str]) -> str:
    """Prints the objects as YAML, without a cluster."""
    from launch.manifests import objects, to_yaml

    _, job = jobs.read(JobFlags, arguments)
    return to_yaml(objects(job)).rstrip("\n")


def submit(arguments: Sequence[str]) -> str:
    """Makes the run on the cluster, or leaves it as it is where it is there already."""
    settings, job = jobs.read(SubmitFlags, arguments)
    from launch import submission
    from launch.manifests import objects

    client, run = _connect(job.name, job.namespace)
    done = submission.submit(client, run, objects(job))
    result = {"name": run.name, "namespace": run.namespace, "objects": done}
    return _followed(client, run, result) if settings.follow else json.dumps(result)


def status(arguments: Sequence[str]) -> str:
    """Tells a run's state and the reasons for it."""
    settings = flags.parse(RunFlags, arguments)
    client, run = _connect(settings.name, settings.namespace)
    from launch.report import describe

    description = describe(client, run, LAST_LINES)
    if description is None:
        raise _no_such_run(run)
    return json.dumps(description)


def logs(arguments: Sequence[str]) -> str:
    """Prints the logs of a run's workers."""
    settings = flags.parse(LogsFlags, arguments)
    client, run = _connect(settings.name, settings.namespace)
    from launch.report import write_logs
    from launch.run_objects import look

    now = look(client, run)
    if now.owner is None and not now.pods:
        raise _no_such_run(run)
    result: dict[str, Any] = {"name": run.name, "namespace": run.namespace}
    if settings.follow:
        return _followed(client, run, result)
    return json.dumps(result | write_logs(client, now, settings.worker))


def cancel(arguments: Sequence[str]) -> str:
    """Stops a run and removes everything that submit made for it; data, checkpoints and volumes stay."""
    settings = flags.parse(RunFlags, arguments)
    client, run = _connect(settings.name, settings.namespace)
    from launch.submission import cancel as remove

    return json.dumps({"name": run.name, "namespace": run.namespace, "deleted": remove(client, run)})


VERBS: Mapping[str, tuple[Callable[[Sequence[str]], str], type]] = {
    "render": (render, JobFlags),
    "submit": (submit, SubmitFlags),
    "status": (status, RunFlags),
    "logs": (logs, LogsFlags),
    "cancel": (cancel, RunFlags),
}


def _connect(name: str, namespace: str) -> tuple[Client, Run]:
    from launch.client import (
        connect,
    )  # imports the Kubernetes client, which takes a second: only once the flags are right
    from launch.run_objects import Run

    return connect(), Run(name, namespace)


def _followed(client: Client, run: Run, result: Mapping[str, Any]) -> str:
    """Follows the run; prints the result and raises `RunFailedError` where the run did not end well."""
    from launch.follow import follow

    try:
        outcome = follow(client, run)
    except KeyboardInterrupt:
        again = f"python -m launch.kubernetes logs --follow --name={run.name} --namespace={run.namespace}"
        sys.stderr.write(f"the run goes on; follow it again with {again}\n")
        raise
    text = json.dumps({**result, **_ending(outcome)})
    if outcome.exit_code == EXIT_DONE:
        return text
    sys.stdout.write(text + "\n")
    state = outcome.state
    raise RunFailedError(
        f"{run.name} {state}; see python -m launch.kubernetes status --name={run.name}", outcome.exit_code
    )


def _ending(outcome: Outcome) -> dict[str, Any]:
    state = outcome.state
    reasons = [dataclasses.asdict(reason) for reason in state.reasons]
    return {
        "state": state.state,
        "exit_code": outcome.exit_code,
        "restarts": state.restarts,
        "reasons": reasons,
        "result": outcome.result,
    }


def _no_such_run(run: Run) -> ConfigError:
    return ConfigError(
        [
            Problem(
                "name",
                run.name,
                f"is not a run in namespace {run.namespace}",
                "see kubectl get jobs for those there are",
            )
        ]
    )


def main(arguments: Sequence[str]) -> str:
    """Runs the verb that comes first and gives the text for stdout."""
    verb, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    launchers, _ = split(rest)
    if verb in VERBS and wants_help(launchers):
        body, flags_class = VERBS[verb]
        after = " -- <flags of the trainer's command>" if issubclass(flags_class, JobFlags) else ""
        return help_text(
            f"launch.kubernetes {verb}", f"{body.__doc__}{after and chr(10) + 'Ends in' + after}", flags_class
        )
    if wants_help([verb]):
        lines = [f"  {name:<8}{body.__doc__}" for name, (body, _) in VERBS.items()]
        return "\n".join([__doc__ or "", "", "usage: python -m launch.kubernetes VERB --name=value ...", "", *lines])
    if verb not in VERBS:
        if not verb or verb.startswith("-"):
            raise ConfigError(
                [ArgumentProblem("the verb", None, "is missing", f"give one of {', '.join(VERBS)} first")]
            )
        raise ConfigError(
            [ArgumentProblem(verb, None, "is not a verb of launch.kubernetes", flags.suggestion(verb, list(VERBS)))]
        )
    try:
        return VERBS[verb][0](rest)
    except ModuleNotFoundError as error:
        if error.name not in EXTRA:
            raise
        raise MissingPackageError(
            f"launch.kubernetes needs {EXTRA[error.name]}; pip install '{DISTRIBUTION}[launch]'"
        ) from None


def _run() -> NoReturn:
    finish(lambda: main(sys.argv[1:]))


if __name__ == "__main__":
    _run()
