"""The *restricted* Pod Security Standard, rule by rule (kubernetes.io/docs/concepts/security/pod-security-standards),
on a pod's spec.
"""

from collections.abc import Iterator
from typing import Any

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
}


def violations(pod: dict[str, Any]) -> Iterator[str]:
    context = pod.get("securityContext", {})
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(field):
            yield field
    for volume in pod.get("volumes", ()):
        if not set(volume) - {"name"} <= VOLUMES:
            yield f"volume {volume['name']}"
    for sysctl in context.get("sysctls", ()):
        if sysctl["name"] not in SYSCTLS:
            yield f"sysctl {sysctl['name']}"
    for container in [*pod.get("initContainers", ()), *pod["containers"], *pod.get("ephemeralContainers", ())]:
        for found in _container_violations(container.get("securityContext", {}), context):
            yield f"{container['name']}: {found}"
        if any(port.get("hostPort") for port in container.get("ports", ())):
            yield f"{container['name']}: hostPort"


def _container_violations(own: dict[str, Any], pods: dict[str, Any]) -> Iterator[str]:
    if own.get("privileged"):
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation"
    if own.get("procMount", "Default") != "Default":
        yield "procMount"
    if own.get("runAsNonRoot", pods.get("runAsNonRoot")) is not True:
        yield "runAsNonRoot"
    if 0 in (own.get("runAsUser"), pods.get("runAsUser")):
        yield "runAsUser"
    if own.get("seccompProfile", pods.get("seccompProfile", {})).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "seccompProfile"
    capabilities = own.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", ()) or set(capabilities.get("add", ())) - {"NET_BIND_SERVICE"}:
        yield "capabilities"
    for options in (own, pods):
        if options.get("seLinuxOptions", {}).get("type", "container_t") not in (
            "container_t",
            "container_init_t",
            "container_kvm_t",
        ):
            yield "seLinuxOptions"
        if options.get("appArmorProfile", {}).get("type") == "Unconfined":
            yield "appArmorProfile"
