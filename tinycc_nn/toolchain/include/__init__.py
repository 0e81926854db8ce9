"""C headers for the compiler that comes without a libc."""
