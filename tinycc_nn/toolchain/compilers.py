"""The two cross compilers: arm-none-eabi-gcc from the PATH, and zig (clang) from PyPI."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from tinycc_nn.diagnostics import TinyccError, UsageError, nearest
from tinycc_nn.target import Target

# Contracted a*b+c rounds once: float results would differ from the host's and the interpreter's.
# Without errno, sqrtf is one instruction where there is an FPU.
COMMON_FLAGS = (
    "-std=gnu99",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-common",
    "-fno-strict-aliasing",
    "-Wall",
)
_DEVICE_FLAGS = (
    "-mthumb",
    "-ffunction-sections",
    "-fdata-sections",
    "-fno-unwind-tables",
    "-fno-asynchronous-unwind-tables",
)

_GCC_FPU = {
    ("cortex-m4", "sp"): "fpv4-sp-d16",
    ("cortex-m7", "sp"): "fpv5-sp-d16",
    ("cortex-m7", "dp"): "fpv5-d16",
    ("cortex-m33", "sp"): "fpv5-sp-d16",
    ("cortex-m55", "dp"): "auto",
}
_ZIG_FEATURES = {
    ("cortex-m4", "sp"): "+vfp4d16sp",
    ("cortex-m7", "sp"): "+fp_armv8d16sp",
    ("cortex-m7", "dp"): "+fp_armv8d16",
    ("cortex-m33", "sp"): "+fp_armv8d16sp",
    ("cortex-m55", "dp"): "+fp_armv8d16",
}


@dataclass(frozen=True, slots=True)
class Toolchain:
    """A cross compiler: `name` is "gcc" or "zig", `version` identifies it in reports and keys."""

    name: str
    command: tuple[str, ...]
    version: str

    @property
    def release(self) -> str:
        """Name and major version, such as "gcc-12": what the speed of its code goes with."""
        numbers = re.findall(r"\b(\d+)\.\d+\.\d+", self.version)
        return f"{self.name}-{numbers[-1] if numbers else 'unknown'}"

    @property
    def extra_sources(self) -> dict[str, str]:
        """What is compiled along: functions of math.h that zig's runtime library lacks."""
        if self.name == "gcc":
            return {}
        return {"tinycc_math.c": files("tinycc_nn.toolchain").joinpath("math.c").read_text("utf-8")}

    def compile_flags(self, target: Target) -> tuple[str, ...]:
        """What compiles C for the target's core, floating point in registers where it has any."""
        return COMMON_FLAGS + _DEVICE_FLAGS + self._core_flags(target)

    def link_flags(self, target: Target, level: str) -> tuple[str, ...]:
        """What links objects without the compiler's own startup code.

        gcc's newlib comes in two builds; the nano one has byte-wise memcpy, which is right for
        -Os and nothing else.
        """
        common = (*self._core_flags(target), "-nostartfiles", "-static", "-Wl,--gc-sections")
        if self.name == "zig":
            return common
        nano = ("--specs=nano.specs",) if level == "-Os" else ()
        return (*common, *nano, "-Wl,--no-warn-rwx-segments", "-lm", "-lc", "-lgcc")

    def _core_flags(self, target: Target) -> tuple[str, ...]:
        return _gcc_core(target) if self.name == "gcc" else _zig_core(target)


def _gcc_core(target: Target) -> tuple[str, ...]:
    cpu = target.cpu + ("+nodsp" if target.cpu == "cortex-m33" and not target.dsp else "")
    cpu += "+nomve" if target.cpu == "cortex-m55" and not target.mve else ""
    if target.fpu == "none":
        soft = "+nofp" if target.cpu in ("cortex-m4", "cortex-m7", "cortex-m33") else ""
        return (f"-mcpu={cpu}{soft}", "-mfloat-abi=soft")
    fpu = _GCC_FPU.get((target.cpu, target.fpu))
    if fpu is None:
        raise _no_such_fpu(target)
    return (f"-mcpu={cpu}", "-mfloat-abi=hard", f"-mfpu={fpu}")


def _zig_core(target: Target) -> tuple[str, ...]:
    cpu = target.cpu.replace("-", "_")
    features = ""
    if target.fpu != "none":
        if (target.cpu, target.fpu) not in _ZIG_FEATURES:
            raise _no_such_fpu(target)
        features = _ZIG_FEATURES[target.cpu, target.fpu]
    if target.dsp and target.cpu == "cortex-m33":
        features += "+dsp"
    if target.mve:
        features += "+mve+mve_fp" if target.fpu != "none" else "+mve"
    abi = "eabi" if target.fpu == "none" else "eabihf"
    include = str(files("tinycc_nn.toolchain.include"))
    # -fhosted -fbuiltin: "freestanding" alone makes calls of memcpy and of float builtins.
    return (
        "-target",
        f"thumb-freestanding-{abi}",
        f"-mcpu={cpu}{features}",
        "-fhosted",
        "-fbuiltin",
        "-isystem",
        include,
    )


def _no_such_fpu(target: Target) -> TinyccError:
    known = ", ".join(f"{cpu} with {fpu}" for cpu, fpu in _GCC_FPU)
    return TinyccError(f"no {target.cpu} has fpu '{target.fpu}'", target.name, f"known: {known}")


def find_toolchain(name: str | None = None) -> Toolchain:
    """The compiler of that name ("gcc" or "zig"); without a name, gcc if there is one, else zig.

    Raises UsageError for another name, TinyccError with how to install one if there is none.
    """
    finders = {"gcc": _find_gcc, "zig": _find_zig}
    if name is not None and name not in finders:
        raise UsageError(f"unknown toolchain '{name}'", hint=nearest(name, finders))
    for candidate in finders if name is None else (name,):
        found = finders[candidate]()
        if found is not None:
            return found
    what = {"gcc": "arm-none-eabi-gcc is not on the PATH", "zig": "ziglang is not installed"}
    message = "no C compiler for Cortex-M was found" if name is None else what[name]
    hint = "pip install 'tinycc-nn[zig]', or put arm-none-eabi-gcc (with newlib) on the PATH"
    raise TinyccError(message, hint=hint)


def compiler_release(name: str | None = None) -> str:
    """`Toolchain.release` of the compiler that `find_toolchain` finds, "" if there is none."""
    try:
        return find_toolchain(name).release
    except TinyccError:
        return ""


def _find_gcc() -> Toolchain | None:
    path = shutil.which("arm-none-eabi-gcc")
    return None if path is None else Toolchain("gcc", (path,), compiler_version((path,)))


def _find_zig() -> Toolchain | None:
    if importlib.util.find_spec("ziglang") is None:
        return None
    zig = (sys.executable, "-m", "ziglang")
    return Toolchain("zig", (*zig, "cc"), compiler_version((*zig, "cc")))


@cache
def compiler_version(command: tuple[str, ...]) -> str:
    """The first line of `--version`, for reports and cache keys."""
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    return lines[0].strip() if lines else "unknown version"
