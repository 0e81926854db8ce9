"""What can go wrong inside an emulated program."""

from __future__ import annotations

from tinycc_nn.diagnostics import TinyccError


class EmulatorError(TinyccError):
    """The emulated program did what hardware would not survive, or did not end."""
