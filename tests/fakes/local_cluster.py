"""A cluster of one host for one Indexed Job: a pod a namespace, and the Job controller's rules between them.

Every pod has network, mounts, processes and host name of its own, so the manifest's command runs as it is: all workers
listen on one port, find each other by their names, run as the manifest's user on a read-only root. Run as a program
(inside network, mount and process namespaces of its own, see `run_job`), this file plays node and controller until the
Job is finished.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from job_controller import INDEX, action_for
from kubelet import IMAGE, INTERFACE, command_of, environment_of, network_of

Dict = dict[str, Any]

HERE = Path(__file__).resolve().parent
NAMESPACES = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
POLL_SECONDS = 0.05


def can_run() -> str:
    """Why pods cannot be run here; empty where they can."""
    if os.geteuid() != 0:
        return "needs root, for namespaces and the pods' own user"
    probe = "ip link add br0 type bridge && ip link add cable0 type veth peer name cable1"
    try:
        done = subprocess.run([*NAMESPACES, "sh", "-c", probe], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return f"no namespaces here: {error}"
    return f"no network namespaces here: {done.stderr.strip()}" if done.returncode else ""


def run_job(
    objects: list[Dict], claims: dict[str, Path], directory: Path, story: list[Dict], seconds: float, source: Path
) -> Dict:
    """Runs the manifest's Job to its end.

    Args:
      objects: the rendered manifest.
      claims: the directory behind every PersistentVolumeClaim.
      directory: for logs and scratch volumes.
      story: what befalls the workers, in order: `{"index", "at_step", "how": "SIGKILL" or "drain"}`; steps are read
        from metrics.jsonl, which every claim is searched for.
      seconds: the Job has failed if it is not finished by then.
      source: the directory that holds the trainer's package.

    Returns:
      `condition` (Complete, Failed), `reason`, `history` (what befell whom at which step; index, exit code and action
      of every pod that ended).
    """
    directory.mkdir(parents=True, exist_ok=True)
    spec = {
        "objects": objects,
        "claims": {name: str(path) for name, path in claims.items()},
        "directory": str(directory),
        "story": story,
        "seconds": seconds,
        "host_network": network_of("self"),
        "image": {"base_prefix": sys.base_prefix, "prefix": sys.prefix, "source": str(source)},
    }
    path = directory / "job.json"
    path.write_text(json.dumps(spec), encoding="utf-8")
    command = [*NAMESPACES, sys.executable, str(HERE / "local_cluster.py"), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False)
    if done.returncode:
        raise RuntimeError(f"the local cluster failed: {done.stderr}")
    found: Dict = json.loads(done.stdout.splitlines()[-1])
    return found


@dataclass
class Pod:
    index: int
    description: Dict
    process: subprocess.Popen[bytes]
    stop_by: float | None = None  # when the kubelet kills it

    def send(self, number: signal.Signals) -> None:
        """Signals the pod's first process; one that has just ended gets none."""
        pid = self.process.pid
        with contextlib.suppress(OSError):
            for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split():
                os.kill(int(child), number)

    @property
    def exit_code(self) -> int | None:
        return self.process.poll()


