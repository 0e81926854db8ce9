"""Long evaluations go first, by what the passes of earlier ones took."""

from tinycc_nn.search.durations import Durations


def test_the_slowest_pass_tells() -> None:
    took = Durations()
    assert took.expected("quantize, prune-blocks") == 0.0
    took.add("fold-bn, quantize{method=mse}", 1.0)
    took.add("fold-bn, prune-blocks{skip=[quantize,a]}, quantize", 5.0)
    assert took.expected("fold-bn, quantize") == 3.0
    assert took.expected("fold-bn, prune-blocks{ratio=0.3}") == 5.0
    assert took.expected("low-rank") == 0.0
