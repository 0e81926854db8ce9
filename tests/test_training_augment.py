"""Variations of training samples: what they keep, and where they don't fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.small_networks import chain
from tinycc_nn.data import Dataset
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir import F32, Array, Graph, TensorType
from tinycc_nn.pipeline import Context
from tinycc_nn.pipeline_text import parse_pipeline
from tinycc_nn.training.augment import augmented, check_augmentation
from tinycc_nn.training.data import ArrayData
from tinycc_nn.training.settings import Settings

PLAIN = Settings()


def numbered(*shape: int) -> Array:
    """Samples whose elements all differ, so that their places show."""
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def varied(x: Array, seed: int = 0, **options: object) -> Array:
    return augmented(x, replace(PLAIN, **options), np.random.default_rng(seed))  # type: ignore[arg-type]


def test_without_options_samples_stay() -> None:
    x = numbered(3, 4, 5, 2)
    assert augmented(x, PLAIN, np.random.default_rng(0)) is x


@given(seed=st.integers(0, 1000))
def test_flip_mirrors_some_images_whole(seed: int) -> None:
    x = numbered(8, 3, 4, 2)
    y = varied(x, seed, flip=True)
    same = [np.array_equal(a, b) for a, b in zip(x, y, strict=True)]
    mirrored = [np.array_equal(a[:, ::-1], b) for a, b in zip(x, y, strict=True)]
    assert all(s != m for s, m in zip(same, mirrored, strict=True))


def test_flip_takes_about_half_of_the_images() -> None:
    x = numbered(1000, 1, 2, 3)
    changed = (varied(x, flip=True) != x).any(axis=(1, 2, 3))
    assert 400 < changed.sum() < 600


@given(seed=st.integers(0, 1000), most=st.integers(1, 3))
def test_crop_moves_an_image_by_at_most_so_much(seed: int, most: int) -> None:
    x = numbered(4, 8, 9, 1)
    for before, after in zip(x, varied(x, seed, crop=most), strict=True):
        inner = after[most:-most, most:-most, 0]
        row, column = np.argwhere(before[..., 0] == inner[0, 0])[0]
        assert abs(row - most) <= most
        assert abs(column - most) <= most
        assert np.array_equal(
            inner, before[row : row + 8 - 2 * most, column : column + 9 - 2 * most, 0]
        )


def test_images_with_channels_first_are_moved_along_rows_and_columns() -> None:
    x = numbered(5, 1, 3, 8, 8)
    last = varied(np.moveaxis(x, 2, -1), crop=2, flip=True)
    assert np.array_equal(varied(x, crop=2, flip=True), np.moveaxis(last, -1, 2))


@given(seed=st.integers(0, 1000))
def test_shift_moves_rows_and_repeats_the_edge(seed: int) -> None:
    x = numbered(1, 10, 2, 1)
    rows = varied(x, seed, shift=3)[0, :, 0, 0] / 2
    by = rows[5] - 5
    assert abs(by) <= 3
    assert np.array_equal(rows, np.clip(np.arange(10) + by, 0, 9))


@given(seed=st.integers(0, 1000))
def test_mask_covers_few_rows_and_columns_with_the_mean(seed: int) -> None:
    x = numbered(1, 9, 7, 2)
    covered = (varied(x, seed, mask=2) == x[0].mean())[0, ..., 0]
    assert covered.all(axis=1).sum() <= 2
    assert covered.all(axis=0).sum() <= 2
    rows, columns = covered.all(axis=1), covered.all(axis=0)
    assert np.array_equal(covered, rows[:, None] | columns[None])


def test_noise_has_the_deviation_that_was_asked_for() -> None:
    x = numbered(50, 10, 10, 1)
    added = varied(x, noise=0.1) - x
    assert added.std() == pytest.approx(0.1 * x.std(), rel=0.05)


@given(seed=st.integers(0, 1000), most=st.floats(0.01, 0.5))
def test_mix_blends_a_sample_with_one_other(seed: int, most: float) -> None:
    x = np.eye(6, dtype=np.float32).reshape(6, 1, 6, 1)
    y = varied(x, seed, mix=most).reshape(6, 6)
    assert y.sum(axis=1) == pytest.approx(np.ones(6), abs=1e-6)
    assert ((y > 0).sum(axis=1) <= 2).all()
    assert (np.diag(y) >= 1 - most - 1e-6).all()


@pytest.mark.parametrize("text", ["qat{mix=0.3}", "prune-iteratively{mix=0.3, learn=labels}"])
def test_labels_are_not_blended(text: str) -> None:
    pytest.importorskip("torch", reason="needs PyTorch: the extra train")
    graph = chain(4, 4)
    x = np.ones((8, *graph.inputs[0].type.shape), np.float32)
    data = ArrayData(Dataset({"x": x}, np.zeros(8, np.int64)), "made up")
    (made,) = parse_pipeline(text)
    with pytest.raises(TinyccError, match=f"{made.name()}: mix=0.3 blends samples, not labels"):
        made(graph, Context({"x": x}, data))


def test_images_are_needed_to_move_them() -> None:
    flat = Graph("g").add_input("x", TensorType(F32, (1, 4)))
    with pytest.raises(TinyccError, match=r"crop, flip don't fit the input %x f32\[1,4\]"):
        check_augmentation(Settings(crop=1, flip=True), flat)


def test_a_shift_stays_within_the_image() -> None:
    image = Graph("g").add_input("x", TensorType(F32, (1, 6, 5, 2)))
    with pytest.raises(TinyccError, match="shift=6 of 6 rows, 5 columns"):
        check_augmentation(Settings(shift=6), image)


@pytest.mark.parametrize("most", [-0.1, 0.6])
def test_a_blend_is_at_most_half(most: float) -> None:
    with pytest.raises(ValueError, match=r"mix must be in 0..0.5"):
        Settings(mix=most)
