"""The attributes of the face world, along the face table of the DiffEx paper, and how often each occurs."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from isi_core.worlds.attributed import Path, Tree

TREE: Tree = {
    "face": {"shape": ("round", "square", "heart-shaped", "long")},
    "hair": {
        "colour": ("black", "blond", "red", "grey"),
        "length": ("bald", "shoulder-length", "long"),
        "texture": ("wavy", "curly"),
        "style": ("fringe", "bun", "side parting", "braids"),
    },
    "eyes": {
        "eyebrows": ("bushy", "thin", "arched"),
        "eyelashes": ("long", "winged"),
        "iris": ("blue", "green"),
    },
    "facial hair": {
        "beard": ("goatee", "full", "Balbo", "anchor", "stubble"),
        "mustache": ("handlebar", "chevron", "pencil", "walrus"),
    },
    "mouth": {"lip volume": ("full", "thin"), "expression": ("smile", "grin", "frown")},
    "makeup": {"lipstick": ("red", "pink", "plum"), "eyeshadow": ("blue", "smoky"), "cheeks": ("blush", "bronzer")},
    "skin": {"wrinkles": ("forehead", "crow's feet", "laugh lines"), "marks": ("freckles", "mole", "scar")},
    "eyewear": {"eyeglasses": ("round", "square", "cat-eye"), "sunglasses": ("aviator", "wayfarer")},
    "headwear": {"hat": ("beanie", "cap", "fedora"), "band": ("headband", "flower crown")},
    "jewellery": {"earrings": ("hoop", "stud", "drop"), "necklace": ("pearl", "chain")},
    "clothing": {"collar": ("shirt", "turtleneck", "ruffled"), "tie": ("necktie", "bow tie")},
}

PHRASES: Mapping[Path, str] = {
    **{("face", "shape", leaf): f"{leaf} face" for leaf in TREE["face"]["shape"]},
    **{("hair", "colour", leaf): f"{leaf} hair" for leaf in TREE["hair"]["colour"]},
    **{("hair", "texture", leaf): f"{leaf} hair" for leaf in TREE["hair"]["texture"]},
    ("hair", "length", "bald"): "bald head",
    ("hair", "length", "shoulder-length"): "shoulder-length hair",
    ("hair", "length", "long"): "long hair",
    ("hair", "style", "fringe"): "fringe",
    ("hair", "style", "bun"): "hair bun",
    ("hair", "style", "side parting"): "side parting",
    ("hair", "style", "braids"): "braids",
    ("eyes", "iris", "blue"): "blue eyes",
    ("eyes", "iris", "green"): "green eyes",
    ("facial hair", "beard", "stubble"): "stubble",
    ("mouth", "lip volume", "full"): "full lips",
    ("mouth", "lip volume", "thin"): "thin lips",
    ("mouth", "expression", "smile"): "smile",
    ("mouth", "expression", "grin"): "grin",
    ("mouth", "expression", "frown"): "frown",
    ("makeup", "cheeks", "blush"): "blush",
    ("makeup", "cheeks", "bronzer"): "bronzer",
    ("skin", "wrinkles", "crow's feet"): "crow's feet",
    ("skin", "wrinkles", "laugh lines"): "laugh lines",
    **{("skin", "marks", leaf): leaf for leaf in TREE["skin"]["marks"]},
    **{("eyewear", "sunglasses", leaf): f"{leaf} sunglasses" for leaf in TREE["eyewear"]["sunglasses"]},
    **{("headwear", "hat", leaf): leaf for leaf in TREE["headwear"]["hat"]},
    **{("headwear", "band", leaf): leaf for leaf in TREE["headwear"]["band"]},
    **{("clothing", "tie", leaf): leaf for leaf in TREE["clothing"]["tie"]},
    ("hair", "colour"): "dyed hair",
    ("hair", "length"): "another hair length",
    ("hair", "texture"): "textured hair",
    ("hair", "style"): "hair style",
    ("face", "shape"): "face shape",
    ("mouth", "expression"): "facial expression",
    ("skin", "marks"): "skin marks",
    ("headwear", "band"): "head band",
}

CHANCES: Mapping[Path, float] = {
    ("face", "shape"): 0.6,
    ("hair", "colour"): 0.65,
    ("hair", "length"): 0.55,
    ("hair", "texture"): 0.45,
    ("hair", "style"): 0.45,
    ("eyes", "eyebrows"): 0.5,
    ("eyes", "eyelashes"): 0.35,
    ("eyes", "iris"): 0.45,
    ("facial hair", "beard"): 0.35,
    ("facial hair", "mustache"): 0.25,
    ("mouth", "lip volume"): 0.4,
    ("mouth", "expression"): 0.6,
    ("makeup", "lipstick"): 0.3,
    ("makeup", "eyeshadow"): 0.25,
    ("makeup", "cheeks"): 0.25,
    ("skin", "wrinkles"): 0.35,
    ("skin", "marks"): 0.3,
    ("eyewear", "eyeglasses"): 0.25,
    ("eyewear", "sunglasses"): 0.1,
    ("headwear", "hat"): 0.18,
    ("headwear", "band"): 0.12,
    ("jewellery", "earrings"): 0.35,
    ("jewellery", "necklace"): 0.3,
    ("clothing", "collar"): 0.5,
    ("clothing", "tie"): 0.2,
}
"""How often one of a group's leaves is on, each leaf as often as the next."""


