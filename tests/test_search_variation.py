"""Variation makes pipelines: whatever comes out can be printed, read, and obeys its options."""

import random
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tinycc_nn.onnx import read_model
from tinycc_nn.options import option_infos
from tinycc_nn.pipeline import load, print_pipeline
from tinycc_nn.pipeline_text import parse_pipeline
from tinycc_nn.search.recipes import frame, recipes
from tinycc_nn.search.settings import Problem
from tinycc_nn.search.space import MAX_PASSES, Genome, Space, values
from tinycc_nn.search.variation import OPERATORS, crossover, offspring

DIGITS = read_model(Path(__file__).parents[1] / "examples" / "digits" / "digits.onnx", {})
PROBLEM = Problem("net.onnx", "nrf52840", calib="c.npz", evaluation="e.npz")
SPACE = Space.of(DIGITS, PROBLEM)
RECIPES = list(recipes("float32", PROBLEM).values())


def obeys(genome: Genome) -> None:
    assert parse_pipeline(print_pipeline(genome)) == genome if genome else True
    assert len(genome) <= MAX_PASSES
    for p in genome:
        assert type(p).searched()
        for o in option_infos(type(p)):
            value = getattr(p, o.name)
            if o.by_layer:
                layers = [item.partition(":") for item in value]
                assert {layer for layer, _, _ in layers} <= set(SPACE.layers)
                assert all(not colon or choice in o.choices for _, colon, choice in layers)
            elif tried := values(o):
                assert value in tried or any(p in recipe for recipe in RECIPES)


def test_what_only_takes_time_is_not_varied() -> None:
    infos = {o.name: o for o in option_infos(load("distill"))}
    assert values(infos["threads"]) == values(infos["precision"]) == ()
    assert {0.001, 0.02} <= set(values(infos["lr"]))


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_offspring_of_anything_is_a_pipeline(seed: int) -> None:
    rng = random.Random(seed)
    parents = [*RECIPES, *(SPACE.random_genome(rng) for _ in range(4)), ()]
    for _ in range(6):
        parents.append(offspring(rng, SPACE, parents))
        obeys(parents[-1])


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_long_trainings_stay_behind_what_was_a_parents(seed: int) -> None:
    rng = random.Random(seed)
    own = parse_pipeline("distill{epochs=150}, quantize, qat{epochs=90}, quantize-interface")
    child = offspring(rng, SPACE, [own, *RECIPES])
    kept = [p == q for p, q in zip(child, own, strict=False)]
    same = kept.index(False) if False in kept else len(kept)
    for i, p in enumerate(child):
        epochs = getattr(p, "epochs", 0)
        assert epochs <= 20 or (i < same and epochs == getattr(own[i], "epochs", 0))


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_each_operator_and_the_crossover(seed: int) -> None:
    rng = random.Random(seed)
    a, b = SPACE.random_genome(rng), SPACE.random_genome(rng)
    before = random.getstate()
    for operator in OPERATORS:
        obeys(operator(rng, SPACE, a))
    child = crossover(rng, a, b)
    obeys(child)
    assert set(child) <= {*a, *b}
    assert random.getstate() == before  # DEAP's generator is given back


def test_every_operator_changes_some_genome() -> None:
    rng = random.Random(0)
    changed = {f for f in OPERATORS for _ in range(20) if f(rng, SPACE, g := RECIPES[3]) != g}
    assert changed == set(OPERATORS)


def test_every_recipe_is_in_its_frame() -> None:
    for kind in ("float32", "quantized"):
        around = frame(kind)
        for genome in recipes(kind, PROBLEM).values():
            whole = around.around(genome)
            assert around.inside(whole) == genome
            assert parse_pipeline(print_pipeline(whole)) == whole


def test_what_the_data_does_not_allow_is_left_out() -> None:
    without = Problem("net.onnx", "nrf52840", evaluation="e.npz")
    assert "quantize" not in {k.name() for k in Space.of(DIGITS, without).kinds}
    assert "quantize" in {k.name() for k in SPACE.kinds}
    assert not any(k.needs_training for k in SPACE.kinds)
    assert "int8" not in recipes("float32", without)
