"""Compilers and a build cache for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinycc_nn.cachedir import CacheDir
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.toolchain import Toolchain, find_toolchain


def _toolchain(name: str | None) -> Toolchain:
    try:
        return find_toolchain(name)
    except TinyccError as error:
        pytest.skip(error.message)


@pytest.fixture(params=["gcc", "zig"])
def compiler(request: pytest.FixtureRequest) -> Toolchain:
    """Each cross compiler that there is."""
    return _toolchain(request.param)


@pytest.fixture
def any_compiler() -> Toolchain:
    """The cross compiler that a user would get."""
    return _toolchain(None)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> CacheDir:
    """A build cache of this run's own: nothing comes from earlier runs."""
    root: Path = tmp_path_factory.mktemp("builds")
    return CacheDir(root)
