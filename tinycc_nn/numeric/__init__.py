"""Bit-exact number formats and the one requantization rule."""
