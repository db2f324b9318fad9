"""What `rank` explains, and what checks its edits: opening rule, classifier and attribute reader by their options."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from isi_core.commands.parts import tell
from isi_core.commands.rank_parts import embedded, world_of
from isi_core.domain.errors import InputError
from isi_core.models.classifiers.presets import DEFAULT_CLIP, EMBEDDED_CLIP, PRESETS, WORLD_PROMPTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from isi_core.domain.attributes import Corpus
    from isi_core.models.classifiers.protocol import AttributeReader, Classifier
    from isi_core.worlds.rules import Rule

_DEFAULTS = {"faces": "age", "birds": "species"}
_READERS = {"faces": "attributes", "birds": f"clip:{EMBEDDED_CLIP}"}


def open_rule(name: str) -> Rule:
    """A shipped rule by its name, or one in a file."""
    from isi_core.worlds.rules import read_rule, shipped_rule, shipped_rules

    is_file = name not in shipped_rules() and (Path(name).is_file() or Path(name).suffix)
    return read_rule(Path(name)) if is_file else shipped_rule(name)


def open_classifier(arguments: argparse.Namespace) -> Classifier:
    """A rule, an embedded classifier, CLIP by label prompts, a Python function, or any checkpoint.

    Raises
    ------
    InputError : none is named and the domain has none of its own, or options do not fit each other. ModelError : it
        cannot be loaded.
    """
    if arguments.rule is not None:
        from isi_core.models.classifiers.rule import RuleClassifier

        if arguments.labels is not None:
            raise InputError("A rule needs no label prompts: leave out --labels or --rule.")
        return RuleClassifier(open_rule(arguments.rule))
    name = _classifier_named(arguments)
    model = _clip_named(arguments)
    if model is not None:
        from isi_core.models.classifiers.clip import ClipClassifier

        return ClipClassifier.load(embedded(model) or model, model, _label_prompts(arguments, name))
    if arguments.labels is not None:
        raise InputError(
            "Label prompts describe classes to a CLIP: give --labels with --classifier clip:FOLDER|HUB-ID, or with "
            f"{EMBEDDED_CLIP}."
        )
    kind, _, rest = name.partition(":")
    if kind == "python" and rest:
        from isi_core.models.classifiers.python_callable import CallableClassifier

        return CallableClassifier.load(rest)
    from isi_core.models.classifiers.hugging_face import HuggingFaceClassifier

    own = embedded(name)
    if own is not None and arguments.pictures is not None:
        tell(f"{name} knows the drawn pictures of a built-in world only: name another --classifier for photos.")
    return HuggingFaceClassifier.load(own or name, name)


def _classifier_named(arguments: argparse.Namespace) -> str:
    """The classifier that is named, else the domain's own."""
    if arguments.classifier:
        return str(arguments.classifier)
    if arguments.labels is not None:
        return EMBEDDED_CLIP if world_of(arguments) and arguments.pictures is None else "clip"
    if arguments.domain not in _DEFAULTS:
        raise InputError(
            f"There is no built-in classifier for {arguments.domain[:60]}: name one with --classifier (a hub id or "
            "folder, clip:PRESET, or clip with --labels FILE.json)."
        )
    return _DEFAULTS[arguments.domain]


def _clip_named(arguments: argparse.Namespace) -> str | None:
    """The model of `clip:PRESET[@MODEL]`, with --labels also of `clip[:MODEL]`; None where it is no CLIP."""
    kind, _, rest = _classifier_named(arguments).partition(":")
    if kind == EMBEDDED_CLIP:
        return EMBEDDED_CLIP
    if kind != "clip" or not (rest or arguments.labels is not None):
        return None
    preset, _, model = rest.partition("@")
    if arguments.labels is None or preset in PRESETS or not preset:
        return model or DEFAULT_CLIP
    return rest


