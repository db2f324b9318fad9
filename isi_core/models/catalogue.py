"""The models that can be chosen, one row each, as data: no model library is imported here."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from isi_core.domain.errors import ModelError
from isi_core.models.entailment.judge_address import EXAMPLE as JUDGE_EXAMPLE
from isi_core.models.entailment.judge_address import is_judge, judge_name, parse_judge
from isi_core.models.vlm.endpoint_address import EXAMPLE, Endpoint, is_endpoint, parse_endpoint

Kind = Literal["vlm", "entailment"]

DEFAULT_VLM = "tiny-llava"
DEFAULT_ENTAILMENT = "tiny-nli"

EMBEDDED = Path(__file__).resolve().parents[2] / "assets" / "models"
OTHER = "Other"
"""Family of models that are not in the catalogue: a hub id or a folder that a user typed."""
ENDPOINT = "Endpoint"
"""Family of models behind an OpenAI-compatible server."""

TYPED_VARIABLE = "ISI_MODELS_TYPED"
"""What users may type beside the catalogue's names: `on` (the default), `off`, or a comma-separated choice of
`hub`, `folder` and `endpoint`."""
FOLDER_VARIABLE = "ISI_MODELS_FOLDER"
"""The folder that typed folders must lie in; relative ones are looked for there."""

_REVISION = re.compile(r"[A-Za-z0-9][\w.-]{0,99}(?:/[A-Za-z0-9][\w.-]{0,99}){0,4}", re.ASCII)
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


@dataclass(frozen=True)
class CatalogueRow:
    """One model and what is known of it before it is loaded.

    Attributes
    ----------
    name : short name; pages, commands and records use it.
    family, size : what the two drop-downs show.
    source : hub id, or the folder of a model on disk.
    kind : vision-language or entailment.
    parameters : number of weights; None where only the checkpoint itself can tell.
    quantizable : those of them that 4-bit and 8-bit make smaller.
    key_values : keys and values kept a token: 2 x layers x key-value heads x head size.
    image_tokens : tokens of a picture, at most.
    embedded : comes with this repository.
    chat_template : Jinja source of the prompt as published; None takes the checkpoint's own.
    licence : of the weights.
    notes : one sentence for the page; "" where there is nothing to say.
    endpoint : where a server's model is asked; None for models that are loaded here.
    revision : commit, tag or branch of a hub id; None takes the main branch.
    """

    name: str
    family: str
    size: str
    source: str | Path
    kind: Kind
    parameters: int | None = None
    quantizable: int = 0
    key_values: int = 0
    image_tokens: int = 0
    embedded: bool = False
    chat_template: str | None = None
    licence: str = ""
    notes: str = ""
    endpoint: Endpoint | None = None
    revision: str | None = None

    @property
    def place(self) -> str:
        """Source and revision: rows of one place are one model."""
        return f"{self.source}@{self.revision}" if self.revision else str(self.source)


def _chat_template(before: str, after: str) -> str:
    """One user message between two texts, its picture in front: `{before}<image>\\n{text}{after}`."""
    return (
        "{% for message in messages %}{{ " + repr(before) + " }}"
        "{% for part in message['content'] if part['type'] == 'image' %}{{ '<image>\\n' }}{% endfor %}"
        "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
        "{{ " + repr(after) + " }}{% endfor %}"
    )


LLAVA_TEMPLATE = _chat_template("USER: ", " \nASSISTANT:")
VICUNA_TEMPLATE = _chat_template(
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions. USER: ",
    " ASSISTANT:",
)
MISTRAL_TEMPLATE = _chat_template("[INST] ", " [/INST]")
PALIGEMMA_TEMPLATE = (
    "{% for message in messages %}"
    "{% for part in message['content'] if part['type'] == 'image' %}{{ '<image>' }}{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}{% endfor %}"
)

ROWS: tuple[CatalogueRow, ...] = (
    CatalogueRow(
        name=DEFAULT_VLM,
        family="Tiny LLaVA",
        size="3M",
        source=EMBEDDED / "tiny-llava",
        kind="vlm",
        parameters=3_087_872,
        quantizable=1_769_472,
        key_values=2 * 4 * 192,
        image_tokens=64,
        embedded=True,
        licence="Apache-2.0",
        notes="Comes with ISI Studio and knows only its built-in world of pictogram scenes.",
    ),
    CatalogueRow(
        name="llava-1.5-7b",
        family="LLaVA-1.5",
        size="7B",
        source="llava-hf/llava-1.5-7b-hf",
        kind="vlm",
        parameters=7_063_427_072,
        quantizable=6_476_005_376,
        key_values=2 * 32 * 4096,
        image_tokens=576,
        chat_template=LLAVA_TEMPLATE,
        licence="Llama 2 Community License",
    ),
    CatalogueRow(
        name="llava-1.5-13b",
        family="LLaVA-1.5",
        size="13B",
        source="llava-hf/llava-1.5-13b-hf",
        kind="vlm",
        parameters=13_351_494_656,
        quantizable=12_687_769_600,
        key_values=2 * 40 * 5120,
        image_tokens=576,
        chat_template=LLAVA_TEMPLATE,
        licence="Llama 2 Community License",
    ),
    CatalogueRow(
        name="llava-vicuna-7b",
        family="LLaVA-Vicuna",
        size="7B",
        source="llava-hf/llava-v1.6-vicuna-7b-hf",
        kind="vlm",
        parameters=7_063_431_168,
        quantizable=6_476_005_376,
        key_values=2 * 32 * 4096,
        image_tokens=2928,
        chat_template=VICUNA_TEMPLATE,
        licence="Llama 2 Community License",
    ),
    CatalogueRow(
        name="llava-vicuna-13b",
        family="LLaVA-Vicuna",
        size="13B",
        source="llava-hf/llava-v1.6-vicuna-13b-hf",
        kind="vlm",
        parameters=13_351_499_776,
        quantizable=12_687_769_600,
        key_values=2 * 40 * 5120,
        image_tokens=2928,
        chat_template=VICUNA_TEMPLATE,
        licence="Llama 2 Community License",
    ),
    CatalogueRow(
        name="llava-next-7b",
        family="LLaVA-NeXT",
        size="7B",
        source="llava-hf/llava-v1.6-mistral-7b-hf",
        kind="vlm",
        parameters=7_566_747_648,
        quantizable=6_979_321_856,
        key_values=2 * 32 * 1024,
        image_tokens=2928,
        chat_template=MISTRAL_TEMPLATE,
        licence="Apache-2.0",
    ),
    CatalogueRow(
        name="llava-next-34b",
        family="LLaVA-NeXT",
        size="34B",
        source="llava-hf/llava-v1.6-34b-hf",
        kind="vlm",
        parameters=34_752_083_968,
        quantizable=33_470_545_920,
        key_values=2 * 60 * 1024,
        image_tokens=2928,
        licence="Apache-2.0",
        notes="Its text model, Yi, was trained with a prompt form of its own, which the checkpoint brings along.",
    ),
    CatalogueRow(
        name="qwen2.5-vl-3b",
        family="Qwen2.5-VL",
        size="3B",
        source="Qwen/Qwen2.5-VL-3B-Instruct",
        kind="vlm",
        parameters=3_754_622_976,
        quantizable=2_774_532_096,
        key_values=2 * 36 * 256,
        image_tokens=16_384,
        licence="Qwen Research License",
    ),
    CatalogueRow(
        name="qwen2.5-vl-7b",
        family="Qwen2.5-VL",
        size="7B",
        source="Qwen/Qwen2.5-VL-7B-Instruct",
        kind="vlm",
        parameters=8_292_166_656,
        quantizable=6_525_288_448,
        key_values=2 * 28 * 512,
        image_tokens=16_384,
        licence="Apache-2.0",
    ),
    CatalogueRow(
        name="qwen3-vl-4b",
        family="Qwen3-VL",
        size="4B",
        source="Qwen/Qwen3-VL-4B-Instruct",
        kind="vlm",
        parameters=4_437_815_808,
        quantizable=3_633_315_840,
        key_values=2 * 36 * 1024,
        image_tokens=16_384,
        licence="Apache-2.0",
    ),
    CatalogueRow(
        name="qwen3-vl-8b",
        family="Qwen3-VL",
        size="8B",
        source="Qwen/Qwen3-VL-8B-Instruct",
        kind="vlm",
        parameters=8_767_123_696,
        quantizable=6_945_767_424,
        key_values=2 * 36 * 1024,
        image_tokens=16_384,
        licence="Apache-2.0",
    ),
    CatalogueRow(
        name="gemma-3-4b",
        family="Gemma 3",
        size="4B",
        source="google/gemma-3-4b-it",
        kind="vlm",
        parameters=4_300_079_472,
        quantizable=3_208_642_560,
        key_values=2 * 34 * 1024,
        image_tokens=256,
        licence="Gemma Terms of Use",
        notes="Its weights ask you to accept their terms on the hub first.",
    ),
    CatalogueRow(
        name="smolvlm2-2.2b",
        family="SmolVLM2",
        size="2.2B",
        source="HuggingFaceTB/SmolVLM2-2.2B-Instruct",
        kind="vlm",
        parameters=2_246_784_880,
        quantizable=1_610_612_736,
        key_values=2 * 24 * 2048,
        image_tokens=1_377,
        licence="Apache-2.0",
    ),
    CatalogueRow(
        name="internvl3-8b",
        family="InternVL3",
        size="8B",
        source="OpenGVLab/InternVL3-8B-hf",
        kind="vlm",
        parameters=7_944_373_760,
        quantizable=6_525_288_448,
        key_values=2 * 28 * 512,
        image_tokens=3_328,
        licence="Qwen License",
    ),
    CatalogueRow(
        name="paligemma2-3b",
        family="PaliGemma 2",
        size="3B",
        source="google/paligemma2-3b-mix-448",
        kind="vlm",
        parameters=3_033_127_152,
        quantizable=2_024_275_968,
        key_values=2 * 26 * 1024,
        image_tokens=1_024,
        chat_template=PALIGEMMA_TEMPLATE,
        licence="Gemma Terms of Use",
        notes="Its weights ask you to accept their terms on the hub first.",
    ),
    CatalogueRow(
        name="idefics3-8b",
        family="Idefics3",
        size="8B",
        source="HuggingFaceM4/Idefics3-8B-Llama3",
        kind="vlm",
        parameters=8_462_000_000,
        quantizable=6_979_321_856,
        key_values=2 * 32 * 1024,
        image_tokens=2_873,
        licence="Apache-2.0",
    ),
    CatalogueRow(
        name=DEFAULT_ENTAILMENT,
        family="Tiny NLI",
        size="1M",
        source=EMBEDDED / "tiny-nli",
        kind="entailment",
        parameters=1_172_803,
        embedded=True,
        licence="Apache-2.0",
        notes="Comes with ISI Studio and compares statements about its built-in world only.",
    ),
    CatalogueRow(
        name="deberta-v2-xlarge-mnli",
        family="DeBERTa",
        size="900M",
        source="microsoft/deberta-v2-xlarge-mnli",
        kind="entailment",
        parameters=887_745_027,
        licence="MIT",
        notes="What the ISI tool compares answers with.",
    ),
    CatalogueRow(
        name="deberta-large-mnli",
        family="DeBERTa",
        size="400M",
        source="microsoft/deberta-large-mnli",
        kind="entailment",
        parameters=406_739_971,
        licence="MIT",
        notes="What Farquhar et al. (2024) compare answers with.",
    ),
)


def vlm_families() -> list[str]:
    """Families of vision-language models, the embedded one first."""
    return list(dict.fromkeys(row.family for row in ROWS if row.kind == "vlm"))


def sizes(family: str) -> list[CatalogueRow]:
    """A family's models, smallest first; empty for a family that is not in the catalogue."""
    return [row for row in ROWS if row.family == family]


