"""The cycle models' rules, one by one, on hand-assembled blocks; no compiler needed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.emulator import cycle_model
from tinycc_nn.emulator.cycles import BlockCost
from tinycc_nn.emulator.instructions import Kind, decode

CORES = ("cortex-m0", "cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33")
START = 0x0800_0000

LDR_R0_R1 = "6808"
LDR_R2_R1_4 = "684a"
LDR_R2_R0 = "6802"
LDR_R0_R1_R2 = "5888"
ADDS_R0_R0_R2 = "1880"
ADDS_R3_R3_1 = "3301"
ADDS_R4_R4_1 = "3401"
ADDS_R1_R1_4 = "3104"
STR_R0_R1 = "6008"
STR_R0_R1_R2 = "5088"
PUSH_R4_LR = "b510"
POP_R4_PC = "bd10"
BX_LR = "4770"
IT_EQ = "bf08"
NOP = "bf00"
LDR_R0_R1_POST_4 = "f8510b04"
LDR_R2_R1_POST_4 = "f8512b04"
LDRD_R2_R3_R1 = "e9d12300"
SDIV_R0_R0_R1 = "fb90f0f1"
SMLAD_R0_R1_R2_R3 = "fb213002"
SMULL_R0_R1_R2_R3 = "fb820103"
VLDR_S0_R0 = "ed900a00"
VADD_S3_S0_S2 = "ee701a01"
VFMA_S0_S1_S2 = "eea00a81"
VDIV_S0_S1_S2 = "ee800a81"
BNE_BACK = "d1fd"  # to the instruction before it
B_BACK_4 = "e7fc"


def assemble(*instructions: str) -> bytes:
    """Halfwords as the manual prints them, to little-endian bytes."""
    text = "".join(instructions)
    halves = (text[i : i + 4] for i in range(0, len(text), 4))
    return b"".join(int(half, 16).to_bytes(2, "little") for half in halves)


def cost(cpu: str, *instructions: str, address: int = START) -> BlockCost:
    code = assemble(*instructions)

    def fetch(at: int) -> int:
        offset = at - address
        inside = 0 <= offset < len(code)
        return int.from_bytes(code[offset : offset + 2], "little") if inside else 0

    return cycle_model(cpu).block(decode(code, address), fetch)


@pytest.mark.parametrize(
    ("block", "cycles"),
    [
        ((ADDS_R3_R3_1,), 1),
        ((LDR_R0_R1,), 2),
        ((LDR_R0_R1, LDR_R2_R1_4), 3),  # back to back: 2 + 1
        ((LDR_R0_R1, LDR_R2_R0), 4),  # the second needs the first as address
        ((STR_R0_R1,), 1),
        ((STR_R0_R1_R2,), 2),
        ((STR_R0_R1, LDR_R2_R1_4), 4),  # a load waits for the store before it
        ((ADDS_R1_R1_4, LDR_R0_R1), 4),  # address from the previous ALU operation
        ((ADDS_R3_R3_1, LDR_R0_R1), 3),
        ((LDR_R0_R1_POST_4,), 2),
        ((LDR_R0_R1_POST_4, LDR_R2_R1_POST_4), 4),  # both change the same base
        ((PUSH_R4_LR,), 3),  # 1 + 2 registers
        ((LDRD_R2_R3_R1,), 3),
        ((SMLAD_R0_R1_R2_R3,), 1),
        ((SMULL_R0_R1_R2_R3,), 1),
        ((SDIV_R0_R0_R1,), 6),
        ((VFMA_S0_S1_S2,), 3),
        ((VDIV_S0_S1_S2,), 14),
        ((VLDR_S0_R0,), 2),
        ((VFMA_S0_S1_S2, VADD_S3_S0_S2), 5),  # needs the result of the one before
        ((ADDS_R3_R3_1, IT_EQ, NOP), 2),  # IT folds into a 16-bit instruction
        ((SMLAD_R0_R1_R2_R3, IT_EQ, NOP), 3),
    ],
)
def test_m4_costs(block: tuple[str, ...], cycles: int) -> None:
    assert cost("cortex-m4", *block) == BlockCost(len(block), cycles, 0)


@pytest.mark.parametrize(
    ("cpu", "block", "taken"),
    [
        ("cortex-m4", (ADDS_R3_R3_1, BNE_BACK), 2),
        ("cortex-m4", (BX_LR,), 2),
        ("cortex-m4", (POP_R4_PC,), 2),
        ("cortex-m0", (ADDS_R3_R3_1, BNE_BACK), 2),
        ("cortex-m0", (POP_R4_PC,), 3),
        ("cortex-m0plus", (ADDS_R3_R3_1, BNE_BACK), 1),
        ("cortex-m0plus", (BX_LR,), 1),
        ("cortex-m7", (ADDS_R3_R3_1, BNE_BACK), 0),
        ("cortex-m7", (BX_LR,), 1),
        ("cortex-m33", (POP_R4_PC,), 3),
    ],
)
def test_penalty_of_a_taken_branch(cpu: str, block: tuple[str, ...], taken: int) -> None:
    assert cost(cpu, *block).taken == taken


def test_m4_branch_to_an_instruction_that_straddles_words() -> None:
    block = (SMLAD_R0_R1_R2_R3, B_BACK_4)
    assert cost("cortex-m4", *block, address=START).taken == 2
    assert cost("cortex-m4", *block, address=START + 2).taken == 3


def test_m3_has_a_slower_multiplier_than_m4() -> None:
    assert cost("cortex-m3", SMULL_R0_R1_R2_R3).cycles == 4
    assert cost("cortex-m3", LDR_R0_R1, LDR_R2_R1_4).cycles == 3


def test_m0_loads_and_stores_take_two_cycles() -> None:
    assert cost("cortex-m0", LDR_R0_R1, LDR_R2_R1_4, STR_R0_R1).cycles == 6


def test_m7_pairs_independent_operations() -> None:
    assert cost("cortex-m7", ADDS_R3_R3_1, ADDS_R4_R4_1).cycles == 1
    assert cost("cortex-m7", LDR_R0_R1, LDR_R2_R1_4).cycles == 1  # different banks
    assert cost("cortex-m7", LDR_R0_R1, LDR_R2_R0).cycles == 4  # waits for the address
    assert cost("cortex-m7", STR_R0_R1, STR_R0_R1_R2).cycles == 2


def test_m7_loses_cycles_to_mispredicted_branches_only() -> None:
    assert cost("cortex-m7", ADDS_R3_R3_1, BNE_BACK).mispredicted == 7
    assert cost("cortex-m7", ADDS_R3_R3_1).mispredicted == 0


def test_m33_waits_for_a_load_and_pairs_a_branch() -> None:
    assert cost("cortex-m33", LDR_R0_R1, ADDS_R0_R0_R2).cycles == 3
    assert cost("cortex-m33", LDR_R0_R1, ADDS_R3_R3_1).cycles == 2
    assert cost("cortex-m33", ADDS_R3_R3_1, B_BACK_4).cycles == 1


def test_a_block_that_loops_on_itself_costs_its_steady_state() -> None:
    loop = cost("cortex-m7", VFMA_S0_S1_S2, ADDS_R3_R3_1, "d1fb")
    assert loop.cycles == 3  # the accumulator's latency, from round to round
    once = cost("cortex-m7", VFMA_S0_S1_S2, ADDS_R3_R3_1, BNE_BACK)
    assert once.cycles == 2


@pytest.mark.parametrize("cpu", CORES)
def test_every_model_states_its_basis(cpu: str) -> None:
    model = cycle_model(cpu)
    assert model.name == cpu.removeprefix("cortex-")
    assert model.basis.startswith(f"model {model.name}: ")
    assert "error" in model.basis


def test_a_core_without_a_model() -> None:
    with pytest.raises(TinyccError, match="no cycle model of cortex-m55"):
        cycle_model("cortex-m55")


def test_conditions_are_not_part_of_the_name() -> None:
    names = [x.name for x in decode(assemble(IT_EQ, "3301", "6808"), START)]
    assert names == ["it", "add", "ldr"]


def test_what_a_load_uses() -> None:
    (load,) = decode(assemble(LDR_R0_R1_R2), START)
    assert load.kind is Kind.LOAD
    assert load.register_offset
    assert len(load.address_registers) == 2


@given(st.binary(min_size=2, max_size=40).filter(lambda code: len(code) % 2 == 0))
def test_any_code_has_a_cost(code: bytes) -> None:
    block = decode(code, START)
    assert 0 <= block[-1].end - START - len(code) <= 2
    for cpu in CORES:
        found = cycle_model(cpu).block(block, lambda _: 0)
        assert found.instructions == len(block)
        assert found.cycles >= 0
        assert found.taken >= 0
