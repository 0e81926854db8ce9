"""The cycle model of every core."""

from __future__ import annotations

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.emulator.cycles import TABLES, CycleModel
from tinycc_nn.emulator.pipeline import PipelineModel
from tinycc_nn.emulator.pipeline_m7 import CortexM7
from tinycc_nn.emulator.pipeline_m33 import CortexM33

_MODELS: dict[str, CycleModel] = {
    **TABLES,
    "cortex-m7": PipelineModel(CortexM7()),
    "cortex-m33": PipelineModel(CortexM33()),
}


def cycle_model(cpu: str) -> CycleModel:
    """The model of a core (`-mcpu` name). Raises TinyccError for a core that has none."""
    if cpu not in _MODELS:
        raise TinyccError(f"no cycle model of {cpu}", hint=f"known: {', '.join(_MODELS)}")
    return _MODELS[cpu]
