"""A Cortex-M in this process: loads a program, calls its functions, watches what they do."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import unicorn
from unicorn import arm_const
from unicorn.unicorn_py3.unicorn import uclib

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.emulator.block_hook import block_hook_address
from tinycc_nn.emulator.errors import EmulatorError
from tinycc_nn.emulator.models import cycle_model
from tinycc_nn.emulator.profile import BlockProfile, LayerCost
from tinycc_nn.target import Target
from tinycc_nn.toolchain.program import Program

_CPUS = {
    "cortex-m0": arm_const.UC_CPU_ARM_CORTEX_M0,
    "cortex-m0plus": arm_const.UC_CPU_ARM_CORTEX_M0,  # the same instructions
    "cortex-m3": arm_const.UC_CPU_ARM_CORTEX_M3,
    "cortex-m4": arm_const.UC_CPU_ARM_CORTEX_M4,
    "cortex-m7": arm_const.UC_CPU_ARM_CORTEX_M7,
    "cortex-m33": arm_const.UC_CPU_ARM_CORTEX_M33,
}
EMULATED = frozenset(_CPUS)
"""The cores that `Machine` has (`-mcpu` names)."""

_ARGUMENTS = (
    arm_const.UC_ARM_REG_R0,
    arm_const.UC_ARM_REG_R1,
    arm_const.UC_ARM_REG_R2,
    arm_const.UC_ARM_REG_R3,
)
_FAULTS = {
    unicorn.UC_MEM_READ_UNMAPPED: "read of unmapped memory",
    unicorn.UC_MEM_WRITE_UNMAPPED: "write to unmapped memory",
    unicorn.UC_MEM_FETCH_UNMAPPED: "jump to unmapped memory",
    unicorn.UC_MEM_WRITE_PROT: "write to flash",
    unicorn.UC_MEM_READ_PROT: "read of protected memory",
    unicorn.UC_MEM_FETCH_PROT: "jump to memory without code",
}
_PAGE = 0x1000
_RETURN = 0x1FFF_0000
_STACK_TOP = 0x2F00_0000
_STACK_BYTES = 64 << 10
_PAINT = b"\xa5"
CANARY = bytes.fromhex("c3 5a 96 e1 0f 78 d2 4b b4 2d 87 f0 1e 69 a5 3c")
DEFAULT_BUDGET = 4_000_000_000
_NOTHING = LayerCost("", 0, 0)


@dataclass(frozen=True, slots=True)
class Buffer:
    """Memory for the program: exactly `nbytes` bytes at `address`, a canary on either side."""

    name: str
    address: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class CallResult:
    """What a call returned (`r0`, signed) and did.

    `instructions` and `cycles` are of the whole call and 0 on a machine without profiling;
    `stack_bytes` is how deep it wrote into the stack. `before` is what ran before the first of
    the `layers`.
    """

    r0: int
    stack_bytes: int
    instructions: int = 0
    cycles: int = 0
    before: LayerCost = _NOTHING
    layers: tuple[LayerCost, ...] = ()


class _Fault:
    """The last bad access. It does not know the machine, which so is freed with its last user."""

    text = ""

    def on_fault(
        self, _uc: unicorn.Uc, access: int, address: int, _size: int, _value: int, _data: object
    ) -> bool:
        self.text = f"{_FAULTS.get(access, 'memory fault')} at {address:#010x}"
        return False


class Machine:
    """A core with the program in its flash: flash can't be written, RAM can't be executed.

    RAM and stack are larger than any target's: whether a program fits is judged from its sizes.
    With `profiling`, executed instructions are counted exactly, at several hundred million a second;
    without, calls are faster and a clock is the watchdog. Instructions that IT skips count as
    executed, as they do on hardware; unaligned LDRD and LDM pass here but fault on hardware (and
    in QEMU). Raises TinyccError for a core that Unicorn does not have.
    """

    def __init__(self, program: Program, target: Target, *, profiling: bool = True) -> None:
        if target.cpu not in _CPUS:
            hint = "install qemu-system-arm: it emulates this core"
            raise TinyccError(f"no {target.cpu} in the emulator", target.name, hint)
        self.program, self.target = program, target
        self._uc = self._load(program, _CPUS[target.cpu])
        self._fault = _Fault()
        self._uc.hook_add(unicorn.UC_HOOK_MEM_INVALID, self._fault.on_fault)
        self._profile = self._install_profile() if profiling else None
        self._buffers: list[Buffer] = []
        memory = program.memory
        self._ram_end = memory.ram_origin + memory.ram_size
        self._free = memory.ram_origin + program.ram_bytes + 64

    @property
    def basis(self) -> str:
        """What the cycles rest on, and their error."""
        return cycle_model(self.target.cpu).basis

    @staticmethod
    def _load(program: Program, cpu: int) -> unicorn.Uc:
        uc = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB)  # MCLASS would force an M33
        uc.ctl_set_cpu_model(cpu)
        memory = program.memory
        flash = -(-program.flash_bytes // _PAGE) * _PAGE + _PAGE
        read_write = unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE
        read_execute = unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC
        uc.mem_map(memory.flash_origin, flash, read_execute)
        uc.mem_map(memory.ram_origin, memory.ram_size, read_write)
        uc.mem_map(_STACK_TOP - _STACK_BYTES, _STACK_BYTES, read_write)
        uc.mem_map(_RETURN, _PAGE, read_execute)
        for segment in program.segments:
            uc.mem_write(segment.address, segment.data)
        return uc

    def _install_profile(self) -> BlockProfile:
        uc = self._uc

        def read(address: int, nbytes: int) -> bytes:
            return bytes(uc.mem_read(address, nbytes))

        profile = BlockProfile(self.program.code, cycle_model(self.target.cpu), read)
        profile.state.stop = ctypes.cast(uclib.uc_emu_stop, ctypes.c_void_p).value
        handle = ctypes.c_size_t()
        status = uclib.uc_hook_add(
            uc._uch,
            ctypes.byref(handle),
            unicorn.UC_HOOK_BLOCK,
            ctypes.c_void_p(block_hook_address()),
            ctypes.c_void_p(ctypes.addressof(profile.state)),
            ctypes.c_uint64(1),  # begin > end: everywhere
            ctypes.c_uint64(0),
        )
        if status != unicorn.UC_ERR_OK:
            raise unicorn.UcError(status)
        return profile

    def alloc(self, name: str, nbytes: int, align: int = 8) -> Buffer:
        """`nbytes` bytes of RAM at a multiple of `align` (bytes, a power of two).

        A canary of 16 bytes lies right before and right behind. Raises TinyccError when the
        emulated RAM is full.
        """
        address = -(-(self._free + len(CANARY)) // align) * align
        if address + nbytes + len(CANARY) > self._ram_end:
            raise TinyccError(f"no room for {nbytes} bytes in emulated RAM", name)
        buffer = Buffer(name, address, nbytes)
        self._uc.mem_write(address - len(CANARY), CANARY)
        self._uc.mem_write(address + nbytes, CANARY)
        self._free = address + nbytes + len(CANARY)
        self._buffers.append(buffer)
        return buffer

    def check_canaries(self) -> None:
        """Raise EmulatorError naming the buffer if a byte beside any buffer has changed."""
        for buffer in self._buffers:
            for side, address in (
                ("before", buffer.address - len(CANARY)),
                ("behind", buffer.address + buffer.nbytes),
            ):
                if self.read(address, len(CANARY)) != CANARY:
                    size = f"its {buffer.nbytes} bytes"
                    message = f"the program wrote {side} buffer '{buffer.name}' ({size})"
                    raise EmulatorError(message, self.target.name)

    def write(self, address: int, data: bytes) -> None:
        """Put `data` into memory."""
        self._uc.mem_write(address, data)

    def read(self, address: int, nbytes: int) -> bytes:
        """`nbytes` bytes of memory."""
        return bytes(self._uc.mem_read(address, nbytes))

    def call(
        self,
        function: str,
        *arguments: int,
        layers: Sequence[str] = (),
        budget: int = DEFAULT_BUDGET,
        seconds: float = 600.0,
    ) -> CallResult:
        """Call a function with integer arguments (32 bits each).

        `layers` are the kernels in the order of their calls, for costs by layer. `budget` (in
        instructions, with profiling) and `seconds` (without) limit the call. Raises EmulatorError
        for a fault, with place and address, and for a call that takes too long.
        """
        entry = self.program.symbol(function).address
        stack = self._set_arguments(arguments)
        if self._profile is not None:
            self._profile.start([self.program.symbol(name) for name in layers], budget)
        self._run(entry, function, seconds)
        depth = self._stack_depth(stack)
        r0 = ctypes.c_int32(self._uc.reg_read(arm_const.UC_ARM_REG_R0)).value
        if self._profile is None:
            return CallResult(r0, depth)
        before, costs = self._profile.layers()
        every = (before, *costs)
        instructions = sum(c.instructions for c in every)
        return CallResult(r0, depth, instructions, sum(c.cycles for c in every), before, costs)

    @property
    def layers_entered(self) -> int:
        """How many of the last call's `layers` were entered, in their order (with profiling)."""
        return 0 if self._profile is None else self._profile.entered

    def _set_arguments(self, arguments: Sequence[int]) -> int:
        """Arguments as the procedure call standard wants them; the stack pointer."""
        values = [value & 0xFFFF_FFFF for value in arguments]
        spilled = values[len(_ARGUMENTS) :]
        stack = (_STACK_TOP - 4 * len(spilled)) & ~7
        self._uc.mem_write(_STACK_TOP - _STACK_BYTES, _PAINT * _STACK_BYTES)
        for register, value in zip(_ARGUMENTS, values, strict=False):
            self._uc.reg_write(register, value)
        if spilled:
            self._uc.mem_write(stack, struct.pack(f"<{len(spilled)}I", *spilled))
        self._uc.reg_write(arm_const.UC_ARM_REG_SP, stack)
        self._uc.reg_write(arm_const.UC_ARM_REG_LR, _RETURN | 1)
        return stack

    def _run(self, entry: int, function: str, seconds: float) -> None:
        self._fault.text = ""
        timeout = 0 if self._profile is not None else int(seconds * 1e6)
        try:
            self._uc.emu_start(entry | 1, _RETURN, timeout=timeout)
        except unicorn.UcError as error:
            raise self._diagnose(error) from None
        if self._uc.reg_read(arm_const.UC_ARM_REG_PC) == _RETURN:
            return
        limit = "its instruction budget" if self._profile is not None else f"{seconds:g} s"
        raise EmulatorError(f"{function} did not end within {limit}", self._place())

    def _place(self) -> str:
        pc = self._uc.reg_read(arm_const.UC_ARM_REG_PC)
        symbol = self.program.nearest_symbol(pc)
        return f"{symbol or 'no function'} (pc {pc:#010x}) on {self.target.cpu}"

    def _diagnose(self, error: unicorn.UcError) -> EmulatorError:
        if self._fault.text:
            return EmulatorError(self._fault.text, self._place())
        what = "undefined instruction, unaligned access or exception"
        known = error.errno in (unicorn.UC_ERR_INSN_INVALID, unicorn.UC_ERR_EXCEPTION)
        return EmulatorError(what if known else str(error), self._place())

    def _stack_depth(self, top: int) -> int:
        stack = self.read(_STACK_TOP - _STACK_BYTES, _STACK_BYTES)
        untouched = len(stack) - len(stack.lstrip(_PAINT))
        return max(0, top - (_STACK_TOP - _STACK_BYTES + untouched))
