"""Data files: what the command line may say of them, and what is checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinycc_nn.data import ArrayRef, Dataset, DataSpec, load_data
from tinycc_nn.diagnostics import TinyccError, UsageError
from tinycc_nn.ir import F32, I8, Array, Graph, Quant, TensorType

X = np.arange(60, dtype=np.float32).reshape(5, 3, 2, 2)
Y = np.arange(5, dtype=np.uint8)

integers = st.none() | st.integers(-999, 999)
refs = st.builds(
    ArrayRef,
    st.from_regex(r"[a-z_][a-z0-9_.]{0,8}", fullmatch=True),
    integers,
    integers,
    st.none() | st.integers(1, 9),
)


def network(*shape: int, names: tuple[str, ...] = ("input",)) -> Graph:
    graph = Graph("g")
    for name in names:
        graph.add_input(name, TensorType(F32, shape))
    return graph


def load(file: Path, graph: Graph, names: str = "") -> Dataset:
    return load_data(DataSpec.parse(f"{file}{names}"), graph)


def save(folder: Path, **arrays: Array) -> Path:
    path = folder / "d.npz"
    np.savez(path, allow_pickle=True, **arrays)
    return path


@given(refs, st.none() | refs)
def test_the_text_of_a_specification_gives_it_back(x: ArrayRef, y: ArrayRef | None) -> None:
    spec = DataSpec(Path("some/data.v2.npz"), x, y)
    assert DataSpec.parse(str(spec)) == spec


@given(refs)
def test_a_slice_means_what_it_means_in_numpy(ref: ArrayRef) -> None:
    text = str(ref)
    wanted = np.arange(50)[slice(ref.start, ref.stop, ref.step)]
    parsed = ArrayRef.parse(text, "")
    found = np.arange(50)[slice(parsed.start, parsed.stop, parsed.step)]
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize("text", ["x[", "x[1]", "x[::0]", "[1:]", "x[1:2]y", "", "x[a:b]"])
def test_what_is_not_an_array_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="does not name an array"):
        DataSpec.parse(f"d.npz:{text}")


def test_three_arrays_are_too_many() -> None:
    with pytest.raises(UsageError, match="names 3 arrays"):
        DataSpec.parse("d.npz:x,y,z")


def test_defaults_are_x_and_y(tmp_path: Path) -> None:
    data = load(save(tmp_path, x=X, y=Y, other=Y), network(1, 3, 2, 2))
    assert data.labels is not None
    assert np.array_equal(data.labels, Y)
    assert np.array_equal(data.inputs["input"], X.reshape(5, 1, 3, 2, 2))
    assert data.notes == ()


def test_named_samples_have_no_labels_unless_they_are_named(tmp_path: Path) -> None:
    file = save(tmp_path, a=X, b=Y, y=Y)
    assert load(file, network(1, 3, 2, 2), ":a").labels is None
    both = load(file, network(1, 3, 2, 2), ":a[3:],b[3:]")
    assert both.labels is not None and both.labels.tolist() == [3, 4]
    assert np.array_equal(both.inputs["input"][:, 0], X[3:])


def test_an_array_named_like_the_input_will_do(tmp_path: Path) -> None:
    assert len(load(save(tmp_path, input=X), network(1, 3, 2, 2))) == 5


def test_integer_images_become_float32(tmp_path: Path) -> None:
    data = load(save(tmp_path, x=X.astype(np.uint8)), network(1, 3, 2, 2))
    assert data.inputs["input"].dtype == np.float32
    assert data.inputs["input"].max() == 59


def test_samples_of_the_stored_type_stay_for_a_quantized_input(tmp_path: Path) -> None:
    graph = Graph("g")
    graph.add_input("input", TensorType(I8, (1, 3, 2, 2), Quant(0.5, 3)))
    as_stored = load(save(tmp_path, x=X.astype(np.int8)), graph)
    assert as_stored.inputs["input"].dtype == np.int8
    pixels = load(save(tmp_path, x=X.astype(np.uint8)), graph)
    assert pixels.inputs["input"].dtype == np.float32


@pytest.mark.parametrize("shape", [(1, 3, 4), (3, 1, 4), (3, 4, 1), (3, 4)])
def test_axes_of_size_one_may_stand_elsewhere(tmp_path: Path, shape: tuple[int, ...]) -> None:
    x = np.arange(24, dtype=np.float32).reshape(2, *shape)
    data = load(save(tmp_path, x=x), network(1, 1, 3, 4))
    assert np.array_equal(data.inputs["input"], x.reshape(2, 1, 1, 3, 4))


def test_channels_last_images_are_moved_and_it_is_said(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((2, 5, 4, 3), np.float32)
    data = load(save(tmp_path, x=x), network(1, 3, 5, 4))
    assert np.array_equal(data.inputs["input"][:, 0], x.transpose(0, 3, 1, 2))
    assert "channels-last samples were transposed" in data.notes[0]


def test_channels_first_images_are_moved_too(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((2, 3, 5, 4), np.float32)
    data = load(save(tmp_path, x=x), network(1, 5, 4, 3))
    assert np.array_equal(data.inputs["input"][:, 0], x.transpose(0, 2, 3, 1))


def test_several_inputs_have_arrays_of_their_names(tmp_path: Path) -> None:
    file = save(tmp_path, a=X, b=2 * X, y=Y)
    data = load(file, network(1, 3, 2, 2, names=("a", "b")))
    assert np.array_equal(data.inputs["b"], 2 * data.inputs["a"])
    with pytest.raises(TinyccError, match="several inputs"):
        load(file, network(1, 3, 2, 2, names=("a", "b")), ":a")


def with_nan(where: int) -> Array:
    x = X.copy()
    x[where, 0, 0, 0] = np.nan
    return x


@pytest.mark.parametrize(
    ("arrays", "names", "message", "hint"),
    [
        ({"x": X[:, :2]}, "", r"have the shape \[2, 2, 2\]", r"\[samples, 3, 2, 2\]"),
        ({"x": with_nan(3)}, "", "1 of 5 samples have NaN", "the first is sample 3"),
        ({"x": np.full_like(X, np.inf)}, "", "samples have NaN or infinite", "sample 0"),
        ({"x": X[:0]}, "", "no samples", "slice"),
        ({"x": X}, ":x[9:]", "no samples", "slice"),
        ({"samples": X}, ":sample", "no array 'sample'", "did you mean 'samples'"),
        ({"features": X}, "", "no array 'x'", "features"),
        (
            {"x": X, "y": Y[:3]},
            "",
            r"different numbers of samples \(input: 5, labels: 3\)",
            "slice",
        ),
        ({"x": np.array(["a", "b"])}, "", "not numbers", ""),
        ({"x": np.float32(3)}, "", "single number", ""),
        ({"x": np.array([{}], object)}, "", "can't read the array 'x'", ""),
    ],
)
def test_what_is_wrong_with_an_array_is_said(
    tmp_path: Path, arrays: dict[str, Array], names: str, message: str, hint: str
) -> None:
    with pytest.raises(TinyccError, match=message) as e:
        load(save(tmp_path, **arrays), network(1, 3, 2, 2), names)
    assert e.match(hint)
    assert "d.npz" in str(e.value)


@pytest.mark.parametrize("content", [b"", b"PK\3\4 broken", b"no archive at all"])
def test_a_file_that_is_no_archive(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "d.npz"
    path.write_bytes(content)
    with pytest.raises(TinyccError, match=r"not a readable \.npz file"):
        load(path, network(1))


def test_a_bare_array_is_no_archive(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", X)
    with pytest.raises(TinyccError, match="a single array"):
        load(tmp_path / "d.npy", network(1))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(TinyccError, match="no such file"):
        load(tmp_path / "none.npz", network(1))
