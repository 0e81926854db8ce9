"""Read ONNX models. The operators' own readers are in `tinycc_nn.ops`; this drives them."""

from tinycc_nn.onnx.driver import read_model

__all__ = ["read_model"]
