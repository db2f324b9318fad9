"""The editor of a command and its options: `render`, `ledits` or `instruct`, the pipeline, and how it edits."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isi_core.commands.parts import tell
from isi_core.commands.rank_parts import EMBEDDED, world_of
from isi_core.domain.errors import InputError
from isi_core.models.editors.ledits_settings import DEFAULT_DIFFUSION, MASKS, TINY_SETTINGS, paper_settings

if TYPE_CHECKING:
    from isi_core.models.editors.protocol import ImageEditor
    from isi_core.studies.counterfactuals.bank import EditBank

EDITORS = ("render", "ledits", "instruct")
TINY = "tiny-diffusion"

# Option of the command -> field of the editor's settings.
_LEDITS = {
    "inversion_steps": "steps",
    "skipped_steps": "skipped",
    "edit_guidance": "guidance",
    "edit_threshold": "threshold",
    "masks": "masks",
}
_INSTRUCT = {"instruct_steps": "steps", "text_guidance": "guidance", "image_guidance": "image_guidance"}
_PLACED = ("device", "dtype")
_OF = {
    **dict.fromkeys(_LEDITS, ("ledits",)),
    **dict.fromkeys(_INSTRUCT, ("instruct",)),
    **dict.fromkeys((*_PLACED, "editor_model"), ("ledits", "instruct")),
}


def open_editor(arguments: argparse.Namespace, built_in: bool) -> ImageEditor:
    """The editor; `render` for the embedded worlds, `ledits` with the embedded pipeline or any, `instruct` with any.

    Parameters
    ----------
    built_in : the pictures are drawn ones of the domain's world, which tiny-diffusion and `render` are for.

    Raises
    ------
    InputError : an editor that does not fit the pictures, or options that do not fit the editor. ModelError : the
        pipeline cannot be loaded.
    """
    refuse_idle(arguments)
    if arguments.editor == "render":
        from isi_core.models.editors.render import RenderEditor

        if not world_of(arguments) or not built_in:
            raise InputError("The render editor draws pictures of the built-in worlds only: choose --editor ledits.")
        return RenderEditor(arguments.domain)
    placed = {"device": _device(arguments.device), "dtype": arguments.dtype}
    if arguments.editor == "instruct":
        from isi_core.models.editors.instruct import DEFAULT, InstructSettings, load_instruct_editor

        model = arguments.editor_model or DEFAULT
        return load_instruct_editor(
            model, model, InstructSettings(**_given(arguments, _INSTRUCT), seed=arguments.seed), **placed
        )
    from dataclasses import replace

    from isi_core.models.editors.ledits import load_ledits_editor
    from isi_core.studies.counterfactuals.bank import default_bank

    source, name = _pipeline(arguments, built_in)
    settings = TINY_SETTINGS if name == TINY else paper_settings(arguments.domain)
    # An edit is determined by its inversion, whose seed is the settings'.
    settings = replace(settings, **_given(arguments, _LEDITS), seed=arguments.seed)
    folder = (arguments.bank or default_bank()) / "inversions"
    return load_ledits_editor(source, name, settings, folder=folder, **placed)


def refuse_idle(arguments: argparse.Namespace) -> None:
    """Refuse an option that the editor would not listen to."""
    for name, editors in _OF.items():
        if getattr(arguments, name) not in (None, "") and arguments.editor not in editors:
            option = "--" + name.replace("_", "-")
            raise InputError(
                f"{option} is for --editor {' and '.join(editors)}, but the editor is {arguments.editor}: leave it "
                "out, or name the editor."
            )


def _given(arguments: argparse.Namespace, fields: dict[str, str]) -> dict[str, Any]:
    """The fields that were named; the others stay as the model's own settings have them."""
    values = {field: getattr(arguments, option) for option, field in fields.items()}
    return {field: value for field, value in values.items() if value is not None}


def _pipeline(arguments: argparse.Namespace, built_in: bool) -> tuple[Path | str, str]:
    """Folder or hub id of the pipeline, and its name: the embedded one for built-in faces alone, else the paper's."""
    own, named = EMBEDDED / TINY, arguments.editor_model
    if not named and world_of(arguments) == "faces" and built_in and own.is_dir():
        return own, TINY
    if named == TINY or (named and Path(named).resolve() == own):
        if not own.is_dir():
            raise InputError(f"{TINY} is not there: name another pipeline with --editor-model FOLDER|HUB-ID.")
        return own, TINY
    if not named and world_of(arguments):
        tell(
            f"{TINY} knows built-in faces only: {DEFAULT_DIFFUSION} is taken; name another with --editor-model "
            "FOLDER|HUB-ID."
        )
    return named or DEFAULT_DIFFUSION, named or DEFAULT_DIFFUSION


def _device(name: str | None) -> str | None:
    """A device that is there; None for the best one."""
    if name is None:
        return None
    import torch

    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    kind, _, number = name.partition(":")
    if not there.get(kind) or (number and not number.isdecimal()):
        choices = ", ".join(device for device, is_there in there.items() if is_there)
        raise InputError(f"There is no device {name[:40]!r} on this machine: choose from {choices}.")
    return name


def open_bank(arguments: argparse.Namespace) -> EditBank | None:
    """The edit bank; none for `render`, which draws quicker than a disk reads, unless one is named."""
    from isi_core.studies.counterfactuals.bank import EditBank, default_bank

    if arguments.editor == "render" and arguments.bank is None:
        return None
    return EditBank(arguments.bank or default_bank())


def add_editor(command: argparse.ArgumentParser) -> None:
    """The options that say what edits, and how."""
    command.add_argument("--editor", default="render", choices=EDITORS, help="default: %(default)s")
    command.add_argument("--bank", type=Path, metavar="DIR", help="where edits are kept; default: below ISI_HOME")
    group = command.add_argument_group(
        "diffusion editors", "default: what fits tiny-diffusion, else the paper's settings for the domain"
    )
    group.add_argument("--editor-model", default="", metavar="ID|DIR", help="pipeline of ledits and instruct")
    group.add_argument("--inversion-steps", type=int, metavar="N", help="ledits: steps of inversion and edits")
    group.add_argument("--skipped-steps", type=int, metavar="N", help="ledits: the noisiest steps, left out")
    group.add_argument("--edit-guidance", type=float, metavar="S", help="ledits: edit guidance scale")
    group.add_argument("--edit-threshold", type=float, metavar="Q", help="ledits: quantile 0 to 1, high: small regions")
    group.add_argument("--masks", choices=MASKS, help="ledits: where guidance acts")
    group.add_argument("--instruct-steps", type=int, metavar="N", help="instruct: denoising steps")
    group.add_argument(
        "--text-guidance", type=float, metavar="S", help="instruct: how far it is followed, if the pipeline listens"
    )
    group.add_argument(
        "--image-guidance", type=float, metavar="S", help="instruct: how far the picture stays, InstructPix2Pix only"
    )
    group.add_argument("--device", metavar="NAME", help="of the pipeline: cpu, cuda, cuda:1, mps; default: the best")
    group.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="of the pipeline's weights")
