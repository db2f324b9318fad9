"""What can be chosen on the page: domains, classifiers and their classes, editors; and how each of them is loaded."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import streamlit as st

from isi_core.domain.attributes import Corpus
from isi_core.domain.errors import InputError
from isi_core.models.classifiers.label_prompts import typed_labels
from isi_core.models.classifiers.presets import DEFAULT_CLIP, EMBEDDED_CLIP, PRESETS, WORLD_PROMPTS
from isi_core.models.classifiers.protocol import AttributeReader, Classifier
from isi_core.models.classifiers.rule import RuleClassifier
from isi_core.models.editors.ledits_settings import DEFAULT_DIFFUSION, TINY_SETTINGS, LeditsSettings, paper_settings
from isi_core.models.editors.protocol import ImageEditor
from isi_core.models.editors.render import RenderEditor
from isi_core.studies.counterfactuals.bank import default_bank
from isi_core.studies.counterfactuals.corpora import corpus_names
from isi_core.ui.counterfactuals.desk import Desk
from isi_core.ui.frame import ASSETS
from isi_core.worlds.attributed import WORLDS
from isi_core.worlds.rules import shipped_rule, shipped_rules

MODELS = ASSETS / "models"
DEFAULT_INSTRUCT = "timbrooks/instruct-pix2pix"
OWN_LABELS = "clip:own"
"""Key of the CLIP whose classes are described by whoever asks."""
_DOMAIN_WORDS = {"faces": "faces (built-in world)", "birds": "birds (built-in world)"}


@dataclass(frozen=True)
class ClassifierChoice:
    """A classifier that can be chosen.

    Attributes
    ----------
    labels : its classes; empty where they are known only once it is loaded.
    rule : name of the shipped rule that its training labels followed, or that it is; "" for others.
    note : what a person should know of it, in a sentence.
    """

    key: str
    title: str
    labels: tuple[str, ...]
    rule: str = ""
    note: str = ""

    @property
    def exact(self) -> bool:
        """It is a rule, computed from a world's subjects."""
        return self.key.startswith("rule:")


def domains() -> tuple[str, ...]:
    """Built-in worlds first, then the corpora that come with the studio."""
    return corpus_names()


def domain_words(domain: str) -> str:
    """A domain in the list."""
    return _DOMAIN_WORDS.get(domain, domain)


def classifiers(desk: Desk) -> dict[str, ClassifierChoice]:
    """The classifiers that fit the desk's domain, by key, the default first."""
    found: list[ClassifierChoice] = []
    rules = [rule for rule in map(shipped_rule, shipped_rules()) if rule.world == desk.domain]
    tasks = {rule.name: rule.name.removeprefix(f"{rule.world}-") for rule in rules}
    for rule in rules:
        name = f"tiny-{tasks[rule.name]}"
        if (MODELS / name / "config.json").is_file():
            note = (
                f"A small network of this studio, trained on pictures whose labels follow a known rule: it can be held "
                f"against it. It knows only its built-in world, {rule.world}."
            )
            found.append(ClassifierChoice(name, name, rule.classes, rule.name, note))
    for rule in rules:
        if desk.source == "Built-in":
            title = f"{tasks[rule.name]}, the rule itself"
            note = "No network: the known rule itself, computed from what each built-in picture shows. Exact and quick."
            found.append(ClassifierChoice(f"rule:{rule.name}", title, rule.classes, rule.name, note))
        if (MODELS / EMBEDDED_CLIP / "config.json").is_file():
            title = f"{EMBEDDED_CLIP}: {tasks[rule.name]}"
            note = (
                "A small CLIP of this studio: it compares each picture with the label's texts. It learned from the "
                "known rule's labels, and knows no words but those of the built-in worlds."
            )
            found.append(ClassifierChoice(f"{EMBEDDED_CLIP}:{rule.name}", title, rule.classes, rule.name, note))
    corpus = {"faces": "face", "birds": "bird"}.get(desk.domain, desk.domain)
    for name, preset in PRESETS.items():
        if preset.corpus == corpus:
            note = "CLIP compares each picture with the label's texts; its weights come from a folder or the hub."
            found.append(ClassifierChoice(f"clip:{name}", f"CLIP: {name}", tuple(preset.classes), "", note))
    note = "CLIP compares each picture with texts of your own; its weights come from a folder or the hub."
    found.append(ClassifierChoice(OWN_LABELS, "CLIP: labels of your own", (), "", note))
    own = own_labels(desk.own_model)
    note = "Any image classifier of Hugging Face's: a folder on this server, or a hub id (safetensors only)."
    found.append(ClassifierChoice("own", "another: folder or hub id", own, "", note))
    return {choice.key: _with_own_prompts(desk, choice) for choice in found}


