"""Learning curves as a picture: one SVG file that needs nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite, log10
from xml.sax.saxutils import escape

from tinycc_nn.training.watch import Curve, CurvePoint

WIDTH, HEIGHT, LEFT, TOP, BOTTOM, RIGHT = 720, 240, 64, 36, 34, 150
TRAINED, HELD_OUT = "#1f6fb4", "#d1651b"

Point = tuple[float, float]


def curves_svg(curves: Sequence[Curve]) -> str:
    """The loss over the epochs, one plot for each training, on a logarithmic axis."""
    body = "".join(_plot(c, i * HEIGHT) for i, c in enumerate(curves))
    size = f'width="{WIDTH}" height="{HEIGHT * len(curves)}"'
    box = f'viewBox="0 0 {WIDTH} {HEIGHT * len(curves)}"'
    style = 'font-family="sans-serif" font-size="11"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {box} {style}>\n{body}</svg>\n'


def _plot(curve: Curve, offset: int) -> str:
    trained = _series(curve, lambda p: p.loss)
    held_out = _series(curve, lambda p: p.held_out_loss)
    every = [y for _, y in trained + held_out]
    low, high = (min(every), max(every)) if every else (0.1, 1.0)
    if high < low * 1.01:
        low, high = low / 1.5, high * 1.5
    last = max((p.epoch for p in curve.points), default=1)
    lines = [f'<g transform="translate(0,{offset})">']
    lines.append(_text(LEFT, TOP - 14, curve.made_by, "start"))
    lines.append(
        f'<rect x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" '
        f'height="{HEIGHT - TOP - BOTTOM}" fill="none" stroke="#999"/>'
    )

    def place(p: Point) -> Point:
        right = LEFT + (WIDTH - LEFT - RIGHT) * (p[0] - 1) / max(1, last - 1)
        up = (log10(high) - log10(p[1])) / (log10(high) - log10(low))
        return right, TOP + 6 + (HEIGHT - TOP - BOTTOM - 12) * up

    for value in (low, high):
        lines.append(_text(LEFT - 6, place((1, value))[1] + 4, f"{value:.3g}", "end"))
    for epoch in sorted({1, last}):
        lines.append(_text(place((epoch, low))[0], HEIGHT - BOTTOM + 16, str(epoch), "middle"))
    lines.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - BOTTOM + 16, "epoch", "middle"))
    for i, (points, color, name) in enumerate(
        ((trained, TRAINED, "loss"), (held_out, HELD_OUT, "loss, held out"))
    ):
        if not points:
            continue
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(place, points))
        lines.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        text = f"{name}: {points[-1][1]:.4g}"
        lines.append(_text(WIDTH - RIGHT + 8, TOP + 14 + 16 * i, text, "start", color))
    top1 = [p.held_out_top1 for p in curve.points if p.held_out_top1 is not None]
    if top1:
        text = f"held out: {100 * top1[-1]:.2f} % right"
        lines.append(_text(WIDTH - RIGHT + 8, TOP + 46, text, "start", HELD_OUT))
    return "\n".join([*lines, "</g>", ""])


def _series(curve: Curve, value: Callable[[CurvePoint], float | None]) -> list[Point]:
    found = [(float(p.epoch), value(p)) for p in curve.points]
    return [(x, y) for x, y in found if y is not None and isfinite(y) and y > 0]


def _text(x: float, y: float, text: str, anchor: str, color: str = "#222") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}"'
    return f"<text {place}>{escape(text)}</text>"
