"""How a tower is run: the fields of two configs that `tune` searches, read, written, carried over.

Only speed depends on them, never a result.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tritonclip_export.bundle import Tower
from tritonclip_export.served.parameters import PREFIX

TUNED_PARAMETER = f"{PREFIX}tuned"
"""Marks a config that holds findings; its value is JSON and says where they come from."""

# The model before a tower's encoder.
FEEDERS: dict[Tower, str] = {"image": "image_preprocess", "text": "text_tokenize"}

# As our Python backend and Triton's onnxruntime backend call the threads of one instance.
_THREADS = ("intra_op_threads", "intra_op_thread_count")


@dataclass(frozen=True)
class Setting:
    """How one tower is run.

    Attributes:
        instances: of the encoder, on each GPU or on the CPU.
        threads: of one instance; 0 for one a core, None for an encoder that has no such parameter.
        delay_us: how long the dynamic batcher may wait for a batch, in microseconds.
        preferred: the batches that it prefers; empty for its own choice, the largest.
        feeders: instances of the model before the encoder.
    """

    instances: int
    threads: int | None
    delay_us: int
    preferred: tuple[int, ...]
    feeders: int

    def changes(self, before: Setting) -> dict[str, tuple[str, str]]:
        """What differs from `before`: name -> its value there and here, as a person reads it."""
        mine, theirs = self._described(), before._described()
        return {name: (theirs[name], mine[name]) for name in mine if mine[name] != theirs[name]}

    def _described(self) -> dict[str, str]:
        return {
            "instances": str(self.instances),
            "threads": "one a core" if self.threads == 0 else str(self.threads),
            "queue delay": f"{self.delay_us} µs",
            "preferred batches": ", ".join(map(str, self.preferred)) or "the largest",
            "instances before": str(self.feeders),
        }


def read_setting(encoder: Any, feeder: Any) -> Setting:
    """The setting in the configs of an encoder and of the model before it."""
    threads = _threads(encoder)
    return Setting(
        instances=_group(encoder).count or 1,
        threads=None if threads is None else int(encoder.parameters[threads].string_value),
        delay_us=encoder.dynamic_batching.max_queue_delay_microseconds,
        preferred=tuple(encoder.dynamic_batching.preferred_batch_size),
        feeders=_group(feeder).count or 1,
    )


def write_setting(setting: Setting, encoder: Any, feeder: Any) -> None:
    """Put `setting` into the configs of an encoder and of the model before it."""
    _group(encoder).count = setting.instances
    threads = _threads(encoder)
    if threads is not None and setting.threads is not None:
        encoder.parameters[threads].string_value = str(setting.threads)
    _batch(encoder, setting.delay_us, setting.preferred)
    _group(feeder).count = setting.feeders


def carry_over(old: Any, new: Any) -> bool:
    """Put what `tune` found in the config `old` into `new`; whether there was anything to put.

    Findings hold for the same kind of device under the same backend only.
    """
    if TUNED_PARAMETER not in old.parameters or _executed_by(old) != _executed_by(new):
        return False
    _group(new).count = _group(old).count
    batching = old.dynamic_batching
    _batch(new, batching.max_queue_delay_microseconds, batching.preferred_batch_size)
    threads = _threads(new)
    for name in (TUNED_PARAMETER, *([threads] if threads else [])):
        new.parameters[name].CopyFrom(old.parameters[name])
    return True


def mark(config: Any, provenance: dict[str, Any]) -> None:
    """Say in `config` that it holds findings, and where they come from."""
    config.parameters[TUNED_PARAMETER].string_value = json.dumps(provenance)


def _executed_by(config: Any) -> tuple[Any, ...]:
    device = config.parameters["device"].string_value if "device" in config.parameters else None
    return (config.backend, config.platform, _group(config).kind, _threads(config), device)


def _threads(encoder: Any) -> str | None:
    return next((name for name in _THREADS if name in encoder.parameters), None)


def _batch(config: Any, delay_us: int, preferred: Iterable[int]) -> None:
    config.dynamic_batching.max_queue_delay_microseconds = delay_us
    config.dynamic_batching.preferred_batch_size[:] = preferred


def _group(config: Any) -> Any:
    return config.instance_group[0] if config.instance_group else config.instance_group.add(count=1)
