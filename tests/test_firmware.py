"""The example firmware: built with CMake by the real compiler, run in QEMU."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = ("cmake", "arm-none-eabi-gcc", "qemu-system-arm")
MISSING = [tool for tool in TOOLS if not shutil.which(tool)]

COMMAND = """#!{python}
import sys
sys.path.insert(0, {root!r})
from tinycc_nn.cli import main
sys.exit(main())
"""


@pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")
def test_firmware_classifies_digits_in_qemu(tmp_path: Path) -> None:
    command = tmp_path / "tinycc-nn"
    command.write_text(COMMAND.format(python=sys.executable, root=str(ROOT)))
    command.chmod(0o755)
    cmake_dir = subprocess.run([command, "cmake-dir"], capture_output=True, text=True, check=True)

    firmware = ROOT / "examples" / "firmware"
    build = str(tmp_path / "build")
    configure = ["cmake", "-S", str(firmware), "-B", build]
    configure += [f"-DCMAKE_TOOLCHAIN_FILE={firmware / 'arm-none-eabi.cmake'}"]
    configure += [
        f"-DTINYCC_NN_EXECUTABLE={command}",
        f"-Dtinycc_nn_DIR={cmake_dir.stdout.strip()}",
    ]
    for step in (configure, ["cmake", "--build", build]):
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "warning" not in done.stdout + done.stderr

    qemu = ["qemu-system-arm", "-M", "mps2-an386", "-nographic"]
    qemu += ["-semihosting-config", "enable=on,target=native"]
    qemu += ["-kernel", f"{build}/firmware.elf"]
    ran = subprocess.run(qemu, capture_output=True, text=True, check=False, timeout=60)
    printed = ran.stdout + ran.stderr
    answers = re.findall(r"label (\d), predicted (-?\d+)\n", printed)
    assert len(answers) == 20, printed
    assert sum(label == predicted for label, predicted in answers) >= 19, printed
    assert ran.returncode == 0
