"""One file a family of kernels; its `FAMILY` is the registration."""
