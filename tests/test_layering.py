"""The layers of the house, read from the imports themselves: CONTRIBUTING.md draws them, this file holds them."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# From the top of the house down. A room imports rooms of lower rows only, never one of its own row.
ROWS: tuple[tuple[str, ...], ...] = (
    ("blocklora.__main__",),
    ("blocklora.cli",),  # `serve` is app.py
    ("blocklora.experiments",),
    ("app",),
    ("blocklora.ui", "exporters"),
    ("blocklora.services", "blocklora.training", "blocklora.pretrain"),
    ("blocklora.projects", "blocklora.clip", "blocklora.lora", "blocklora.jobs"),
    ("blocklora.plan",),
    ("blocklora.presets", "blocklora.speeds"),
    ("blocklora.config", "blocklora.preprocess", "blocklora.files", "blocklora.reject", "blocklora.processor"),
    ("blocklora.errors", "blocklora.intervals"),
    ("blocklora",),  # the package itself: a version and nothing else
)
LEVEL = {room: row for row, rooms in enumerate(ROWS) for room in rooms}

# The window must be up before torch is, so nothing that the window needs may import these at its top, directly or through others.
HEAVY = {"torch", "torchvision", "open_clip", "timm", "transformers", "peft", "onnxscript"}
LIGHT = (
    "app",
    "blocklora.__main__",
    "blocklora.cli",
    "blocklora.ui",
    "blocklora.services",
    "blocklora.projects",
    "blocklora.jobs",
    "blocklora.plan",
    "blocklora.presets",
    "blocklora.speeds",
    "blocklora.config",
    "blocklora.preprocess",
    "blocklora.files",
    "blocklora.reject",
    "blocklora.processor",
    "blocklora.intervals",
    "blocklora.errors",
    "blocklora.clip.catalog",
    "exporters.predictor",
    "exporters.model_file",
    "exporters.dataset_zip",
)
# onnxruntime is also kept out of the window's own rooms; the predictor is what owns it.
NO_RUNTIME = ("app", "blocklora.__main__", "blocklora.cli", "blocklora.ui", "blocklora.services", "blocklora.projects", "blocklora.jobs")

# A library that only these rooms may import, at any depth.
ONLY_IN = {
    "open_clip": ("blocklora.clip", "blocklora.pretrain"),  # pretrain makes the built-in backbone, and nothing imports it
    "gradio": ("blocklora.ui", "app"),
    "onnx": ("exporters",),
    "onnxscript": ("exporters",),
    "onnxruntime": ("exporters",),
}


@dataclass(frozen=True)
class Import:
    """One imported name: `module` as written and resolved, and whether importing the file runs it."""

    module: str
    line: int
    at_top: bool


def modules() -> dict[str, Path]:
    """Every module of the product by its dotted name."""
    files = [ROOT / "app.py", *sorted((ROOT / "blocklora").rglob("*.py")), *sorted((ROOT / "exporters").rglob("*.py"))]
    return {dotted(file): file for file in files if file.exists()}


def dotted(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str | None:
    """The room a module of the product lives in: the longest name in `LEVEL` that it is, or is inside."""
    if module == "blocklora":
        return module
    fitting = [room for room in LEVEL if room != "blocklora" and (module == room or module.startswith(room + "."))]
    return max(fitting, key=len, default=None)


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and any(
        isinstance(part, (ast.Name, ast.Attribute)) and ast.unparse(part).endswith("TYPE_CHECKING") for part in ast.walk(node.test)
    )


def _walk(nodes: Iterable[ast.AST], at_top: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Every import below `nodes`, and whether it runs when the file is imported (not inside a function or TYPE_CHECKING)."""
    for node in nodes:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node, at_top
        elif isinstance(node, ast.If) and _is_type_checking(node):
            yield from _walk(node.body, False)
            yield from _walk(node.orelse, at_top)
        else:
            in_function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from _walk(ast.iter_child_nodes(node), at_top and not in_function)


def imports(name: str, source: str, is_package: bool, known: frozenset[str]) -> list[Import]:
    """What a module imports, relative names resolved, `from package import module` as the module where `known` has it."""
    found = []
    for node, at_top in _walk(ast.parse(source).body, True):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, node.lineno, at_top) for alias in node.names]
            continue
        base = node.module or ""
        if node.level:
            package = name.split(".") if is_package else name.split(".")[:-1]
            package = package[: len(package) - node.level + 1]
            base = ".".join([*package, base] if base else package)
        targets = {f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base for alias in node.names}
        found += [Import(target, node.lineno, at_top) for target in sorted(targets)]
    return found


@cache
def product() -> dict[str, list[Import]]:
    """The imports of every module of the product."""
    files = modules()
    known = frozenset(files)
    return {name: imports(name, file.read_text(encoding="utf-8"), file.name == "__init__.py", known) for name, file in files.items()}


def runs_on_import(start: str, graph: dict[str, list[Import]]) -> dict[str, str]:
    """Everything that importing `start` imports, each with the module that asked for it (parents of a module run too)."""
    seen: dict[str, str] = {}
    waiting = [(start, "")]
    while waiting:
        module, asked_by = waiting.pop()
        if module in seen:
            continue
        seen[module] = asked_by
        parents = [module.rsplit(".", depth)[0] for depth in range(1, module.count(".") + 1)]
        waiting += [(parent, module) for parent in parents]
        waiting += [(item.module, module) for item in graph.get(module, []) if item.at_top]
    return seen


