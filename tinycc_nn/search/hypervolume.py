"""The volume that a front dominates: one number for how good a search was."""

from __future__ import annotations

from collections.abc import Sequence

Point = tuple[float, ...]


def hypervolume(points: Sequence[Point], reference: Point) -> float:
    """Exact, for values to make small; points beyond the reference in any of them add nothing.

    By exclusive volumes (While, Bradstreet, Barone, "A fast way of calculating exact
    hypervolumes", 2012).
    """
    inside = [p for p in points if all(a < r for a, r in zip(p, reference, strict=True))]
    return _volume(_front(inside), reference)


def _volume(front: list[Point], reference: Point) -> float:
    return sum(_exclusive(p, front[i + 1 :], reference) for i, p in enumerate(front))


def _exclusive(p: Point, others: list[Point], reference: Point) -> float:
    """What `p` dominates and no other one does."""
    box = 1.0
    for a, r in zip(p, reference, strict=True):
        box *= r - a
    limited = [tuple(map(max, p, o)) for o in others]
    return box - (_volume(_front(limited), reference) if limited else 0.0)


def _front(points: Sequence[Point]) -> list[Point]:
    """Without repetitions and dominated points, the worst in the first value first."""
    kept: list[Point] = []
    for p in sorted(set(points)):
        if not any(all(a <= b for a, b in zip(q, p, strict=True)) for q in kept):
            kept.append(p)
    return kept[::-1]