class Node:
    """Network and pods."""

    def __init__(self, spec: Dict):
        self._spec = spec
        self._objects = spec["objects"]
        self.job = next(each for each in self._objects if each["kind"] == "Job")
        self._directory = Path(spec["directory"])
        self._hosts = self._directory / "hosts"
        self._hosts.write_text("127.0.0.1 localhost\n", encoding="utf-8")
        self._names: dict[str, str] = {}
        self._count = 0
        if network_of("self") == spec["host_network"]:
            raise RuntimeError("not in a network namespace of its own")
        for command in ("link set lo up", "link add br0 type bridge", "link set br0 up"):
            subprocess.run(["ip", *command.split()], check=True)

    def start(self, index: int) -> Pod:
        """A new pod for a worker, with a new address, as on a real cluster."""
        name, template = self.job["metadata"]["name"], self.job["spec"]["template"]
        self._count += 1
        ip = f"10.77.{self._count // 200}.{self._count % 200 + 10}"
        pod = {
            "metadata": {
                "name": f"{name}-{index}-{self._count:05d}",
                "namespace": self.job["metadata"]["namespace"],
                "labels": {**template["metadata"]["labels"], INDEX: str(index), "batch.kubernetes.io/job-name": name},
                "annotations": {INDEX: str(index)},
            },
            "spec": {**template["spec"], "hostname": f"{name}-{index}"},
            "status": {"podIP": ip},
        }
        self._publish(pod, ip)
        path = self._directory / f"{pod['metadata']['name']}.json"
        path.write_text(json.dumps(self._described(pod, ip)), encoding="utf-8")
        with path.with_suffix(".log").open("wb") as log:
            process = subprocess.Popen([sys.executable, str(HERE / "kubelet.py"), str(path)], stdout=log, stderr=log)
        self._connect(process.pid)
        return Pod(index, pod, process)

    def _described(self, pod: Dict, ip: str) -> Dict:
        container = pod["spec"]["containers"][0]
        environment = environment_of(pod, container, self._objects)
        # The Job controller adds this variable to an Indexed Job's containers.
        environment["JOB_COMPLETION_INDEX"] = pod["metadata"]["annotations"][INDEX]
        security = pod["spec"]["securityContext"]
        return {
            **self._spec["image"],
            "host_network": self._spec["host_network"],
            "ip": ip,
            "hostname": pod["spec"]["hostname"],
            "hosts": str(self._hosts),
            "mounts": [self._mount(pod, mount) for mount in container["volumeMounts"]],
            "user": security["runAsUser"],
            "group": security["runAsGroup"],
            "read_only_root": container["securityContext"]["readOnlyRootFilesystem"],
            "working_directory": "/tmp",
            "environment": {**IMAGE, **environment},
            "command": command_of(container, environment),
        }

    def _mount(self, pod: Dict, mount: Dict) -> Dict:
        volume = next(each for each in pod["spec"]["volumes"] if each["name"] == mount["name"])
        if "persistentVolumeClaim" in volume:
            source = Path(self._spec["claims"][volume["persistentVolumeClaim"]["claimName"]])
        else:
            source = self._directory / f"{pod['metadata']['name']}-{volume['name']}"
            source.mkdir(exist_ok=True)
            source.chmod(0o777)
        if "configMap" in volume:
            data = next(
                e["data"]
                for e in self._objects
                if e["kind"] == "ConfigMap" and e["metadata"]["name"] == volume["configMap"]["name"]
            )
            for file, text in data.items():
                (source / file).write_text(text, encoding="utf-8")
        return {"source": str(source), "path": mount["mountPath"], "read_only": mount.get("readOnly", False)}

    def _publish(self, pod: Dict, ip: str) -> None:
        """What the headless Service does: HOSTNAME.SUBDOMAIN leads to the pod, if the Service selects it."""
        service = next(
            each
            for each in self._objects
            if each["kind"] == "Service" and each["metadata"]["name"] == pod["spec"]["subdomain"]
        )
        assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items(), (
            "the Service does not select its pods"
        )
        self._names[f"{pod['spec']['hostname']}.{pod['spec']['subdomain']} {pod['spec']['hostname']}"] = ip
        lines = ["127.0.0.1 localhost", *(f"{ip} {names}" for names, ip in self._names.items())]
        self._hosts.write_text(
            "".join(f"{line}\n" for line in lines), encoding="utf-8"
        )  # in place: it is mounted in the pods

    def _connect(self, pid: int) -> None:
        own = network_of("self")
        while network_of(pid) == own:
            time.sleep(0.01)
        cable = f"v{self._count}"
        subprocess.run(
            ["ip", "link", "add", cable, "type", "veth", "peer", "name", INTERFACE, "netns", str(pid)], check=True
        )
        subprocess.run(["ip", "link", "set", cable, "master", "br0", "up"], check=True)


