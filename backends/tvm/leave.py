"""The function of an early exit: it looks at what an early classifier says, and may end the run."""

from __future__ import annotations

from tinycc_nn.backends.tvm.tir.blocks import literal
from tinycc_nn.ir.graph import Op
from tinycc_nn.ops.exit import least


def exit_function(op: Op) -> str:
    """C of `int KERNEL(x, y)`: 1 if an element of x[n] is large enough, with x copied to y, else 0.

    Where NAME_WORST_CASE is defined it is 0 after all has been looked at.
    """
    n, bound = op.type.size, least(op)
    element, value, limit = "int8_t", "int32_t", str(int(bound))
    if op.type.dtype.is_float:
        element, value, limit = "float", "float", literal(bound)
    return f"""int KERNEL(const {element} *restrict x, {element} *restrict y) {{
  int sure = 0;
  for (int32_t i = 0; i < {n}; ++i) {{
    const {value} element = x[i];
    sure |= element >= {limit};
  }}
  if (!tcnn_dodge(sure))
    return 0;
  __builtin_memcpy(y, x, {op.type.nbytes});
  return 1;
}}
"""
