"""How long does `tinycc-nn compile` take, from nothing and again when nothing changed?

Seconds of wall clock of the whole process, each with an empty cache first ("cold") and then twice
more ("warm", the better one). Without --data the example network, with it the keyword spotter.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EXAMPLE = Path(__file__).parents[1] / "examples" / "digits"


def seconds(command: list[str], cache: str) -> float:
    """How long the command runs; CalledProcessError if it fails."""
    start = time.perf_counter()
    subprocess.run(
        command, check=True, stdout=subprocess.PIPE, env=os.environ | {"XDG_CACHE_HOME": cache}
    )
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with models/ and data/")
    parser.add_argument("--cpu", default="cortex-m4")
    given = parser.parse_args()
    model, calibration = EXAMPLE / "digits.onnx", f"{EXAMPLE / 'calib.npz'}"
    if given.data:
        model = given.data / "models" / "kws_dscnn.onnx"
        calibration = f"{given.data / 'data' / 'kws.npz'}:x[:250]"
    with tempfile.TemporaryDirectory() as folder:
        command = [str(Path(sys.executable).with_name("tinycc-nn")), "compile", str(model)]
        command += ["-o", f"{folder}/out", f"-mcpu={given.cpu}", "--calib", calibration]
        cold = seconds(command, f"{folder}/cache")
        warm = min(seconds(command, f"{folder}/cache") for _ in range(2))
    print(f"{model.name}, {given.cpu}: cold {cold:.1f} s, warm {warm:.1f} s")


if __name__ == "__main__":
    main()
