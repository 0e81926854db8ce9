from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinycc_nn.diagnostics import TinyccError, UsageError
from tinycc_nn.target import CPUS, Target, parse_target, target_names

GOOD = 'cpu = "cortex-m4"\nfpu = "sp"\ndsp = true\nmve = false\nflash = 1024\nram = 512\n'


@pytest.mark.parametrize("name", target_names())
def test_every_target_loads(name: str) -> None:
    target = Target.load(name)
    assert target.cpu in CPUS
    assert target.description
    assert target.source
    assert target.dsp == (target.cpu in ("cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55"))
    assert (target.clock is None) == target.generic


def test_the_boards_that_the_project_promises() -> None:
    boards = (
        "nucleo-l4r5zi stm32f407 nucleo-f746zg nucleo-h743zi nrf52840 nrf5340 rp2040 nucleo-g0b1re"
        " nucleo-u575zi mps3-an547"
    )
    assert {*boards.split(), *CPUS} <= set(target_names())


def test_generic_target_of_a_core() -> None:
    target = Target.for_cpu("cortex-m4")
    assert (target.cpu, target.fpu, target.dsp, target.mve) == ("cortex-m4", "sp", True, False)
    assert target.latency_ms(1e6) is None
    assert target.energy_uj(1e6) is None


def test_latency_and_energy_of_a_board() -> None:
    target = Target.load("nucleo-l4r5zi")
    assert target.latency_ms(1_200_000) == pytest.approx(10.0)
    assert target.energy_uj(1_000_000) == pytest.approx(340.0)
    assert "1.8 V" in target.energy_source


def test_misspelt_names_get_the_nearest_one() -> None:
    with pytest.raises(UsageError, match="did you mean 'nucleo-l4r5zi'"):
        Target.load("nucleo-l4r5z")
    with pytest.raises(UsageError, match="did you mean 'cortex-m4'"):
        Target.for_cpu("cortex-m44")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cpu = ", "not a TOML file"),
        (GOOD + "clok = 1", "unknown field 'clok' of a target(.|\n)*did you mean 'clock'"),
        (GOOD.replace("ram = 512\n", ""), "field 'ram' is missing"),
        (GOOD.replace("512", '"512K"'), "field 'ram' must be int, not '512K'"),
        (GOOD.replace("512", "true"), "field 'ram' must be int, not True"),
        (GOOD.replace("512", "0"), "field 'ram' must be positive, not 0"),
        (GOOD.replace("cortex-m4", "cortex-m5"), "unknown core 'cortex-m5'"),
        (GOOD.replace('"sp"', '"hp"'), "unknown fpu 'hp'"),
        (GOOD + "energy = 0.3", "field 'energy' without its source"),
    ],
)
def test_bad_target_files(text: str, message: str) -> None:
    with pytest.raises(TinyccError, match=message) as caught:
        parse_target("board", text)
    assert "board.toml" in str(caught.value)


@given(st.text(max_size=60))
def test_no_target_file_shows_a_traceback(text: str) -> None:
    with pytest.raises(TinyccError, match=re.escape("board.toml")):
        parse_target("board", text)
