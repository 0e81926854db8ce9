"""Where torch computes, and with how many threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from tinycc_nn.diagnostics import TinyccError


def chosen_device() -> str:
    """A GPU if there is one that torch can use."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def slow_bfloat16(device: str) -> bool:
    """Whether the processor has no vectors that torch multiplies bfloat16 in."""
    return device == "cpu" and torch.backends.cpu.get_cpu_capability() in ("NO AVX", "AVX2")


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with so many threads, 0 for one on each core that this process may use."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or len(os.sched_getaffinity(0)))
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def memory_errors(batch: int) -> Iterator[None]:
    """Out of memory as a TinyccError."""
    try:
        yield
    except (MemoryError, RuntimeError) as e:
        text = str(e).lower()
        if not isinstance(e, MemoryError) and "memory" not in text and "alloc" not in text:
            raise
        message = f"out of memory while training on batches of {batch} samples"
        raise TinyccError(
            message, hint=f"a smaller one, as in {{batch={max(1, batch // 4)}}}"
        ) from e