def find_vlm(name: str) -> CatalogueRow:
    """The vision-language model of this name, hub id, local folder or `endpoint:MODEL@URL`; `@REVISION` behind the
    first two takes that commit, tag or branch.

    Raises
    ------
    ModelError : it is none of them, or the operator does not allow it.
    """
    return _find(name, "vlm")


def find_entailment(name: str) -> CatalogueRow:
    """The entailment model of this name, hub id, local folder or `judge:MODEL@URL` (a language model behind a server).

    Raises
    ------
    ModelError : it is none of them, or the operator does not allow it.
    """
    return _find(name, "entailment")


def find_typed(typed: str) -> Path | str | None:
    """The folder or hub id that a user typed, where the operator allows it and there is one; for models without rows
    here (encoders), which are loaded by their own code."""
    allowed = _allowed()
    folder = _folder(typed) if "folder" in allowed else None
    if folder is not None:
        return folder
    is_id = _HUB_ID.fullmatch(typed) and ".." not in typed and "--" not in typed
    return typed if "hub" in allowed and is_id else None


def _find(name: str, kind: Kind) -> CatalogueRow:
    typed = name.strip()
    for row in ROWS:
        if row.kind == kind and typed in (row.name, str(row.source)):
            return row
    allowed = _allowed()
    if "endpoint" in allowed and kind == "vlm" and is_endpoint(typed):
        return _endpoint_row(parse_endpoint(typed))
    if "endpoint" in allowed and kind == "entailment" and is_judge(typed):
        return _judge_row(typed)
    folder = _folder(typed) if "folder" in allowed else None
    if folder is not None:
        return CatalogueRow(name=folder.name, family=OTHER, size="", source=folder, kind=kind)
    if "hub" in allowed and _HUB_ID.fullmatch(typed) and ".." not in typed and "--" not in typed:
        return CatalogueRow(name=typed, family=OTHER, size="", source=typed, kind=kind)
    if "hub" in allowed and (pinned := _of_revision(typed, kind)) is not None:
        return pinned
    # An address may hold a password: it is not repeated.
    shown = "an endpoint" if is_endpoint(typed) or is_judge(typed) else repr(typed[:100])
    known = ", ".join(row.name for row in ROWS if row.kind == kind)
    raise ModelError(f"No model {shown}: choose one of {known}{_ways(allowed, kind)}.")


