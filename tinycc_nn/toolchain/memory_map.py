"""Where a program lies in the address space."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MemoryMap:
    """Flash and RAM of a linked program: addresses and sizes in bytes."""

    flash_origin: int
    flash_size: int
    ram_origin: int
    ram_size: int


BENCH = MemoryMap(0x0800_0000, 64 << 20, 0x2000_0000, 64 << 20)
"""The addresses of most STM32 parts, with room for any program: whether a program fits a target
is judged from its sizes, so that one that does not fit can still be measured and reported."""
