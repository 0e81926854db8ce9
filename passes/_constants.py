"""What several passes ask of constants: real values of a parameter, one element a channel."""

from __future__ import annotations

import numpy as np

from tinycc_nn.ir.graph import Value
from tinycc_nn.ir.types import F32, Array


def per_channel(v: Value, rank: int, channels: int) -> Array | None:
    """float32[channels] of a float constant that varies at most along the last of `rank` axes."""
    a = v.constant
    if a is None or v.type.dtype != F32 or a.ndim > rank:
        return None
    if a.size not in (1, channels) or (a.ndim and a.size != a.shape[-1]):
        return None
    return np.broadcast_to(a.reshape(-1), (channels,)).astype(np.float32)
