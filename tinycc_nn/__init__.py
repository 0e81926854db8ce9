"""An optimizing compiler for small neural networks on microcontrollers."""

__version__ = "0.1.0"
