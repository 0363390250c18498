"""Fields of the JobSet and Kueue objects that we write, as their API types document them (kubernetes-validate has the
core API only).

JobSet v1alpha2: github.com/kubernetes-sigs/jobset/blob/main/api/jobset/v1alpha2/jobset_types.go and
pkg/webhooks/jobset_webhook.go. Kueue v1beta2: github.com/kubernetes-sigs/kueue/tree/main/apis/kueue/v1beta2.
"""

from typing import Any


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "required": required, "properties": properties}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": items}


TEXT = {"type": "string", "minLength": 1}
BOOL = {"type": "boolean"}
COUNT = {"type": "integer", "minimum": 0}
STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
QUANTITY = {"anyOf": [COUNT, {"type": "string", "pattern": r"^[0-9.]+(m|k|[KMGTPE]i?)?$"}]}
LABEL_1035 = {"type": "string", "pattern": "^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$"}
METADATA = _object(["name"], name=TEXT, namespace=TEXT, labels=STRINGS, annotations=STRINGS)


def _kind(group_version: str, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    return _object(
        ["apiVersion", "kind", "metadata"],
        apiVersion={"const": group_version},
        kind={"const": kind},
        metadata=METADATA,
        spec=spec,
    )


JOB_FAILURES = [
    "BackoffLimitExceeded",
    "DeadlineExceeded",
    "FailedIndexes",
    "MaxFailedIndexesExceeded",
    "PodFailurePolicy",
]
FAILURE_RULE = _object(
    ["name", "action"],
    name={"type": "string", "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$", "maxLength": 128},
    action={"enum": ["FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts"]},
    onJobFailureReasons=_list({"enum": JOB_FAILURES}),
    onJobFailureMessagePatterns=_list(TEXT),
    targetReplicatedJobs=_list(TEXT),
)
JOBSET_SPEC = _object(
    ["replicatedJobs"],
    suspend=BOOL,
    network=_object([], enableDNSHostnames=BOOL, subdomain=LABEL_1035, publishNotReadyAddresses=BOOL),
    failurePolicy=_object(
        [],
        maxRestarts=COUNT,
        restartStrategy={"enum": ["Recreate", "BlockingRecreate", "InPlaceRestart"]},
        rules=_list(FAILURE_RULE),
    ),
    successPolicy=_object(["operator"], operator={"enum": ["All", "Any"]}, targetReplicatedJobs=_list(TEXT)),
    ttlSecondsAfterFinished=COUNT,
    managedBy=TEXT,
    replicatedJobs=_list(
        _object(
            ["name", "template"],
            name=LABEL_1035,
            replicas={"type": "integer", "minimum": 1},
            template=_object(
                ["spec"], metadata=_object([], labels=STRINGS, annotations=STRINGS), spec={"type": "object"}
            ),  # a batch/v1 JobSpec
        )
    ),
)
FLAVOR_QUOTAS = _object(
    ["name", "resources"],
    name=TEXT,
    resources=_list(
        _object(
            ["name", "nominalQuota"], name=TEXT, nominalQuota=QUANTITY, borrowingLimit=QUANTITY, lendingLimit=QUANTITY
        )
    ),
)
CLUSTER_QUEUE_SPEC = _object(
    [],
    namespaceSelector={"type": "object"},
    queueingStrategy={"enum": ["StrictFIFO", "BestEffortFIFO"]},
    resourceGroups=_list(
        _object(["coveredResources", "flavors"], coveredResources=_list(TEXT), flavors=_list(FLAVOR_QUOTAS))
    ),
)
SCHEMAS = {
    "JobSet": _kind("jobset.x-k8s.io/v1alpha2", "JobSet", JOBSET_SPEC),
    "ResourceFlavor": _kind("kueue.x-k8s.io/v1beta2", "ResourceFlavor", _object([], nodeLabels=STRINGS)),
    "ClusterQueue": _kind("kueue.x-k8s.io/v1beta2", "ClusterQueue", CLUSTER_QUEUE_SPEC),
    "LocalQueue": _kind("kueue.x-k8s.io/v1beta2", "LocalQueue", _object(["clusterQueue"], clusterQueue=TEXT)),
}
