"""Rules: labels that follow attributes by known weights, the truth that an explanation is held against."""

from __future__ import annotations

import json
import math
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from random import Random
from typing import Any

from isi_core.domain.errors import InputError
from isi_core.worlds.attributed import AttributeWorld, Path, Subject, world

RULES_FOLDER = pathlib.Path(__file__).resolve().parents[2] / "assets" / "rules"
_LARGEST_FILE = 1_000_000
_LARGEST_WEIGHT = 1000.0

Weights = tuple[float, ...]
"""One number for a rule of two classes (towards the second), one a class for a rule of more."""


@dataclass(frozen=True)
class Rule:
    """What a label follows.

    Attributes
    ----------
    name, world : of the rule and of its world.
    classes : at least two names.
    weights : logits that an attribute adds where it is on; a path may be a group.
    interactions : logits that two attributes add where both are on.
    bias : logits of a subject with no attribute.
    spurious : an attribute of no weight that goes along with a class in the training data.
    spurious_class : that class; `spurious_share` : how often it is on there, and off elsewhere.
    """

    name: str
    world: str
    classes: tuple[str, ...]
    weights: Mapping[Path, Weights]
    interactions: tuple[tuple[Path, Path, Weights], ...] = ()
    bias: Weights = (0.0,)
    spurious: Path | None = None
    spurious_class: str = ""
    spurious_share: float = 0.85

    @cached_property
    def outputs(self) -> int:
        """Numbers a weight has: 1 for two classes."""
        return 1 if len(self.classes) == 2 else len(self.classes)

    def class_logits(self, subject: Subject) -> tuple[float, ...]:
        """One logit a class; the first of two classes has logit 0."""
        return self._logits_of(subject.leaves)

    def _logits_of(self, leaves: tuple[Path, ...]) -> tuple[float, ...]:
        on = {leaf[:level] for leaf in leaves for level in (1, 2, 3)}
        # In the weights' own order, so that rounding does not depend on that of a set.
        terms = [self.bias, *(self.weights[path] for path in self.weights if path in on)]
        terms += [weight for first, second, weight in self.interactions if first in on and second in on]
        sums = tuple(math.fsum(column) for column in zip(*terms, strict=True))
        return (0.0, *sums) if self.outputs == 1 else sums

    def logit(self, subject: Subject, class_index: int | None = None) -> float:
        """Log-odds of a class against all others; of the second where there are two."""
        if class_index is None:
            if self.outputs > 1:
                raise InputError(f"The rule {self.name} has {len(self.classes)} classes: say which one is meant.")
            class_index = 1
        logits = self.class_logits(subject)
        others = [value for index, value in enumerate(logits) if index != class_index]
        top = max(others)
        return logits[class_index] - top - math.log(math.fsum(math.exp(value - top) for value in others))

    def likeliest(self, subject: Subject) -> int:
        """Index of the class with the highest logit."""
        return self.likeliest_of(subject.leaves)

    def likeliest_of(self, leaves: tuple[Path, ...]) -> int:
        """The same for a subject of whom the leaves alone are known."""
        logits = self._logits_of(leaves)
        return logits.index(max(logits))

    def draw_label(self, rng: Random, subject: Subject) -> int:
        """Index of a class by lot, with its softmax probability: the rule with logistic noise."""
        return self.draw_label_of(rng, subject.leaves)

    def draw_label_of(self, rng: Random, leaves: tuple[Path, ...]) -> int:
        """The same for a subject of whom the leaves alone are known."""
        logits = self._logits_of(leaves)
        top = max(logits)
        return rng.choices(range(len(logits)), [math.exp(value - top) for value in logits])[0]

    def influences(self, path: Path) -> bool:
        """Whether turning this path on can add anything: it, a group above or a leaf below it has a weight."""
        named = [*self.weights, *(end for first, second, _ in self.interactions for end in (first, second))]
        heavy = {other for other in named if other not in self.weights or any(self.weights[other])}
        return any(path[: len(other)] == other[: len(path)] for other in heavy)

    def to_json(self) -> dict[str, Any]:
        """Plain values, paths as "hair/colour/grey"; `Rule.from_json` reads them back."""

        def plain(weight: Weights) -> float | list[float]:
            return weight[0] if self.outputs == 1 else list(weight)

        return {
            "name": self.name,
            "world": self.world,
            "classes": list(self.classes),
            "bias": plain(self.bias),
            "weights": {"/".join(path): plain(weight) for path, weight in self.weights.items()},
            "interactions": [["/".join(a), "/".join(b), plain(weight)] for a, b, weight in self.interactions],
            "spurious": "/".join(self.spurious) if self.spurious else None,
            "spurious_class": self.spurious_class,
            "spurious_share": self.spurious_share,
        }

    @classmethod
    def from_json(cls, value: Any) -> Rule:
        """The rule that `to_json` wrote, or one of the same form from outside; InputError says what is wrong."""
        return _read(value)


