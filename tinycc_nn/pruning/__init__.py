"""Which channels and weights matter least, and least squares for those that stay."""
