"""`tinycc-nn cmake-dir`: for find_package."""

from __future__ import annotations

from importlib.resources import files

import click


@click.command()
def command() -> None:
    """Print the folder of the CMake package, for tinycc_nn_DIR.

    The Make fragment is in the folder ../make beside it.
    """
    click.echo(str(files("tinycc_nn") / "cmake"))
