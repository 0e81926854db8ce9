"""Tables on the terminal, and the same as Markdown."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass, field

import click

Cell = str | int | float


@dataclass
class Table:
    """Rows of cells under a head. Numbers stand to the right."""

    head: tuple[str, ...]
    rows: list[tuple[Cell, ...]] = field(default_factory=list[tuple[Cell, ...]])
    title: str = ""

    def add(self, *cells: Cell) -> None:
        self.rows.append(cells)


def print_table(table: Table) -> None:
    """Print with rich; not narrower than the content where the output is not a terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 200
    shown = RichTable(title=table.title or None, box=box.SIMPLE, title_justify="left")
    for i, name in enumerate(table.head):
        numeric = any(not isinstance(row[i], str) for row in table.rows)
        shown.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in table.rows:
        shown.add_row(*(show_cell(c) for c in row))
    console = Console(width=width, highlight=False)
    with console.capture() as captured:
        console.print(shown)
    lines = (line.rstrip() for line in captured.get().splitlines())
    click.echo("\n".join(line for line in lines if line))


def show_cell(cell: Cell) -> str:
    """Integers with thousands separators, other numbers in four digits."""
    if isinstance(cell, str):
        return cell.replace("[", "\\[")
    return f"{cell:,}" if isinstance(cell, int) else f"{cell:,.4g}"


def markdown(table: Table) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(table.head)} |", f"|{'---|' * len(table.head)}"]
    for row in table.rows:
        cells = (str(c).replace("|", "\\|") for c in row)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
