"""C that walks over the windows of an image and asks for each tap whether it lies inside."""

from __future__ import annotations

from tinycc_nn.backends.tvm.tir.template import Window


def _corner(w: Window, indent: str) -> str:
    text = f"{indent}const int32_t top = p / {w.out_width} * {w.stride[0]} - {w.pad[0]};\n"
    return text + f"{indent}const int32_t left = p % {w.out_width} * {w.stride[1]} - {w.pad[1]};\n"


def _taps(w: Window, indent: str) -> str:
    """Loops over the taps ``i``, ``j``; ``r``, ``s`` are the row and the column of the image."""
    text = f"{indent}for (int32_t i = 0; i < {w.kernel[0]}; ++i)\n"
    text += f"{indent}  for (int32_t j = 0; j < {w.kernel[1]}; ++j) {{\n"
    return text + (
        f"{indent}    const int32_t r = top + i * {w.dilation[0]}, s = left + j * {w.dilation[1]};\n"
        f"{indent}    const int32_t in = r >= 0 && r < {w.height} && s >= 0 && s < {w.width};\n"
    )


def field(window: Window, outside: int, zeros: int = 0) -> str:
    """The receptive field of output pixel ``p`` of ``x`` to ``o``, with zeros behind it."""
    w = window
    text = _corner(w, "  ") + _taps(w, "  ")
    text += f"      for (int32_t c = 0; c < {w.channels}; ++c)\n"
    text += f"        *o++ = in ? x[(r * {w.width} + s) * {w.channels} + c] : {outside};\n    }}\n"
    return text + "  *o++ = 0;\n" * zeros


def windows(window: Window, start: str, tap: str, result: str) -> str:
    """For every output pixel ``p`` and channel ``c``: ``start``, then ``tap`` with the ``v`` of each
    tap inside the image, then ``result`` to ``y``."""
    w = window
    text = f"  for (int32_t p = 0; p < {w.pixels}; ++p) {{\n" + _corner(w, "    ")
    text += f"    for (int32_t c = 0; c < {w.channels}; ++c) {{\n      {start}\n"
    text += _taps(w, "      ") + "          if (in) {\n"
    text += f"            const int32_t v = x[(r * {w.width} + s) * {w.channels} + c];\n"
    text += f"            {tap}\n          }}\n        }}\n"
    return text + f"      *y++ = {result};\n    }}\n  }}"
