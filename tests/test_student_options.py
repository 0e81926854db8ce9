"""What student refuses, before any training."""

import pytest

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.pipeline_text import parse_pipeline


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("macs=0.5, width=0.5", "give width or macs, not both"),
        ("macs=1.5", "macs must be in 0..1"),
        ("terms=0", "terms must be at least 1"),
        ("separable=false, layers=[conv]", "layers and terms are those of separable=true"),
    ],
)
def test_what_a_student_cannot_be(options: str, says: str) -> None:
    with pytest.raises(TinyccError, match=says):
        parse_pipeline(f"student{{{options}}}")
