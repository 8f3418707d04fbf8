"""deploy/kubernetes/ is whole: each manifest has its schema's form, and whatever one names is there."""

import json
import re
from functools import partial
from itertools import chain
from typing import Any

import kubernetes_validate
import make_secrets
import pytest
import yaml
from jsonschema_rs import Draft202012Validator
from support.contract.documents import ROOT, printed
from support.kubernetes.kustomize import FOLDER, Manifest, containers_of, pods_of, render
from support.metrics_table import documented
from support.typed import complaint

from worker.rabbitmq.access import Actor
from worker.settings import Settings, variable_name

EVERYTHING = render(FOLDER)
BESIDE = render(ROOT / "deploy" / "observability")
SECRETS = make_secrets.all_secrets("session-worker", "sessions", "ann admin sha256:0\n")
OPERATORS: dict[str, Any] = yaml.safe_load(
    (ROOT / "tests" / "support" / "kubernetes" / "operators.yaml").read_text("utf-8")
)
VERSIONS = ("1.29", "1.34")  # the oldest that will do, and a late one
NOTHING = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}
PODS = [(each["metadata"]["name"], pod) for each in EVERYTHING for pod in pods_of(each)]
ids = partial(str.format, "{0[kind]}-{0[metadata][name]}")


def of_kind(kind: str) -> list[Manifest]:
    return [each for each in EVERYTHING if each["kind"] == kind]


def the(kind: str) -> Manifest:
    (one,) = of_kind(kind)
    return one


@pytest.mark.parametrize("manifest", [*EVERYTHING, *BESIDE, *SECRETS], ids=ids)
def test_each_manifest_has_the_form_that_its_kind_wants(manifest: Manifest) -> None:
    group = manifest["apiVersion"].partition("/")[0]
    if "." in group and not group.endswith(".k8s.io"):
        schema = OPERATORS[manifest["kind"]] | {"$defs": OPERATORS["$defs"]}
        assert manifest["apiVersion"] == schema.pop("version")
        assert [str(each) for each in Draft202012Validator(schema).iter_errors(manifest["spec"])] == []
        return
    for version in VERSIONS:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_whatever_a_pod_names_is_there() -> None:
    secrets = {each["metadata"]["name"]: set(each["stringData"]) for each in SECRETS}
    theirs = {"postgres-ca": {"ca.crt"}}  # CloudNativePG makes it
    configs = {each["metadata"]["name"] for each in of_kind("ConfigMap")}
    accounts = {each["metadata"]["name"] for each in of_kind("ServiceAccount")}

    for name, pod in PODS:
        assert pod["serviceAccountName"] in accounts, name
        volumes = {each["name"]: each for each in pod["volumes"]}
        for container in containers_of(pod):
            assert {each["configMapRef"]["name"] for each in container["envFrom"]} <= configs
            places = {each["mountPath"]: volumes[each["name"]] for each in container["volumeMounts"]}
            for variable in container["env"]:
                folder, _, key = variable["value"].rpartition("/")
                assert key in secrets[places[folder]["secret"]["secretName"]], variable
            for volume in places.values():
                secret = volume.get("secret", {"secretName": "postgres-ca"})
                assert {each["key"] for each in secret.get("items", ())} <= (secrets | theirs)[
                    secret["secretName"]
                ]
            assert make_secrets._CA.rpartition("/")[0] in places
    postgres = the("Cluster")
    roles = {each["name"]: each["passwordSecret"]["name"] for each in postgres["spec"]["managed"]["roles"]}
    begun = postgres["spec"]["bootstrap"]["initdb"]
    for role, secret in {**roles, begun["owner"]: begun["secret"]["name"]}.items():
        (found,) = (each["stringData"] for each in SECRETS if each["metadata"]["name"] == secret)
        assert found["username"] == role


def test_no_manifest_has_a_secret() -> None:
    assert of_kind("Secret") == []
    assert re.search(r"password: |://\w+:", "\n".join(map(json.dumps, EVERYTHING))) is None


def test_each_selector_finds_pods() -> None:
    labels = [each["spec"]["template"]["metadata"]["labels"] for each in EVERYTHING if [*pods_of(each)]]
    labels += [
        {"app.kubernetes.io/name": "rabbitmq"},
        {"cnpg.io/cluster": "postgres"},
    ]  # their operators' labels

    def finds(selector: Manifest) -> bool:
        def fits(these: dict[str, str]) -> bool:
            wanted = selector.get("matchLabels", {}).items() <= these.items()
            return wanted and all(
                these.get(each["key"]) in each["values"] for each in selector.get("matchExpressions", ())
            )

        return any(map(fits, labels))

    policies = of_kind("NetworkPolicy")
    peers = [
        peer["podSelector"]
        for policy in policies
        for rule in (*policy["spec"].get("ingress", ()), *policy["spec"].get("egress", ()))
        for peer in (*rule.get("from", ()), *rule.get("to", ()))
        if "podSelector" in peer and "namespaceSelector" not in peer
    ]
    selectors = [
        *peers,
        *(each["spec"]["podSelector"] for each in policies),
        *(each["spec"]["selector"] for each in (*of_kind("PodDisruptionBudget"), *of_kind("PodMonitor"))),
        *({"matchLabels": each["spec"]["selector"]} for each in of_kind("Service")),
    ]
    assert len(selectors) > 15
    assert [each for each in selectors if not finds(each)] == []
    names = {each["metadata"]["name"] for each in of_kind("Deployment")}
    assert the("ScaledObject")["spec"]["scaleTargetRef"]["name"] in names


