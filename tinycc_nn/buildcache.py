"""Compilations by the content of all that determines them: the second one is read from disk."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

import tinycc_nn
from tinycc_nn.cachedir import CacheDir, content_key
from tinycc_nn.data import DataSpec
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.report import Report
from tinycc_nn.request import Request
from tinycc_nn.toolchain import compiler_release, find_toolchain
from tinycc_nn.training.data import is_hook

_SUFFIX = ".build.json"


def request_key(request: Request) -> str:
    """Changes with the model, the data, any option, the compiler itself, the C compiler and the
    user's measurements."""
    toolchain = find_toolchain(request.toolchain).version if request.measure else "unused"
    toolchain += f" {compiler_release(request.toolchain)}"
    parts = [tinycc_nn.__version__, source_digest(), np.__version__, toolchain, request.command]
    parts += [_digest(c) for c in request.model.contents()]
    if request.records is not None:
        parts += [_digest(p.read_bytes()) for p in sorted(request.records.glob("*.jsonl"))]
    train = DataSpec.parse(request.train) if request.train and not is_hook(request.train) else None
    for spec in (request.calib, request.eval, train):
        parts += ["none"] if spec is None else [str(spec), _digest(_content(spec))]
    return content_key(parts)


def load_build(store: CacheDir, key: str) -> tuple[dict[str, str], Report] | None:
    """Files by name and report of an earlier compilation, or None."""
    data = store.get(key, _SUFFIX)
    if data is None:
        return None
    try:
        found = json.loads(data)
        return dict(found["files"]), Report.from_json(found["report"])
    except (ValueError, KeyError, TypeError, TinyccError):
        return None


def store_build(store: CacheDir, key: str, files: dict[str, str], report: Report) -> None:
    """Keep a compilation for `load_build`."""
    text = json.dumps({"files": files, "report": report.to_json()})
    store.put(key, _SUFFIX, text.encode())


@cache
def source_digest() -> str:
    """Of every file of this package, so that a changed compiler compiles anew."""
    digest = hashlib.sha256()
    root = Path(tinycc_nn.__file__).parent
    for path in _sources(root):
        digest.update(str(path.relative_to(root)).encode() + b"\0")
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


def _sources(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = sorted(f for f in folders if f != "__pycache__")
        yield from (Path(folder, n) for n in sorted(names) if not n.endswith((".pyc", ".so")))


def _content(spec: DataSpec) -> bytes:
    try:
        return spec.path.read_bytes()
    except OSError as e:
        raise TinyccError(f"can't read the data: {e.strerror}", str(spec.path)) from None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
