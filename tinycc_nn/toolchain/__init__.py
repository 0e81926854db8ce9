"""C compilers for Cortex-M and the host: find one, build with it, read what it built."""

from tinycc_nn.toolchain.build import build_program
from tinycc_nn.toolchain.compilers import Toolchain, compiler_release, find_toolchain
from tinycc_nn.toolchain.host import build_host_library, find_host_compiler
from tinycc_nn.toolchain.memory_map import BENCH, MemoryMap
from tinycc_nn.toolchain.minimal import minimal_main
from tinycc_nn.toolchain.program import Program, Symbol

__all__ = [
    "BENCH",
    "MemoryMap",
    "Program",
    "Symbol",
    "Toolchain",
    "build_host_library",
    "build_program",
    "compiler_release",
    "find_host_compiler",
    "find_toolchain",
    "minimal_main",
]
