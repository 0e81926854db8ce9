"""Compile and link C sources into a minimal application for a target's core."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from tinycc_nn.cachedir import CacheDir, content_key
from tinycc_nn.target import Target
from tinycc_nn.toolchain.compilers import Toolchain, find_toolchain
from tinycc_nn.toolchain.memory_map import BENCH, MemoryMap
from tinycc_nn.toolchain.program import Program
from tinycc_nn.toolchain.run import run_compiler


def build_program(
    sources: Mapping[str, str],
    target: Target,
    level: str = "-O2",
    *,
    toolchain: Toolchain | None = None,
    flags: Sequence[str] = (),
    memory: MemoryMap = BENCH,
    cache: CacheDir | None = None,
    directory: Path | None = None,
) -> Program:
    """Build `sources` (file name -> text; one of them defines `main`) with startup and linker
    script, unused sections removed.

    `level` is "-O0" .. "-O3" or "-Os"; `flags` go to the compiler as they are. `directory` keeps
    sources and objects there and always builds; otherwise a build of the same content is taken
    from `cache` (the user's cache directory). Raises TinyccError with the compiler's message.
    """
    toolchain = find_toolchain() if toolchain is None else toolchain
    cache = CacheDir() if cache is None else cache
    texts = (
        dict(sources)
        | toolchain.extra_sources
        | {
            "tinycc_startup.c": _resource("startup.c"),
            "tinycc_link.ld": _link_script(memory),
        }
    )
    compile_flags = (*toolchain.compile_flags(target), level, *flags)
    link_flags = toolchain.link_flags(target, level)
    contents = (part for pair in sorted((texts | _headers()).items()) for part in pair)
    key = content_key((toolchain.version, *compile_flags, "link", *link_flags, *contents))
    version = toolchain.version
    if directory is None:
        found = cache.get(key, ".elf")
        if found is not None:
            return Program(found, memory, version, level)
    with _workspace(directory) as work:
        for name, text in texts.items():
            path = work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        units = sorted(name for name in texts if name.endswith(".c"))
        objects = [f"{unit[:-2]}.o" for unit in units]
        for unit, made in zip(units, objects, strict=True):
            command = (*toolchain.command, *compile_flags, "-I.", "-c", unit, "-o", made)
            run_compiler(command, work, unit)
        script = ("-Wl,-T,tinycc_link.ld",)
        output = ("-o", "program.elf")
        link = (*toolchain.command, *output, *objects, *script, *link_flags)
        run_compiler(link, work, "link")
        elf = (work / "program.elf").read_bytes()
    cache.put(key, ".elf", elf)
    return Program(elf, memory, version, level)


@contextlib.contextmanager
def _workspace(directory: Path | None) -> Iterator[Path]:
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
        yield directory
        return
    with tempfile.TemporaryDirectory(prefix="tinycc-nn-") as temporary:
        yield Path(temporary)


def _resource(name: str) -> str:
    return files("tinycc_nn.toolchain").joinpath(name).read_text("utf-8")


def _headers() -> dict[str, str]:
    entries = files("tinycc_nn.toolchain.include").iterdir()
    return {e.name: e.read_text("utf-8") for e in entries if e.name.endswith(".h")}


def _link_script(memory: MemoryMap) -> str:
    text = _resource("link.ld")
    for name, value in (
        ("FLASH_ORIGIN", memory.flash_origin),
        ("FLASH_SIZE", memory.flash_size),
        ("RAM_ORIGIN", memory.ram_origin),
        ("RAM_SIZE", memory.ram_size),
    ):
        text = text.replace(f"@{name}@", f"{value:#x}")
    return text
