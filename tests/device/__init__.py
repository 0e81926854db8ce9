"""Everything below the C code: targets, compilers, emulators, cycle models."""