@pytest.mark.parametrize(("name", "pod"), PODS, ids=[name for name, _ in PODS])
def test_a_pod_of_ours_may_do_nothing_and_stops_in_time(name: str, pod: Manifest) -> None:
    assert pod["automountServiceAccountToken"] is pod["enableServiceLinks"] is False
    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert {"hostNetwork", "hostPID", "hostIPC"}.isdisjoint(pod)
    for container in containers_of(pod):
        assert container["securityContext"] == NOTHING
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert container["resources"]["limits"]["memory"]
        assert "/tmp" in {each["mountPath"] for each in container["volumeMounts"]}
        assert container["image"] == "registry.example/session-worker:0.1.0"
        text = " ".join(container.get("command") or ["session-worker", *container.get("args", ("run",))])
        commands = re.findall(r"session-worker ([a-z -]+[0-9]*)", text)
        assert commands, name
        assert [said for each in commands if (said := complaint(each.split()))] == []
    if name == "session-worker-migrate":
        return
    (waiting,) = pod["initContainers"]
    assert waiting["command"] == ["sh", "-ec", "until session-worker migrate --check; do sleep 3; done"]
    (serving,) = pod["containers"]
    assert waiting["env"] == serving["env"]
    assert serving["livenessProbe"]["httpGet"]["path"] == "/livez", "a server that is away restarts nobody"
    grace = Settings.model_fields["grace_seconds"].default
    (config,) = (each["data"] for each in of_kind("ConfigMap"))
    assert pod["terminationGracePeriodSeconds"] >= grace + 15
    assert float(config["WORKER_GRACE_SECONDS"]) == grace
    assert config.keys() <= {variable_name(field) for field in Settings.model_fields}


def test_workers_are_counted_by_all_that_wants_one_and_by_its_age() -> None:
    rules = (ROOT / "deploy" / "observability" / "rules.yml").read_text("utf-8")
    scaled = the("ScaledObject")["spec"]
    asked = [each["metadata"]["query"] for each in scaled["triggers"]]
    records = [query.partition("{")[0] for query in asked]

    assert scaled["minReplicaCount"] >= 2
    (worker,) = (each for each in of_kind("Deployment") if each["metadata"]["name"] == "session-worker")
    assert "replicas" not in worker["spec"], "each apply would take it back"
    assert [each for each in records if f"record: {each}\n" not in rules] == []
    monitor = the("PodMonitor")["metadata"]
    assert {query.partition("job=")[2] for query in asked} == {
        f'"{monitor["namespace"]}/{monitor["name"]}"}}'
    }
    parts = dict(
        re.findall(r"^      - record: (\S+)\n(.*?)(?=^      - |^  - )", rules, re.MULTILINE | re.DOTALL)
    )
    told = " ".join(parts[each] for each in [*records, "session_worker:backlog_requests:sum"])
    for metric in (
        "queue_messages", "buffered_requests", "in_flight_requests", "waiting_requests", "retries_due",
        "oldest_buffered_seconds", "oldest_waiting_seconds", "retry_overdue_seconds",
    ):  # fmt: skip
        assert f"worker_{metric}" in documented()
        assert f"worker_{metric}" in told


def test_users_and_roles_have_the_rights_that_the_command_prints() -> None:
    (secret,) = (each for each in SECRETS if each["metadata"]["name"] == "rabbitmq-access")
    made = json.loads(secret["stringData"]["definitions.json"])
    urls = " ".join(
        url for each in SECRETS for url in each["stringData"].values() if url.startswith("amqp://")
    )

    assert {each["name"] for each in made["users"]} == set(re.findall(r"amqp://(\w+):", urls)) == set(Actor)
    for kind in ("permissions", "topic_permissions"):
        by_command = [json.loads(printed("access", "rabbitmq", "--role", role))[kind] for role in Actor]
        assert made[kind] == [*chain(*by_command)]
    assert the("RabbitmqCluster")["spec"]["rabbitmq"]["additionalConfig"].endswith(
        "load_definitions = /etc/rabbitmq/access/definitions.json\n"
    )
    said = re.sub(r" *--.*", "", printed("access", "postgres", "--role", "migrator"))
    begun = the("Cluster")["spec"]["bootstrap"]["initdb"]
    assert [f"{each};" for each in begun["postInitApplicationSQL"]] == [
        line for line in said.splitlines() if line
    ]


def test_what_is_committed_is_on_two_disks_and_a_queue_on_three() -> None:
    postgres, broker = the("Cluster")["spec"], the("RabbitmqCluster")["spec"]

    synchronous = postgres["postgresql"]["synchronous"]
    assert synchronous == {"method": "any", "number": 1, "dataDurability": "required"}
    assert postgres["instances"] == broker["replicas"] == 3
    assert "pause_minority" in broker["rabbitmq"]["additionalConfig"]