class Controller:
    """The Job's rules (podFailurePolicy, backoffLimit, successPolicy), and the story that befalls its pods."""

    def __init__(self, spec: Dict):
        self.node = Node(spec)
        self.job_spec = self.node.job["spec"]
        assert self.job_spec["podReplacementPolicy"] == "Failed", "a worker comes again only when the old one has ended"
        self.grace_seconds = float(self.job_spec["template"]["spec"]["terminationGracePeriodSeconds"])
        self.story = list(spec["story"])
        self.claims = [Path(path) for path in spec["claims"].values()]
        self.pods = {index: self.node.start(index) for index in range(self.job_spec["completions"])}
        self.succeeded: set[int] = set()
        self.history: list[Dict] = []
        self.failed = 0

    def run(self, seconds: float) -> Dict:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._tell_story()
            for index, pod in list(self.pods.items()):
                if pod.stop_by is not None and pod.process.poll() is None and time.monotonic() > pod.stop_by:
                    pod.send(signal.SIGKILL)
                if pod.exit_code is not None:
                    del self.pods[index]
                    end = self._ended(pod, pod.exit_code)
                    if end is not None:
                        self._stop_all()
                        return {"condition": end[0], "reason": end[1], "history": self.history}
            time.sleep(POLL_SECONDS)
        self._stop_all()
        return {"condition": "Failed", "reason": "the test's time is over", "history": self.history}

    def _ended(self, pod: Pod, code: int) -> tuple[str, str] | None:
        disrupted = [{"type": "DisruptionTarget", "status": "True"}] if pod.stop_by is not None else []
        action, _ = action_for(self.job_spec, code, disrupted) if code else ("Succeeded", None)
        self.history.append({"index": pod.index, "exit_code": code, "action": action, "step": self._step()})
        if action == "Succeeded":
            self.succeeded.add(pod.index)
            rules = self.job_spec.get("successPolicy", {}).get("rules", ())
            if any(rule.get("succeededIndexes") == str(pod.index) for rule in rules):
                return "Complete", "SuccessPolicy"
            return ("Complete", "CompletionsReached") if len(self.succeeded) == self.job_spec["completions"] else None
        if action == "FailJob":
            return "Failed", "PodFailurePolicy"
        self.failed += action == "Count"
        if self.failed > self.job_spec["backoffLimit"]:
            return "Failed", "BackoffLimitExceeded"
        self.pods[pod.index] = self.node.start(pod.index)
        return None

    def _tell_story(self) -> None:
        if not self.story or self._step() < self.story[0]["at_step"] or len(self.pods) < self.job_spec["completions"]:
            return
        event = self.story.pop(0)
        self.history.append({**event, "told_at_step": self._step()})
        pod = self.pods[event["index"]]
        if event["how"] == "drain":
            pod.stop_by = time.monotonic() + self.grace_seconds
        pod.send(signal.SIGTERM if event["how"] == "drain" else signal.SIGKILL)

    def _step(self) -> int:
        """The last step that metrics.jsonl tells."""
        for path in (found for claim in self.claims for found in claim.glob("*/metrics.jsonl")):
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            whole = [line for line in lines[-2:] if line.endswith("\n")]
            if whole:
                return int(json.loads(whole[-1])["step"])
        return 0

    def _stop_all(self) -> None:
        """Of a finished Job, the pods that still run get their grace period."""
        running = [pod for pod in self.pods.values() if pod.exit_code is None]
        for pod in running:
            pod.send(signal.SIGTERM)
        for pod in running:
            try:
                pod.process.wait(self.grace_seconds)
            except subprocess.TimeoutExpired:
                pod.send(signal.SIGKILL)


if __name__ == "__main__":
    settings = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sys.stdout.write(json.dumps(Controller(settings).run(settings["seconds"])) + "\n")
