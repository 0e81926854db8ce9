"""Between numpy and torch, and the name of torch's tensors in annotations."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import torch

from tinycc_nn.ir.types import Array

Tensor: TypeAlias = torch.Tensor


def to_array(t: Tensor) -> Array:
    """The numbers of a tensor."""
    return np.asarray(t.detach().cpu().numpy())


def to_tensor(a: Array) -> Tensor:
    """The numbers of an array, in memory of their own."""
    return torch.from_numpy(np.array(a))