def _of_revision(typed: str, kind: Kind) -> CatalogueRow | None:
    """The model of `NAME@REVISION`, NAME of the catalogue or a hub id; None where it is not of this form."""
    name, _, revision = typed.partition("@")
    if not _REVISION.fullmatch(revision) or ".." in revision:
        return None
    try:
        row = _find(name, kind)
    except ModelError:
        return None
    return (
        None
        if isinstance(row.source, Path) or row.endpoint is not None
        else replace(row, name=typed, revision=revision)
    )


def _allowed() -> list[str]:
    """What may be typed, of `hub`, `folder` and `endpoint`; an unknown word allows nothing."""
    setting = os.environ.get(TYPED_VARIABLE, "").strip().lower()
    kinds = ["hub", "folder", "endpoint"]
    if setting in ("", "on"):
        return kinds
    chosen = {word.strip() for word in setting.split(",")}
    return [way for way in kinds if way in chosen]


def _ways(allowed: list[str], kind: Kind) -> str:
    confined = os.environ.get(FOLDER_VARIABLE)
    words = {
        "hub": "a hub id such as owner/name",
        "folder": f"a folder inside {FOLDER_VARIABLE}" if confined else "an existing folder",
        "endpoint": f"an endpoint such as {EXAMPLE}" if kind == "vlm" else f"an LLM judge such as {JUDGE_EXAMPLE}",
    }
    ways = [words[way] for way in allowed]
    return f", or give {' or '.join(ways)}" if ways else "; this server offers no others"


