"""For readers: the window attributes that ONNX's convolutions and pools share."""

from __future__ import annotations

from dataclasses import dataclass

from tinycc_nn.ir.graph import Attr
from tinycc_nn.reader import Node

ATTRIBUTES = ("auto_pad", "dilations", "kernel_shape", "pads", "strides")

Pair = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """A window on [rows, columns]; `before` and `after` are the padding of each axis."""

    kernel: Pair
    stride: Pair
    dilation: Pair
    before: Pair
    after: Pair

    def span(self, axis: int) -> int:
        """Pixels from the first to the last that a window touches."""
        return self.dilation[axis] * (self.kernel[axis] - 1) + 1

    def attrs(self) -> dict[str, Attr]:
        """The attributes of the IR's windowed operators."""
        (top, left), (bottom, right) = self.before, self.after
        return {
            "stride": self.stride,
            "pad": (top, bottom, left, right),
            "dilation": self.dilation,
        }


def per_axis(n: Node, name: str, axes: int, least: int) -> Pair:
    """An attribute with one number for each of the image's `axes` as (rows, columns).

    `least` is the smallest number that makes sense, and the default. A 1-D image is one row;
    its rows get the default.
    """
    given = n.integers(name, (least,) * axes)
    if len(given) != axes:
        raise n.fail(f"'{name}' has {len(given)} elements", f"one for each of {axes} axes")
    if min(given) < least:
        raise n.fail(f"'{name}' is {list(given)}", f"each at least {least}")
    return (least, given[0]) if axes == 1 else (given[0], given[1])


def read_window(n: Node, axes: int, size: Pair, kernel: Pair | None = None) -> Window:
    """The window on an image of `size` (rows, columns); the weights tell `kernel`, if there are."""
    kernel = read_kernel(n, axes, kernel)
    stride, dilation = per_axis(n, "strides", axes, 1), per_axis(n, "dilations", axes, 1)
    before, after = read_pads(n, axes)
    mode = n.text("auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        total = [
            max((-(-i // s) - 1) * s + d * (k - 1) + 1 - i, 0)
            for i, k, s, d in zip(size, kernel, stride, dilation, strict=True)
        ]
        half = (total[0] // 2, total[1] // 2)
        rest = (total[0] - half[0], total[1] - half[1])
        before, after = (half, rest) if mode == "SAME_UPPER" else (rest, half)
    return Window(kernel, stride, dilation, before, after)


def read_kernel(n: Node, axes: int, kernel: Pair | None) -> Pair:
    """`kernel_shape`, which must agree with the weights' `kernel` if both are given."""
    if kernel is None and not n.has("kernel_shape"):
        raise n.fail("'kernel_shape' is missing")
    given = per_axis(n, "kernel_shape", axes, 1) if n.has("kernel_shape") else kernel
    assert given is not None
    if kernel is not None and given != kernel:
        raise n.fail(f"'kernel_shape' is {list(given)}, but the weights have {list(kernel)}")
    return given


def read_pads(n: Node, axes: int) -> tuple[Pair, Pair]:
    """`pads` before and after (rows, columns), checked against `auto_pad`."""
    mode = n.text("auto_pad", "NOTSET")
    if mode not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise n.fail(f"auto_pad={mode} is not known", "NOTSET, VALID, SAME_UPPER or SAME_LOWER")
    pads = n.integers("pads", (0,) * (2 * axes))
    if len(pads) != 2 * axes:
        raise n.fail(f"'pads' has {len(pads)} elements", f"two for each of {axes} axes")
    if min(pads) < 0:
        raise n.fail("negative pads are not supported", "crop with Slice")
    if mode != "NOTSET" and any(pads):
        raise n.fail(f"'pads' and auto_pad={mode} exclude each other")
    if axes == 1:
        return (0, pads[0]), (0, pads[1])
    return (pads[0], pads[1]), (pads[2], pads[3])
