"""Opening what `rank` works on: pictures, corpus, classifier, editor, bank and reader, from the command's options."""

from __future__ import annotations

import argparse
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from isi_core.commands.parts import tell
from isi_core.domain.errors import InputError
from isi_core.models.classifiers.presets import DEFAULT_CLIP, EMBEDDED_CLIP, PRESETS, WORLD_PROMPTS

if TYPE_CHECKING:
    from isi_core.domain.attributes import Corpus
    from isi_core.models.classifiers.protocol import AttributeReader, Classifier
    from isi_core.models.editors.protocol import ImageEditor, Picture
    from isi_core.studies.counterfactuals.bank import EditBank

EDITORS = ("render", "ledits", "instruct")
EMBEDDED = Path(__file__).resolve().parents[2] / "assets" / "models"
MOST_PICTURES = 2_000
_SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"))


def world_of(arguments: argparse.Namespace) -> str:
    """The embedded world of the domain; "" where it is none."""
    from isi_core.worlds.attributed import WORLDS

    return arguments.domain if arguments.domain in WORLDS else ""


def open_corpus_named(name: str) -> Corpus:
    """A corpus by name or file; what had to be mended is told."""
    from isi_core.studies.counterfactuals.corpora import corpus_names, find_corpus, open_corpus

    if name in corpus_names() or not Path(name).is_file():
        return find_corpus(name)
    reading = open_corpus(Path(name))
    for note in reading.notes:
        tell(note)
    return reading.corpus


def open_pictures(arguments: argparse.Namespace) -> list[Picture]:
    """The pictures of a folder, or portraits and birds that no training has seen, drawn by the seed."""
    from isi_core.models.editors.protocol import Picture

    if not 1 <= arguments.images <= MOST_PICTURES:
        raise InputError(f"The number of pictures lies between 1 and {MOST_PICTURES:,}; got {arguments.images}.")
    if arguments.pictures is not None:
        return pictures_from(arguments.pictures, arguments.images)
    name = world_of(arguments)
    if not name:
        raise InputError(f"{arguments.domain[:60]} is no built-in world: give a folder of pictures with --pictures.")
    from isi_core.worlds.attributed import world

    place, rng = world(name), Random(arguments.seed)
    found: dict[str, Picture] = {}
    while len(found) < arguments.images:
        subject = place.draw_subject(rng)
        if subject.held_out:
            picture = Picture.of(place.render(subject), f"{name} {len(found) + 1}", subject)
            found.setdefault(picture.digest, picture)
    return list(found.values())


def pictures_from(folder: Path, count: int) -> list[Picture]:
    """The first pictures of a folder, by name."""
    from isi_core.datasets.pictures import open_picture
    from isi_core.models.editors.protocol import Picture

    try:
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES and path.is_file())
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({error.strerror}): check the path.") from None
    if not files:
        raise InputError(f"There is no picture in {folder}: put PNG, JPEG, WebP, BMP or GIF files there.")
    found: dict[str, Picture] = {}
    for path in files:
        if len(found) == count:
            break
        picture = Picture.of(open_picture(path), path.name)
        if picture.digest in found:
            tell(f"{path.name} is the same picture as {found[picture.digest].name}: it is left out.")
        found.setdefault(picture.digest, picture)
    return list(found.values())


def open_classifier(arguments: argparse.Namespace) -> Classifier:
    """A rule, an embedded classifier, CLIP by a preset, a Python function, or any checkpoint."""
    if arguments.rule is not None:
        from isi_core.models.classifiers.rule import RuleClassifier
        from isi_core.worlds.rules import read_rule

        return RuleClassifier(read_rule(arguments.rule))
    name: str = arguments.classifier
    kind, _, rest = name.partition(":")
    if kind == EMBEDDED_CLIP:
        from isi_core.models.classifiers.clip import ClipClassifier

        texts = WORLD_PROMPTS.get(f"{arguments.domain}-{rest}")
        if texts is None:
            raise InputError(f"{EMBEDDED_CLIP} knows age and gender of faces and species of birds: not {name[:60]!r}.")
        return ClipClassifier.load(EMBEDDED / EMBEDDED_CLIP, EMBEDDED_CLIP, texts)
    if kind == "clip" and rest:
        preset, model = rest.partition("@")[0], _clip_model(name)
        if preset not in PRESETS:
            raise InputError(f"There is no label preset {preset[:60]!r}: choose from {', '.join(PRESETS)}.")
        from isi_core.models.classifiers.clip import ClipClassifier

        return ClipClassifier.load(model, model, PRESETS[preset].classes)
    if kind == "python" and rest:
        from isi_core.models.classifiers.python_callable import CallableClassifier

        return CallableClassifier.load(rest)
    from isi_core.models.classifiers.hugging_face import HuggingFaceClassifier

    return HuggingFaceClassifier.load(embedded(name) or name, name)


