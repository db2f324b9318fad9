"""Titles and headlines: remarks that tell no progress, scripts that tell the order, and rounds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from random import Random

STAGES = 8
"""Stages of a script."""

_TITLES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "block tower": (("Build", "Stack", "Make"), ("a Block Tower", "a Tall Tower of Blocks", "a Toy Tower")),
    "flower": (("Plant", "Grow", "Raise"), ("a Flower", "a Flower in a Pot", "a Balcony Flower")),
    "lawn": (("Mow", "Cut", "Trim"), ("the Lawn", "the Grass", "a Small Garden Lawn")),
    "dish": (("Cook", "Prepare", "Make"), ("a Simple Dish", "a Warm Supper", "a Vegetable Dish")),
    "parcel": (("Wrap", "Pack", "Send"), ("a Parcel", "a Birthday Present", "a Gift Box")),
    "bicycle": (("Repair", "Mend", "Fix"), ("a Flat Tyre", "a Bicycle Wheel", "a Bicycle")),
    "house": (("Paint", "Coat", "Brighten"), ("a House", "a House Wall", "an Old House")),
    "kite": (("Assemble", "Build", "Craft"), ("Two Kites", "a Pair of Kites", "Kites for Two Children")),
}
_TITLE_ENDINGS = ("", "", " at Home", " on a Weekend", " with Children", " the Easy Way")

_OPENINGS = ("", "", "Please ", "Remember to ", "Try to ", "You should ")
_REMARK_ENDINGS = ("", "", ", if you can", " and take your time", " and stay calm", ", it helps a lot")

_REMARKS: dict[str, tuple[str, ...]] = {
    "block tower": (
        "hold the block with two fingers",
        "choose a colour that you like",
        "keep your hands steady",
        "look at the tower from the side",
        "put the block down gently",
        "check that the block lies flat",
        "keep the table still",
        "ask a friend to watch",
        "wipe the dust off the block",
        "push the block into line",
        "sit close to the table",
        "turn the block to its best side",
    ),
    "flower": (
        "give the pot some water",
        "turn the pot towards the light",
        "keep the soil loose",
        "look for small insects",
        "wipe the rim of the pot",
        "keep the pot out of the wind",
        "feel the soil with a finger",
        "pull out the weeds",
        "leave the pot in the sun",
        "add a little plant food",
        "write the date on the label",
        "talk to your flower",
    ),
    "lawn": (
        "push the mower straight ahead",
        "keep your feet away from the blade",
        "look out for stones",
        "walk at an even pace",
        "hold the handle with both hands",
        "watch the cable behind you",
        "wear strong shoes",
        "keep the children away",
        "listen to the motor",
        "drink some water in the shade",
        "let the mower do the work",
        "pull your hat over your eyes",
    ),
}

_SCRIPTS: dict[str, tuple[tuple[tuple[str, str], ...], ...]] = {
    # Each stage: (imperative, gerund) wordings of one and the same piece of work.
    "dish": (
        (("wash the vegetables", "washing the vegetables"), ("rinse the carrots", "rinsing the carrots")),
        (("peel the skin off", "peeling the skin off"), ("scrape the peel away", "scraping the peel away")),
        (("chop everything into cubes", "chopping everything into cubes"), ("slice it thinly", "slicing it thinly")),
        (("heat the oil in the pan", "heating the oil in the pan"), ("warm some butter", "warming some butter")),
        (("fry the pieces until golden", "frying the pieces until golden"), ("brown the cubes", "browning the cubes")),
        (("pour in the stock", "pouring in the stock"), ("let it simmer under a lid", "simmering it under a lid")),
        (("season with salt and pepper", "seasoning with salt and pepper"), ("stir in the herbs", "stirring in herbs")),
        (("serve it on warm plates", "serving it on warm plates"), ("bring it to the guests", "bringing it to guests")),
    ),
    "parcel": (
        (("find a box of the right size", "finding a box of the right size"), ("pick a carton", "picking a carton")),
        (("line the bottom with straw", "lining the bottom with straw"), ("pad the floor", "padding the floor")),
        (("lay the present inside", "laying the present inside"), ("put the gift in", "putting the gift in")),
        (("close the lid", "closing the lid"), ("shut the flaps", "shutting the flaps")),
        (("fold the paper around it", "folding the paper around it"), ("wrap it in paper", "wrapping it in paper")),
        (("tape the edges down", "taping the edges down"), ("glue the seams", "gluing the seams")),
        (("tie a ribbon", "tying a ribbon"), ("knot the string", "knotting the string")),
        (("carry it to the post office", "carrying it to the post office"), ("hand it over", "handing it over")),
    ),
    "bicycle": (
        (("loosen the wheel nuts", "loosening the wheel nuts"), ("undo the axle", "undoing the axle")),
        (("take the wheel out", "taking the wheel out"), ("lift off the wheel", "lifting off the wheel")),
        (("pull the tyre from the rim", "pulling the tyre from the rim"), ("lever it off", "levering it off")),
        (("look for the hole in the tube", "looking for the hole"), ("find the leak", "finding the leak")),
        (("roughen the rubber with sandpaper", "roughening the rubber"), ("sand the spot", "sanding the spot")),
        (("stick the patch on", "sticking the patch on"), ("press a patch over it", "pressing a patch over it")),
        (("squeeze the tube back in", "squeezing the tube back in"), ("refit the tyre", "refitting the tyre")),
        (("pump it up hard", "pumping it up hard"), ("fill it with air", "filling it with air")),
    ),
}
_FIRST = ("", "", "First ", "To begin, ", "Start here: ")
_MIDDLE = ("", "", "", "Then ", "Next ", "After that, ", "Now ")
_LAST = ("", "", "Finally ", "At last, ", "To finish, ")
_SCRIPT_ENDINGS = ("", "", "", " with care", " without haste", " as shown")

_ROUNDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "house": (
        ("For the first coat, ", "In round one, ", "With the primer, ", "For the base layer, "),
        ("For the second coat, ", "In round two, ", "With the finish, ", "For the top layer, "),
    ),
    "kite": (
        ("On the first kite, ", "For kite number one, ", "On the elder child's kite, ", "For the earlier kite, "),
        ("On the second kite, ", "For kite number two, ", "On the younger child's kite, ", "For the later kite, "),
    ),
}
_ROUND_WORK: dict[str, tuple[str, ...]] = {
    "house": (
        "dip the roller into the paint",
        "stand firmly on the ladder",
        "keep the strokes even",
        "wipe drips off with a rag",
        "stir the paint in its bucket",
        "work along the wall",
        "keep the window clean",
        "roll up and down",
        "look at the wall in good light",
        "mind the edges of the door",
    ),
    "kite": (
        "hold the pieces tight",
        "keep the paper smooth",
        "check the shape from above",
        "work on a flat table",
        "use a little glue",
        "ask for a helping hand",
        "measure with a ruler",
        "keep both sides equal",
        "press until it sticks",
        "have the scissors ready",
    ),
}


def title(rng: Random, category: str) -> str:
    """A title of an article of the category, which tells nothing of its steps."""
    verbs, things = _TITLES[category]
    return f"How to {rng.choice(verbs)} {rng.choice(things)}{rng.choice(_TITLE_ENDINGS)}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def remarks(rng: Random, category: str, count: int) -> list[str]:
    """`count` different headlines that tell no progress: a sample without replacement, so every order is as likely."""
    return [
        _sentence(f"{rng.choice(_OPENINGS)}{work}{rng.choice(_REMARK_ENDINGS)}")
        for work in rng.sample(_REMARKS[category], count)
    ]


def script(rng: Random, category: str, stages: Sequence[int]) -> list[str]:
    """A headline for each of the stages, which are given in order (0 to 7).

    The work itself tells its place in the script. Some headlines say *first*, *then* or *finally* beside it, and some
    name a neighbour: "Before closing the lid, lay the present inside", "After closing the lid, tie a ribbon".
    """
    wordings = [rng.choice(_SCRIPTS[category][stage]) for stage in stages]
    lines = []
    for i, (work, _) in enumerate(wordings):
        chance = rng.random()
        if chance < 0.12 and i + 1 < len(wordings):
            line = f"Before {wordings[i + 1][1]}, {work}"
        elif chance > 0.88 and i > 0:
            line = f"After {wordings[i - 1][1]}, {work}"
        else:
            opening = rng.choice(_FIRST if i == 0 else _LAST if i == len(wordings) - 1 else _MIDDLE)
            line = f"{opening}{work}{rng.choice(_SCRIPT_ENDINGS)}"
        lines.append(_sentence(line))
    return lines


def rounds(rng: Random, category: str, which: int, count: int) -> list[str]:
    """`count` different headlines that tell the round (0 or 1) and nothing else; every order of them is as likely."""
    return [
        _sentence(f"{rng.choice(_ROUNDS[category][which])}{work}") for work in rng.sample(_ROUND_WORK[category], count)
    ]


def _phrases() -> Iterator[str]:
    yield "How to"
    for verbs, things in _TITLES.values():
        yield from (*verbs, *things)
    yield from (*_TITLE_ENDINGS, *_OPENINGS, *_REMARK_ENDINGS, *_FIRST, *_MIDDLE, *_LAST, *_SCRIPT_ENDINGS)
    yield from ("Before", "After")
    for works in (*_REMARKS.values(), *_ROUND_WORK.values()):
        yield from works
    for stages in _SCRIPTS.values():
        yield from (text for stage in stages for wording in stage for text in wording)
    for openings in _ROUNDS.values():
        yield from (text for opening in openings for text in opening)


def vocabulary() -> tuple[str, ...]:
    """Every word of every title and headline, lower case, sorted: what a tokenizer of this world must know."""
    return tuple(sorted({word for phrase in _phrases() for word in re.findall(r"[a-z']+", phrase.lower())}))


def title_words() -> tuple[frozenset[str], frozenset[str]]:
    """(verbs, nouns) of the titles, lower case: the lexicon behind the word counts of the built-in world."""
    verbs = {verb.lower() for starts, _ in _TITLES.values() for verb in starts}
    nouns = {
        "tower", "block", "blocks", "flower", "pot", "lawn", "grass", "dish", "supper", "parcel", "present", "box",
        "tyre", "wheel", "bicycle", "house", "wall", "kite", "kites", "pair", "children", "home", "weekend", "way",
    }  # fmt: skip
    return frozenset(verbs), frozenset(nouns)