def _read(value: Any) -> Rule:
    if not isinstance(value, dict) or not {"world", "classes", "weights"} <= value.keys():
        raise InputError('A rule needs the fields "world", "classes" and "weights".')
    place = world(value["world"])
    classes = value["classes"]
    if not (
        isinstance(classes, list)
        and 2 <= len(classes) <= 100
        and all(isinstance(name, str) and 0 < len(name) <= 100 for name in classes)
        and len(set(classes)) == len(classes)
    ):
        raise InputError("A rule's classes must be a list of 2 to 100 different names.")
    outputs = 1 if len(classes) == 2 else len(classes)
    weights = value["weights"]
    if not isinstance(weights, dict):
        raise InputError('A rule\'s weights must be given as {"hair/colour/grey": 1.5, …}.')
    interactions = value.get("interactions", [])
    if not isinstance(interactions, list) or not all(
        isinstance(item, list) and len(item) == 3 for item in interactions
    ):
        raise InputError('A rule\'s interactions must be given as [["path", "path", weight], …].')
    pairs = []
    for first, second, weight in interactions:
        ends = _path(place, first), _path(place, second)
        if ends[0][: len(ends[1])] == ends[1][: len(ends[0])]:
            raise InputError(f"A rule's interaction needs two paths of different branches; got {first!r:.60} twice.")
        pairs.append((*ends, _weights(weight, outputs, f"the interaction of {first} and {second}")))
    spurious, spurious_class = value.get("spurious"), value.get("spurious_class") or classes[-1]
    if spurious_class not in classes:
        raise InputError(f"A rule's spurious_class must be one of its classes; got {spurious_class!r:.60}.")
    share = value.get("spurious_share", 0.85)
    if not isinstance(share, (int, float)) or isinstance(share, bool) or not 0.5 <= share <= 1:
        raise InputError(f"A rule's spurious_share must lie between 0.5 and 1; got {share!r:.40}.")
    return Rule(
        name=str(value.get("name", "rule"))[:100],
        world=place.name,
        classes=tuple(classes),
        weights={_path(place, text): _weights(weight, outputs, text) for text, weight in weights.items()},
        interactions=tuple(pairs),
        bias=_weights(value.get("bias", 0.0 if outputs == 1 else [0.0] * outputs), outputs, "bias"),
        spurious=_path(place, spurious) if spurious is not None else None,
        spurious_class=spurious_class,
        spurious_share=float(share),
    )


def _path(place: AttributeWorld, text: Any) -> Path:
    return place.path(text.split("/") if isinstance(text, str) else text)


def _weights(value: Any, outputs: int, what: str) -> Weights:
    numbers = value if isinstance(value, list) else [value]
    if len(numbers) != outputs:
        wanted = "one number" if outputs == 1 else f"a list of {outputs} numbers, one a class"
        raise InputError(f"A rule's weight must be {wanted}: look at {what!s:.80}.")
    for number in numbers:
        usual = isinstance(number, (int, float)) and not isinstance(number, bool) and math.isfinite(number)
        if not usual or abs(number) > _LARGEST_WEIGHT:
            raise InputError(f"A rule's weight must lie between -1000 and 1000; got {number!r:.40} for {what!s:.80}.")
    return tuple(float(number) for number in numbers)


def read_rule(file: pathlib.Path) -> Rule:
    """The rule in a JSON file; InputError where it cannot be read."""
    try:
        if file.stat().st_size > _LARGEST_FILE:
            raise InputError(f"The rule {file.name} is larger than 1 MB: is it a rule?")
        value = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"The rule {file.name} cannot be opened: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"The rule {file.name} is not valid JSON: {error!s:.200}.") from error
    return Rule.from_json(value)


def shipped_rules() -> tuple[str, ...]:
    """Names of the rules that come with the program: "faces-age", "faces-gender", "birds-species"."""
    return tuple(sorted(file.stem for file in RULES_FOLDER.glob("*.json")))


