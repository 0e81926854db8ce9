"""The tables of the benchmark of number formats, from its rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

SETTINGS = ("channel optimized", "tensor optimized", "channel nearest")
Rows = Mapping[str, Mapping[str, float]]
NETWORKS = ("kws", "ic", "ad")
INT8 = "int8"

HEADLINE = {
    "kws": "models/kws_dscnn.onnx -mcpu=cortex-m4 --calib 'data/kws.npz:x[:250]' --eval 'data/kws.npz:x[250:],y[250:]'",
    "ic": "models/ic_resnet8.onnx -mcpu=cortex-m4 --calib 'data/cifar10.npz:train_x[:250]' --eval data/cifar10.npz:val_x,val_y",
}
"""Arguments of `tinycc-nn compile` that give a network's row, but for --weights."""


@dataclass(frozen=True)
class Found:
    """The rows by what they say; a dash stands for what isn't measured yet."""

    rows: Rows

    def get(self, name: str, *key: str) -> float | None:
        return self.rows.get(" | ".join(key), {}).get(name)

    def score(self, network: str, text: str, setting: str) -> str:
        value, nbytes = (self.get(n, "score", network, text, setting) for n in ("score", "bytes"))
        if value is None or nbytes is None:
            return "-"
        return f"{value:.3f}" if network == "ad" else f"{value:.2f}"

    def count(self, name: str, *key: str) -> str:
        value = self.get(name, *key)
        return "-" if value is None else f"{value:,.0f}"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    return "\n".join([*lines, *(f"| {' | '.join(r)} |" for r in rows)]) + "\n"


def formats(rows: Rows) -> list[str]:
    """In the order in which they were measured, plain ones first."""
    keys = [k.split(" | ") for k in rows]
    found = dict.fromkeys(k[2] for k in keys if k[0] == "score")
    first = [f for f in ("float32", INT8) if f in found]
    return [*first, *(f for f in found if f not in first)]


def document(rows: Rows, samples: int) -> str:
    found, names = Found(rows), formats(rows)
    parts = [
        "# Number formats of weights\n",
        "`python benchmarks/formats.py --data DIR`: KWS is scored on the last 250 samples of kws.npz, IC\n"
        f"on {samples} validation images (both top-1 in percent), AD by its mean squared error on ad.npz.\n"
        "Activations are int8, calibrated on at most 250 unlabelled samples; nothing is trained.\n",
        "A sample of KWS is 0.4 points, one of IC 0.05: smaller differences than a few samples say "
        "nothing. A dash: not\nmeasured yet; a further run fills it in.\n",
        "## Accuracy and bytes of weights\n\nRounding optimized on the calibration data with a scale for each "
        "channel (O) and one for each tensor\n(T); to the nearest code with a scale for each channel (N). "
        "Bytes are packed weights with their tables,\nwhere channels have scales.\n",
        accuracy(found, names),
        "## float32, int8 and others on the Cortex-M4, -O2\n\nEstimated cycles; flash of the whole "
        "program; constants of all layers. No sample differed from the interpreter\nunless it says so.\n",
        cycles(found, "-O2"),
        "The same with one scale for each tensor:\n",
        cycles(found, "-O2, per tensor"),
        "## What decoding costs on the Cortex-M4\n\nInstructions a MAC, by the fastest kernel. A weight: what "
        "the pointwise layer takes beside what its\npixels cost, over its weights, from 128 and 64 pixels that "
        "share one decoding.\n",
        costs(found),
        "## Commands of rows\n",
        commands(found),
        "## Posits beside fixed point of the same width\n\nPoints of accuracy gained (AD: percent of the "
        "error), mean of O, T and N.\n",
        gains(found),
        "## What the figures say\n",
        answers(found, names),
    ]
    return "\n".join(parts)


def accuracy(found: Found, names: Sequence[str]) -> str:
    columns = ["weights"]
    for n in NETWORKS:
        columns += [f"{n.upper()} O", "T", "N", "bytes"]
    lines = []
    for text in names:
        cells = [f"`{text}`"]
        for n in NETWORKS:
            cells += [found.score(n, text, s) for s in SETTINGS]
            cells.append(found.count("bytes", "score", n, text, SETTINGS[0]))
        lines.append(cells)
    return table(columns, lines)


def cycles(found: Found, setting: str) -> str:
    keys = [k.split(" | ") for k in found.rows]
    names = dict.fromkeys(k[2] for k in keys if k[0] == "cycles" and k[3] == setting)
    lines = []
    for text in names:
        cells = [f"`{text}`"]
        for n in NETWORKS:
            key = ("cycles", n, text, setting)
            wrong = found.get("differ", *key)
            cells += [found.count("cycles", *key) + (f" ({wrong:.0f} differ)" if wrong else "")]
            cells += [found.count("flash", *key), found.count("constants", *key)]
        lines.append(cells)
    columns = [x for n in NETWORKS for x in (f"{n.upper()} cycles", "flash", "constants")]
    return table(["weights", *columns], lines)


