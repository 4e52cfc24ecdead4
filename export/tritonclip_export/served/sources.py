"""`model_repository/`: where it lies, and its modules as this process loads them.

It runs inside the server and imports nothing of ours.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType


@cache
def skeletons() -> Path:
    """The folder of skeleton configs and Python-backend code."""
    installed = Path(__file__).parents[1] / "model_repository"
    return installed if installed.is_dir() else Path(__file__).parents[3] / "model_repository"


@cache
def load(file: str) -> ModuleType:
    """The module in `file` of that folder.

    Raises:
        ImportError: there is none.
    """
    name = "tritonclip_export._served_" + Path(file).stem
    spec = importlib.util.spec_from_file_location(name, skeletons() / file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{skeletons() / file} is missing from the installation")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up here
    spec.loader.exec_module(module)
    return module
