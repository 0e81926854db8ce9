"""Thumb instructions as the cycle models see them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from functools import cache

import capstone
from capstone import arm


class Kind(Enum):
    """What an instruction occupies: one name for all that cost alike on every core."""

    ALU = auto()
    LOAD = auto()
    LOAD_PC = auto()
    STORE = auto()
    DOUBLE = auto()
    """LDRD, STRD."""
    MULTIPLE = auto()
    """LDM, STM, PUSH, POP."""
    POP_PC = auto()
    MUL = auto()
    MAC = auto()
    MUL_LONG = auto()
    MAC_LONG = auto()
    DIV = auto()
    BRANCH = auto()
    CALL = auto()
    BRANCH_REGISTER = auto()
    TABLE_BRANCH = auto()
    IT = auto()
    STATUS = auto()
    V_LOAD = auto()
    V_STORE = auto()
    V_MULTIPLE = auto()
    V_MAC = auto()
    V_DIV = auto()
    V_MOVE = auto()
    V_ARITHMETIC = auto()
    V_OTHER = auto()


MULTIPLIES = frozenset((Kind.MUL, Kind.MAC, Kind.MUL_LONG, Kind.MAC_LONG))
"""The integer multiplier."""

_NONE: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Instruction:
    """One decoded instruction. Registers are capstone's numbers, `name` has no condition.

    `count` is the number of registers of a multiple transfer or the operands of a VMOV; `base` and
    `offset` describe a load or store with an immediate offset; `shifted` is an ALU operation with a
    shifted operand, `wide_constant` one with a 32-bit modified immediate.
    """

    address: int
    size: int
    name: str
    kind: Kind
    reads: frozenset[int] = _NONE
    writes: frozenset[int] = _NONE
    address_registers: frozenset[int] = _NONE
    accumulator: frozenset[int] = _NONE
    stored: frozenset[int] = _NONE
    count: int = 0
    target: int | None = None
    base: int | None = None
    offset: int | None = None
    register_offset: bool = False
    writeback: bool = False
    sets_flags: bool = False
    shifted: bool = False
    wide_constant: bool = False

    @property
    def end(self) -> int:
        """The address behind the instruction."""
        return self.address + self.size


def decode(code: bytes, address: int) -> tuple[Instruction, ...]:
    """The instructions of a block of Thumb code at `address`.

    What the disassembler doesn't know is taken as an ALU operation: its size follows from its
    first halfword.
    """
    found: list[Instruction] = []
    offset = 0
    while offset < len(code):
        for raw in _disassembler().disasm(code[offset:], address + offset):
            found.append(_classify(raw))
            offset += raw.size
        if offset < len(code):
            size = 4 if code[offset + 1] >= 0xE8 else 2
            found.append(Instruction(address + offset, size, "unknown", Kind.ALU))
            offset += size
    return tuple(found)


@cache
def _disassembler() -> capstone.Cs:
    mode = capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS
    found = capstone.Cs(capstone.CS_ARCH_ARM, mode)
    found.detail = True
    return found


def words(text: str) -> frozenset[str]:
    """The words of a text, as a set of instruction names."""
    return frozenset(text.split())


_CONDITIONS = words("eq ne hs lo mi pl vs vc hi ls ge lt gt le al cs cc")

_BY_ID = {
    arm.ARM_INS_B: Kind.BRANCH,
    arm.ARM_INS_CBZ: Kind.BRANCH,
    arm.ARM_INS_CBNZ: Kind.BRANCH,
    arm.ARM_INS_BL: Kind.CALL,
    arm.ARM_INS_BX: Kind.BRANCH_REGISTER,
    arm.ARM_INS_BLX: Kind.BRANCH_REGISTER,
    arm.ARM_INS_TBB: Kind.TABLE_BRANCH,
    arm.ARM_INS_TBH: Kind.TABLE_BRANCH,
    arm.ARM_INS_IT: Kind.IT,
}
_NAMES = {
    Kind.LOAD: "ldr ldrb ldrh ldrsb ldrsh ldrex ldrexb ldrexh",
    Kind.STORE: "str strb strh",
    Kind.DOUBLE: "ldrd strd",
    Kind.MULTIPLE: "push pop ldm stm ldmdb stmdb ldmia stmia",
    Kind.MUL: "mul muls smulbb smulbt smultb smultt smulwb smulwt smuad smuadx smusd smusdx"
    " smmul smmulr",
    Kind.MAC: "mla mls smlabb smlabt smlatb smlatt smlad smladx smlsd smlsdx smmla smmlar smmls"
    " smmlsr smlawb smlawt",
    Kind.MUL_LONG: "smull umull",
    Kind.MAC_LONG: "smlal umlal umaal smlald smlaldx smlalbb smlalbt smlaltb smlaltt smlsld",
    Kind.DIV: "sdiv udiv",
    Kind.STATUS: "mrs msr",
    Kind.V_LOAD: "vldr",
    Kind.V_STORE: "vstr",
    Kind.V_MULTIPLE: "vldmia vldmdb vstmia vstmdb vpush vpop",
    Kind.V_MAC: "vfma vfms vmla vmls vfnma vfnms vnmla vnmls",
    Kind.V_DIV: "vdiv vsqrt",
    Kind.V_MOVE: "vmov",
    Kind.V_ARITHMETIC: "vadd vsub vmul vcvt vnmul vabs vneg vcvtr",
}
_BY_NAME = {name: kind for kind, names in _NAMES.items() for name in words(names)}
_BITFIELD_IMMEDIATES = words("movw movt addw subw ubfx sbfx bfi")


def _classify(raw: capstone.CsInsn) -> Instruction:
    name = _name(raw)
    registers = [o.reg for o in raw.operands if o.type == arm.ARM_OP_REG]
    memory = [o.mem for o in raw.operands if o.type == arm.ARM_OP_MEM]
    immediates = [o.imm for o in raw.operands if o.type == arm.ARM_OP_IMM]
    kind = _kind(raw, name, registers)
    reads, writes = raw.regs_access()
    direct = next((m for m in memory if not m.index), None)
    plain = kind is Kind.ALU
    shifted = any(o.type == arm.ARM_OP_REG and o.shift.type and o.shift.value for o in raw.operands)
    wide = raw.size == 4 and bool(immediates) and immediates[-1] > 255
    stores = kind in (Kind.STORE, Kind.V_STORE) and bool(registers)
    return Instruction(
        address=raw.address,
        size=raw.size,
        name=name,
        kind=kind,
        reads=frozenset(reads),
        writes=frozenset(writes),
        address_registers=frozenset(r for m in memory for r in (m.base, m.index) if r),
        accumulator=_accumulator(kind, registers),
        stored=frozenset(registers[:1]) if stores else _NONE,
        count=_count(kind, name, registers, len(raw.operands)),
        target=immediates[-1] if kind in (Kind.BRANCH, Kind.CALL) and immediates else None,
        base=direct.base if direct else None,
        offset=direct.disp if direct else None,
        register_offset=any(m.index for m in memory),
        writeback=bool(raw.writeback),
        sets_flags=bool(raw.update_flags) or name in ("cmp", "cmn", "tst", "teq"),
        shifted=plain and shifted,
        wide_constant=plain and wide and name not in _BITFIELD_IMMEDIATES,
    )


def _name(raw: capstone.CsInsn) -> str:
    name: str = raw.mnemonic.split(".")[0]
    conditional = raw.cc not in (arm.ARM_CC_AL, arm.ARM_CC_INVALID)
    if conditional and len(name) > 2 and name[-2:] in _CONDITIONS:
        return name[:-2]
    return name


def _kind(raw: capstone.CsInsn, name: str, registers: list[int]) -> Kind:
    if raw.id in _BY_ID:
        return _BY_ID[raw.id]
    kind = _BY_NAME.get(name)
    if kind is None:
        return Kind.V_OTHER if name.startswith("v") else Kind.ALU
    if kind is Kind.LOAD and registers[:1] == [arm.ARM_REG_PC]:
        return Kind.LOAD_PC
    if kind is Kind.MULTIPLE and name[0] in "pl" and name != "push":
        return Kind.POP_PC if arm.ARM_REG_PC in registers else kind
    return kind


def _count(kind: Kind, name: str, registers: list[int], operands: int) -> int:
    if kind is Kind.V_MOVE:
        return operands
    if kind not in (Kind.MULTIPLE, Kind.POP_PC, Kind.V_MULTIPLE):
        return 0
    return len(registers) - (name not in ("push", "pop", "vpush", "vpop"))


def _accumulator(kind: Kind, registers: list[int]) -> frozenset[int]:
    if kind is Kind.MAC and len(registers) == 4:
        return frozenset(registers[3:])
    return frozenset(registers[:2]) if kind is Kind.MAC_LONG else _NONE
