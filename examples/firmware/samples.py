"""Write samples.h: the first 20 test images of the digits example, pixels 0..16."""

from __future__ import annotations

from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
SAMPLES = 20

HEAD = """/* Written by samples.py. */
#include <stdint.h>

enum {{ SAMPLES = {samples}, PIXELS = 64, CLASSES = 10 }};

static const uint8_t labels[SAMPLES] = {{{labels}}};

static const uint8_t images[SAMPLES][PIXELS] = {{
"""


def main() -> None:
    test = np.load(HERE.parent / "digits" / "test.npz")
    labels = ", ".join(str(y) for y in test["y"][:SAMPLES])
    pixels = np.rint(test["x"][:SAMPLES] * 16).astype(int).reshape(SAMPLES, 64)
    rows = "".join(f"    {{{', '.join(map(str, image))}}},\n" for image in pixels)
    text = HEAD.format(samples=SAMPLES, labels=labels) + rows + "};\n"
    (HERE / "samples.h").write_text(text)


if __name__ == "__main__":
    main()
