"""Graphs compiled with the kernels under test, and their results beside the interpreter's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tests.support.ops import floats, int8
from tinycc_nn import reference
from tinycc_nn.backend import Artifact, BackendOptions, load_backend
from tinycc_nn.backends.tvm.kernel import candidates
from tinycc_nn.ir import I8, Array, Graph
from tinycc_nn.target import Target


def forced(g: Graph, target: Target, families: Sequence[str], pick: int = 0) -> Artifact:
    """Every output's op with a kernel of these families (files in ``kernels/``) where any fits: the
    one that ``pick`` names, modulo how many there are.
    """
    kernels = {}
    for v in g.outputs:
        assert v.owner is not None
        if found := [k.name for k in candidates(v.owner, target) if k.family in families]:
            kernels[v.name] = found[pick % len(found)]
    return load_backend("tvm").compile(g, target, BackendOptions("net", kernels=kernels))


def random_inputs(g: Graph, rng: np.random.Generator) -> dict[str, Array]:
    """One sample for each input, by name."""
    return {
        v.name: int8(rng, 1, *v.type.shape) if v.type.dtype == I8 else floats(rng, 1, *v.type.shape)
        for v in g.inputs
    }


def compare(g: Graph, found: Sequence[Array], inputs: Mapping[str, Array]) -> None:
    """int8 the same bits, float32 within 1e-5 of the largest magnitude."""
    for v, y, want in zip(g.outputs, found, reference.run(g, inputs), strict=True):
        assert v.owner is not None
        what = f"{v.owner.name} {v.owner.attrs} {[str(o.type) for o in v.owner.operands]}"
        if v.type.dtype == I8:
            np.testing.assert_array_equal(y, want.reshape(-1), err_msg=what)
        else:
            tolerance = 1e-5 * max(1.0, float(np.abs(want).max()))
            np.testing.assert_allclose(y, want.reshape(-1), rtol=0, atol=tolerance, err_msg=what)
