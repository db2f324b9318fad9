"""A classifier that is a world's rule: computed from the subject's attributes, so that its causes are known."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isi_core.domain.errors import InputError
from isi_core.worlds.attributed import Subject
from isi_core.worlds.rules import Rule


class RuleClassifier:
    """A rule behind the `SubjectClassifier` protocol."""

    exclusive = True

    def __init__(self, rule: Rule) -> None:
        self.rule, self.labels = rule, tuple(rule.classes)

    @property
    def record(self) -> Mapping[str, Any]:
        """Its name, its world, and the SHA-256 of its JSON."""
        text = json.dumps(self.rule.to_json(), sort_keys=True)
        revision = hashlib.sha256(text.encode()).hexdigest()
        return {"kind": "rule", "name": self.rule.name, "world": self.rule.world, "revision": revision}

    def subject_logits(self, subjects: Sequence[Subject]) -> NDArray[np.float64]:
        """(n, classes) logits; of two classes, the first has 0.

        Raises
        ------
        InputError : a subject is of another world than the rule.
        """
        for subject in subjects:
            if subject.world != self.rule.world:
                raise InputError(
                    f"The rule {self.rule.name} is about {self.rule.world}, the picture shows {subject.world}: choose "
                    "pictures of its world."
                )
        return np.array([self.rule.class_logits(subject) for subject in subjects]).reshape(-1, len(self.labels))
