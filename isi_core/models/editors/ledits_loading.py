"""LEDITS++ pipelines from a folder or the hub, made ready so that inversions are exact and masks are right.

diffusers 0.42 with transformers 5 needs each of the repairs below; without them edits run and are silently wrong.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    LEditsPPPipelineStableDiffusion,
    LEditsPPPipelineStableDiffusionXL,
    ModelMixin,
    UNet2DConditionModel,
)
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0
from safetensors import SafetensorError
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from isi_core.domain.errors import ModelError, first_line
from isi_core.domain.evaluation import ModelRecord
from isi_core.models.devices import default_device
from isi_core.models.out_of_memory import is_out_of_memory
from isi_core.models.vlm.loading import choose_dtype
from isi_core.models.weights import weights_digest

_log = logging.getLogger(__name__)

_LARGEST_PROMPTS_FILE = 1 << 20
_PARTS: dict[str, type[Any]] = {
    "unet": UNet2DConditionModel,
    "vae": AutoencoderKL,
    "text_encoder": CLIPTextModel,
    "text_encoder_2": CLIPTextModelWithProjection,
}


class LengthTokenizer(CLIPTokenizer):
    """A CLIP tokenizer whose `return_length` tells the prompt's length.

    transformers 5 tells the padded length, and LEDITS++ would sum its cross-attention masks over
    all padding.
    """

    def __call__(self, *texts: Any, **options: Any) -> Any:
        """Tokenize as CLIPTokenizer does."""
        made = super().__call__(*texts, **options)
        if options.get("return_length") and "attention_mask" in made:
            mask = made["attention_mask"]
            made["length"] = mask.sum(-1) if torch.is_tensor(mask) else [sum(row) for row in mask]
        return made


@dataclass(frozen=True, eq=False)
class LeditsModel:
    """A pipeline that is ready for LEDITS++.

    Attributes
    ----------
    pipeline : one of diffusers' two LEDITS++ pipelines.
    side : pixels of the square it was trained on.
    factor : pixels a latent, along one side.
    masks : whether its cross-attention can tell where a word belongs.
    words : prompts of attributes that the model was trained with, by path; empty for others.
    lock : held by whoever uses the pipeline, which carries the state of its last inversion.
    """

    pipeline: Any
    record: ModelRecord
    side: int
    factor: int
    masks: bool
    words: Mapping[tuple[str, ...], str]
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def large(self) -> bool:
        """It is of Stable Diffusion XL's architecture."""
        return isinstance(self.pipeline, LEditsPPPipelineStableDiffusionXL)


def load_ledits_model(
    source: str | Path,
    name: str = "",
    *,
    dtype: torch.dtype | str | None = None,
    device: str | None = None,
    revision: str | None = None,
) -> LeditsModel:
    """Load a Stable Diffusion or Stable Diffusion XL pipeline from a local folder or a hub id.

    Only safetensors are read and no code of the checkpoint's is run. Without a dtype, float32 on a
    CPU, bfloat16 or float16 elsewhere.

    Raises
    ------
    ModelError : not found, another kind of pipeline, a part or weights missing, or out of memory.
    """
    name = name or Path(source).name
    place = torch.device(device or default_device())
    number = choose_dtype(dtype, place)
    with loading_explained(
        name,
        place,
        "give a folder or hub id of a Stable Diffusion or Stable Diffusion XL pipeline with safetensors weights, and "
        "check the connection for a hub id",
    ):
        folder = pipeline_folder(source, name, revision)
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        parts = check_parts(folder, index, name)
        loaded: dict[str, Any] = {part: load_part(folder, part, name, number) for part in parts}
        for part in parts:
            if part.startswith("text_encoder"):
                tokenizer = part.replace("text_encoder", "tokenizer")
                loaded[tokenizer] = LengthTokenizer.from_pretrained(folder / tokenizer, trust_remote_code=False)
        loaded["scheduler"] = _scheduler(folder)
        pipeline = _assemble(loaded, index).to(place)
    _repair(pipeline)
    unet: Any = pipeline.unet
    if unet.config.in_channels != 4:
        raise ModelError(
            f"{name} works on {unet.config.in_channels} latent channels (inpainting or instruction editing); "
            "LEDITS++ needs a plain text-to-image pipeline, which has 4."
        )
    record = record_of(name, source, folder, parts, pipeline)
    factor = int(pipeline.vae_scale_factor)
    blocks = unet.config.down_block_types
    return LeditsModel(
        pipeline=pipeline,
        record=record,
        side=int(unet.config.sample_size) * factor,
        factor=factor,
        masks=len(blocks) > 2 and "CrossAttn" in blocks[2],
        words=read_words(folder / "prompts.json"),
    )