def draw_leaves(rng: Random) -> dict[Path, str]:
    """Leaves by lot, each group apart from the others but for pairs that hide each other: one thing
    on the nose, one on the head."""
    drawn = {group: rng.choice(TREE[group[0]][group[1]]) for group in CHANCES if rng.random() < CHANCES[group]}
    for first, second in (
        (("eyewear", "eyeglasses"), ("eyewear", "sunglasses")),
        (("headwear", "hat"), ("headwear", "band")),
    ):
        if first in drawn:
            drawn.pop(second, None)
    if drawn.get(("hair", "length")) == "bald":
        drawn.pop(("hair", "style"), None)
        drawn.pop(("hair", "texture"), None)
    return drawn


Box = tuple[float, float, float, float]
REGIONS: Mapping[Path, Box] = {
    ("face", "shape"): (0.15, 0.05, 0.85, 0.95),
    ("hair", "colour"): (0.1, 0.0, 0.9, 1.0),
    ("hair", "length"): (0.1, 0.0, 0.9, 1.0),
    ("hair", "texture"): (0.1, 0.0, 0.9, 1.0),
    ("hair", "style"): (0.1, 0.0, 0.9, 1.0),
    ("eyes", "eyebrows"): (0.28, 0.3, 0.72, 0.46),
    ("eyes", "eyelashes"): (0.28, 0.36, 0.72, 0.54),
    ("eyes", "iris"): (0.33, 0.4, 0.67, 0.53),
    ("facial hair", "beard"): (0.2, 0.42, 0.8, 0.9),
    ("facial hair", "mustache"): (0.3, 0.54, 0.7, 0.7),
    ("mouth", "lip volume"): (0.36, 0.58, 0.64, 0.72),
    ("mouth", "expression"): (0.34, 0.57, 0.66, 0.72),
    ("makeup", "lipstick"): (0.34, 0.58, 0.66, 0.72),
    ("makeup", "eyeshadow"): (0.3, 0.36, 0.7, 0.52),
    ("makeup", "cheeks"): (0.22, 0.45, 0.78, 0.7),
    ("skin", "wrinkles"): (0.25, 0.2, 0.75, 0.75),
    ("skin", "marks"): (0.28, 0.36, 0.72, 0.72),
    ("eyewear", "eyeglasses"): (0.2, 0.36, 0.8, 0.6),
    ("eyewear", "sunglasses"): (0.2, 0.36, 0.8, 0.62),
    ("headwear", "hat"): (0.05, 0.0, 0.95, 0.45),
    ("headwear", "band"): (0.18, 0.05, 0.82, 0.36),
    ("jewellery", "earrings"): (0.18, 0.5, 0.82, 0.75),
    ("jewellery", "necklace"): (0.28, 0.74, 0.72, 1.0),
    ("clothing", "collar"): (0.25, 0.7, 0.75, 1.0),
    ("clothing", "tie"): (0.35, 0.8, 0.65, 1.0),
}
