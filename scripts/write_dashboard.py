"""Write deploy/chart/files/tritonclip.json, the dashboard for Grafana, from the panels below.

    python -m scripts.write_dashboard

A dashboard as Grafana saves it is a thousand lines of which thirty matter. Those are here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[1] / "deploy" / "chart" / "files" / "tritonclip.json"

# Models at which users' requests arrive; the others are steps within them.
ENTRY = 'namespace=~"$namespace",model=~".+_(image|text|zero_shot)"'
STEP = 'namespace=~"$namespace",model!~".+_(image|text)"'
POD = 'namespace=~"$namespace"'
WINDOW = "$__rate_interval"


@dataclass(frozen=True)
class Panel:
    """One diagram: queries by the legend of their lines."""

    title: str
    unit: str
    queries: dict[str, str]
    about: str = ""


def rate(metric: str, where: str) -> str:
    """A counter's growth a second, summed over replicas, by model."""
    return f"sum by (model) (rate({metric}{{{where}}}[{WINDOW}]))"


def milliseconds(part: str, where: str) -> str:
    """What a request spends in a part of its way, on average."""
    spent = rate(f"nv_inference_{part}_duration_us", where)
    return f"1e-3 * {spent} / {rate('nv_inference_request_success', where)}"


ROWS: dict[str, list[Panel]] = {
    "What users get": [
        Panel(
            "Requests",
            "reqps",
            {"{{model}}": rate("nv_inference_request_success", ENTRY)},
        ),
        Panel(
            "Pictures and texts",
            "cps",
            {"{{model}}": rate("nv_inference_count", ENTRY)},
            "A request may hold several. Answers of the response cache do not count.",
        ),
        Panel(
            "Failures",
            "reqps",
            {
                "{{model}} {{reason}}": "sum by (model, reason) "
                f"(rate(nv_inference_request_failure{{{ENTRY}}}[{WINDOW}])) > 0"
            },
            "What users send that cannot be embedded counts here as well.",
        ),
        Panel(
            "One in a hundred takes longer than",
            "µs",
            {
                "{{model}}": "max by (model) "
                f'(nv_inference_request_summary_us{{quantile="0.99",{ENTRY}}})'
            },
            "The 99th percentile of the last minute, of the slowest replica.",
        ),
    ],
    "Where the time goes": [
        Panel(
            "Queue",
            "ms",
            {"{{model}}": milliseconds("queue", STEP)},
            "The model with a queue is what limits the servers; autoscaling looks at the longest.",
        ),
        Panel(
            "Compute",
            "ms",
            {"{{model}}": milliseconds("compute_infer", STEP)},
        ),
        Panel(
            "Moving tensors",
            "ms",
            {
                "{{model}} in": milliseconds("compute_input", STEP),
                "{{model}} out": milliseconds("compute_output", STEP),
            },
        ),
        Panel(
            "Batch",
            "short",
            {
                "{{model}}": f"{rate('nv_inference_count', STEP)}"
                f" / {rate('nv_inference_exec_count', STEP)}"
            },
            "Items that dynamic batching runs together.",
        ),
        Panel(
            "Waiting",
            "short",
            {"{{model}}": f"sum by (model) (nv_inference_pending_request_count{{{STEP}}})"},
            "Requests in queues, at this moment.",
        ),
        Panel(
            "What autoscaling sees",
            "ms",
            {
                "{{pod}}": "max by (pod) (1e-3"
                f" * sum by (pod, model) (rate(nv_inference_queue_duration_us{{{POD}}}[1m]))"
                " / clamp_min(sum by (pod, model)"
                f" (rate(nv_inference_request_success{{{POD}}}[1m])), 0.001))"
            },
            "Milliseconds in the queue of each replica's slowest model.",
        ),
    ],
    "The gateway": [
        Panel(
            "Answers",
            "reqps",
            {
                "{{route}} {{status}}": "sum by (route, status) "
                f"(rate(tritonclip_gateway_requests_total{{{POD}}}[{WINDOW}]))"
            },
        ),
        Panel(
            "One in a hundred takes longer than",
            "s",
            {
                "{{route}}": "histogram_quantile(0.99, sum by (route, le) "
                f"(rate(tritonclip_gateway_request_seconds_bucket{{{POD}}}[{WINDOW}])))"
            },
            "Until the end of the answer, waiting included.",
        ),
        Panel(
            "In work or waiting",
            "short",
            {"{{pod}}": f"sum by (pod) (tritonclip_gateway_items_in_work{{{POD}}})"},
            "Pictures and texts; where there are as many as `--queue` allows, 429 is the answer.",
        ),
        Panel(
            "Told to come back",
            "reqps",
            {
                "{{pod}}": "sum by (pod) "
                f"(rate(tritonclip_gateway_queue_full_total{{{POD}}}[{WINDOW}]))"
            },
        ),
    ],
    "Cache": [
        Panel(
            "Answers from the cache",
            "percentunit",
            {
                "{{model}}": f"{rate('nv_cache_num_hits_per_model', POD)} / "
                f"({rate('nv_cache_num_hits_per_model', POD)}"
                f" + {rate('nv_cache_num_misses_per_model', POD)})"
            },
        ),
        Panel(
            "Full to",
            "percentunit",
            {"{{pod}}": f"max by (pod) (nv_cache_util{{{POD}}})"},
        ),
    ],
    "Machines": [
        Panel(
            "Replicas",
            "short",
            {"seen": f"count(count by (pod) (nv_inference_request_success{{{POD}}}))"},
        ),
        Panel(
            "GPU",
            "percentunit",
            {
                "{{pod}} busy": f"max by (pod, gpu_uuid) (nv_gpu_utilization{{{POD}}})",
                "{{pod}} memory": f"max by (pod, gpu_uuid) (nv_gpu_memory_used_bytes{{{POD}}}"
                f" / nv_gpu_memory_total_bytes{{{POD}}})",
            },
        ),
        Panel(
            "Power",
            "watt",
            {"{{pod}}": f"sum by (pod) (nv_gpu_power_usage{{{POD}}})"},
        ),
        Panel(
            "CPU of the node",
            "percentunit",
            {
                "{{pod}} busy": f"max by (pod) (nv_cpu_utilization{{{POD}}})",
                "{{pod}} memory": f"max by (pod) (nv_cpu_memory_used_bytes{{{POD}}}"
                f" / nv_cpu_memory_total_bytes{{{POD}}})",
            },
        ),
    ],
    "Cost": [
        Panel(
            "Dollars for a million",
            "currencyUSD",
            {
                "pictures and texts": f"1e6 * $price * count(count by (pod) "
                f"(nv_inference_request_success{{{POD}}})) / (3600 * sum(rate("
                f"nv_inference_count{{{ENTRY}}}[{WINDOW}])))"
            },
            "Of the replicas that run, at the price above; idle ones cost the same.",
        ),
    ],
}


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in ROWS.items():
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": title,
                "collapsed": False,
                "panels": [],
                "gridPos": {"x": 0, "y": top, "w": 24, "h": 1},
            }
        )
        for number, panel in enumerate(row):
            place = {"x": 12 * (number % 2), "y": top + 1 + 8 * (number // 2), "w": 12, "h": 8}
            panels.append(_panel(panel, len(panels) + 1, place))
        top += 1 + 8 * -(-len(row) // 2)
    return {
        "uid": "tritonclip",
        "title": "TritonCLIP",
        "tags": ["tritonclip", "triton"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus"},
                {
                    "name": "namespace",
                    "type": "query",
                    "datasource": _DATASOURCE,
                    "query": "label_values(nv_inference_request_success, namespace)",
                    "refresh": 2,
                    "includeAll": True,
                    "multi": True,
                    "current": {"text": "All", "value": "$__all"},
                },
                {
                    "name": "price",
                    "label": "Dollars an hour for a replica",
                    "type": "textbox",
                    "query": "0.80",
                    "current": {"text": "0.80", "value": "0.80"},
                },
            ]
        },
        "panels": panels,
    }


_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.about,
        "datasource": _DATASOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}},
        "options": {"legend": {"displayMode": "list"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + at), "expr": query, "legendFormat": legend}
            for at, (legend, query) in enumerate(panel.queries.items())
        ],
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