@contextmanager
def loading_explained(name: str, place: torch.device, way_out: str) -> Iterator[None]:
    """Within it, whatever keeps a pipeline from being loaded is told as a ModelError that ends in the way out."""
    try:
        yield
    except ModelError:
        raise
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        ImportError,
        RuntimeError,
        SafetensorError,
    ) as error:
        if is_out_of_memory(error):
            raise ModelError(
                f"{name} does not fit into the memory of {place}: choose a smaller pipeline or another device."
            ) from error
        _log.warning("Loading the diffusion pipeline %s failed", name, exc_info=True)
        raise ModelError(f"The pipeline {name} could not be loaded ({first_line(error)}): {way_out}.") from error


def record_of(name: str, source: str | Path, folder: Path, parts: list[str], pipeline: Any) -> ModelRecord:
    """Which pipeline exactly: the digest of a folder's weights, the commit of a hub id."""
    local = Path(source).is_dir()
    return ModelRecord(
        name=name,
        source=folder.name if local else str(source),
        revision=pipeline_digest(folder, parts) if local else folder.name,
        dtype=str(pipeline.dtype).removeprefix("torch."),
        attention="sdpa",
        device=str(pipeline.device),
    )


def pipeline_folder(source: str | Path, name: str, revision: str | None) -> Path:
    """The folder of the pipeline: the given one, or the hub's on this disk."""
    if Path(source).is_dir():
        if not (Path(source) / "model_index.json").is_file():
            raise ModelError(f"{name} has no model_index.json: give the folder of a whole diffusers pipeline.")
        return Path(source).resolve()
    if isinstance(source, Path):
        raise ModelError(f"There is no folder {source} to load {name} from: check the path.")
    try:
        found = DiffusionPipeline.download(source, revision=revision, use_safetensors=True, trust_remote_code=False)
    except Exception as error:  # whatever the network's libraries raise
        _log.warning("Fetching the pipeline %s failed", source, exc_info=True)
        raise ModelError(
            f"{source} is no folder, and could not be fetched from the hub: check the name, the connection, and that "
            "it has safetensors weights."
        ) from error
    return Path(found)


def check_parts(
    folder: Path,
    index: Mapping[str, Any],
    name: str,
    kinds: Mapping[str, str] | None = None,
    readers: Sequence[str] | None = None,
    *,
    method: str = "LEDITS++",
    way_out: str = "choose a Stable Diffusion or Stable Diffusion XL pipeline",
) -> list[str]:
    """Names of the networks that the pipeline is made of, each one there and of the right class.

    Parameters
    ----------
    kinds : the class of each network; Stable Diffusion's (XL's with a second text encoder) where not told.
    readers : tokenizers and processors; one tokenizer a text encoder where not told.

    Raises
    ------
    ModelError : a part is missing or another one; `method` is what needs it.
    """
    if kinds is None:
        kinds = {part: kind.__name__ for part, kind in _PARTS.items() if part != "text_encoder_2" or part in index}
    if readers is None:
        readers = [part.replace("text_encoder", "tokenizer") for part in kinds if part.startswith("text_encoder")]
    pipeline = index.get("_class_name", "pipeline of unknown kind")
    for part, kind in kinds.items():
        told = index.get(part)
        if not isinstance(told, list) or len(told) != 2 or told[1] != kind:
            given = told[1] if isinstance(told, list) and len(told) == 2 and told[1] else "nothing"
            raise ModelError(f"{name} is a {pipeline} with {given} as its {part}; {method} needs a {kind}: {way_out}.")
    missing = [part for part in (*kinds, *readers, "scheduler") if not (folder / part).is_dir()]
    missing += [f"{part}'s weights" for part in kinds if (folder / part).is_dir() and not _has_weights(folder / part)]
    if missing:
        raise ModelError(
            f"{name} is incomplete, it has no {' and no '.join(missing)}: fetch the whole pipeline, with safetensors."
        )
    return list(kinds)