def _label_prompts(arguments: argparse.Namespace, name: str) -> Mapping[str, tuple[str, ...]]:
    """A CLIP's classes by their texts: those of the file, of a preset, or of the embedded worlds."""
    if arguments.labels is not None:
        from isi_core.models.classifiers.label_prompts import read_labels

        return read_labels(arguments.labels)
    kind, _, rest = name.partition(":")
    if kind == EMBEDDED_CLIP:
        texts = WORLD_PROMPTS.get(f"{arguments.domain}-{rest}")
        if texts is None:
            raise InputError(
                f"{EMBEDDED_CLIP} knows age and gender of faces and species of birds: not {rest[:60]!r} of "
                f"{arguments.domain[:60]}; describe other classes with --labels FILE.json."
            )
        return texts
    preset = rest.partition("@")[0]
    if preset not in PRESETS:
        raise InputError(
            f"There is no label preset {preset[:60]!r}: choose from {', '.join(PRESETS)}, or describe your own classes "
            "with --labels FILE.json."
        )
    return PRESETS[preset].classes


def known_rule(arguments: argparse.Namespace) -> Rule | None:
    """The rule in the classifier's place, or the one that an embedded classifier's training labels followed."""
    if arguments.rule is not None:
        return open_rule(arguments.rule)
    if arguments.labels is not None or not world_of(arguments):
        return None
    name = _classifier_named(arguments)
    kind, _, rest = name.partition(":")
    if kind != EMBEDDED_CLIP and embedded(name) is None:
        return None
    task = rest if kind == EMBEDDED_CLIP else name.removeprefix("tiny-")
    from isi_core.worlds.rules import shipped_rule, shipped_rules

    rule = f"{arguments.domain}-{task}"
    return shipped_rule(rule) if rule in shipped_rules() else None


def open_reader(arguments: argparse.Namespace, corpus: Corpus) -> AttributeReader | None:
    """What checks edits: the named reader; for built-in pictures their world's; else the CLIP that is explained.

    None where there is none of these: then the presence of attributes is not checked. `render` needs none.
    """
    if arguments.editor == "render":
        return None
    source = arguments.reader
    if not source and arguments.pictures is None:
        source = _READERS.get(world_of(arguments), "")
        if source and embedded(source.removeprefix("clip:")) is None:
            source = ""
    if not source and arguments.rule is None and (model := _clip_named(arguments)) is not None:
        source = f"clip:{model}"
    kind, _, model = source.partition(":")
    if kind == "clip" and model:
        from isi_core.models.classifiers.attribute_reader import ClipReader
        from isi_core.models.classifiers.clip import ClipClassifier

        # A CLIP has no classes of its own, and wants some: the reader asks by texts of its own.
        clip = ClipClassifier.load(embedded(model) or model, model, PRESETS["age"].classes)
        return ClipReader(clip, arguments.domain, corpus.leaves())
    if not source:
        return None
    from isi_core.models.classifiers.attribute_reader import LabelReader
    from isi_core.models.classifiers.hugging_face import HuggingFaceClassifier

    return LabelReader(HuggingFaceClassifier.load(embedded(source) or source, source))


def add_classifier(command: argparse.ArgumentParser) -> None:
    """The options that name what is explained, and what checks edits."""
    command.add_argument(
        "--classifier",
        default="",
        metavar="NAME",
        help="age, gender, species (or tiny-clip-worlds:NAME); hub id or folder; clip:PRESET[@MODEL]; "
        "python:MODULE:FUNCTION; default: age of faces, species of birds",
    )
    command.add_argument(
        "--labels",
        type=Path,
        metavar="FILE.json",
        help='classes of your own for a CLIP, {"class": ["prompt", …], …}, with --classifier clip[:MODEL]',
    )
    command.add_argument("--rule", metavar="NAME|FILE.json", help="a world's rule in the classifier's place")
    command.add_argument("--class", dest="target", default="", metavar="LABEL", help="the class that is scored")
    command.add_argument(
        "--reader", default="", metavar="ID|DIR", help="checks edits: a multi-label classifier, or clip:MODEL"
    )
