"""A checkpoint's processor of pictures and text, which is the same whether or not torchvision is installed.

Many families (Qwen-VL, SmolVLM, InternVL) also read videos, and transformers loads a processor of theirs only where
torchvision is there for the video part. Nothing here shows a video: that part is left out. Pictures are scaled by
Pillow also where torchvision could do it, which scales them a little differently, so that the same picture gives the
same numbers on every machine.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from transformers import AutoImageProcessor, AutoProcessor
from transformers.image_processing_backends import PilBackend
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
from transformers.utils.import_utils import is_torchvision_available

_VIDEO = "video_processor"


def load_processor(source: str | Path, config: Any, options: dict[str, Any]) -> Any:
    """The processor of a checkpoint with this config; `options` as for `AutoProcessor.from_pretrained`.

    Raises
    ------
    OSError, ValueError, KeyError, ImportError : there is none, or it needs a package that is not installed.
    """
    known: Any = PROCESSOR_MAPPING.get(type(config), None)
    # Where the video part comes last, the others keep their places without it.
    video_last = known is not None and known.get_attributes()[-1:] == [_VIDEO]
    kind: Any = _without_video(known) if video_last else AutoProcessor
    processor = kind.from_pretrained(source, **options)
    pictures = getattr(processor, "image_processor", None)
    if pictures is not None and is_torchvision_available() and not isinstance(pictures, PilBackend):
        processor.image_processor = AutoImageProcessor.from_pretrained(source, backend="pil", **options)
    return processor


def _without_video(known: Any) -> Any:
    """The same class of processors, which neither loads nor asks for a video processor."""

    class StillProcessor(known):  # type: ignore[misc]
        # SmolVLM asks it how many frames to take, for pictures too.
        video_processor = SimpleNamespace(num_frames=None, fps=None)

        @classmethod
        def get_attributes(cls) -> list[str]:
            return [name for name in known.get_attributes() if name != _VIDEO]

        @classmethod
        def from_args_and_dict(cls, args: Any, processor_dict: dict[str, Any], **options: Any) -> Any:
            # Its own `__init__` still takes one.
            return super().from_args_and_dict(args, processor_dict | {_VIDEO: None}, **options)

    StillProcessor.__name__ = known.__name__
    return StillProcessor
