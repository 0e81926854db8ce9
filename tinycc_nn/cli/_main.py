"""From arguments to an exit code: commands found by file, errors said in one way."""

from __future__ import annotations

import importlib
import os
import pkgutil
import shlex
import sys
import traceback
from pathlib import Path

import click

import tinycc_nn
from tinycc_nn.diagnostics import TinyccError, UsageError, nearest

INTERNAL_ERROR, INTERRUPTED = 4, 130


class Commands(click.Group):
    """The commands in this folder; only the one that is asked for is imported."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        found = pkgutil.iter_modules([str(Path(__file__).parent)])
        return sorted(m.name.replace("_", "-") for m in found if not m.name.startswith("_"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        if cmd_name not in (known := self.list_commands(ctx)):
            raise UsageError(f"unknown command '{cmd_name}'", hint=nearest(cmd_name, known))
        module = importlib.import_module(f"tinycc_nn.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(tinycc_nn.__version__, message="tinycc-nn %(version)s")
@click.option("--traceback", is_flag=True, help="Show the Python traceback of any error.")
def tinycc_nn_command(traceback: bool) -> None:
    """An optimizing compiler for small neural networks on microcontrollers."""
    del traceback


def run_command(arguments: list[str]) -> int:
    """The exit code of `tinycc-nn ARGUMENTS`."""
    try:
        code = tinycc_nn_command.main(arguments, prog_name="tinycc-nn", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as e:
        click.echo(e.format_message(), err=True)
        return UsageError.exit_code
    except click.ClickException as e:
        _show_traceback(arguments)
        return _fail(UsageError(e.format_message(), hint=_help_hint(e)))
    except TinyccError as e:
        _show_traceback(arguments)
        return _fail(e)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return TinyccError.exit_code
    except Exception as e:
        _show_traceback(arguments)
        click.echo(_internal_error(e, arguments), err=True)
        return INTERNAL_ERROR
    return code if isinstance(code, int) else 0


def _fail(e: TinyccError) -> int:
    click.echo(str(e), err=True)
    return e.exit_code


def _help_hint(e: click.ClickException) -> str:
    ctx = getattr(e, "ctx", None)
    return f"{ctx.command_path} --help" if ctx is not None else "tinycc-nn --help"


def _show_traceback(arguments: list[str]) -> None:
    if arguments[:1] == ["--traceback"]:
        traceback.print_exc()


def _internal_error(e: Exception, arguments: list[str]) -> str:
    frames = traceback.extract_tb(e.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return "\n".join(
        (
            f"internal error: {type(e).__name__}: {e}{place}",
            "This is a bug of tinycc-nn, not of your input. Please report it with the model and",
            f"the output of: tinycc-nn --traceback {shlex.join(arguments)}",
        )
    )
