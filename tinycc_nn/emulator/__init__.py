"""Run compiled C on an emulated Cortex-M, and count what it does."""

from tinycc_nn.emulator.errors import EmulatorError
from tinycc_nn.emulator.machine import EMULATED, Buffer, CallResult, Machine
from tinycc_nn.emulator.models import cycle_model
from tinycc_nn.emulator.profile import LayerCost

__all__ = [
    "EMULATED",
    "Buffer",
    "CallResult",
    "EmulatorError",
    "LayerCost",
    "Machine",
    "cycle_model",
]
