"""How long and how fast to train: the options that the training passes share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tinycc_nn.options import option


@dataclass(frozen=True)
class Settings:
    epochs: int = option(
        10, "how often to go through the training data", choices=(2, 5, 20), lengthy=True
    )
    minutes: float = option(0.0, "train so long instead, of wall clock; 0: by epochs")
    lr: float = option(
        0.001, "largest step, in units of a channel's typical weight", choices=(0.0002, 0.005, 0.02)
    )
    batch: int = option(128, "samples of a step")
    optimizer: Literal["adam", "sgd"] = option("adam", "adam, or sgd with a momentum of 0.9")
    schedule: Literal["cosine", "linear", "constant"] = option(
        "cosine", "how the step falls to 0 until the end"
    )
    warmup: float = option(0.05, "share of the training in which the step grows from 0")
    weight_decay: float = option(0.0, "of the weights by each step, times lr")
    crop: int = option(0, "shift images by up to so many pixels, edges mirrored")
    flip: bool = option(False, "mirror half of the images left to right")
    shift: int = option(0, "shift features by up to so many rows, edges repeated")
    noise: float = option(0.0, "normal noise, in standard deviations of the samples")
    mask: int = option(0, "cover up to so many rows and columns of features with their mean")
    mix: float = option(
        0.0, "blend each sample with another one, which gets a share of up to so much; for teachers"
    )
    holdout: float = option(
        0.0, "share of the samples to judge each epoch by instead of training; the best one stays"
    )
    keep_zeros: bool = option(True, "weights that were pruned to exactly zero stay zero")
    normalize: bool = option(
        False, "float convolutions train with a batch_norm, folded into their weights at the end"
    )
    precision: Literal["float32", "bfloat16"] = option(
        "float32",
        "of sums of floats and of gradients; bfloat16 is faster where processors have it",
        in_search="float32",
    )
    seed: int = option(0, "of the order of samples and of augmentation")
    threads: int = option(
        0, "of torch; 0: one for each core, 1 in a search. Results depend on it", in_search=1
    )

    def __post_init__(self) -> None:
        for name in ("epochs", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        for name in (
            "minutes",
            "weight_decay",
            "crop",
            "shift",
            "noise",
            "mask",
            "threads",
            "seed",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")
        if not 0 < self.lr < 10:
            raise ValueError("lr must be above 0 and below 10")
        for name in ("warmup", "holdout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in 0..1, below 1")
        if not 0 <= self.mix <= 0.5:
            raise ValueError("mix must be in 0..0.5")
