"""ONNX readers of operators that change the shape or pick elements."""

from __future__ import annotations

from math import prod

import numpy as np

from tinycc_nn.ir.graph import Value
from tinycc_nn.reader import Node, Reader

MAX_INDICES = 1 << 20
"""More elements than this along an axis are a mistake in the model."""

TO_NHWC, TO_NCHW = (0, 2, 3, 1), (0, 3, 1, 2)


def axis_of(n: Node, axis: int, rank: int) -> int:
    """The axis counted from the front; an error if there is none."""
    if not -rank <= axis < rank:
        raise n.fail(f"there is no axis {axis} in a tensor of {rank} axes")
    return axis % rank


def reshape(n: Node, x: Value, shape: tuple[int, ...]) -> Value:
    """x in another shape; x itself if it has that shape."""
    return x if x.type.shape == shape else n.emit("reshape", [x], {"shape": shape})


def integers(n: Node, index: int) -> tuple[int, ...] | None:
    """A constant input that is a list of integers, None if absent."""
    found = n.optional_constant(index)
    if found is not None and found.dtype.kind not in "iu":
        raise n.fail(f"input {index} must be of integers")
    return None if found is None else tuple(int(i) for i in found.reshape(-1))


def _axes(n: Node) -> tuple[int, ...]:
    return n.integers("axes", ()) if n.opset < 13 else integers(n, 1) or ()


def _reshape(n: Node) -> Value:
    x, wanted = n.value(0), integers(n, 1) or ()
    keep = not n.integer("allowzero", 0)
    shape = [x.type.shape[i] if d == 0 and keep else d for i, d in enumerate(wanted)]
    if shape.count(-1) == 1:
        rest = prod(d for d in shape if d != -1)
        shape[shape.index(-1)] = x.type.size // rest if rest else 0
    return reshape(n, x, tuple(shape))


def _flatten(n: Node) -> Value:
    x, axis = n.value(0), n.integer("axis", 1)
    shape = x.type.shape
    axis = axis if axis == len(shape) else axis_of(n, axis, len(shape))
    return reshape(n, x, (prod(shape[:axis]), prod(shape[axis:])))


def _squeeze(n: Node) -> Value:
    x = n.value(0)
    shape = x.type.shape
    axes = {axis_of(n, a, len(shape)) for a in _axes(n)}
    axes = axes or {i for i, d in enumerate(shape) if d == 1}
    if any(shape[a] != 1 for a in axes):
        raise n.fail(f"the axes {sorted(axes)} of {list(shape)} are not all of size 1")
    return reshape(n, x, tuple(d for i, d in enumerate(shape) if i not in axes))


def _unsqueeze(n: Node) -> Value:
    x, axes = n.value(0), _axes(n)
    rank = x.type.rank + len(axes)
    at = {axis_of(n, a, rank) for a in axes}
    if len(at) != len(axes):
        raise n.fail("an axis is given twice")
    left = iter(x.type.shape)
    return reshape(n, x, tuple(1 if i in at else next(left) for i in range(rank)))


def _transpose(n: Node) -> Value:
    x = n.value(0)
    perm = n.integers("perm", tuple(range(x.type.rank))[::-1])
    return x if perm == tuple(range(x.type.rank)) else n.emit("transpose", [x], {"perm": perm})


def _concat(n: Node) -> Value:
    parts = [n.value(i) for i in range(n.arity)]
    axis = axis_of(n, n.integer("axis"), parts[0].type.rank)
    return parts[0] if len(parts) == 1 else n.emit("concat", parts, {"axis": axis})


def slice_axes(n: Node, x: Value, ranges: dict[int, range]) -> Value:
    """x restricted to the given elements along some axes."""
    whole = [ranges.get(i, range(d)) for i, d in enumerate(x.type.shape)]
    if all(r == range(d) for r, d in zip(whole, x.type.shape, strict=True)):
        return x
    attrs = {
        "begin": tuple(r.start for r in whole),
        "end": tuple(r.stop for r in whole),
        "step": tuple(r.step for r in whole),
    }
    return n.emit("slice", [x], attrs)


def _slice(n: Node) -> Value:
    x = n.value(0)
    if n.opset < 10:
        begin, end = n.integers("starts"), n.integers("ends")
        axes, steps = n.integers("axes", range(len(begin))), (1,) * len(begin)
    else:
        begin, end = integers(n, 1) or (), integers(n, 2) or ()
        axes = integers(n, 3) or tuple(range(len(begin)))
        steps = integers(n, 4) or (1,) * len(begin)
    ranges = {}
    for a, b, e, s in zip(axes, begin, end, steps, strict=True):
        axis = axis_of(n, a, x.type.rank)
        ranges[axis] = range(x.type.shape[axis])[b:e:s]
    return slice_axes(n, x, ranges)


