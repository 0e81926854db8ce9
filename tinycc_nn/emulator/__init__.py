"""Run compiled C on an emulated Cortex-M, and count what it does."""

from tinycc_nn.emulator.errors import EmulatorError
from tinycc_nn.emulator.machine import Buffer, CallResult, Machine
from tinycc_nn.emulator.models import cycle_model
from tinycc_nn.emulator.profile import LayerCost

__all__ = ["Buffer", "CallResult", "EmulatorError", "LayerCost", "Machine", "cycle_model"]