def _with_own_prompts(desk: Desk, choice: ClassifierChoice) -> ClassifierChoice:
    """The choice with the classes that were typed for it; no rule is known for those."""
    if not desk.label_texts.get(choice.key, "").strip():
        return choice
    try:
        texts = typed_labels(desk.label_texts[choice.key])
    except InputError:  # told where it is typed, and to whoever begins with it
        return choice
    return choice if texts == shipped_prompts(choice.key) else replace(choice, labels=tuple(texts), rule="")


def chosen_classifier(desk: Desk) -> ClassifierChoice:
    """The desk's classifier; the default where the domain does not have it."""
    found = classifiers(desk)
    if desk.classifier not in found:
        desk.classifier = next(iter(found))
    choice = found[desk.classifier]
    if choice.labels and desk.class_label not in choice.labels:
        desk.class_label = choice.labels[-1] if len(choice.labels) == 2 else choice.labels[0]
    return choice


def own_labels(source: str) -> tuple[str, ...]:
    """The classes that a local checkpoint's config names; empty for a hub id, or where it cannot be read."""
    path = Path(source) / "config.json"
    try:
        if not source.strip() or not path.is_file() or path.stat().st_size > 5_000_000:
            return ()
        names = json.loads(path.read_text(encoding="utf-8")).get("id2label", {})
        ordered = [str(names[key]) for key in sorted(names, key=int)]
    except (OSError, ValueError, AttributeError, TypeError, KeyError, RecursionError):
        return ()
    return tuple(ordered) if len(ordered) > 1 else ()


def load_classifier(desk: Desk, choice: ClassifierChoice) -> Callable[[], Classifier]:
    """How the chosen classifier is loaded, to be called by the job.

    Raises
    ------
    InputError : a model has to be named first.
    """
    if choice.exact:
        rule = shipped_rule(choice.rule)
        return lambda: RuleClassifier(rule)
    if (texts := _label_texts(desk, choice)) is not None:
        model = _clip_source(desk, choice)
        return lambda: _clip(model, texts)
    if choice.key == "own":
        source = desk.own_model.strip()
        if not source:
            raise InputError("No classifier is named yet: type a folder or a hub id, or choose another one.")
        return lambda: _hugging_face(source, source)
    folder = str(MODELS / choice.key)
    return lambda: _hugging_face(folder, choice.key)


def load_embedded(name: str) -> Any:
    """An embedded classifier by its name, such as tiny-age."""
    return _hugging_face(str(MODELS / name), name)


# A network stays loaded for the next ranking; pages of several sessions and their jobs share it.
@st.cache_resource(show_spinner=False, max_entries=2)
def _hugging_face(source: str, name: str) -> Any:
    from isi_core.models.classifiers.hugging_face import HuggingFaceClassifier

    place: Path | str = Path(source) if Path(source).is_dir() else source
    return HuggingFaceClassifier.load(place, name if place == source else Path(source).name)


def shipped_prompts(key: str) -> Mapping[str, tuple[str, ...]] | None:
    """A CLIP's classes by the texts that come with the studio; None for a classifier of another kind."""
    kind, _, name = key.partition(":")
    if kind == EMBEDDED_CLIP:
        return WORLD_PROMPTS[name]
    if key == OWN_LABELS:
        return {}
    return PRESETS[name].classes if kind == "clip" else None


