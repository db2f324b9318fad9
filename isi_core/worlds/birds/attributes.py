"""The attributes of the bird world, the species they characterize, and how often each occurs."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from isi_core.worlds.attributed import Path, Tree

TREE: Tree = {
    "beak": {"colour": ("yellow", "red", "black"), "shape": ("hooked", "long", "stout")},
    "head": {
        "crest": ("pointed", "fan", "swept"),
        "crown": ("black", "red", "white"),
        "eye ring": ("white", "yellow"),
        "face": ("mask", "eyebrow"),
    },
    "underparts": {
        "throat": ("red", "yellow", "black"),
        "belly": ("orange", "yellow", "white"),
        "breast": ("spots", "streaks"),
    },
    "upperparts": {"back": ("blue", "green", "rust")},
    "wings": {"wing colour": ("black", "blue", "olive"), "pattern": ("bars", "patch", "speckles")},
    "tail": {"shape": ("forked", "fan", "long"), "tip": ("white", "yellow")},
    "legs": {"leg colour": ("red", "yellow")},
    "surroundings": {"perch": ("berries", "blossom", "leaves")},
}

PHRASES: Mapping[Path, str] = {
    **{("beak", group, leaf): f"{leaf} beak" for group, leaves in TREE["beak"].items() for leaf in leaves},
    ("head", "face", "mask"): "black mask",
    ("head", "face", "eyebrow"): "white eyebrow",
    ("underparts", "breast", "spots"): "spotted breast",
    ("underparts", "breast", "streaks"): "streaked breast",
    **{("wings", "wing colour", leaf): f"{leaf} wing" for leaf in TREE["wings"]["wing colour"]},
    ("wings", "pattern", "bars"): "wing bars",
    ("wings", "pattern", "patch"): "wing patch",
    ("wings", "pattern", "speckles"): "speckled wing",
    **{("tail", "shape", leaf): f"{leaf} tail" for leaf in TREE["tail"]["shape"]},
    **{("tail", "tip", leaf): f"{leaf} tail tip" for leaf in TREE["tail"]["tip"]},
    **{("legs", "leg colour", leaf): f"{leaf} legs" for leaf in TREE["legs"]["leg colour"]},
    **{("surroundings", "perch", leaf): f"branch with {leaf}" for leaf in TREE["surroundings"]["perch"]},
    ("beak", "colour"): "beak colour",
    ("beak", "shape"): "beak shape",
    ("head", "face"): "face pattern",
    ("underparts", "breast"): "breast pattern",
    ("wings", "pattern"): "wing pattern",
    ("tail", "shape"): "tail shape",
    ("tail", "tip"): "tail tip",
}

CHANCES: Mapping[Path, float] = {
    (one, two): 0.6 if one == "surroundings" else 0.35 for one, groups in TREE.items() for two in groups
}
"""How often one of a group's leaves is on where the species does not say."""

SPECIES: Mapping[str, Mapping[Path, str]] = {
    "ember finch": {
        ("beak", "shape"): "stout",
        ("beak", "colour"): "red",
        ("underparts", "throat"): "red",
        ("underparts", "belly"): "orange",
    },
    "blue tanager": {
        ("upperparts", "back"): "blue",
        ("wings", "wing colour"): "blue",
        ("underparts", "belly"): "white",
        ("head", "face"): "mask",
    },
    "reed warbler": {
        ("upperparts", "back"): "green",
        ("head", "face"): "eyebrow",
        ("underparts", "belly"): "yellow",
        ("wings", "pattern"): "bars",
    },
    "moss thrush": {
        ("upperparts", "back"): "rust",
        ("underparts", "breast"): "spots",
        ("head", "eye ring"): "white",
        ("legs", "leg colour"): "yellow",
    },
    "crested jay": {
        ("head", "crest"): "pointed",
        ("wings", "pattern"): "patch",
        ("tail", "tip"): "white",
        ("beak", "colour"): "black",
    },
    "hook shrike": {
        ("beak", "shape"): "hooked",
        ("head", "crown"): "black",
        ("wings", "wing colour"): "black",
        ("tail", "shape"): "long",
    },
    "river swallow": {
        ("tail", "shape"): "forked",
        ("underparts", "throat"): "black",
        ("head", "crest"): "swept",
        ("legs", "leg colour"): "red",
    },
}
"""A species is a set of leaves that most of its birds have; each single one may be missing."""

_CHARACTERISTIC = 0.85


def draw_leaves(rng: Random) -> dict[Path, str]:
    """Leaves by lot: those of a species by lot, with exceptions, and others as they come."""
    typical = SPECIES[rng.choice(tuple(SPECIES))]
    drawn = {}
    for group, chance in CHANCES.items():
        if group in typical and rng.random() < _CHARACTERISTIC:
            drawn[group] = typical[group]
        elif rng.random() < chance:
            drawn[group] = rng.choice(TREE[group[0]][group[1]])
    return drawn


REGIONS: Mapping[Path, tuple[float, float, float, float]] = {
    ("beak", "colour"): (0.65, 0.22, 1.0, 0.5),
    ("beak", "shape"): (0.65, 0.22, 1.0, 0.5),
    ("head", "crest"): (0.36, 0.0, 0.82, 0.42),
    ("head", "crown"): (0.4, 0.12, 0.8, 0.42),
    ("head", "eye ring"): (0.54, 0.22, 0.76, 0.42),
    ("head", "face"): (0.46, 0.18, 0.82, 0.45),
    ("underparts", "throat"): (0.54, 0.32, 0.82, 0.58),
    ("underparts", "belly"): (0.3, 0.4, 0.8, 0.84),
    ("underparts", "breast"): (0.4, 0.4, 0.8, 0.8),
    ("upperparts", "back"): (0.1, 0.1, 0.85, 0.9),
    ("wings", "wing colour"): (0.1, 0.36, 0.68, 0.88),
    ("wings", "pattern"): (0.1, 0.36, 0.68, 0.88),
    ("tail", "shape"): (0.0, 0.5, 0.5, 1.0),
    ("tail", "tip"): (0.0, 0.5, 0.45, 1.0),
    ("legs", "leg colour"): (0.36, 0.68, 0.66, 0.97),
    ("surroundings", "perch"): (0.0, 0.3, 1.0, 1.0),
}
