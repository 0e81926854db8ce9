"""
A batch_norm behind the sums of a float layer while it trains, folded into its weights at the end.

    y = act(gamma * (w . x - mean) / sqrt(variance + EPSILON) + beta)
 -> y = act(w' . x + b')      w' = w * s,  b' = beta - mean * s,  s = gamma / sqrt(variance + EPSILON)

Networks are read with their batch norms folded, or lost them when layers were replaced; without,
they train slowly and only in small steps.

Source: Ioffe, Szegedy, "Batch Normalization", 2015, sections 3.1 and 3.2.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tinycc_nn.training.tensors import Tensor

EPSILON = 1e-5
"""Added to variances."""
MOMENTUM = 0.1
"""Of running means and variances: the share of the newest batch."""


class Normalization:
    """The batch_norm of one layer.

    It starts with the statistics of the first sums that it gets, float32[..., out], and with the
    gamma and beta that let the layer compute what it did with its bias, float[out]. What is learned
    is kept in units of the first deviation.
    """

    def __init__(self, sums: Tensor, bias: Tensor | None) -> None:
        flat = sums.detach().float().reshape(-1, sums.shape[-1])
        self.mean, self.variance = flat.mean(dim=0), flat.var(dim=0, correction=0)
        self._unit = torch.sqrt(self.variance + EPSILON)
        offset = self.mean if bias is None else self.mean + bias.detach().float()
        self._gamma = torch.ones_like(self._unit).requires_grad_()
        self._beta = (offset / self._unit).requires_grad_()

    def parameters(self) -> list[Tensor]:
        return [self._gamma, self._beta]

    def buffers(self) -> list[Tensor]:
        """The running mean and variance."""
        return [self.mean, self.variance]

    def __call__(self, sums: Tensor, training: bool) -> Tensor:
        """Sums [..., out] by their own statistics, which join the running ones, if `training` and
        there is more than one of each channel; else by the running ones."""
        flat = sums.reshape(-1, sums.shape[-1])
        y = F.batch_norm(
            flat,
            self.mean,
            self.variance,
            self._gamma * self._unit,
            self._beta * self._unit,
            training=training and len(flat) > 1,
            momentum=MOMENTUM,
            eps=EPSILON,
        )
        return y.reshape(sums.shape)

    def folded(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """The weights [out, ...] with the scales in them, and the bias [out]."""
        s = self._gamma * self._unit / torch.sqrt(self.variance + EPSILON)
        return w * s.reshape(-1, *[1] * (w.dim() - 1)), self._beta * self._unit - self.mean * s
