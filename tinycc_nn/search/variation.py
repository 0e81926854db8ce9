"""New genomes from old ones: mutations of a pipeline, and the crossover of two."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile

from tinycc_nn.search.space import MAX_PASSES, Genome, Space, shortened

_CROSSED = 0.6
"""How likely an offspring has two parents."""

_MORE = 0.3
"""How likely another mutation follows the first."""


def offspring(rng: random.Random, space: Space, parents: Sequence[Genome]) -> Genome:
    """A genome of one parent or of two, mutated at least once if it has one. The user's own
    trainings may take hours, and are remembered with all that is in front of them: where that
    is no longer a parent's, they are as long as the search's."""
    first = rng.choice(parents)
    if rng.random() < _CROSSED:
        second = rng.choice(parents)
        if (child := crossover(rng, first, second)) != first:
            child = mutate(rng, space, child) if rng.random() < 0.5 else child
            return _shortened(child, (first, second))
    return _shortened(mutate(rng, space, first), (first,))


def _shortened(child: Genome, parents: Sequence[Genome]) -> Genome:
    same = max(_common(child, p) for p in parents)
    return child[:same] + tuple(map(shortened, child[same:]))


def _common(a: Genome, b: Genome) -> int:
    """How many passes both begin with."""
    return len(list(takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False))))


def crossover(rng: random.Random, a: Genome, b: Genome) -> Genome:
    """The beginning of one sequence and the end of the other, each cut anywhere."""
    from deap import tools

    with seeded(rng):
        child, _ = tools.cxMessyOnePoint([*a], [*b])
    return tuple(child[:MAX_PASSES])


def mutate(rng: random.Random, space: Space, genome: Genome) -> Genome:
    """One or more mutations, each of a kind that changes this genome."""
    while True:
        operators = list(OPERATORS)
        rng.shuffle(operators)
        for operator in operators:
            if (made := operator(rng, space, genome)) != genome:
                genome = made
                break
        if rng.random() >= _MORE:
            return genome


def insert(rng: random.Random, space: Space, genome: Genome) -> Genome:
    """A new pass anywhere, where there is room."""
    if len(genome) >= MAX_PASSES:
        return genome
    at = rng.randint(0, len(genome))
    return (*genome[:at], space.random_pass(rng), *genome[at:])


def delete(rng: random.Random, space: Space, genome: Genome) -> Genome:
    """One pass less."""
    del space
    if not genome:
        return genome
    at = rng.randrange(len(genome))
    return genome[:at] + genome[at + 1 :]


def swap(rng: random.Random, space: Space, genome: Genome) -> Genome:
    """Two neighbours change places."""
    del space
    if len(genome) < 2:
        return genome
    at = rng.randrange(len(genome) - 1)
    return (*genome[:at], genome[at + 1], genome[at], *genome[at + 2 :])


def move(rng: random.Random, space: Space, genome: Genome) -> Genome:
    """One pass to another place."""
    del space
    if len(genome) < 2:
        return genome
    left = list(genome)
    moved = left.pop(rng.randrange(len(left)))
    left.insert(rng.randint(0, len(left)), moved)
    return tuple(left)


def change(rng: random.Random, space: Space, genome: Genome) -> Genome:
    """One option of one pass."""
    if not genome:
        return genome
    at = rng.randrange(len(genome))
    return (*genome[:at], space.change_option(rng, genome[at]), *genome[at + 1 :])


def change_layer(rng: random.Random, space: Space, genome: Genome) -> Genome:
    """What one pass does to one layer."""
    if not genome:
        return genome
    at = rng.randrange(len(genome))
    return (*genome[:at], space.change_layer(rng, genome[at]), *genome[at + 1 :])


OPERATORS: tuple[Callable[[random.Random, Space, Genome], Genome], ...] = (
    insert, delete, swap, move, change, change, change, change_layer,
)  # fmt: skip


@contextlib.contextmanager
def seeded(rng: random.Random) -> Iterator[None]:
    """DEAP draws from the global generator: seeded from ours, and given back as it was."""
    state = random.getstate()
    random.seed(rng.getrandbits(64))
    try:
        yield
    finally:
        random.setstate(state)
