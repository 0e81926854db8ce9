"""Options and fixtures that all tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

import tinycc_nn


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew")
    parser.addoption("--slow", action="store_true", help="run the tests marked slow as well")
    parser.addoption("--data", type=Path, metavar="DIR", help="the benchmark data and networks")


def pytest_configure(config: pytest.Config) -> None:
    where = Path(tinycc_nn.__file__).parents[1]
    if where != config.rootpath:
        pytest.exit(f"tinycc_nn is imported from {where}, not from this checkout", 4)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if item not in slow]


@pytest.fixture(scope="session")
def data_dir(pytestconfig: pytest.Config) -> Path:
    """The folder given as --data, with `data/*.npz` and `models/*.onnx` in it."""
    folder: Path | None = pytestconfig.getoption("--data")
    if folder is None:
        pytest.skip("needs the benchmark data: pytest --data DIR")
    if not folder.is_dir():
        pytest.exit(f"--data {folder}: no such folder", 4)
    return folder.resolve()


@pytest.fixture(scope="session")
def update_golden(pytestconfig: pytest.Config) -> bool:
    """Whether golden files are to be written instead of compared with."""
    return bool(pytestconfig.getoption("--update-golden"))


@pytest.fixture(scope="session")
def digits() -> Path:
    """The folder of the example network: digits.onnx, calib.npz, test.npz."""
    return Path(__file__).parents[1] / "examples" / "digits"
