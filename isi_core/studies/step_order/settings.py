"""How a pair encoder is fine-tuned: the paper's settings, and those of the tiny encoders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from isi_core.domain.errors import InputError

Optimizer = Literal["adam", "muon"]
Precision = Literal["auto", "no", "bf16", "fp16"]


@dataclass(frozen=True)
class TrainingSettings:
    """Everything that shapes a fine-tuning; the defaults are the paper's (WikiOrder).

    Attributes
    ----------
    epochs : passes over the training pairs.
    batch : pairs a step.
    learning_rate : of Adam; Muon's matrices learn at twice this rate.
    optimizer : adam, or muon (matrices by Muon, the rest by AdamW).
    warmup : share of the steps over which the rate rises from zero; with any, it then falls along a cosine.
    mirrored : every pair is also shown the other way round, with the other label; costs nothing but the head's product.
    patience : validations without improvement after which the training stops; 0 goes on to the end.
    validations : in an epoch.
    clip : norm that gradients are cut to; 0 leaves them.
    precision : auto takes bfloat16 or float16 where the device has units for it.
    """

    epochs: int = 5
    batch: int = 4
    learning_rate: float = 1e-5
    optimizer: Optimizer = "adam"
    warmup: float = 0.0
    mirrored: bool = False
    patience: int = 0
    validations: int = 1
    clip: float = 0.0
    precision: Precision = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        if not (1 <= self.epochs <= 1000 and 1 <= self.batch <= 4096 and 1 <= self.validations <= 100):
            raise InputError("Epochs must be 1 to 1,000, pairs a step 1 to 4,096, and validations an epoch 1 to 100.")
        if not (0 < self.learning_rate <= 1 and 0 <= self.warmup < 1 and self.clip >= 0 and self.patience >= 0):
            raise InputError("The learning rate must be in (0, 1], the warm-up in [0, 1), clip and patience 0 or more.")
        if self.optimizer not in get_args(Optimizer) or self.precision not in get_args(Precision):
            raise InputError("The optimizer is adam or muon, the precision auto, no, bf16 or fp16.")

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TrainingSettings:
        """The settings from `to_json`'s form; `InputError` where they are none."""
        try:
            return cls(**data)
        except TypeError as error:
            raise InputError(f"These training settings cannot be read ({error}): make them again.") from None


PAPER = TrainingSettings()
"""Of the real models."""

TINY = TrainingSettings(
    epochs=4, batch=32, learning_rate=5e-4, optimizer="adam", warmup=0.05, mirrored=True, clip=1.0, patience=0
)
"""Of the embedded encoders: a million parameters learn at a higher rate."""


def default_settings(encoder: str) -> TrainingSettings:
    """`TINY` for the embedded encoders by name, else `PAPER`."""
    return TINY if encoder.startswith("tiny-") else PAPER
