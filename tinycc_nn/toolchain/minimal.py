"""The smallest application around a generated network: what its flash and RAM are measured in."""

from __future__ import annotations

from tinycc_nn.source import NetworkSource


def minimal_main(source: NetworkSource) -> str:
    """C text of a `main` that calls `NAME_run` once on static buffers and returns its result."""
    name = source.name
    lines = [f'#include "{name}.h"', "#include <stdint.h>", ""]
    arguments = []
    for role, ports in (("input", source.inputs), ("output", source.outputs)):
        for index, port in enumerate(ports):
            lines.append(f"static {port.ctype} {role}{index}[{port.elements}];")
            arguments.append(f"{role}{index}")
    if source.arena_bytes:
        align = f"__attribute__((aligned({source.arena_align})))"
        lines.append(f"static uint8_t arena[{source.arena_bytes}] {align};")
    arguments.append("arena" if source.arena_bytes else "(void *)0")
    call = f"{name}_run({', '.join(arguments)})"
    lines += ["", "int main(void)", "{", f"    return {call};", "}", ""]
    return "\n".join(lines)
