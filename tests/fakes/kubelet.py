"""What a kubelet does with a pod, as far as a test on one host needs it: environment, volumes, a root of its own, the
container's user.

`environment_of` and `command_of` are pure. Run as a program, this file is the first process inside a pod's namespaces:
it sets up network, root file system and user as the pod asks, and becomes the container's command (as process 1, as in
a real container).
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

Dict = dict[str, Any]

INTERFACE = "ethpod"  # no host's own interface has this name, so a mistake here cannot touch one
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")
ETC = ("passwd", "group", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "ssl")
DEVICES = ("null", "zero", "full", "random", "urandom")
PR_SET_NO_NEW_PRIVS, PR_SET_PDEATHSIG = 38, 1
NETWORK, MOUNTS, HOST_NAME, PROCESSES = 0x40000000, 0x00020000, 0x04000000, 0x20000000  # CLONE_NEW... of linux/sched.h
IMAGE_PATH = "/image/venv/bin:/usr/local/bin:/usr/bin:/bin"
# The image's own environment (Dockerfile); /image/app stands for the wheel that it installs.
IMAGE = {"PATH": IMAGE_PATH, "PYTHONPATH": "/image/app", "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
IMAGE |= {
    "HOME": "/cache",
    "XDG_CACHE_HOME": "/cache",
    "MPLCONFIGDIR": "/cache/matplotlib",
    "CUDA_CACHE_PATH": "/cache/cuda",
}


def environment_of(pod: Dict, container: Dict, objects: list[Dict]) -> dict[str, str]:
    """The container's environment beyond its image's: envFrom, then env, with field references and $(NAME) resolved.

    https://kubernetes.io/docs/tasks/inject-data-application: a later variable may refer to an earlier one; env wins
    over envFrom.
    """
    data = {(each["kind"], each["metadata"]["name"]): each.get("data", {}) for each in objects}
    found: dict[str, str] = {"HOSTNAME": pod["spec"].get("hostname") or pod["metadata"]["name"]}
    for source in container.get("envFrom", ()):
        kind, field = ("Secret", "secretRef") if "secretRef" in source else ("ConfigMap", "configMapRef")
        found |= {source.get("prefix", "") + name: value for name, value in data[kind, source[field]["name"]].items()}
    for variable in container.get("env", ()):
        reference = variable.get("valueFrom")
        if reference is None:
            value = expand(variable.get("value", ""), found)
        elif "fieldRef" in reference:
            value = field_of(pod, reference["fieldRef"]["fieldPath"])
        else:
            kind, field = (
                ("Secret", "secretKeyRef") if "secretKeyRef" in reference else ("ConfigMap", "configMapKeyRef")
            )
            value = data[kind, reference[field]["name"]][reference[field]["key"]]
        found[variable["name"]] = value
    return found


def command_of(container: Dict, environment: dict[str, str]) -> list[str]:
    return [expand(part, environment) for part in [*container["command"], *container.get("args", ())]]


def expand(text: str, environment: dict[str, str]) -> str:
    """Replaces $(NAME) where NAME is known; $$ stands for $."""
    return re.sub(
        r"\$\$|\$\(([^)]+)\)", lambda found: "$" if found[0] == "$$" else environment.get(found[1], found[0]), text
    )


def field_of(pod: Dict, path: str) -> str:
    """A field that the downward API gives."""
    found = re.fullmatch(r"metadata\.(labels|annotations)\['([^']+)'\]", path)
    if found:
        return str(pod["metadata"].get(found[1], {}).get(found[2], ""))
    value: Any = pod
    for name in path.split("."):
        value = value[name]
    return str(value)


def network_of(process: int | str) -> str:
    """Which network namespace a process is in."""
    return str(Path(f"/proc/{process}/ns/net").readlink())


def become(pod: Dict) -> None:
    """Enters the pod and runs its command. `pod`: ip, hostname, mounts, user, group, read_only_root, environment,
    command, and the interpreter and source directory that stand for the image. Does not return.
    """
    if network_of("self") == pod["host_network"]:
        raise RuntimeError("not in a network namespace of its own")
    _join_network(pod["ip"])
    socket.sethostname(pod["hostname"])
    root = _make_root(pod)
    os.chroot(root)
    os.chdir(pod["working_directory"])
    os.setgroups([pod["group"]])
    os.setgid(pod["group"])
    os.setuid(pod["user"])
    ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    os.environ.clear()
    os.environ.update(pod["environment"])
    os.execvp(pod["command"][0], pod["command"])


def _join_network(ip: str) -> None:
    until = time.monotonic() + 10
    while subprocess.run(["ip", "link", "show", INTERFACE], capture_output=True, check=False).returncode:
        if time.monotonic() > until:
            raise TimeoutError(f"{INTERFACE} did not come")
        time.sleep(0.02)
    for command in ("link set lo up", f"addr add {ip}/16 dev {INTERFACE}", f"link set {INTERFACE} up"):
        subprocess.run(["ip", *command.split()], check=True)


def _make_root(pod: Dict) -> Path:
    """A root in memory with the host's system and the image's parts read-only, and the pod's volumes."""
    root = Path("/mnt")
    _mount("-t", "tmpfs", "-o", "mode=755,size=64m", "pod", str(root))
    for place in map(Path, SYSTEM):
        if place.is_symlink():
            (root / place.name).symlink_to(place.readlink())
        elif place.is_dir():
            _bind(place, root / place.name, read_only=True)
    (root / "etc").mkdir()
    for name in ETC:
        source = Path("/etc") / name
        if source.is_dir():
            shutil.copytree(source, root / "etc" / name, symlinks=True)
        elif source.exists():
            shutil.copy(source, root / "etc" / name)
    (root / "etc/nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files\n")
    (root / "dev").mkdir()
    for name in DEVICES:
        (root / "dev" / name).touch()
        _mount("--bind", f"/dev/{name}", str(root / "dev" / name))
    (root / "proc").mkdir()
    _mount("-t", "proc", "proc", str(root / "proc"))
    _bind(Path("/sys"), root / "sys", read_only=True)
    _bind(Path(pod["base_prefix"]), Path(f"{root}{pod['base_prefix']}"), read_only=True)
    _bind(Path(pod["prefix"]), root / "image/venv", read_only=True)
    _bind(Path(pod["source"]), root / "image/app", read_only=True)
    (root / "etc/hosts").touch()
    _mount("--bind", pod["hosts"], str(root / "etc/hosts"))
    for mount in sorted(pod["mounts"], key=lambda mount: mount["path"]):
        _bind(Path(mount["source"]), Path(f"{root}{mount['path']}"), read_only=mount["read_only"])
    if pod["read_only_root"]:
        _mount("-o", "remount,ro", str(root))
    return root


def _bind(source: Path, target: Path, *, read_only: bool) -> None:
    target.mkdir(parents=True, exist_ok=True)
    _mount("--bind", str(source), str(target))
    if read_only:
        _mount("-o", "remount,bind,ro", str(target))


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def _unshare(libc: ctypes.CDLL, namespaces: int) -> None:
    if libc.unshare(namespaces):
        raise OSError(ctypes.get_errno(), "unshare")


def run_pod(pod: Dict) -> int:
    """Runs a pod in namespaces of its own and gives its exit code as a kubelet would: 128 and the signal for a killed
    one.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    _unshare(libc, NETWORK | MOUNTS | HOST_NAME)
    _mount("--make-rprivate", "/")
    _unshare(libc, PROCESSES)  # the next child is its first process, and when that ends the namespace does
    child = os.fork()
    if child == 0:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        try:
            become(pod)
        except BaseException:
            traceback.print_exc()
        os._exit(126)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    code = run_pod(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    sys.exit(code if code >= 0 else 128 - code)
