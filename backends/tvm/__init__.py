"""C for Cortex-M and the host from kernel templates in TVM's TIR."""

from tinycc_nn.backends.tvm.compile import TvmBackend

BACKEND = TvmBackend()
