"""Build C sources as a shared library of this machine."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tinycc_nn.cachedir import CacheDir, content_key
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.toolchain.compilers import COMMON_FLAGS, compiler_version
from tinycc_nn.toolchain.run import run_compiler


def find_host_compiler() -> tuple[str, ...]:
    """The command of a C compiler for this machine: cc, gcc or clang on the PATH, else zig.

    Raises TinyccError with how to get one if there is none.
    """
    for name in ("cc", "gcc", "clang"):
        path = shutil.which(name)
        if path is not None:
            return (path,)
    if importlib.util.find_spec("ziglang") is not None:
        return (sys.executable, "-m", "ziglang", "cc")
    hint = "pip install 'tinycc-nn[zig]', or put cc, gcc or clang on the PATH"
    raise TinyccError("no C compiler for this machine was found", hint=hint)


def build_host_library(
    sources: Mapping[str, str],
    level: str = "-O2",
    *,
    flags: Sequence[str] = (),
    compiler: tuple[str, ...] | None = None,
    cache: CacheDir | None = None,
) -> Path:
    """Build `sources` (file name -> text) as one shared library and return its path.

    Float operations round as written (no contraction), as on the device. Raises TinyccError with
    the compiler's message, or if the cache directory, where the library lies, is not writable.
    """
    compiler = find_host_compiler() if compiler is None else compiler
    cache = CacheDir() if cache is None else cache
    options = (*COMMON_FLAGS, level, "-fPIC", "-shared", *flags)
    contents = (part for pair in sorted(sources.items()) for part in pair)
    key = content_key(("host", *compiler, compiler_version(compiler), *options, *contents))
    suffix = ".dll" if sys.platform == "win32" else ".so"
    path = cache.path(key, suffix)
    if path.exists():
        return path
    with tempfile.TemporaryDirectory(prefix="tinycc-nn-") as temporary:
        work = Path(temporary)
        for name, text in sources.items():
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            (work / name).write_text(text, "utf-8")
        units = sorted(name for name in sources if name.endswith(".c"))
        math = () if sys.platform == "win32" else ("-lm",)
        command = (*compiler, *options, "-I.", *units, "-o", f"library{suffix}", *math)
        run_compiler(command, work, "host library")
        data = (work / f"library{suffix}").read_bytes()
    kept = cache.put(key, suffix, data)
    if kept is None:
        hint = "make the user's cache directory writable"
        raise TinyccError("cannot write the host library", str(path), hint)
    return kept
