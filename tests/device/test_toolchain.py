from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
from pathlib import Path

import pytest

from tinycc_nn.cachedir import CacheDir, content_key
from tinycc_nn.diagnostics import TinyccError, UsageError
from tinycc_nn.target import CPUS, Target
from tinycc_nn.toolchain import (
    build_host_library,
    build_program,
    compilers,
    find_toolchain,
    host,
    minimal_main,
)

from .networks import tiny

M4 = Target.for_cpu("cortex-m4")
SIZES = """
const unsigned char table[100] = {1, 2, 3};
int counter = 7;
static int zeroed[25];
__attribute__((noinline)) int work(int i) { return table[i] + counter++ + zeroed[i]++; }
int unused(int i) { return i * 12345; }
int main(void) { return work(zeroed[3]); }
"""


@pytest.mark.parametrize("cpu", CPUS)
def test_every_core_builds(cpu: str, compiler: compilers.Toolchain, cache: CacheDir) -> None:
    target = Target.for_cpu(cpu)
    source = tiny()
    files = {**source.c_files, "main.c": minimal_main(source)}
    program = build_program(files, target, toolchain=compiler, cache=cache)
    assert program.flash_bytes == program.text_bytes + program.rodata_bytes + program.data_bytes
    assert program.ram_bytes == 64 + 16 + 64
    assert program.flash_by_symbol()["tiny_w"] == 1024
    assert program.symbol("tiny_k0").function


def test_sizes_by_kind_and_symbol(compiler: compilers.Toolchain, cache: CacheDir) -> None:
    program = build_program({"main.c": SIZES}, M4, toolchain=compiler, cache=cache)
    assert (program.rodata_bytes, program.data_bytes, program.bss_bytes) == (100, 4, 104)
    assert 64 < program.text_bytes < 400
    sizes = program.flash_by_symbol()
    assert (sizes["table"], sizes["counter"]) == (100, 4)
    assert "zeroed" not in sizes
    assert "unused" not in sizes
    work = program.symbol("work")
    assert program.nearest_symbol(work.address + 2) == "work+0x2"


def test_small_is_smaller_than_fast(compiler: compilers.Toolchain, cache: CacheDir) -> None:
    source = tiny()
    files = {**source.c_files, "main.c": minimal_main(source)}
    small, fast = (
        build_program(files, M4, level, toolchain=compiler, cache=cache) for level in ("-Os", "-O3")
    )
    assert small.flash_bytes < fast.flash_bytes


def test_the_same_build_comes_from_the_cache(compiler: compilers.Toolchain, tmp_path: Path) -> None:
    cache = CacheDir(tmp_path)
    first = build_program({"main.c": SIZES}, M4, toolchain=compiler, cache=cache)
    (kept,) = tmp_path.glob("*/*.elf")
    kept.write_bytes(first.elf + b"mark")
    again = build_program({"main.c": SIZES}, M4, toolchain=compiler, cache=cache)
    assert again.elf.endswith(b"mark")
    other = build_program({"main.c": SIZES}, M4, "-Os", toolchain=compiler, cache=cache)
    assert not other.elf.endswith(b"mark")


def test_a_directory_keeps_sources_objects_and_elf(
    compiler: compilers.Toolchain, tmp_path: Path
) -> None:
    cache = CacheDir(tmp_path / "cache")
    build_program(
        {"main.c": SIZES}, M4, toolchain=compiler, cache=cache, directory=tmp_path / "work"
    )
    assert {"main.c", "main.o", "program.elf", "tinycc_link.ld"} <= {
        p.name for p in (tmp_path / "work").iterdir()
    }


def test_the_compilers_message_is_the_diagnostic(
    compiler: compilers.Toolchain, cache: CacheDir
) -> None:
    with pytest.raises(TinyccError, match=r"main\.c:1(.|\n)*expected") as caught:
        build_program({"main.c": "int main(void) { return }"}, M4, toolchain=compiler, cache=cache)
    assert caught.value.where == "main.c"
    missing = "int absent(void); int main(void) { return absent(); }"
    with pytest.raises(TinyccError, match="absent") as caught:
        build_program({"main.c": missing}, M4, toolchain=compiler, cache=cache)
    assert caught.value.where == "link"


