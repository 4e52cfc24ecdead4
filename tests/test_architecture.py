"""The rooms of the house and the directions between them, as the imports say.

Imports inside functions and for types count as well: what a module speaks of, it depends on.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Set
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Each package and what it may import of the others.
ROOFS: dict[str, set[str]] = {
    "tritonclip": set(),
    "tritonclip_export": {"tritonclip"},
    "tritonclip_search": {"tritonclip"},
    "tritonclip_gateway": {"tritonclip", "tritonclip_search"},
    "tritonclip_bulk": {"tritonclip", "tritonclip_search", "tritonclip_export"},
    "tritonclip_cli": {
        "tritonclip",
        "tritonclip_export",
        "tritonclip_search",
        "tritonclip_gateway",
        "tritonclip_bulk",
    },
}
LEVELS = 11  # below export/
ENTRIES = 20  # directly in it

Graph = Mapping[str, Set[str]]


def test_roofs_import_in_one_direction() -> None:
    wrong = {
        f"{module} imports {imported}"
        for module, found in imports().items()
        for imported in found
        if roof(imported) not in {roof(module), *ROOFS[roof(module)]}
    }

    assert wrong == set()


def test_what_runs_in_the_server_imports_nothing_of_ours() -> None:
    files = list((ROOT / "model_repository").rglob("*.py"))
    wrong = {
        f"{file.relative_to(ROOT)} imports {name}"
        for file in files
        for name in imported_names(ast.parse(file.read_text()))
        if name.partition(".")[0] in ROOFS
    }

    assert files
    assert wrong == set()


@pytest.mark.parametrize("depth", [None, 2], ids=["modules", "packages"])
def test_nothing_imports_itself_through_others(depth: int | None) -> None:
    graph: dict[str, set[str]] = {}
    for module, found in imports().items():
        name = shortened(module, depth)
        graph.setdefault(name, set()).update(shortened(other, depth) for other in found)
    graph = {name: found - {name} for name, found in graph.items()}

    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(reversed(error.args[1])))


def test_a_reader_of_the_toolchain_goes_down_few_levels() -> None:
    graph = {
        module: {other for other in found if roof(other) == "tritonclip_export"}
        for module, found in imports().items()
        if roof(module) == "tritonclip_export"
    }

    chain = longest_chain(graph)

    assert len(chain) <= LEVELS, " -> ".join(chain)


def test_the_toolchain_has_a_room_for_everything() -> None:
    folder = ROOT / "export" / "tritonclip_export"
    entries = {path.name for path in folder.iterdir()} - {"__init__.py", "__pycache__", "py.typed"}

    assert len(entries) <= ENTRIES, sorted(entries)


@cache
def imports() -> dict[str, set[str]]:
    """Modules of all roofs and the modules of ours that each imports."""
    sources = {
        ".".join(file.relative_to(package.parent).with_suffix("").parts).removesuffix(
            ".__init__"
        ): file
        for package in (path for name in ROOFS for path in ROOT.glob(f"*/{name}"))
        for file in package.rglob("*.py")
    }
    assert {"tritonclip", "tritonclip_export", "tritonclip_cli"} <= sources.keys()
    return {
        module: {
            name if name in sources else name.rpartition(".")[0]
            for name in imported_names(ast.parse(file.read_text(encoding="utf-8")))
            if name.partition(".")[0] in ROOFS
        }
        - {module}
        for module, file in sources.items()
    }


def imported_names(tree: ast.Module) -> Iterator[str]:
    """Modules and names, dotted, that a file imports anywhere."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def roof(module: str) -> str:
    return module.partition(".")[0]


def shortened(module: str, depth: int | None) -> str:
    """The package of a module: its first parts; of one directly under a roof, itself."""
    return ".".join(module.split(".")[:depth])


def longest_chain(graph: Graph) -> list[str]:
    """Modules of which each imports the next."""

    @cache
    def below(module: str) -> list[str]:
        return [module, *max(map(below, sorted(graph[module])), key=len, default=[])]

    return max(map(below, sorted(graph)), key=len)
