"""Kernels measured on the emulated core: the records, how choices read them, how tuning makes them."""
