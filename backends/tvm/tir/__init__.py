"""int8 kernels as TIR functions that call C micro-kernels, made from plain numbers.

Every kernel computes ``y = clamp(((acc * m + 2^(shift-1)) >> shift) + zero)`` with
``acc = bias + sum(x * w)`` over the receptive field, where pixels outside the input are the input's
zero point and ``bias`` holds ``-input_zero * sum(w)`` (see ``folded_bias``). Parameters are always
``x, weights, bias, multiplier, y`` and then ``scratch`` if the kernel needs any.
"""
