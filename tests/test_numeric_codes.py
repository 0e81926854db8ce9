"""Weight formats: posits against SoftPosit and against rationals, code books, packing, k-means."""

from __future__ import annotations

import math
from fractions import Fraction
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinycc_nn.numeric import posit
from tinycc_nn.numeric.codebook import kmeans
from tinycc_nn.numeric.codes import LARGEST, code_book, pack, shared

POSITS = [(n, es) for n in range(4, 9) for es in range(3)]


@pytest.fixture(scope="module")
def softposit() -> ModuleType:
    """An outside implementation: https://pypi.org/project/softposit."""
    module: ModuleType = pytest.importorskip("softposit")
    return module


def near_every_code(n: int, es: int) -> np.ndarray:
    """Codes of n bits, everything halfway, and a little to both sides; beyond both ends."""
    fine = np.array([posit.decode(c, n + 2, es) for c in range(1, 1 << (n + 1))])
    found = [fine, (fine[1:] + fine[:-1]) / 2, fine * 1.001, fine * 0.999]
    x = np.concatenate([*found, [fine.max() * 1.5, fine.min() * 0.4, 0.0]])
    return np.concatenate([x, -x])


@pytest.mark.parametrize("n", range(2, 9))
@pytest.mark.parametrize(("es", "size"), [(0, 8), (1, 16), (2, 32)])
def test_values_are_those_of_softposit(softposit: ModuleType, n: int, es: int, size: int) -> None:
    """A posit with zeros behind it is the same number: so its wider types hold all of ours."""
    to_double = getattr(softposit, f"convertP{size}ToDouble")
    for code in range(1 << n):
        theirs = getattr(softposit, f"posit{size}_t")()
        theirs.v = code << (size - n)
        if code == 1 << (n - 1):
            assert math.isnan(posit.decode(code, n, es))
        else:
            assert posit.decode(code, n, es) == to_double(theirs)


@pytest.mark.parametrize("n", range(2, 9))
def test_rounding_for_es_2_is_that_of_softposit(softposit: ModuleType, n: int) -> None:
    x = near_every_code(n, 2)
    theirs = [softposit.convertDoubleToPX2(float(v), n).v >> (32 - n) for v in x]
    assert posit.encode(x, n, 2).tolist() == theirs


@pytest.mark.parametrize(("n", "es"), [(8, 0), (16, 1)])
def test_rounding_for_other_es_is_that_of_softposit(softposit: ModuleType, n: int, es: int) -> None:
    x = near_every_code(n, es)[:: 1 if n == 8 else 37]
    convert = getattr(softposit, f"convertDoubleToP{n}")
    assert posit.encode(x, n, es).tolist() == [convert(float(v)).v for v in x]


@given(st.sampled_from(POSITS), st.fractions(-300, 300))
def test_rounding_by_its_definition(format: tuple[int, int], x: Fraction) -> None:
    """To the lower of two neighbours below the posit of one more bit between them."""
    n, es = format
    x = Fraction(float(x))
    (code,) = posit.encode(np.array([float(x)]), n, es).tolist()
    if x == 0:
        assert code == 0
        return
    size, code = abs(x), (code if x > 0 else (1 << n) - code)
    limit = [Fraction(posit.decode(2 * code + i, n + 1, es)) for i in (-1, 1) if 2 * code + i > 1]
    if code > 1:
        assert size > limit[0] or (size == limit[0] and code % 2 == 0)
    if code < (1 << (n - 1)) - 1:
        assert size < limit[-1] or (size == limit[-1] and code % 2 == 0)


def test_what_is_no_real_number_has_no_posit() -> None:
    with pytest.raises(ValueError, match="finite"):
        posit.encode(np.array([np.inf]), 8, 0)


@pytest.mark.parametrize(("n", "es"), POSITS)
def test_integers_of_posits_are_their_values(n: int, es: int) -> None:
    book = code_book("posit", (n, es))
    assert (book.values[book.used] * book.unit == posit.values(n, es)[book.used]).all()
    left_out = np.nan_to_num(posit.values(n, es)[~book.used], nan=np.inf) / book.unit
    assert ((np.abs(left_out) > LARGEST) | (left_out != np.round(left_out))).all()
    assert book.has_zero and not book.used[1 << (n - 1)]
    if es == 0 or (n, es) == (5, 1):
        assert book.used.sum() == 2**n - 1


@pytest.mark.parametrize(
    ("family", "params", "values", "unit"),
    [
        ("i2", (), [0, 1, -2, -1], 1),
        ("ternary", (), [0, 1, -1], 1),
        ("binary", (), [1, -1], 1),
        ("fixed", (3, 1), [0, 1, 2, 3, -4, -3, -2, -1], 0.5),
    ],
)
def test_values(family: str, params: tuple[int, ...], values: list[int], unit: float) -> None:
    book = code_book(family, params)
    assert book.values[book.used].tolist() == values
    assert book.unit == unit


@pytest.mark.parametrize(
    ("family", "params", "message"),
    [
        ("posit", (9, 1), "n must be 4..8"),
        ("posit", (8, 3), "es 0..2"),
        ("posit", (8,), "takes 2 numbers, not 1"),
        ("fixed", (17, 0), "n must be 2..16"),
        ("fixed", (8, 16), "f 0..15"),
        ("ternary", (1,), "takes 0 numbers"),
        ("i9", (), "unknown element type 'i9'"),
    ],
)
def test_formats_that_there_are_not(family: str, params: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        code_book(family, params)


@given(st.data(), st.sampled_from(["i4", "ternary", "binary", "posit"]))
def test_nearest(data: st.DataObject, family: str) -> None:
    book = code_book(family, (5, 1) if family == "posit" else ())
    x = data.draw(st.floats(-5000, 5000))
    (code,) = book.nearest(np.array([x]))
    assert book.used[code]
    errors = np.abs(book.values[book.used].astype(float) - x)
    assert abs(float(book.values[code]) - x) == errors.min()


@given(st.integers(1, 16), st.data())
def test_packed_codes_can_be_read_back(bits: int, data: st.DataObject) -> None:
    codes = data.draw(st.lists(st.integers(0, 2**bits - 1), max_size=40))
    packed = pack(codes, bits)
    assert len(packed) == -(-len(codes) * bits // 8)
    number = int.from_bytes(packed.tobytes(), "little")
    assert [number >> (i * bits) & (2**bits - 1) for i in range(len(codes))] == codes


def test_kmeans_finds_clusters_and_keeps_zero() -> None:
    rng = np.random.default_rng(1)
    centres = np.array([-3.0, 0.0, 1.0, 4.0])
    x = (centres[:, None] + 0.01 * rng.standard_normal((4, 50))).ravel()
    found = kmeans(x, 4, np.ones(200), zero=True)
    np.testing.assert_allclose(found, centres, atol=0.01)
    assert found[1] == 0
    heavy = kmeans(np.array([0.0, 1.0]), 1, np.array([1.0, 3.0]), zero=False)
    np.testing.assert_allclose(heavy, [0.75])


def test_code_books_are_int16() -> None:
    with pytest.raises(ValueError, match="int16"):
        shared(np.zeros(300, np.int16))
    book = shared(np.array([-7, 0, 900], np.int16))
    assert (book.bits, book.used.tolist()) == (2, [True, True, True, False])
