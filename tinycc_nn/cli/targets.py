"""`tinycc-nn targets`: the devices that --target takes."""

from __future__ import annotations

import click

from tinycc_nn.cli._table import Table, print_table


@click.command()
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """List the targets, or show everything that is known of one."""
    from tinycc_nn.target import Target, target_names

    if name is not None:
        _show(Target.load(name))
        return
    table = Table(("target", "core", "fpu", "clock MHz", "flash KiB", "RAM KiB", "nJ/cycle", ""))
    for target in map(Target.load, target_names()):
        limits = ("", "") if target.generic else (target.flash // 1024, target.ram // 1024)
        clock = target.clock / 1e6 if target.clock else ""
        energy = target.energy if target.energy else ""
        about = target.description
        table.add(target.name, target.cpu, target.fpu, clock, *limits, energy, about)
    print_table(table)


def _show(target: object) -> None:
    import dataclasses

    assert dataclasses.is_dataclass(target)
    for f in dataclasses.fields(target):
        value = getattr(target, f.name)
        if value not in (None, ""):
            click.echo(f"{f.name:14} {value}")
