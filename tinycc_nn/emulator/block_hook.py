"""The native function that Unicorn calls at every basic block: exact counts at full speed.

A Python hook would slow the emulator down thirty times. In C it would read

    void block(uc_engine *uc, uint64_t address, uint32_t size, State *s)
    {
        uint32_t a = (uint32_t)address, index = (a - s->base) / 2;
        if (index >= s->length) return;
        if (s->last_end == a) ++*s->last_fall;          // reached without a taken branch
        if (a == s->expected->entry && (s->last_start < a || s->last_start >= s->expected->end)) {
            ++s->expected, s->counts += s->stride, s->falls += s->stride;   // the next layer
        }
        ++s->counts[index];
        s->sizes[index] = size;
        s->last_start = a, s->last_end = a + size, s->last_fall = &s->falls[index];
        if ((s->budget -= size) < 0) s->stop(uc);
    }

A kernel that loops back to its own entry does not start the next layer: the block before is its own.
"""

from __future__ import annotations

import ctypes
from functools import cache

import llvmlite.binding as llvm


class State(ctypes.Structure):
    """What the hook reads and writes; `budget` is in bytes of executed code."""

    _fields_ = (
        ("counts", ctypes.c_void_p),
        ("falls", ctypes.c_void_p),
        ("sizes", ctypes.c_void_p),
        ("last_fall", ctypes.c_void_p),
        ("expected", ctypes.c_void_p),
        ("stop", ctypes.c_void_p),
        ("stride", ctypes.c_int64),
        ("budget", ctypes.c_int64),
        ("base", ctypes.c_uint32),
        ("length", ctypes.c_uint32),
        ("last_start", ctypes.c_uint32),
        ("last_end", ctypes.c_uint32),
    )


class Range(ctypes.Structure):
    """Addresses of an expected kernel; the list of them ends with an odd `entry`."""

    _fields_ = (("entry", ctypes.c_uint32), ("end", ctypes.c_uint32))


_IR = """
%State = type {ptr, ptr, ptr, ptr, ptr, ptr, i64, i64, i32, i32, i32, i32}
define void @block(ptr %uc, i64 %address, i32 %size, ptr %s) {
  %a = trunc i64 %address to i32
  %base.p = getelementptr %State, ptr %s, i32 0, i32 8
  %base = load i32, ptr %base.p
  %length.p = getelementptr %State, ptr %s, i32 0, i32 9
  %length = load i32, ptr %length.p
  %distance = sub i32 %a, %base
  %index32 = lshr i32 %distance, 1
  %inside = icmp ult i32 %index32, %length
  br i1 %inside, label %known, label %done
known:
  %index = zext i32 %index32 to i64
  %last_end.p = getelementptr %State, ptr %s, i32 0, i32 11
  %last_end = load i32, ptr %last_end.p
  %last_fall.p = getelementptr %State, ptr %s, i32 0, i32 3
  %fell = icmp eq i32 %last_end, %a
  br i1 %fell, label %fall, label %layer
fall:
  %last_fall = load ptr, ptr %last_fall.p
  %fall.n = load i64, ptr %last_fall
  %fall.n1 = add i64 %fall.n, 1
  store i64 %fall.n1, ptr %last_fall
  br label %layer
layer:
  %counts.p = getelementptr %State, ptr %s, i32 0, i32 0
  %falls.p = getelementptr %State, ptr %s, i32 0, i32 1
  %expected.p = getelementptr %State, ptr %s, i32 0, i32 4
  %expected = load ptr, ptr %expected.p
  %entry = load i32, ptr %expected
  %last_start.p = getelementptr %State, ptr %s, i32 0, i32 10
  %is_entry = icmp eq i32 %a, %entry
  br i1 %is_entry, label %entered, label %count
entered:
  %end.p = getelementptr i32, ptr %expected, i32 1
  %end = load i32, ptr %end.p
  %last_start = load i32, ptr %last_start.p
  %below = icmp ult i32 %last_start, %a
  %above = icmp uge i32 %last_start, %end
  %outside = or i1 %below, %above
  br i1 %outside, label %advance, label %count
advance:
  %next = getelementptr i32, ptr %expected, i32 2
  store ptr %next, ptr %expected.p
  %stride.p = getelementptr %State, ptr %s, i32 0, i32 6
  %stride = load i64, ptr %stride.p
  %counts.old = load ptr, ptr %counts.p
  %counts.new = getelementptr i64, ptr %counts.old, i64 %stride
  store ptr %counts.new, ptr %counts.p
  %falls.old = load ptr, ptr %falls.p
  %falls.new = getelementptr i64, ptr %falls.old, i64 %stride
  store ptr %falls.new, ptr %falls.p
  br label %count
count:
  %counts = load ptr, ptr %counts.p
  %count.p = getelementptr i64, ptr %counts, i64 %index
  %count.n = load i64, ptr %count.p
  %count.n1 = add i64 %count.n, 1
  store i64 %count.n1, ptr %count.p
  %sizes.p = getelementptr %State, ptr %s, i32 0, i32 2
  %sizes = load ptr, ptr %sizes.p
  %size.p = getelementptr i32, ptr %sizes, i64 %index
  store i32 %size, ptr %size.p
  store i32 %a, ptr %last_start.p
  %end_of_block = add i32 %a, %size
  store i32 %end_of_block, ptr %last_end.p
  %falls = load ptr, ptr %falls.p
  %this_fall = getelementptr i64, ptr %falls, i64 %index
  store ptr %this_fall, ptr %last_fall.p
  %budget.p = getelementptr %State, ptr %s, i32 0, i32 7
  %budget = load i64, ptr %budget.p
  %size64 = zext i32 %size to i64
  %left = sub i64 %budget, %size64
  store i64 %left, ptr %budget.p
  %exhausted = icmp slt i64 %left, 0
  br i1 %exhausted, label %halt, label %done
halt:
  %stop.p = getelementptr %State, ptr %s, i32 0, i32 5
  %stop = load ptr, ptr %stop.p
  %ignored = call i32 %stop(ptr %uc)
  br label %done
done:
  ret void
}
"""


class _Compiled:
    """The compiled hook; the code lives as long as this object."""

    def __init__(self) -> None:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        module = llvm.parse_assembly(_IR)
        module.verify()
        machine = llvm.Target.from_default_triple().create_target_machine(opt=2)
        self._engine = llvm.create_mcjit_compiler(module, machine)
        self._engine.finalize_object()
        self.address: int = self._engine.get_function_address("block")


@cache
def _compiled() -> _Compiled:
    return _Compiled()


def block_hook_address() -> int:
    """The address of the native hook, compiled once a process."""
    return _compiled().address
