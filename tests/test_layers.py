"""The shape of the source: imports point down, the core names no pass, a pass is named by its file."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tinycc_nn.pipeline import Pass, load, pass_names

ROOT = Path(__file__).parents[1]
MAX_LINES = 400

# From the bottom up; a module may import those of its own line and of the lines above it.
LAYERS = [
    {"diagnostics"},
    {"blas", "cachedir", "options", "outputs", "workers"},
    {"ir", "numeric"},
    {"data", "reader"},
    {"ops"},
    {"channels", "models", "onnx", "ranges", "reference", "rewrite", "target"},
    {"channel_removal"},
    {"accuracy", "calibration", "pruning", "quantization", "training"},
    {"cost", "exits", "memory", "schedule", "source"},
    {"toolchain", "emulator", "device"},
    {"backend", "levels", "passmanager", "pipeline", "pipeline_text", "report"},
    {"passes", "backends"},
    {"buildcache", "driver", "execute", "limits", "measure", "request", "summary", "validate"},
    {"search"},
    {"cli"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
PLUGINS = re.compile(r"tinycc_nn\.(passes|backends)\.\w")
DISCOVERY = {"tinycc_nn.passes", "tinycc_nn.backends"}  # the folders, where names are looked up


def sources(*folders: str) -> list[Path]:
    """The Python files below `folders`, each by its real path, so without what links lead to."""
    return sorted(f for folder in folders for f in (ROOT / folder).rglob("*.py") if real(f))


def real(file: Path) -> bool:
    return file.resolve() == file


def core() -> list[Path]:
    return [file for file in sources("tinycc_nn") if file.parent.name not in ("passes", "backends")]


def layer(file: Path) -> str:
    """`ops` for tinycc_nn/ops/conv.py, `onnx` for tinycc_nn/onnx.py, `passes` for passes/x.py."""
    parts = file.relative_to(ROOT).parts
    return parts[0] if parts[0] != "tinycc_nn" else parts[1].removesuffix(".py")


def imported(file: Path) -> Iterator[str]:
    """The modules (or the names in them) that a file imports, dotted, also inside functions."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_imports_point_down() -> None:
    wrong = []
    for file in sources("tinycc_nn", "passes", "backends"):
        if (here := layer(file)) not in RANK:
            continue
        for module in imported(file):
            if module in DISCOVERY:
                continue
            below = module.split(".")[1] if module.startswith("tinycc_nn.") else ""
            if below in RANK and RANK[below] > RANK[here]:
                wrong.append(f"{file.relative_to(ROOT)} ({here}) imports {module}")
    assert not wrong


def test_every_module_of_the_core_has_a_layer() -> None:
    without = {layer(file) for file in core()} - {"__init__", "targets"} - RANK.keys()
    assert not without, "say in LAYERS where they belong"


def test_the_core_names_no_pass_and_no_backend() -> None:
    wrong = []
    for file in core():
        texts = [
            node.value
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        if found := [text for text in [*imported(file), *texts] if PLUGINS.search(text)]:
            wrong.append(f"{file.relative_to(ROOT)}: {found}")
    assert not wrong


@pytest.mark.parametrize(("plugin", "other"), [("passes", "backends"), ("backends", "passes")])
def test_passes_and_backends_do_not_know_each_other(plugin: str, other: str) -> None:
    for file in sources(plugin):
        assert not [m for m in imported(file) if m.startswith(f"tinycc_nn.{other}")], file


def test_tvm_is_used_in_its_backend_only() -> None:
    for file in sources("tinycc_nn", "passes", "backends"):
        if ROOT / "backends" / "tvm" in file.parents:
            continue
        assert not [m for m in imported(file) if m.split(".")[0] in ("tvm", "tvm_ffi")], file


def test_files_are_short() -> None:
    folders = ("tinycc_nn", "passes", "backends", "tests", "benchmarks", "examples")
    lines = {f.relative_to(ROOT): len(f.read_text().splitlines()) for f in sources(*folders)}
    assert not {file: n for file, n in lines.items() if n > MAX_LINES}


@pytest.mark.parametrize("name", pass_names())
def test_file_class_and_flag_of_a_pass_derive_from_each_other(name: str) -> None:
    pass_class = load(name)
    assert issubclass(pass_class, Pass)
    assert pass_class.name() == name
    assert pass_class.__name__ == name.replace("-", " ").title().replace(" ", "")
    assert pass_class.__module__ == "tinycc_nn.passes." + name.replace("-", "_")


def test_the_links_lead_to_the_folders_at_the_top() -> None:
    for name in ("passes", "backends"):
        assert (ROOT / "tinycc_nn" / name).resolve() == ROOT / name
