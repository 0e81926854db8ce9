"""`tinycc-nn ops`: the operators of the IR and of ONNX."""

from __future__ import annotations

import click

from tinycc_nn.cli._table import Table, print_table


@click.command()
@click.option("--onnx", is_flag=True, help="List the ONNX operators that can be read instead.")
def command(onnx: bool) -> None:
    """List the operators of the IR: attributes with defaults, int8 support, meaning."""
    from tinycc_nn.ops import opdefs, readers

    if onnx:
        table = Table(("ONNX operator", "attributes"))
        for op_type, reader in sorted(readers().items()):
            table.add(op_type, ", ".join(reader.attributes))
        print_table(table)
        return
    table = Table(("operator", "operands", "attributes", "int8", "meaning"))
    for name, d in sorted(opdefs().items()):
        attrs = (a.name if a.required else f"{a.name}={_show(a.default)}" for a in d.attrs)
        table.add(name, ", ".join(d.roles), ", ".join(attrs), d.int8.value, d.doc)
    print_table(table)


def _show(default: object) -> str:
    if isinstance(default, tuple):
        return f"[{','.join(map(str, default))}]"
    return str(default).lower() if isinstance(default, bool) else str(default)