@lru_cache(maxsize=16)
def shipped_rule(name: str) -> Rule:
    """A rule that comes with the program."""
    if name not in shipped_rules():
        raise InputError(f"There is no rule {name!r:.40}; there are {', '.join(shipped_rules())}.")
    return read_rule(RULES_FOLDER / f"{name}.json")


def draw_labelled(rng: Random, rule: Rule, biased: bool = True, held_out: bool | None = None) -> tuple[Subject, int]:
    """A subject by lot and its label (an index) by the rule with logistic noise.

    `biased` lets the spurious attribute go along with its class, as in the training data; without,
    it is on as often as it is in its world. `held_out` keeps to subjects that no training has seen, or to the others.
    """
    place = world(rule.world)
    while True:
        subject = place.draw_subject(rng)
        if held_out is None or subject.held_out is held_out:
            break
    label = rule.draw_label(rng, subject)
    if biased and rule.spurious is not None:
        along = rule.classes[label] == rule.spurious_class
        present = rng.random() < (rule.spurious_share if along else 1 - rule.spurious_share)
        subject = place.with_attribute(subject, rule.spurious, present)
    return subject, label


def planted_influence(
    rule: Rule,
    subjects: Sequence[Subject],
    class_index: int | None = None,
    paths: Iterable[Path] | None = None,
    seed: int = 0,
    only_lacking: bool = False,
) -> dict[Path, float]:
    """The exact signed mean effect of turning each path on, on the log-odds of a class.

    Parameters
    ----------
    subjects : over whom the mean is taken; a subject that has the attribute already adds 0 to it.
    class_index : as for `Rule.logit`.
    paths : groups and leaves; all of the world's when left out.
    seed : chooses the leaf that stands for a group, one a subject, as `with_attribute` does.
    only_lacking : take the mean over those subjects only that do not have the attribute (0 where all have it).
    """
    place = world(rule.world)
    before = [rule.logit(subject, class_index) for subject in subjects]
    result = {}
    for path in place.paths() if paths is None else paths:
        effects = []
        for subject, base in zip(subjects, before, strict=True):
            if place.has(subject, path):
                if not only_lacking:
                    effects.append(0.0)
                continue
            edited = place.with_attribute(subject, path, seed=seed)
            effects.append(rule.logit(edited, class_index) - base)
        result[path] = math.fsum(effects) / len(effects) if effects else 0.0
    return result


def draw_rule(rng: Random, place: AttributeWorld, name: str = "drawn") -> Rule:
    """A rule of two classes by lot.

    Half of the groups of level 1 have an effect, a leaf's weight is that effect, one of its group
    of level 2 and one of its own; the others have none at all. Two leaves of different
    branches interact, one attribute without weight is spurious, and the bias makes the classes about equally frequent.
    """
    groups = list(place.tree)
    chosen = rng.sample(groups, (len(groups) + 1) // 2)
    weights: dict[Path, Weights] = {}
    for one in chosen:
        effect = rng.choice((-1, 1)) * rng.uniform(0.5, 2.0)
        for two, leaves in place.tree[one].items():
            middle = effect + rng.gauss(0, 0.4)
            for leaf in leaves:
                weights[one, two, leaf] = (round(middle + rng.gauss(0, 0.3), 3),)
    one, other = rng.sample(chosen, 2)
    pair = rng.choice(place.leaves((one,))), rng.choice(place.leaves((other,)))
    interaction = (*pair, (round(rng.choice((-1, 1)) * rng.uniform(0.8, 1.6), 3),))
    idle = rng.choice([group for group in groups if group not in chosen])
    rule = Rule(
        name,
        place.name,
        ("no", "yes"),
        weights,
        (interaction,),
        spurious=rng.choice(place.leaves((idle,))),
        spurious_class="yes",
    )
    return centred(rule, lambda: place.draw_subject(rng))


def centred(rule: Rule, draw: Callable[[], Subject], count: int = 200) -> Rule:
    """The same rule with a bias that brings each class's mean logit over drawn subjects to zero."""
    bare = replace(rule, bias=(0.0,) * rule.outputs)
    rows = [bare.class_logits(draw())[-rule.outputs :] for _ in range(count)]
    return replace(rule, bias=tuple(round(-math.fsum(column) / count, 3) for column in zip(*rows, strict=True)))