def inside(module: str, rooms: tuple[str, ...]) -> bool:
    return any(module == room or module.startswith(room + ".") for room in rooms)


# ---- the reader itself ------------------------------------------------------------------------------------------------


def test_reader_sees_every_kind_of_import() -> None:
    source = """
import torch.nn as nn
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import onnx
from . import backbones
from ..lora import attach
try:
    import timm
except ImportError:
    import peft
class A:
    import rich
    def f(self):
        import gradio
def g():
    with x:
        from blocklora import training
"""
    known = frozenset({"blocklora.clip.backbones", "blocklora.lora.attach", "blocklora.training"})
    found = {(item.module, item.at_top) for item in imports("blocklora.clip.prompts", source, False, known)}
    assert found == {
        ("torch.nn", True),
        ("typing", True),
        ("onnx", False),
        ("blocklora.clip.backbones", True),
        ("blocklora.lora.attach", True),
        ("timm", True),
        ("peft", True),
        ("rich", True),
        ("gradio", False),
        ("blocklora.training", False),
    }


def test_reader_resolves_relative_names_in_a_package_file() -> None:
    found = imports("blocklora.clip", "from .prompts import encode\nfrom ..errors import StudioError", True, frozenset())
    assert [item.module for item in found] == ["blocklora.clip.prompts", "blocklora.errors"]


def test_reader_follows_imports_through_others() -> None:
    graph = {
        "app": [Import("a.b", 1, True), Import("late", 2, False)],
        "a": [Import("torch", 1, True)],
        "a.b": [],
    }
    assert set(runs_on_import("app", graph)) == {"app", "a.b", "a", "torch"}


def test_rooms_are_found_by_their_longest_name() -> None:
    assert room_of("blocklora.ui.shell") == "blocklora.ui"
    assert room_of("blocklora") == "blocklora"
    assert room_of("blocklora.attic") is None
    assert room_of("exporters.worker") == "exporters"


# ---- the house --------------------------------------------------------------------------------------------------------


def test_the_house_is_there() -> None:
    assert {"blocklora.errors", "blocklora.config", "blocklora.preprocess", "exporters"} <= set(product())


def test_every_module_has_a_room() -> None:
    homeless = [name for name in product() if room_of(name) is None]
    assert not homeless, f"{homeless} live in no room of ROWS; give them one there and in CONTRIBUTING.md"


def test_imports_point_down_only() -> None:
    wrong = []
    for name, found in product().items():
        own = room_of(name)
        for item in found:
            other = room_of(item.module)
            if own is None or other is None or other in (own, "blocklora") or LEVEL[other] > LEVEL[own]:
                continue
            wrong.append(f"{name}:{item.line} imports {item.module}, but {other} does not lie below {own}")
    assert not wrong, "\n".join(wrong)


def test_no_module_imports_itself_through_others() -> None:
    graph = product()
    circles = []
    for name in graph:
        for item in graph[name]:
            if item.at_top and item.module in graph and item.module != name:
                back = runs_of_modules(item.module, graph)
                if name in back:
                    circles.append(f"{name}:{item.line} imports {item.module}, which imports {name} again")
    assert not circles, "\n".join(circles)


def runs_of_modules(start: str, graph: dict[str, list[Import]]) -> set[str]:
    """The product's own modules that `start` imports at its top, by any way (parents not counted: they are half-made, not needed)."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        module = waiting.pop()
        if module not in seen and module in graph:
            seen.add(module)
            waiting += [item.module for item in graph[module] if item.at_top]
    return seen


@pytest.mark.parametrize("room", LIGHT)
def test_light_rooms_import_nothing_heavy(room: str) -> None:
    forbidden = HEAVY | ({"onnx", "onnxruntime"} if inside(room, NO_RUNTIME) else set())
    wrong = []
    for name in product():
        if not inside(name, (room,)):
            continue
        seen = runs_on_import(name, product())
        wrong += [f"importing {name} imports {heavy}, asked for by {by}" for heavy, by in seen.items() if heavy in forbidden]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("library", ONLY_IN)
def test_library_stays_in_its_room(library: str) -> None:
    rooms = ONLY_IN[library]
    wrong = [
        f"{name}:{item.line} imports {item.module}; only {' and '.join(rooms)} may"
        for name, found in product().items()
        for item in found
        if item.module.split(".")[0] == library and not inside(name, rooms)
    ]
    assert not wrong, "\n".join(wrong)


def test_errors_import_nothing_of_the_product() -> None:
    assert [item.module for item in product()["blocklora.errors"] if item.module.startswith(("blocklora", "exporters"))] == []


@pytest.mark.parametrize("module", ["app", "blocklora.__main__", "exporters.predictor"])
def test_importing_it_for_real_leaves_torch_out(module: str) -> None:
    program = f"import sys, {module}; print(sorted(set({sorted(HEAVY)!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "[]"
