"""The chart, rendered by Helm and judged by the schemas of Kubernetes and of operators."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Iterator
from functools import cache
from typing import Any

import kubernetes_validate
import pytest

from charts import DEPLOY, ChartRefusedError, Object, one, render, tool

# The three latest of which there are schemas.
VERSIONS = ("1.35", "1.36", "1.37")
OF_OPERATORS = ("ScaledObject", "PodMonitor", "PrometheusRule")


def combinations() -> Iterator[tuple[str, ...]]:
    """One set of values of each subject, in every way: what deploy/README.md promises."""
    subjects = ("hardware", "models", "scaling", "front")
    names = [
        sorted(f"{s}/{file.stem}" for file in (DEPLOY / "values" / s).glob("*.yaml"))
        for s in subjects
    ]
    yield from itertools.product(*names)


@pytest.fixture(scope="module")
def promised() -> list[Object]:
    """The different objects that all those combinations render."""
    rendered = (each for files in combinations() for each in render(*files))
    return list({json.dumps(each, sort_keys=True): each for each in rendered}.values())


def test_every_combination_of_values_is_valid_in_three_kubernetes_versions(
    promised: list[Object],
) -> None:
    for rendered in promised:
        for version in VERSIONS:
            validate(rendered, version)

    assert len(list(combinations())) == 144
    assert {rendered["kind"] for rendered in promised} == {
        *("Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy", "Ingress", "Pod"),
        *("HorizontalPodAutoscaler", "ConfigMap", *OF_OPERATORS),
    }


def test_what_judges_refuses_a_field_that_is_misspelt() -> None:
    deployment = one(render("hardware/cpu", "scaling/keda"), "Deployment", "demo-tritonclip-server")
    deployment["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    scaled = one(render("hardware/cpu", "scaling/keda"), "ScaledObject", "demo-tritonclip-server")
    scaled["spec"]["triggers"][0]["metricTyp"] = "Value"

    with pytest.raises(kubernetes_validate.ValidationError, match="livenesProbe"):
        validate(deployment, VERSIONS[0])
    with pytest.raises(AssertionError, match="metricTyp"):
        validate(scaled, VERSIONS[0])


def test_no_container_runs_as_root_or_writes_to_its_image(promised: list[Object]) -> None:
    found = list(pods(promised))

    assert len(found) > 20
    for pod in found:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]


def test_a_pod_that_is_stopped_has_more_time_than_its_longest_request() -> None:
    rendered = render(values=['server.drain={"addressSeconds":7,"longestRequestSeconds":120}'])

    server = one(rendered, "Deployment", "demo-tritonclip-server")["spec"]["template"]["spec"]
    container = server["containers"][0]
    assert container["lifecycle"]["preStop"] == {"sleep": {"seconds": 7}}
    assert "--exit-timeout-secs=120" in container["args"]
    assert server["terminationGracePeriodSeconds"] == 7 + 120 + 10
    gateway = one(rendered, "Deployment", "demo-tritonclip-gateway")["spec"]["template"]["spec"]
    assert gateway["terminationGracePeriodSeconds"] == 5 + 65 + 10


@pytest.mark.parametrize(
    ("hardware", "resource"),
    [
        ("cpu", None),
        ("gpu", "nvidia.com/gpu"),
        ("mig", "nvidia.com/mig-1g.10gb"),
        ("time-slicing", "nvidia.com/gpu.shared"),
    ],
)
def test_servers_ask_for_the_gpu_that_the_device_plugin_offers(
    hardware: str, resource: str | None
) -> None:
    server = one(render(f"hardware/{hardware}"), "Deployment", "demo-tritonclip-server")
    limits = server["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    rolling = server["spec"]["strategy"]["rollingUpdate"]

    assert {name: n for name, n in limits.items() if "/" in name} == (
        {resource: 1} if resource else {}
    )
    # Where a GPU is taken, the new pod has to wait for the old one's.
    assert rolling == {"maxSurge": 0 if resource else 1, "maxUnavailable": 1 if resource else 0}


@pytest.mark.parametrize(
    ("models", "repository", "volume"),
    [
        ("volume", "/models", {"persistentVolumeClaim": {"claimName": "models", "readOnly": True}}),
        (
            "image",
            "/models/repository",
            {
                "image": {
                    "reference": "registry.example.com/clip/repository:2026-11-28",
                    "pullPolicy": "IfNotPresent",
                }
            },
        ),
        ("object-store", "s3://clip-models/repository", None),
        ("assemble", "/models/repository", {"emptyDir": {"sizeLimit": "20Gi"}}),
    ],
)
def test_servers_find_the_models_where_they_lie(
    models: str, repository: str, volume: Object | None
) -> None:
    server = one(render(f"models/{models}"), "Deployment", "demo-tritonclip-server")
    pod = server["spec"]["template"]["spec"]
    container = pod["containers"][0]

    assert f"--model-repository={repository}" in container["args"]
    volumes = {each.pop("name"): each for each in pod["volumes"]}
    assert volumes.get("models") == volume
    mounts = {each["name"]: each for each in container["volumeMounts"]}
    assert ("models" in mounts) == (volume is not None)
    assert all(mounts["models"]["readOnly"] for _ in mounts.keys() & {"models"})


def test_the_init_container_runs_the_command_that_a_user_would() -> None:
    server = one(render("models/assemble"), "Deployment", "demo-tritonclip-server")
    (init,) = server["spec"]["template"]["spec"]["initContainers"]

    assert init["args"] == [
        *("assemble", "/bundles/ViT-B-32", "--output=/models/repository"),
        *("--runtime", "onnxruntime", "--device", "cpu"),
    ]


def test_servers_are_closed_to_all_but_the_gateway_and_prometheus() -> None:
    policy = one(render("front/gateway"), "NetworkPolicy", "demo-tritonclip-server")["spec"]

    gateway, monitoring = policy["ingress"]
    (selected,) = gateway["from"]
    assert selected["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "gateway"
    assert [port["port"] for port in gateway["ports"]] == ["http", "grpc"]
    assert [port["port"] for port in monitoring["ports"]] == ["metrics"]
    assert policy["egress"] == []


def test_every_selector_selects_the_pods_that_are_meant() -> None:
    rendered = render("scaling/hpa", "front/ingress")
    labels = {
        each["metadata"]["name"]: each["spec"]["template"]["metadata"]["labels"].items()
        for each in rendered
        if each["kind"] == "Deployment"
    }

    for each in rendered:
        if each["kind"] in ("Service", "PodDisruptionBudget", "NetworkPolicy", "PodMonitor"):
            spec = each["spec"]
            selector = spec.get("podSelector") or spec["selector"]
            wanted = selector.get("matchLabels", selector).items()
            chosen = [name for name, has in labels.items() if wanted <= has]
            assert chosen == [each["metadata"]["name"]]


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("server.replica=3", "replica"),
        ('models.source="objectStore"', "url"),
        ('models={"source":"assemble"}', "assemble"),
        ("gateway.ingress.enabled=true", "host"),
        ('server.gpu={"count":2,"resource":"nvidia.com/gpu.shared"}', "count"),
        ('autoscaling.by="hpaa"', "autoscaling"),
        ('server.sharedMemory="1 GB"', "sharedMemory"),
    ],
)
def test_values_that_make_no_sense_are_refused_by_name(value: str, complaint: str) -> None:
    with pytest.raises(ChartRefusedError, match=complaint):
        render(values=[value])


def test_every_value_is_described() -> None:
    schema = json.loads((DEPLOY / "chart/values.schema.json").read_text())

    def undescribed(found: Object, path: str) -> Iterator[str]:
        for name, value in found.get("properties", {}).items():
            if not value.get("description"):
                yield f"{path}{name}"
            yield from undescribed(value, f"{path}{name}.")

    assert list(undescribed(schema, "")) == []


def test_helm_finds_nothing_to_say_about_the_chart() -> None:
    done = subprocess.run(
        [tool("helm"), "lint", "--strict", DEPLOY / "chart"], capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout + done.stderr


def validate(rendered: Object, version: str) -> None:
    """Raise unless an API server of that version, or the operator, takes an object as it is."""
    if rendered["kind"] not in OF_OPERATORS:
        kubernetes_validate.validate(rendered, version, strict=True)
        return
    taken = types_of_operators()[rendered["kind"]].model_validate(rendered)
    kept = taken.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert lost(rendered, kept) == []


@cache
def types_of_operators() -> dict[str, Any]:
    """By kind. They take seconds to import, in each of the workers that collect this file."""
    import cloudcoil.models.keda.v1alpha1 as keda
    import cloudcoil.models.prometheus_operator.v1 as prometheus_operator

    return {
        kind: getattr(keda, kind, None) or getattr(prometheus_operator, kind)
        for kind in OF_OPERATORS
    }


def lost(given: Any, kept: Any, path: str = "") -> list[str]:
    """Fields that the operator's own type has no place for."""
    if isinstance(given, dict):
        unknown = [f"{path}.{key}" for key in given if key not in kept]
        known = (lost(given[key], kept[key], f"{path}.{key}") for key in given if key in kept)
        return unknown + [each for some in known for each in some]
    if isinstance(given, list):
        pairs = zip(given, kept, strict=True)
        return [each for a, b in pairs for each in lost(a, b, f"{path}[]")]
    return []


def pods(rendered: list[Object]) -> Iterator[Object]:
    for each in rendered:
        if each["kind"] == "Deployment":
            yield each["spec"]["template"]["spec"]
        elif each["kind"] == "Pod":
            yield each["spec"]