def _label_texts(desk: Desk, choice: ClassifierChoice) -> Mapping[str, tuple[str, ...]] | None:
    """A CLIP's classes by their texts, those that were typed where there are any; None for one of another kind.

    Raises
    ------
    InputError : what was typed does not describe classes.
    """
    shipped, typed = shipped_prompts(choice.key), desk.label_texts.get(choice.key, "")
    if shipped is None or (shipped and not typed.strip()):
        return shipped
    return typed_labels(typed)


def _clip_source(desk: Desk, choice: ClassifierChoice) -> str:
    if choice.key.startswith(EMBEDDED_CLIP):
        return str(MODELS / EMBEDDED_CLIP)
    return desk.clip_model.strip() or DEFAULT_CLIP


@st.cache_resource(show_spinner=False, max_entries=2)
def _clip(source: str, classes: Mapping[str, tuple[str, ...]]) -> Any:
    from isi_core.models.classifiers.clip import ClipClassifier

    place: Path | str = Path(source) if Path(source).is_dir() else source
    return ClipClassifier.load(place, Path(source).name if place != source else source, classes)


def loaded_again(desk: Desk, record: Mapping[str, Any]) -> Callable[[], Any] | None:
    """How the network of a kept ranking's record is loaded; None where it is not known here.

    An embedded one is found by the record alone, whatever is chosen on the desk now. For any other the record has no
    path: it is the one that is typed on the desk, where its name fits.
    """
    name = str(record.get("name", ""))
    # One name, no path: a record may come from anywhere.
    embedded = name not in ("", ".", "..") and Path(name).name == name and str(record.get("source", name)) == name
    if embedded and (MODELS / name / "config.json").is_file():
        return lambda: _hugging_face(str(MODELS / name), name)
    own = desk.own_model.strip()
    if own and Path(own).name == Path(name).name:
        return lambda: _hugging_face(own, own)
    return None


def editors(desk: Desk) -> dict[str, str]:
    """The editors that fit, by name, with a sentence each; the default first."""
    found = {}
    if desk.domain in WORLDS and desk.source == "Built-in":
        found["render"] = "Draws the built-in subject again with the attribute switched: exact, everything else stays."
    found["ledits"] = (
        "LEDITS++ with a Stable Diffusion (XL) pipeline, as in the DiffEx paper: edits any picture, best on a GPU."
    )
    found["instruct"] = (
        "An instruction-editing pipeline (InstructPix2Pix, FLUX Kontext, Qwen-Image-Edit, …): it is told “add goatee "
        "beard”; any picture, best on a GPU."
    )
    return found


def chosen_editor(desk: Desk) -> str:
    """The desk's editor; the default where it does not fit."""
    found = editors(desk)
    if desk.editor not in found:
        desk.editor = next(iter(found))
    return desk.editor


def diffusion_default(desk: Desk) -> str:
    """The pipeline that is taken where none is named: the embedded one for drawn faces with LEDITS++, else the paper's.

    It knows no photographs.
    """
    if desk.editor == "instruct":
        return DEFAULT_INSTRUCT
    embedded = (MODELS / "tiny-diffusion" / "model_index.json").is_file()
    drawn = desk.domain == "faces" and desk.source == "Built-in"
    return "tiny-diffusion" if embedded and drawn else DEFAULT_DIFFUSION


def load_editor(desk: Desk) -> Callable[[], ImageEditor]:
    """How the chosen editor is loaded, to be called by the job.

    Raises
    ------
    InputError : its settings make no sense.
    """
    if chosen_editor(desk) == "render":
        name = desk.domain
        return lambda: RenderEditor(name)
    if desk.editor == "instruct":
        return _load_instruct(desk)
    source = desk.editor_model.strip() or diffusion_default(desk)
    settings = LeditsSettings(
        steps=int(desk.inversion_steps),
        skipped=int(desk.skipped),
        guidance=float(desk.edit_guidance),
        threshold=float(desk.edit_threshold),
        masks=fitting_settings(desk).masks,
        seed=int(desk.seed),
    )
    return lambda: _with_settings(_ledits(source, str(default_bank() / "inversions")), settings)


