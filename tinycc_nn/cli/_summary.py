"""A report on the terminal."""

from __future__ import annotations

import click

from tinycc_nn.cli._table import Table, print_table
from tinycc_nn.report import Accuracy, LayerReport, Report


def print_summary(report: Report) -> None:
    """The figures that count, then a table of the layers."""
    m = report.metrics
    title = f"{report.name}: {report.dtype}, -{report.level}, {report.target}"
    table = Table(("", "", ""), title=title)
    if m.flash_bytes is not None:
        table.add("flash", m.flash_bytes, "bytes of a minimal application")
    table.add("RAM arena", m.arena_bytes, f"bytes; no plan needs less than {m.arena_bound_bytes:,}")
    if m.stack_bytes is not None:
        table.add("stack", m.stack_bytes, "bytes")
    table.add("work", m.macs, "multiply-accumulates")
    if m.cycles is not None and m.instructions is not None:
        table.add("instructions", m.instructions, "")
        table.add("cycles", m.cycles, m.cycles_basis.partition(":")[0])
    if m.cycles_mean is not None:
        early = (
            f"; {sum(m.exit_rates[:-1]):.1%} of the samples end early" if m.exit_rates[1:] else ""
        )
        table.add("cycles, mean", round(m.cycles_mean), f"those above are the worst case{early}")
    if m.latency_ms is not None:
        table.add("latency", m.latency_ms, "ms")
    if m.energy_uj is not None:
        table.add("energy", m.energy_uj, "uJ")
    if report.accuracy is not None:
        table.rows += _accuracy(report.accuracy)
    if report.bit_exact is not None:
        b = report.bit_exact
        where = f"{b.samples} samples on the core" if b.samples else f"{b.host_samples} on the host"
        table.add("C against interpreter", b.mismatches, f"mismatches in {where}")
    print_table(table)
    print_layers(report.layers)
    for note in report.notes:
        click.echo(f"note: {note}", err=True)


def _accuracy(a: Accuracy) -> list[tuple[str, str, str]]:
    name = {"top1": "accuracy", "mse": "mean squared error"}[a.metric]

    def show(x: float) -> str:
        return f"{100 * x:.2f} %" if a.metric == "top1" else f"{x:.4g}"

    source = "" if a.float is None else f", the float model {show(a.float)}"
    return [(name, show(a.compiled), f"of {a.samples:,} samples{source}")]


def print_layers(layers: tuple[LayerReport, ...]) -> None:
    """Name, operator, kernel, work and cost of each layer."""
    measured = any(layer.cycles is not None for layer in layers)
    sized = any(layer.flash_bytes is not None for layer in layers)
    head = ["layer", "operator", "kernel", "MACs"]
    head += ["cycles", "cycles/MAC"] if measured else []
    head += ["flash" if sized else "constants", "arena"]
    table = Table(tuple(head))
    for layer in layers:
        cells: list[str | int | float] = [layer.name, layer.op, layer.kernel, layer.macs]
        if measured:
            per_mac = (layer.cycles or 0) / layer.macs if layer.macs else ""
            cells += [layer.cycles or 0, per_mac]
        cells += [layer.flash_bytes if layer.flash_bytes is not None else layer.constant_bytes]
        table.add(*cells, layer.arena_bytes)
    print_table(table)