def _has_weights(folder: Path) -> bool:
    return any(folder.glob("*.safetensors"))


def load_part(folder: Path, part: str, name: str, number: torch.dtype, kind: type[Any] | None = None) -> Any:
    """One network, with every weight it needs; without `kind` of Stable Diffusion's class.

    Raises
    ------
    ModelError : weights are missing.
    """
    kind = kind or _PARTS[part]
    options: dict[str, Any] = {"use_safetensors": True, "output_loading_info": True}
    options["torch_dtype" if issubclass(kind, ModelMixin) else "dtype"] = number
    model, loading = kind.from_pretrained(folder / part, **options)
    # Position numbers are counted, not learned; old checkpoints hold them and new ones do not.
    lacking = sorted(str(key) for key in loading["missing_keys"] if not str(key).endswith("position_ids"))
    lacking += sorted(str(key) for key in loading["mismatched_keys"])
    if lacking:
        raise ModelError(
            f"Weights are missing in the {part} of {name} ({len(lacking)} of them, such as {lacking[0]}): "
            "choose a complete pipeline."
        )
    return model.eval().requires_grad_(False)


def _scheduler(folder: Path) -> DPMSolverMultistepScheduler:
    """The pipeline's noise schedule with the one solver that LEDITS++ inverts exactly.

    A last step to noise zero, or of lower order, would not be undone by the noise that was found
    for it.
    """
    made: DPMSolverMultistepScheduler = DPMSolverMultistepScheduler.from_pretrained(
        folder / "scheduler",
        algorithm_type="sde-dpmsolver++",
        solver_order=2,
        final_sigmas_type="sigma_min",
        lower_order_final=False,
        euler_at_final=False,
        use_karras_sigmas=False,
        thresholding=False,
        timestep_spacing="leading",
        steps_offset=1,
    )
    return made


def _assemble(parts: Mapping[str, Any], index: Mapping[str, Any]) -> Any:
    if "text_encoder_2" in parts:
        return LEditsPPPipelineStableDiffusionXL(
            **parts,
            # As the checkpoint says; the empty prompt of most is all zeros.
            force_zeros_for_empty_prompt=bool(index.get("force_zeros_for_empty_prompt", True)),
            add_watermarker=False,
        )
    return LEditsPPPipelineStableDiffusion(
        **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )


def _repair(pipeline: Any) -> None:
    """Mend one pipeline object; diffusers' modules stay as they are for everybody else."""
    pipeline.set_progress_bar_config(disable=True)
    put = pipeline.unet.set_attn_processor

    def put_fused(processors: Any, *rest: Any) -> None:
        """Plain attention becomes torch's fused kernel: same result, a quarter of the time at 512 px."""
        if isinstance(processors, dict):
            put({key: _fused(processor) for key, processor in processors.items()}, *rest)
        else:
            put(_fused(processors), *rest)

    pipeline.unet.set_attn_processor = put_fused
    if isinstance(pipeline, LEditsPPPipelineStableDiffusionXL):
        large: Any = pipeline
        told = large._get_add_time_ids

        def height_first(original: Any, corner: Any, target: Any, *rest: Any, **options: Any) -> Any:
            """`invert` notes (width, height), SDXL was trained on (height, width)."""
            return told(original[::-1], corner, target[::-1], *rest, **options)

        large._get_add_time_ids = height_first


def _fused(processor: Any) -> Any:
    return AttnProcessor2_0() if type(processor) is AttnProcessor else processor


def pipeline_digest(folder: Path, parts: list[str]) -> str:
    """SHA-256 (hex) over the weights of all networks."""
    return hashlib.sha256("".join(weights_digest(folder / part) for part in parts).encode()).hexdigest()


def read_words(path: Path) -> dict[tuple[str, ...], str]:
    """Prompts by path from `prompts.json`, a list of [path, words]; nothing where there is no such file."""
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST_PROMPTS_FILE:
            return {}
        rows = json.loads(path.read_text(encoding="utf-8"))
        return {tuple(str(label) for label in labels): str(words) for labels, words in rows}
    except (OSError, ValueError, TypeError, RecursionError):
        _log.warning("%s is damaged: prompts are made from the attributes' names", path.name)
        return {}