def _load_instruct(desk: Desk) -> Callable[[], ImageEditor]:
    source = desk.editor_model.strip() or DEFAULT_INSTRUCT
    steps, seed = int(desk.instruct_steps), int(desk.seed)
    text, image = float(desk.text_guidance), float(desk.image_guidance)

    def load() -> ImageEditor:
        from isi_core.models.editors.instruct import InstructEditor, InstructSettings

        return InstructEditor(_instruct(source), InstructSettings(steps, text, image, seed=seed))

    return load


def load_reader(desk: Desk, choice: ClassifierChoice, corpus: Corpus) -> Callable[[], AttributeReader | None]:
    """How the reader that checks edits is loaded; the exact editor needs none.

    The embedded one for drawn faces; else the CLIP that is explained, which is loaded anyhow, or the embedded CLIP for
    drawn birds. Both know no photographs: without a CLIP nothing tells whether those show an attribute.
    """
    if desk.editor == "render":
        return lambda: None
    folder, drawn = MODELS / "tiny-attributes", desk.source == "Built-in" or edits_with_tiny(desk)
    if desk.domain == "faces" and drawn and (folder / "config.json").is_file():
        return lambda: _reader(str(folder))
    texts, source = _label_texts(desk, choice), ""
    if texts is not None:
        source = _clip_source(desk, choice)
    elif desk.domain in WORLDS and drawn and (MODELS / EMBEDDED_CLIP / "config.json").is_file():
        source, texts = str(MODELS / EMBEDDED_CLIP), WORLD_PROMPTS["faces-age"]
    if texts is None or not corpus.leaves():
        return lambda: None
    return lambda: _clip_reader(source, texts, desk.domain, corpus)


def _clip_reader(source: str, texts: Mapping[str, tuple[str, ...]], domain: str, corpus: Corpus) -> AttributeReader:
    from isi_core.models.classifiers.attribute_reader import ClipReader

    return ClipReader(_clip(source, texts), domain, corpus.leaves())


@st.cache_resource(show_spinner=False)
def _reader(folder: str) -> Any:
    from isi_core.models.classifiers.attribute_reader import LabelReader

    return LabelReader(_hugging_face(folder, "tiny-attributes"))


def edits_with_tiny(desk: Desk) -> bool:
    """Whether LEDITS++ would take the embedded pipeline."""
    named = desk.editor_model.strip() or diffusion_default(desk)
    return desk.editor == "ledits" and named == "tiny-diffusion"


def fitting_settings(desk: Desk) -> LeditsSettings:
    """LEDITS++'s settings that fit the pipeline and the domain: the paper's, or the embedded model's."""
    if edits_with_tiny(desk):
        return TINY_SETTINGS
    return paper_settings({"faces": "face", "birds": "bird"}.get(desk.domain, desk.domain))


def adopt_editor_settings(desk: Desk) -> None:
    """Take the settings that fit the pipeline and the domain."""
    if desk.editor != "ledits":
        return
    found = fitting_settings(desk)
    desk.inversion_steps, desk.skipped = found.steps, found.skipped
    desk.edit_guidance, desk.edit_threshold = found.guidance, found.threshold


_loading = threading.Lock()


@st.cache_resource(show_spinner=False, max_entries=1)
def _ledits(source: str, folder: str) -> Any:
    from isi_core.models.editors.ledits import load_ledits_editor

    named = MODELS / source
    place: Path | str = named if "/" not in source and named.is_dir() else source
    if isinstance(place, str) and Path(place).is_dir():
        place = Path(place)
    return load_ledits_editor(place, Path(source).name, folder=Path(folder))


@st.cache_resource(show_spinner=False, max_entries=1)
def _instruct(source: str) -> Any:
    from isi_core.models.editors.instruct import load_instruct_model

    return load_instruct_model(Path(source) if Path(source).is_dir() else source, Path(source).name)


def _with_settings(editor: Any, settings: Any) -> Any:
    """The pipeline is loaded once; an editor of other settings shares it."""
    if editor.settings == settings:
        return editor
    from isi_core.models.editors.ledits import LeditsEditor

    with _loading:
        return LeditsEditor(editor.model, settings, editor.inversions)
