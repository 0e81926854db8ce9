"""Every operator of the IR as a tensor expression: the kernels that always fit.

One file a family of operators, like `tinycc_nn/ops`; its `DEFINITIONS` maps the name of an
operator to the function that defines it, or its `SCRIPTS` to one that makes TIR directly.
"""

from tinycc_nn.backends.tvm.lower import load_tvm

load_tvm()  # once, without the packages that TVM would pull in and that no kernel needs