def costs(found: Found) -> str:
    keys = [k.split(" | ") for k in found.rows]
    layers = dict.fromkeys(k[1] for k in keys if k[0] == "cost")
    names = dict.fromkeys(k[2] for k in keys if k[0] == "cost")
    lines = []
    for text in names:
        cells = [f"`{text}`"]
        for layer in layers:
            key = ("cost", layer, text, "")
            n, macs = found.get("instructions", *key), found.get("macs", *key)
            cells.append("-" if n is None or not macs else f"{n / macs:.2f}")
        weight = decoding(found, text)
        lines.append([*cells, "-" if weight is None else f"{weight:.1f}"])
    return table(["weights", *layers, "a weight"], lines)


def decoding(found: Found, text: str) -> float | None:
    """Instructions a weight: twice the layer of half the pixels, less the other."""
    if text.startswith(INT8) or text == "xnor":
        return None
    large, half = (("cost", f"pointwise 64->64, {n}", text, "") for n in ("16x8", "8x8"))
    a, b = found.get("instructions", *large), found.get("instructions", *half)
    weights = found.get("weights", *large)
    return None if a is None or b is None or not weights else (2 * b - a) / weights


def commands(found: Found) -> str:
    lines = []
    for text in ("int8", "posit<5,0>", "i5", "auto:5", "i4", "posit<4,0>", "auto:4"):
        for n, arguments in HEADLINE.items():
            key = ("score", n, text, "channel optimized")
            base = ("score", n, INT8, "channel optimized")
            value, nbytes = found.get("score", *key), found.get("bytes", *key)
            real = found.get("score", "score", n, "float32", "channel optimized")
            least = found.get("bytes", *base)
            if value is None or nbytes is None or real is None or not least:
                continue
            lines.append(
                [
                    f"`tinycc-nn compile {arguments} --weights '{text}'`",
                    f"{value:.2f}", f"{real - value:+.2f}", f"{nbytes / least:.3f}",
                ]
            )  # fmt: skip
    columns = ("command", "top-1, %", "points lost to float32", "bytes of weights to int8")
    return table(columns, lines)


def gains(found: Found) -> str:
    """For each width and es; a dash where a row is missing."""
    columns = ["bits", *(f"{n.upper()}, es = {es}" for n in NETWORKS for es in (0, 1, 2))]
    lines = []
    for bits in (8, 7, 6, 5, 4):
        cells = [str(bits)]
        for n in NETWORKS:
            for es in (0, 1, 2):
                each = [gain(found, n, bits, es, s) for s in SETTINGS]
                known = [g for g in each if g is not None]
                whole = len(known) == len(each)
                cells.append(f"{round(sum(known) / len(known), 2) + 0.0:+.2f}" if whole else "-")
        lines.append(cells)
    return table(columns, lines)


def gain(found: Found, network: str, bits: int, es: int, setting: str) -> float | None:
    """What a posit has over fixed point: points, or percent of the error."""
    texts = (f"posit<{bits},{es}>", fixed_point(bits))
    posit, fixed = (found.get("score", "score", network, t, setting) for t in texts)
    if posit is None or fixed is None:
        return None
    return 100 * (fixed - posit) / fixed if network == "ad" else posit - fixed


def fixed_point(bits: int) -> str:
    return "fixed<8,0>" if bits == 8 else f"i{bits}"


def answers(found: Found, names: Sequence[str]) -> str:
    """Sentences that follow from the rows."""
    lines = [x for n in NETWORKS if (x := _speed(found, n))]
    for n in NETWORKS:
        for bits in (8, 7, 6, 5, 4):
            lines += _versus(found, n, bits, names)
    return "\n".join(f"- {line}" for line in lines) + "\n"


def _speed(found: Found, network: str) -> str:
    real, int8 = (("cycles", network, t, "-O2") for t in ("float32", INT8))
    a, b = (found.get("cycles", *k) for k in (real, int8))
    c, d = (found.get("constants", *k) for k in (real, int8))
    if a is None or b is None or c is None or d is None:
        return ""
    return f"{network.upper()}: int8 has {c / d:.2f} times smaller constants than float32 and is {a / b:.2f} times faster."


def _versus(found: Found, network: str, bits: int, names: Sequence[str]) -> list[str]:
    """Posits of a width beside fixed point of that width."""
    fixed = fixed_point(bits)
    posits = [f"posit<{bits},{es}>" for es in (0, 1, 2)]
    lines = []
    for setting in SETTINGS:
        values = {t: found.get("score", "score", network, t, setting) for t in (fixed, *posits)}
        known = {t: v for t, v in values.items() if v is not None}
        if len(known) < len(values) or any(t not in names for t in known):
            continue
        sign = -1 if network == "ad" else 1
        best = max(posits, key=lambda t: sign * known[t])
        digits = 3 if network == "ad" else 2
        better = sign * (known[best] - known[fixed])
        verdict = "better" if better > 0 else "worse" if better < 0 else "equal"
        lines.append(
            f"{network.upper()}, {bits} bits, {setting}: best posit es = {best[-2]} "
            f"({known[best]:.{digits}f}), fixed point {known[fixed]:.{digits}f}: posits {verdict}."
        )
    return lines
