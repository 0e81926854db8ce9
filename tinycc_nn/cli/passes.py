"""`tinycc-nn passes`: the passes and their options."""

from __future__ import annotations

import sys

import click

from tinycc_nn.cli._table import Table, markdown, print_table


@click.command()
@click.argument("name", required=False)
@click.option("--markdown", "as_markdown", is_flag=True, help="Print everything as Markdown.")
def command(name: str | None, as_markdown: bool) -> None:
    """List the passes, or show one with its options."""
    from tinycc_nn.pipeline import load, pass_names

    if as_markdown:
        _print_markdown([name] if name else pass_names())
    elif name is not None:
        load(name)
        _print_pass(name)
    else:
        table = Table(("pass", "keeps values", "needs", "what it does"))
        for n in pass_names():
            cls = load(n)
            needs = "calibration" if cls.needs_calibration else ""
            table.add(n, "yes" if cls.keeps_values else "no", needs, _summary(n))
        print_table(table)


def _text(name: str) -> str:
    """The documentation of a pass: that of its file, else of its class."""
    from tinycc_nn.pipeline import load

    cls = load(name)
    return (sys.modules[cls.__module__].__doc__ or cls.__doc__ or "").strip()


def _summary(name: str) -> str:
    first = " ".join(_text(name).split("\n\n")[0].split())
    return first.removeprefix(f"{name}: ")


def _facts(name: str) -> str:
    from tinycc_nn.pipeline import load

    cls = load(name)
    kept = "keeps the values of the outputs" if cls.keeps_values else "changes values"
    return kept + ("; needs calibration data" if cls.needs_calibration else "")


def _options(name: str) -> Table | None:
    from tinycc_nn.options import option_infos, show
    from tinycc_nn.pipeline import load

    table = Table(("option", "type", "default", "values to try", "meaning"))
    for o in option_infos(load(name)):
        choices = ", ".join(map(show, o.choices))
        table.add(o.name, o.type, show(o.default), choices, o.doc)
    return table if table.rows else None


def _print_pass(name: str) -> None:
    click.echo(f"{_text(name)}\n\nIt {_facts(name)}.")
    options = _options(name)
    if options is not None:
        print_table(options)


def _print_markdown(names: list[str]) -> None:
    click.echo("# Passes\n\nMade by `tinycc-nn passes --markdown`.")
    for name in names:
        body = _text(name).removeprefix(f"{name}: ")
        summary, _, rest = body.partition("\n\n")
        click.echo(f"\n## {name}\n\n{summary[:1].upper()}{summary[1:]} It {_facts(name)}.")
        if rest:
            click.echo(f"\n```\n{rest.rstrip()}\n```")
        options = _options(name)
        if options is not None:
            click.echo(f"\n{markdown(options)}", nl=False)
