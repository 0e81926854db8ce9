"""Train the digits network and write digits.onnx, calib.npz and test.npz beside this file.

Data: the 8x8 digits of scikit-learn (UCI "Optical Recognition of Handwritten Digits", CC BY 4.0),
pixels 0..16 scaled to 0..1, float32[N, 1, 8, 8].
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional

HERE = Path(__file__).parent
EPOCHS, BATCH, TEST_SAMPLES, CALIBRATION_SAMPLES = 120, 32, 360, 200

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Block:
    """A convolution without bias ("same" padding) followed by batch normalization."""

    name: str
    inputs: int
    outputs: int
    kernel: int = 3
    stride: int = 1
    groups: int = 1


STEM = Block("stem", 1, 8)
DOWN = Block("down", 8, 16, stride=2)
DEPTHWISE = Block("depthwise", 16, 16, groups=16)
POINTWISE = Block("pointwise", 16, 16, kernel=1)
HEAD = Block("head", 16, 32, kernel=1)
BLOCKS = (STEM, DOWN, DEPTHWISE, POINTWISE, HEAD)


def samples() -> tuple[Floats, Floats, Labels, Labels]:
    """Training images, test images, training labels, test labels: the same split every time."""
    digits = load_digits()
    images = (digits.images[:, np.newaxis] / 16).astype(np.float32)
    labels = digits.target.astype(np.int64)
    split = train_test_split(
        images, labels, test_size=TEST_SAMPLES, random_state=0, stratify=labels
    )
    return split[0], split[1], split[2], split[3]


def layers() -> Any:
    """The parameters of the network, by layer name."""
    made = {}
    for b in BLOCKS:
        conv = nn.Conv2d(
            b.inputs, b.outputs, b.kernel, b.stride, b.kernel // 2, groups=b.groups, bias=False
        )
        made[b.name] = nn.Sequential(conv, nn.BatchNorm2d(b.outputs))
    return nn.ModuleDict({**made, "classifier": nn.Linear(HEAD.outputs, 10)})


def logits(net: Any, x: Any) -> Any:
    x = functional.relu(net["stem"](x))
    x = functional.relu(net["down"](x))
    y = functional.relu(net["depthwise"](x))
    x = functional.relu(x + net["pointwise"](y))
    x = functional.relu(net["head"](x))
    return net["classifier"](x.mean((2, 3)))


def augmented(x: Any) -> Any:
    """Each image turned, stretched and moved a little (8x8 pixels bear no more)."""
    n = len(x)
    angle = (torch.rand(n) - 0.5) * 0.5
    grow = 1 + (torch.rand(n, 2) - 0.5) * 0.3
    move = (torch.rand(n, 2) - 0.5) * 0.4
    rows = [
        torch.stack([angle.cos() * grow[:, 0], -angle.sin(), move[:, 0]], 1),
        torch.stack([angle.sin(), angle.cos() * grow[:, 1], move[:, 1]], 1),
    ]
    grid = functional.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, align_corners=False)


def train(images: Floats, labels: Labels) -> Any:
    torch.manual_seed(0)
    torch.set_num_threads(1)  # sums in the same order on every machine
    net = layers()
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    steps = EPOCHS * -(-len(x) // BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, steps)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(x)).split(BATCH):
            loss = functional.cross_entropy(logits(net, augmented(x[batch])), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return net.eval()


def to_onnx(net: Any) -> onnx.ModelProto:
    """The network as torch exports it in training form: batch normalization not folded, NCHW."""
    nodes: list[onnx.NodeProto] = []

    def add(op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def block(b: Block, x: str) -> str:
        half = b.kernel // 2
        y = add(
            "Conv",
            [x, f"{b.name}.0.weight"],
            f"{b.name}.conv",
            kernel_shape=[b.kernel] * 2,
            strides=[b.stride] * 2,
            pads=[half] * 4,
            dilations=[1, 1],
            group=b.groups,
        )
        parameters = [f"{b.name}.1.{p}" for p in ("weight", "bias", "running_mean", "running_var")]
        return add("BatchNormalization", [y, *parameters], f"{b.name}.bn", epsilon=1e-5)

    x = add("Relu", [block(STEM, "input")], "stem.relu")
    x = add("Relu", [block(DOWN, x)], "down.relu")
    y = add("Relu", [block(DEPTHWISE, x)], "depthwise.relu")
    x = add("Relu", [add("Add", [x, block(POINTWISE, y)], "residual.add")], "residual.relu")
    x = add("Relu", [block(HEAD, x)], "head.relu")
    x = add("Flatten", [add("GlobalAveragePool", [x], "pool")], "flatten", axis=1)
    x = add("Gemm", [x, "classifier.weight", "classifier.bias"], "classifier", transB=1)
    add("Softmax", [x], "output", axis=1)
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 10])],
        [numpy_helper.from_array(v.numpy(), k) for k, v in net.state_dict().items() if k in used],
    )
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8, producer_name="digits")
    onnx.checker.check_model(model, full_check=True)
    return model


def accuracy(model: onnx.ModelProto, images: Floats, labels: Labels) -> float:
    """The fraction (0..1) of images that onnxruntime puts in the right class."""
    session = onnxruntime.InferenceSession(model.SerializeToString())
    found = [session.run(None, {"input": image[np.newaxis]})[0].argmax() for image in images]
    return float(np.mean(np.array(found) == labels))


def main() -> None:
    images, test_images, labels, test_labels = samples()
    model = to_onnx(train(images, labels))
    onnx.save(model, HERE / "digits.onnx")
    np.savez_compressed(HERE / "calib.npz", x=images[:CALIBRATION_SAMPLES])
    np.savez_compressed(HERE / "test.npz", x=test_images, y=test_labels)
    parameters = sum(numpy_helper.to_array(t).size for t in model.graph.initializer)
    print(f"{parameters} parameters, train accuracy {accuracy(model, images, labels):.2%}")
    print(f"test accuracy {accuracy(model, test_images, test_labels):.2%}")


if __name__ == "__main__":
    main()
