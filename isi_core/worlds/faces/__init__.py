"""The face world: flat portraits with 71 attributes."""

from __future__ import annotations

from isi_core.worlds.attributed import AttributeWorld
from isi_core.worlds.faces.attributes import PHRASES, REGIONS, TREE, draw_leaves
from isi_core.worlds.faces.portrait import paint

FACES = AttributeWorld("faces", TREE, PHRASES, REGIONS, draw_leaves, paint)
