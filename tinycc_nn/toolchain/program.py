"""What a linked program consists of, read from its ELF file."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from elftools.elf.elffile import ELFFile

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.toolchain.memory_map import MemoryMap

_SHF_WRITE, _SHF_ALLOC, _SHF_EXECINSTR = 1, 2, 4


@dataclass(frozen=True, slots=True)
class Symbol:
    """A function or an object: its address (without the Thumb bit), bytes and section."""

    name: str
    address: int
    size: int
    section: str
    function: bool


@dataclass(frozen=True, slots=True)
class Segment:
    """Bytes that a loader puts at `address` (run address) of the memory."""

    address: int
    data: bytes


@dataclass(frozen=True)
class Program:
    """A linked program for a core.

    `toolchain` is the compiler's version, `level` the optimization level it was built with.
    """

    elf: bytes
    memory: MemoryMap
    toolchain: str
    level: str

    @cached_property
    def _file(self) -> ELFFile:
        return ELFFile(io.BytesIO(self.elf))

    @cached_property
    def section_bytes(self) -> Mapping[str, int]:
        """Bytes of every allocated section by name."""
        sections = (s for s in self._file.iter_sections() if s["sh_flags"] & _SHF_ALLOC)
        return {s.name: int(s["sh_size"]) for s in sections if s["sh_size"]}

    def _total(self, wanted: int, mask: int, *, zero: bool) -> int:
        return sum(
            int(s["sh_size"])
            for s in self._file.iter_sections()
            if s["sh_flags"] & _SHF_ALLOC
            and s["sh_flags"] & mask == wanted
            and (s["sh_type"] == "SHT_NOBITS") == zero
        )

    @cached_property
    def text_bytes(self) -> int:
        """Bytes of code and of constants that the compiler put among the code."""
        return self._total(_SHF_EXECINSTR, _SHF_EXECINSTR | _SHF_WRITE, zero=False)

    @cached_property
    def rodata_bytes(self) -> int:
        """Bytes of constants."""
        return self._total(0, _SHF_EXECINSTR | _SHF_WRITE, zero=False)

    @cached_property
    def data_bytes(self) -> int:
        """Bytes of initialized variables: they lie in RAM, their values in flash."""
        return self._total(_SHF_WRITE, _SHF_WRITE, zero=False)

    @cached_property
    def bss_bytes(self) -> int:
        """Bytes of zeroed variables, in RAM only."""
        return self._total(_SHF_WRITE, _SHF_WRITE, zero=True)

    @property
    def flash_bytes(self) -> int:
        """text + rodata + data."""
        return self.text_bytes + self.rodata_bytes + self.data_bytes

    @property
    def ram_bytes(self) -> int:
        """data + bss, without the stack."""
        return self.data_bytes + self.bss_bytes

    @cached_property
    def code(self) -> range:
        """Addresses of the .text section."""
        text = self._file.get_section_by_name(".text")
        return range(text["sh_addr"], text["sh_addr"] + text["sh_size"])

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """What a loader writes into memory."""
        loads = (s for s in self._file.iter_segments() if s["p_type"] == "PT_LOAD")
        return tuple(Segment(s["p_vaddr"], s.data()) for s in loads if s["p_filesz"])

    @cached_property
    def symbols(self) -> tuple[Symbol, ...]:
        """All functions and objects, by address."""
        file = self._file
        table = file.get_section_by_name(".symtab")
        found = []
        for entry in table.iter_symbols():
            kind, index = entry["st_info"]["type"], entry["st_shndx"]
            if kind not in ("STT_FUNC", "STT_OBJECT") or not isinstance(index, int):
                continue
            function = kind == "STT_FUNC"
            address = entry["st_value"] & ~1 if function else entry["st_value"]
            section = file.get_section(index).name
            found.append(Symbol(entry.name, address, entry["st_size"], section, function))
        return tuple(sorted(found, key=lambda s: (s.address, s.name)))

    @cached_property
    def _by_name(self) -> Mapping[str, Symbol]:
        return {s.name: s for s in self.symbols}

    def symbol(self, name: str) -> Symbol:
        """The symbol of that name, or the compiler's only clone of it (`name.constprop.0`).

        Raises TinyccError if the program has none.
        """
        if name in self._by_name:
            return self._by_name[name]
        clones = [s for s in self.symbols if s.name.startswith(f"{name}.")]
        if len(clones) != 1:
            raise TinyccError(f"the program has no symbol '{name}'")
        return clones[0]

    def nearest_symbol(self, address: int) -> str:
        """`name+offset` of the function or object that holds the address, or ""."""
        for s in self.symbols:
            if s.address <= address < s.address + max(s.size, 1):
                return f"{s.name}+{address - s.address:#x}"
        return ""

    def flash_by_symbol(self) -> Mapping[str, int]:
        """Flash bytes of every function, constant and initialized variable by name."""
        in_flash = (s for s in self.symbols if s.section not in (".bss", ""))
        return {s.name: s.size for s in in_flash if s.size}

    def write_elf(self, path: Path) -> None:
        """Write the ELF file, for a debugger or another emulator."""
        path.write_bytes(self.elf)