def _folder(typed: str) -> Path | None:
    """The folder that was typed, where there is one; none outside the operator's folder, not even a linked one."""
    confined = os.environ.get(FOLDER_VARIABLE)
    try:
        if not confined:
            folder = Path(typed).expanduser()
            return folder.resolve() if typed and folder.is_dir() else None
        base = Path(confined).expanduser().resolve()
        folder = (base / Path(typed).expanduser()).resolve()
        return folder if typed and folder.is_relative_to(base) and folder != base and folder.is_dir() else None
    except (OSError, ValueError, RuntimeError):  # too long, a NUL, an unknown ~user
        return None


def _endpoint_row(endpoint: Endpoint) -> CatalogueRow:
    return CatalogueRow(
        name=endpoint.name,
        family=ENDPOINT,
        size=endpoint.model,
        source=endpoint.name,
        kind="vlm",
        parameters=0,
        notes=f"Runs at {endpoint.base_url}, which gets every picture and text; it tells no attention.",
        endpoint=endpoint,
    )


def _judge_row(typed: str) -> CatalogueRow:
    endpoint = parse_judge(typed)
    return CatalogueRow(
        name=judge_name(endpoint),
        family=ENDPOINT,
        size=endpoint.model,
        source=judge_name(endpoint),
        kind="entailment",
        parameters=0,
        notes=f"A language model at {endpoint.base_url} judges, which gets the question and every answer.",
        endpoint=endpoint,
    )
