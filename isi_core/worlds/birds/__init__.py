"""The bird world: flat birds on a branch with 43 attributes, and the species they are drawn after."""

from __future__ import annotations

from isi_core.worlds.attributed import AttributeWorld
from isi_core.worlds.birds.attributes import PHRASES, REGIONS, SPECIES, TREE, draw_leaves
from isi_core.worlds.birds.portrait import paint

BIRDS = AttributeWorld("birds", TREE, PHRASES, REGIONS, draw_leaves, paint)

__all__ = ["BIRDS", "SPECIES"]