def _clip_model(classifier: str) -> str:
    """The model of `clip:PRESET[@MODEL]`."""
    return classifier.partition("@")[2] or DEFAULT_CLIP


def embedded(name: str) -> Path | None:
    """The folder of an embedded classifier: `age` and `tiny-age` are the same."""
    if "/" in name or "\\" in name or name.startswith("."):
        return None
    folder = EMBEDDED / (name if name.startswith("tiny-") else f"tiny-{name}")
    return folder if (folder / "config.json").is_file() else None


def open_editor(arguments: argparse.Namespace) -> ImageEditor:
    """The editor; `render` for the embedded worlds, `ledits` with the embedded pipeline or any, `instruct` with any."""
    if arguments.editor == "render":
        from isi_core.models.editors.render import RenderEditor

        if not world_of(arguments):
            raise InputError("The render editor draws the built-in worlds only: choose --editor ledits.")
        return RenderEditor(arguments.domain)
    if arguments.editor == "instruct":
        from isi_core.models.editors.instruct import DEFAULT, InstructSettings, load_instruct_editor

        model = arguments.editor_model or DEFAULT
        return load_instruct_editor(model, model, InstructSettings(seed=arguments.seed))
    from isi_core.models.editors.ledits import TINY_SETTINGS, load_ledits_editor, paper_settings
    from isi_core.studies.counterfactuals.bank import default_bank

    own = EMBEDDED / "tiny-diffusion"
    folder = (arguments.bank or default_bank()) / "inversions"
    if not arguments.editor_model and world_of(arguments):
        if not own.is_dir():
            raise InputError("There is no embedded diffusion pipeline yet: name one with --editor-model.")
        return load_ledits_editor(own, "tiny-diffusion", TINY_SETTINGS, folder=folder)
    model = arguments.editor_model or "stabilityai/stable-diffusion-xl-base-1.0"
    return load_ledits_editor(model, model, paper_settings(arguments.domain), folder=folder)


def open_bank(arguments: argparse.Namespace) -> EditBank | None:
    """The edit bank; none for `render`, which draws quicker than a disk reads, unless one is named."""
    from isi_core.studies.counterfactuals.bank import EditBank, default_bank

    if arguments.editor == "render" and arguments.bank is None:
        return None
    return EditBank(arguments.bank or default_bank())


def open_reader(arguments: argparse.Namespace, corpus: Corpus) -> AttributeReader | None:
    """What checks edits: the named reader, else the embedded one of its world, else the CLIP that is explained.

    `render` needs none.
    """
    if arguments.editor == "render":
        return None
    own = {"faces": "attributes", "birds": f"clip:{EMBEDDED_CLIP}"}
    explained = f"clip:{_clip_model(arguments.classifier)}" if arguments.classifier.startswith("clip:") else ""
    source = arguments.reader or own.get(world_of(arguments), explained)
    kind, _, model = source.partition(":")
    if kind == "clip" and model:
        from isi_core.models.classifiers.attribute_reader import ClipReader
        from isi_core.models.classifiers.clip import ClipClassifier

        # A CLIP has no classes of its own, and wants some: the reader asks by texts of its own.
        clip = ClipClassifier.load(embedded(model) or model, model, PRESETS["age"].classes)
        return ClipReader(clip, arguments.domain, corpus.leaves())
    if not source or (not arguments.reader and embedded(source) is None):
        return None
    from isi_core.models.classifiers.attribute_reader import LabelReader
    from isi_core.models.classifiers.hugging_face import HuggingFaceClassifier

    return LabelReader(HuggingFaceClassifier.load(embedded(source) or source, source))


def add_inputs(command: argparse.ArgumentParser) -> None:
    """The options that name pictures, corpus and editor."""
    command.add_argument("--domain", default="faces", metavar="NAME", help="a built-in world or corpus (faces)")
    command.add_argument("--corpus", metavar="NAME|FILE", help="attributes; default: those of the domain")
    command.add_argument("--pictures", type=Path, metavar="DIR", help="a folder of pictures; default: drawn ones")
    command.add_argument("--images", type=int, default=24, metavar="N", help="how many pictures (24)")
    command.add_argument("--editor", default="render", choices=EDITORS, help="default: %(default)s")
    command.add_argument("--editor-model", default="", metavar="ID|DIR", help="pipeline of ledits and instruct")
    command.add_argument("--bank", type=Path, metavar="DIR", help="where edits are kept; default: below ISI_HOME")
    command.add_argument("--seed", type=int, default=0, metavar="S", help="of pictures, edits and resampling (0)")
    command.add_argument("--remove", action="store_true", help="remove attributes instead of adding them")
