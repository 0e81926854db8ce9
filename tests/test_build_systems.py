"""The CMake package and the Make fragment, driven with a compiler that only counts its calls."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tinycc_nn

PACKAGE = Path(tinycc_nn.__file__).parent

# Answers with the size of the model; depends on `extra.txt` beside it, which only the depfile tells.
FAKE = """#!{python}
import sys
from pathlib import Path

command, model, *options = sys.argv[1:]
assert command == "compile"
after = lambda key: options[options.index(key) + 1]
folder, name = Path(after("-o")), after("--name")
folder.mkdir(parents=True, exist_ok=True)
(folder / f"{{name}}.h").write_text(f"int {{name}}_answer(void);\\n")
(folder / f"{{name}}_data.c").write_text(f"const int {{name}}_size = {{len(Path(model).read_bytes())}};\\n")
(folder / f"{{name}}.c").write_text(
    f"extern const int {{name}}_size;\\nint {{name}}_answer(void) {{{{ return {{name}}_size; }}}}\\n"
)
extra = Path(model).with_name("extra.txt")
Path(after("-MF")).write_text(f"{{folder}}/{{name}}.c: {{model}} {{extra}}\\n")
with Path(__file__).with_name("calls").open("a") as log:
    print(*options, file=log)
"""

MAIN = """#include <stdio.h>
#include "kws.h"
int main(void) { printf("%d\\n", kws_answer()); return 0; }
"""

CMAKE = """cmake_minimum_required(VERSION 3.20)
project(test C)
find_package(tinycc_nn 0.1 REQUIRED)
add_executable(app main.c)
tinycc_nn_add_model({arguments})
"""

MAKEFILE = """TINYCC_NN := {fake}
include {fragment}
$(eval $(call tinycc_nn_model,kws,kws.onnx,-mcpu=cortex-m4 --calib calib.npz))
build/app: main.c $(kws_SOURCES) | $(kws_HEADER)
	$(CC) $(kws_CFLAGS) -o $@ $^
"""

needs_make = pytest.mark.skipif(
    not (shutil.which("make") and shutil.which("gcc")), reason="needs make and gcc"
)
needs_cmake = pytest.mark.skipif(not shutil.which("cmake"), reason="needs cmake")


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def calls(project: Path) -> list[str]:
    return (project / "calls").read_text().splitlines()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a main program, a model of 3 bytes and the counting compiler."""
    (tmp_path / "main.c").write_text(MAIN)
    for name in ("kws.onnx", "calib.npz", "extra.txt"):
        (tmp_path / name).write_text("abc")
    fake = tmp_path / "tinycc-nn"
    fake.write_text(FAKE.format(python=sys.executable))
    fake.chmod(0o755)
    return tmp_path


def configure(project: Path, generator: str, arguments: str) -> subprocess.CompletedProcess[str]:
    (project / "CMakeLists.txt").write_text(CMAKE.format(arguments=arguments))
    command = ["cmake", "-G", generator, "-S", ".", "-B", "build"]
    command += [f"-Dtinycc_nn_DIR={PACKAGE / 'cmake'}"]
    command += [f"-DTINYCC_NN_EXECUTABLE={project / 'tinycc-nn'}"]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)


MODEL = "TARGET app MODEL kws.onnx NAME kws"


def rebuilt_only_on_change(project: Path, build: list[str]) -> None:
    run(*build, cwd=project)
    assert run("build/app", cwd=project) == "3\n"
    run(*build, cwd=project)
    assert len(calls(project)) == 1
    (project / "kws.onnx").write_text("abcdef")
    run(*build, cwd=project)
    assert run("build/app", cwd=project) == "6\n"
    (project / "extra.txt").write_text("changed")
    run(*build, cwd=project)
    run(*build, cwd=project)
    assert len(calls(project)) == 3


@needs_make
@needs_cmake
@pytest.mark.parametrize("generator", ["Unix Makefiles", "Ninja"])
def test_cmake_compiles_again_only_when_an_input_changes(project: Path, generator: str) -> None:
    if generator == "Ninja" and not shutil.which("ninja"):
        pytest.skip("needs ninja")
    made = configure(project, generator, f"{MODEL} CPU cortex-m4")
    assert made.returncode == 0, made.stderr
    rebuilt_only_on_change(project, ["cmake", "--build", "build"])


@needs_make
@needs_cmake
def test_cmake_passes_its_arguments_on(project: Path) -> None:
    more = "TARGET_BOARD nrf52840 OPT -Os CALIB calib.npz:x[:50] DTYPE int8 ARGS --max-ram 64K"
    made = configure(project, "Unix Makefiles", f"{MODEL} {more}")
    assert made.returncode == 0, made.stderr
    run("cmake", "--build", "build", cwd=project)
    folder = project / "build" / "tinycc_nn" / "kws"
    assert calls(project) == [
        f"-o {folder} --name kws --target nrf52840 -Os --dtype int8 "
        f"--calib {project}/calib.npz:x[:50] -MD -MF {folder}/kws.d --max-ram 64K"
    ]
    (project / "calib.npz").write_text("changed")
    run("cmake", "--build", "build", cwd=project)
    assert len(calls(project)) == 2


@needs_make
@needs_cmake
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("TARGET app NAME kws CPU cortex-m4", "MODEL is missing"),
        ("TARGET ap MODEL kws.onnx NAME kws CPU cortex-m4", "there is no target 'ap'"),
        (MODEL, "give CPU or TARGET_BOARD, and not both"),
        (f"{MODEL} CPU cortex-m4 TARGET_BOARD x", "give CPU or TARGET_BOARD, and not both"),
        (f"{MODEL} CPU cortex-m4 CALLIB x.npz", "unknown arguments: CALLIB"),
    ],
)
def test_cmake_refuses_wrong_arguments(project: Path, arguments: str, message: str) -> None:
    made = configure(project, "Unix Makefiles", arguments)
    assert made.returncode != 0
    assert message in " ".join(made.stderr.split())


@needs_cmake
def test_cmake_says_when_the_command_is_missing(project: Path) -> None:
    (project / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.20)\nproject(test NONE)\n"
        "set(CMAKE_FIND_USE_SYSTEM_ENVIRONMENT_PATH OFF)\n"
        "set(CMAKE_FIND_USE_CMAKE_SYSTEM_PATH OFF)\n"
        "find_package(tinycc_nn REQUIRED)\n"
    )
    command = ["cmake", "-S", ".", "-B", "build", f"-Dtinycc_nn_DIR={PACKAGE / 'cmake'}"]
    made = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert made.returncode != 0
    assert "the command tinycc-nn is not on the PATH" in " ".join(made.stderr.split())


@needs_make
def test_make_compiles_again_only_when_an_input_changes(project: Path) -> None:
    fragment = PACKAGE / "make" / "tinycc_nn.mk"
    text = MAKEFILE.format(fake=project / "tinycc-nn", fragment=fragment)
    (project / "Makefile").write_text(text)
    rebuilt_only_on_change(project, ["make"])
    assert calls(project)[0] == (
        "-o build/tinycc_nn/kws --name kws -mcpu=cortex-m4 --calib calib.npz "
        "-MD -MF build/tinycc_nn/kws/kws.d"
    )
