"""From float to int8: which values, at which scales, and the fusion to integer operators."""