FEATURES = """
#if defined(__ARM_FP) != FP || defined(__ARM_FEATURE_DSP) != DSP || defined(__ARM_FEATURE_MVE) != MVE
#error features
#endif
#if FP && defined(__ARM_SOFTFP__)
#error float ABI
#endif
int main(void) { return 0; }
"""


@pytest.mark.parametrize(
    ("cpu", "fpu", "dsp", "mve"),
    [
        ("cortex-m3", "none", False, False),
        ("cortex-m4", "none", True, False),
        ("cortex-m4", "sp", True, False),
        ("cortex-m7", "dp", True, False),
        ("cortex-m33", "none", False, False),
        ("cortex-m33", "sp", True, False),
        ("cortex-m55", "dp", True, False),
        ("cortex-m55", "dp", True, True),
    ],
)
def test_the_compiler_knows_what_the_target_has(
    cpu: str, fpu: str, dsp: bool, mve: bool, compiler: compilers.Toolchain, cache: CacheDir
) -> None:
    target = Target("device", cpu, fpu, dsp, mve, 1024, 1024)
    flags = (f"-DFP={int(fpu != 'none')}", f"-DDSP={int(dsp)}", f"-DMVE={int(mve)}")
    build_program({"main.c": FEATURES}, target, toolchain=compiler, flags=flags, cache=cache)


def test_unknown_symbol(compiler: compilers.Toolchain, cache: CacheDir) -> None:
    program = build_program({"main.c": SIZES}, M4, toolchain=compiler, cache=cache)
    with pytest.raises(TinyccError, match="no symbol 'wrok'"):
        program.symbol("wrok")


def test_unknown_toolchain() -> None:
    with pytest.raises(UsageError, match=r"unknown toolchain 'gc'(.|\n)*did you mean 'gcc'"):
        find_toolchain("gc")


def test_no_compiler_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(TinyccError, match=r"no C compiler for Cortex-M(.|\n)*tinycc-nn\[zig\]"):
        find_toolchain()
    with pytest.raises(TinyccError, match="arm-none-eabi-gcc is not on the PATH"):
        find_toolchain("gcc")
    with pytest.raises(TinyccError, match="ziglang is not installed"):
        find_toolchain("zig")
    with pytest.raises(TinyccError, match="no C compiler for this machine"):
        host.find_host_compiler()


def test_an_fpu_that_the_core_cannot_have() -> None:
    toolchain = compilers.Toolchain("gcc", ("gcc",), "1")
    wrong = Target("odd", "cortex-m0", "sp", False, False, 1024, 1024)
    with pytest.raises(TinyccError, match="no cortex-m0 has fpu 'sp'"):
        toolchain.compile_flags(wrong)


@pytest.mark.skipif(shutil.which("cc") is None, reason="no cc on the PATH")
def test_host_library_runs_and_is_built_once(tmp_path: Path) -> None:
    cache = CacheDir(tmp_path)
    sources = {"three.h": "#define THREE 3\n", "f.c": '#include "three.h"\nint f(void){return 3;}'}
    path = build_host_library(sources, cache=cache)
    assert ctypes.CDLL(str(path)).f() == 3
    assert build_host_library(sources, cache=cache) == path
    with pytest.raises(TinyccError, match="the C compiler failed"):
        build_host_library({"f.c": "int f(void){"}, cache=cache)


def test_content_keys_tell_parts_apart() -> None:
    assert content_key(("ab", "c")) != content_key(("a", "bc"))
    assert content_key(("a",)) == content_key(("a",))


def test_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = CacheDir(tmp_path / "file" / "below")
    assert cache.put("abc", ".elf", b"x") is None
    assert cache.get("abc", ".elf") is None


def test_prune_removes_the_oldest(tmp_path: Path) -> None:
    cache = CacheDir(tmp_path)
    for age, key in enumerate(("aa1", "bb2", "cc3")):
        path = cache.put(key, ".elf", bytes(100))
        assert path is not None
        os.utime(path, (age, age))
    cache.prune(max_bytes=250)
    assert cache.get("aa1", ".elf") is None
    assert cache.get("bb2", ".elf") == cache.get("cc3", ".elf") == bytes(100)
