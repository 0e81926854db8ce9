"""The version of a kernel family: a digest of the source that its C text is made by."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
from functools import cache
from pathlib import Path

from tinycc_nn.backends.tvm.prelude import helpers, helpers_in

_PACKAGE = "tinycc_nn.backends.tvm"
_ROOT = Path(__file__).parents[1]
_INTERFACE = f"{_PACKAGE}.kernel"
"""Declares what a kernel is; it makes no text."""


@cache
def family_version(name: str) -> str:
    """12 hex digits that change with the source of `kernels/<name>.py`, of all that it imports
    from this backend, of the C helpers that they name, and with the frame of the C file; not with
    comments and docstrings.

    The C text itself would say more, but making it for every candidate would cost seconds in each
    compilation.
    """
    modules: dict[str, str] = {}
    _collect(f"{_PACKAGE}.kernels.{name}", modules)
    helpers: dict[str, str] = {}
    for text in modules.values():
        _collect_helpers(text, helpers)
    frame = (_ROOT / "templates" / "network.c.j2").read_text("utf-8")
    parts = [importlib.metadata.version("apache-tvm"), frame]
    parts += [text for _, text in sorted((modules | helpers).items())]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def _collect(module: str, found: dict[str, str]) -> None:
    path = _path(module)
    if module in found or path is None:
        return
    found[module], imported = _read(path)
    for name in imported:
        _collect(name, found)


def _path(module: str) -> Path | None:
    if module == _INTERFACE or not module.startswith(f"{_PACKAGE}."):
        return None
    base = _ROOT.joinpath(*module.removeprefix(f"{_PACKAGE}.").split("."))
    found = (p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file())
    return next(found, None)


@cache
def _read(path: Path) -> tuple[str, tuple[str, ...]]:
    """The code without comment lines and docstrings, and the modules that it imports."""
    text = path.read_text("utf-8")
    lines: list[str] = text.splitlines()
    imported: list[str] = []
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported += [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported += [node.module, *(f"{node.module}.{a.name}" for a in node.names)]
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            for i in range(node.lineno - 1, node.end_lineno or node.lineno):
                lines[i] = ""
    code = (line.rstrip() for line in lines if not line.lstrip().startswith("#"))
    return "\n".join(line for line in code if line), tuple(imported)


def _collect_helpers(text: str, found: dict[str, str]) -> None:
    for name in sorted(helpers_in(text) - found.keys()):
        found[name] = helpers()[name]
        _collect_helpers(found[name], found)