def _split(n: Node) -> tuple[Value, ...]:
    x = n.value(0)
    axis = axis_of(n, n.integer("axis", 0), x.type.rank)
    size = x.type.shape[axis]
    sizes = n.integers("split", ()) if n.opset < 13 else integers(n, 1) or ()
    if not sizes:
        parts = n.integer("num_outputs", n.results)
        if parts != n.results:
            raise n.fail(f"num_outputs={parts}, but the node has {n.results} outputs")
        chunk = -(-size // parts)
        sizes = tuple(min(chunk, size - i * chunk) for i in range(parts))
    if sum(sizes) != size or min(sizes) < 1 or len(sizes) != n.results:
        raise n.fail(f"{size} elements can't be split into {list(sizes)}")
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return tuple(
        slice_axes(n, x, {axis: range(b, b + d)}) for b, d in zip(starts, sizes, strict=True)
    )


def take(n: Node, x: Value, axis: int, indices: tuple[int, ...]) -> Value:
    """The elements of x at indices along an axis; a slice where they are in a row."""
    if indices == tuple(range(indices[0], indices[0] + len(indices))) if indices else False:
        return slice_axes(n, x, {axis: range(indices[0], indices[-1] + 1)})
    return n.emit("take", [x], {"axis": axis, "indices": indices})


def check_indices(n: Node, *sizes: int) -> None:
    """An error if an axis would get an impossible number of elements."""
    if any(not 0 < size <= MAX_INDICES for size in sizes):
        raise n.fail(f"the result would have the impossible size {list(sizes)}")


def _gather(n: Node) -> Value:
    x, indices = n.value(0), n.constant(1)
    axis = axis_of(n, n.integer("axis", 0), x.type.rank)
    size = x.type.shape[axis]
    if indices.dtype.kind not in "iu" or np.any(indices < -size) or np.any(indices >= size):
        raise n.fail(f"the indices must be integers in {-size}..{size - 1}")
    taken = take(n, x, axis, tuple(int(i) % size for i in indices.reshape(-1)))
    return reshape(n, taken, (*x.type.shape[:axis], *indices.shape, *x.type.shape[axis + 1 :]))


def _expand(n: Node) -> Value:
    x = n.value(0)
    wanted = np.broadcast_shapes(x.type.shape, integers(n, 1) or ())
    check_indices(n, *wanted)
    y = reshape(n, x, (*[1] * (len(wanted) - x.type.rank), *x.type.shape))
    for axis, (have, size) in enumerate(zip(y.type.shape, wanted, strict=True)):
        y = y if have == size else n.emit("take", [y], {"axis": axis, "indices": (0,) * size})
    return y


def _tile(n: Node) -> Value:
    x, repeats = n.value(0), integers(n, 1) or ()
    if len(repeats) != x.type.rank or any(r < 1 for r in repeats):
        raise n.fail(f"the repeats must be {x.type.rank} positive numbers")
    for axis, r in enumerate(repeats):
        check_indices(n, x.type.shape[axis] * r)
        x = x if r == 1 else take(n, x, axis, tuple(range(x.type.shape[axis])) * r)
    return x


def _depth_to_space(n: Node) -> Value:
    x, b = n.value(0), n.integer("blocksize")
    if x.type.rank != 4 or b < 1 or x.type.shape[1] % (b * b):
        raise n.fail(f"{list(x.type.shape)} can't be split into blocks of {b}x{b}", "NCHW")
    i, c, h, w = x.type.shape
    depth = c // (b * b)
    inner, perm = ((b, b, depth), (0, 1, 3, 2, 4, 5))
    if _mode(n) == "CRD":
        inner, perm = ((depth, b, b), (0, 1, 4, 2, 5, 3))
    y = n.emit("transpose", [x], {"perm": TO_NHWC})
    y = n.emit("reshape", [y], {"shape": (i, h, w, *inner)})
    y = n.emit("transpose", [y], {"perm": perm})
    y = n.emit("reshape", [y], {"shape": (i, h * b, w * b, depth)})
    return n.emit("transpose", [y], {"perm": TO_NCHW})


def _space_to_depth(n: Node) -> Value:
    x, b = n.value(0), n.integer("blocksize")
    if x.type.rank != 4 or b < 1 or x.type.shape[2] % b or x.type.shape[3] % b:
        raise n.fail(f"{list(x.type.shape)} can't be split into blocks of {b}x{b}", "NCHW")
    i, c, h, w = x.type.shape
    perm = (0, 1, 3, 2, 4, 5) if _mode(n) == "DCR" else (0, 1, 3, 5, 2, 4)
    y = n.emit("transpose", [x], {"perm": TO_NHWC})
    y = n.emit("reshape", [y], {"shape": (i, h // b, b, w // b, b, c)})
    y = n.emit("transpose", [y], {"perm": perm})
    y = n.emit("reshape", [y], {"shape": (i, h // b, w // b, b * b * c)})
    return n.emit("transpose", [y], {"perm": TO_NCHW})


def _mode(n: Node) -> str:
    """Which is outer in the channels: the place in the block (DCR) or the depth (CRD)."""
    mode = n.text("mode", "DCR")
    if mode not in ("DCR", "CRD"):
        raise n.fail(f"the mode '{mode}' is not known", "DCR or CRD")
    return mode


READERS = (
    Reader(("Reshape",), _reshape, ("allowzero",)),
    Reader(("Flatten",), _flatten, ("axis",)),
    Reader(("Squeeze",), _squeeze, ("axes",)),
    Reader(("Unsqueeze",), _unsqueeze, ("axes",)),
    Reader(("Transpose",), _transpose, ("perm",)),
    Reader(("Concat",), _concat, ("axis",)),
    Reader(("Slice",), _slice, ("starts", "ends", "axes")),
    Reader(("Split",), _split, ("axis", "split", "num_outputs")),
    Reader(("Gather",), _gather, ("axis",)),
    Reader(("Expand",), _expand),
    Reader(("Tile",), _tile),
    Reader(("DepthToSpace",), _depth_to_space, ("blocksize", "mode")),
    Reader(("SpaceToDepth",), _space_to_depth, ("blocksize", "mode")),
)
