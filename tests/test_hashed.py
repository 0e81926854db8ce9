"""Weights in hashed buckets: the hash, the values by least squares, what is stored, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from tests.test_quantize_weights import after, error, layers, quantized
from tinycc_nn.backends.tvm.kernel import candidates
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir import Blob, DType, Graph
from tinycc_nn.ir.text import graph_blobs, parse_graph, print_graph
from tinycc_nn.numeric.codes import HASH, buckets, hashed
from tinycc_nn.ops import verify
from tinycc_nn.pipeline_text import parse_pipeline
from tinycc_nn.quantization.hashed import fit_buckets
from tinycc_nn.target import Target


@pytest.mark.parametrize("bits", [1, 5, 8, 12])
def test_the_hash_is_what_the_c_computes(bits: int) -> None:
    found = buckets(3000, bits).tolist()
    for position in (0, 1, 2, 77, 2999):
        h = position * HASH[0] % 2**32
        assert found[position] == (h ^ h >> 15) * HASH[1] % 2**32 >> (32 - bits)
    counts = np.bincount(found, minlength=1 << bits)
    if bits <= 5:
        assert 0.8 * counts.mean() < counts.min() and counts.max() < 1.2 * counts.mean()


def test_as_many_buckets_as_weights_need_keep_them() -> None:
    """Weights that are alone in their bucket are as they were, within the step of the entries."""
    w = np.random.default_rng(1).standard_normal((2, 8))
    fit = fit_buckets(w, 65536, np.ones((1, 8)), None, True, np.full(2, 1e-9))
    assert len(np.unique(fit.codes)) == w.size
    real = fit.scale[:, None] * fit.entries[fit.codes]
    np.testing.assert_allclose(real, w, atol=float(fit.scale.max()))


def test_values_are_the_least_squares() -> None:
    """No other value of a bucket has less output error (numpy solves the same system)."""
    rng = np.random.default_rng(2)
    w = rng.standard_normal((6, 10))
    a = rng.standard_normal((200, 10)) @ rng.standard_normal((10, 10))
    covariance = (a.T @ a / 200)[None]
    fit = fit_buckets(w, 8, np.ones((1, 10)), covariance, True, np.full(6, 1e-9))
    size = np.abs(w).max(axis=1)
    root = np.linalg.cholesky(covariance[0] + 0.01 * np.diagonal(covariance[0]).mean() * np.eye(10))
    columns = [((size[:, None] * (fit.codes == k)) @ root).ravel() for k in range(8)]
    best, *_ = np.linalg.lstsq(np.stack(columns, axis=1), (w @ root).ravel(), rcond=None)
    step = float(fit.scale[0] / size[0])
    np.testing.assert_allclose(fit.entries * step, best, atol=step)


def test_more_buckets_are_better_and_optimized_is_better_than_means() -> None:
    g, data = quantized()
    errors = {
        (k, r): error(after(f'quantize-weights{{format="hashed<{k}>", rounding={r}}}', g, data), g, data)
        for k in (64, 4096) for r in ("nearest", "optimized")
    }  # fmt: skip
    assert errors[4096, "optimized"] < 0.5 * errors[64, "optimized"]
    assert errors[64, "optimized"] < errors[64, "nearest"]


@pytest.mark.parametrize("granularity", ["channel", "tensor"])
def test_no_code_is_stored(granularity: str) -> None:
    g, data = quantized()
    text = f'quantize-weights{{format="hashed<32>", granularity={granularity}}}'
    new = after(text, g, data)
    for op in layers(new).values():
        assert op.operands[1].type.dtype.bits == op.operands[1].type.nbytes == 0
        for cpu in ("cortex-m0plus", "cortex-m4"):
            kernels = candidates(op, Target.for_cpu(cpu))
            assert kernels
            arrays = kernels[0].code().constants
            assert arrays[0].nbytes == 2 * 32 and arrays[0].dtype == np.int16
            assert sum(a.nbytes for a in arrays) <= 64 + 8 * op.type.shape[-1]


def test_text_and_verifier() -> None:
    g, data = quantized()
    new = after('quantize-weights{format="hashed<16>"}', g, data)
    again = parse_graph(print_graph(new), graph_blobs(new))
    verify(again)
    op = layers(again)["dense"]
    wrong = op.operands[1].constant
    assert wrong is not None
    _replace(again, "dense", wrong[::-1])
    with pytest.raises(TinyccError, match="codes of hashed are not the hash of their positions"):
        verify(again)


def _replace(g: Graph, name: str, codes: np.ndarray) -> None:
    op = layers(g)[name]
    old = op.operands[1]
    new = g.constant("w", codes, old.type.quant, dtype=old.type.dtype, before=op)
    g.set_operand(op, 1, new)


@pytest.mark.parametrize("text", ["hashed<3>", "hashed<1>", "hashed<131072>"])
def test_counts_that_there_are_not(text: str) -> None:
    with pytest.raises(TinyccError, match=r"the buckets are 2, 4, 8, ..., 65536"):
        parse_pipeline(f'quantize-weights{{format="{text}"}}')


def test_tables_that_there_are_not() -> None:
    with pytest.raises(ValueError, match="buckets are int16"):
        hashed(np.zeros(3, np.int16))
    with pytest.raises(ValueError, match="buckets are a constant: hashed"):
        DType.of_parts("hashed", (4,))
    assert DType.of_parts("hashed", (Blob("e", np.zeros(4, np.int16)),)).bits == 0


def test_pruned_layers_are_refused() -> None:
    g, data = quantized(zeros=0.5)
    with pytest.raises(TinyccError, match=r"%stem can't have weights of hashed: \d+ % of its") as e:
        after('quantize-weights{format="hashed<16>"}', g, data)
    assert e.value.hint == "another format, or skip=[stem]"
