"""Label prompts of the classifiers that the DiffEx paper explains, for any CLIP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

DEFAULT_CLIP = "openai/clip-vit-base-patch32"


EMBEDDED_CLIP = "tiny-clip-worlds"
"""The embedded CLIP of the attribute worlds; it knows the label prompts of "age" and "gender" and the species."""

NOUNS: Mapping[str, str] = {
    "faces": "face",
    "birds": "bird",
    "plant health": "leaf",
    "retina": "retina",
    "food": "dish",
    "places": "place",
    "fashion": "person",
}
"""What the pictures of a domain show, where that is not the domain's own name."""


@dataclass(frozen=True)
class LabelPrompts:
    """Two or more classes by their texts.

    Attributes
    ----------
    corpus : name of the attribute corpus that fits.
    classes : label -> texts.
    """

    corpus: str
    classes: Mapping[str, tuple[str, ...]]


PRESETS: Mapping[str, LabelPrompts] = {
    "age": LabelPrompts("face", {"young": ("a photo of a young person",), "old": ("a photo of an old person",)}),
    "gender": LabelPrompts("face", {"female": ("a photo of a woman",), "male": ("a photo of a man",)}),
    "healthy leaf": LabelPrompts(
        "plant health",
        {
            "healthy": ("a photo of a healthy leaf", "a photo of a green plant leaf without spots"),
            "diseased": ("a photo of a diseased leaf", "a photo of a plant leaf with spots or lesions"),
        },
    ),
    "cat or dog": LabelPrompts("pet", {"cat": ("a photo of a cat",), "dog": ("a photo of a dog",)}),
    "wildcat": LabelPrompts(
        "wildcat",
        {name: (f"a photo of a {name}",) for name in ("lion", "tiger", "leopard", "cheetah", "lynx", "snow leopard")},
    ),
    "urban or rural": LabelPrompts(
        "places", {"urban": ("a photo of an urban place",), "rural": ("a photo of a rural place",)}
    ),
    "modern or traditional": LabelPrompts(
        "places",
        {
            "modern": ("a photo of modern architecture", "a photo of a modern interior"),
            "traditional": ("a photo of traditional architecture", "a photo of a traditional interior"),
        },
    ),
    "healthy or junk": LabelPrompts(
        "food", {"healthy": ("a photo of healthy food",), "junk": ("a photo of junk food",)}
    ),
    "fine or fast": LabelPrompts(
        "food", {"fine dining": ("a photo of a fine dining dish",), "fast food": ("a photo of fast food",)}
    ),
    "formal or casual": LabelPrompts(
        "fashion", {"formal": ("a photo of formal clothes",), "casual": ("a photo of casual clothes",)}
    ),
    # Expert descriptions as FLAIR uses them (Silva-Rodriguez et al., Med. Image Anal. 2025): several a class.
    "retina": LabelPrompts(
        "retina",
        {
            "no disease": (
                "a fundus photograph of a healthy retina",
                "a fundus photograph without lesions, with a clear optic disc and normal vessels",
            ),
            "diabetic retinopathy": (
                "a fundus photograph with diabetic retinopathy",
                "a fundus photograph with microaneurysms, haemorrhages and hard exudates",
                "a fundus photograph with cotton wool spots and new vessels",
            ),
            "glaucoma": (
                "a fundus photograph with glaucoma",
                "a fundus photograph with a large cup in the optic disc and a thin rim",
            ),
            "macular degeneration": (
                "a fundus photograph with age-related macular degeneration",
                "a fundus photograph with drusen in the macula",
            ),
        },
    ),
}

WORLD_PROMPTS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "faces-age": PRESETS["age"].classes,
    "faces-gender": {"woman": ("a photo of a woman",), "man": ("a photo of a man",)},
    "birds-species": {
        name: (f"a photo of a {name}",)
        for name in (
            "ember finch",
            "blue tanager",
            "reed warbler",
            "moss thrush",
            "crested jay",
            "hook shrike",
            "river swallow",
        )
    },
}
"""The classes of the shipped rules by their texts, for the embedded CLIP."""
