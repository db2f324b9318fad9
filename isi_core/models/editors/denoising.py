"""What all diffusion editors share: work that is counted and whose failures are told, and tensors into pictures."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from isi_core.domain.errors import ModelError, StudioError, first_line
from isi_core.domain.evaluation import ModelRecord
from isi_core.models.editors.protocol import OnStep
from isi_core.models.out_of_memory import give_back, is_out_of_memory

_log = logging.getLogger(__name__)


@dataclass
class DenoiserWork:
    """How far an edit is.

    Attributes
    ----------
    total : denoiser calls that the edit will take.
    done : those that have begun.
    evaluations : pictures and prompts that went through the denoiser, which reads several in a call.
    """

    total: int
    done: int = 0
    evaluations: int = 0


@contextmanager
def denoising(
    pipeline: Any, record: ModelRecord, total: int, on_step: OnStep | None, way_out: str, denoiser: str = "unet"
) -> Iterator[DenoiserWork]:
    """Within it the denoiser's work is counted and told, and what fails is said in a sentence.

    Parameters
    ----------
    denoiser : the pipeline's part that is called at every step, a U-Net or a transformer.

    Raises
    ------
    ModelError : the pipeline failed, or ran out of memory: then `way_out` says what to choose.
    """
    work = DenoiserWork(total)

    def count(_denoiser: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        # U-Nets call their first argument "sample", transformers "hidden_states".
        latents = given[0] if given else named["sample" if "sample" in named else "hidden_states"]
        if on_step is not None:
            on_step(work.done, work.total)
        work.done += 1
        work.evaluations += int(latents.shape[0])

    full = False
    counting = getattr(pipeline, denoiser).register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield work
    except StudioError:
        raise
    except (RuntimeError, ValueError, IndexError, TypeError, AttributeError, MemoryError) as error:
        full = is_out_of_memory(error)
        if not full:
            _log.warning("An edit with %s failed", record.name, exc_info=True)
            raise ModelError(f"{record.name} could not edit the picture ({first_line(error)}).") from error
    finally:
        counting.remove()
    if full:  # outside the handler, whose error would keep the tensors alive
        give_back()
        raise ModelError(f"{record.name} ran out of memory on {record.device}: {way_out}.")


def to_image(made: torch.Tensor, record: ModelRecord) -> Image.Image:
    """A picture of a (3, height, width) tensor from 0 to 1.

    Raises
    ------
    ModelError : it holds numbers that are not finite (a half-precision overflow).
    """
    if not made.isfinite().all():
        raise ModelError(
            f"{record.name} made a picture of numbers that are not finite: "
            "load it in float32 or bfloat16, or lower the strength."
        )
    pixels = (made.float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(np.ascontiguousarray(pixels))
