"""A classifier that is a Python function of the user's own, named by its import path.

Importing runs the module's code, with all the rights of this process: only the command line offers it, for code
that its user put on the path; a page never takes an import path.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from isi_core.domain.errors import InputError, ModelError
from isi_core.models.classifiers.loading import in_batches

_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


class CallableClassifier:
    """A function that takes a list of RGB pictures and returns (n, classes) logits.

    Attributes
    ----------
    labels : the function's attribute `labels` where it has one, else those given.
    """

    def __init__(
        self,
        function: Callable[[list[Image.Image]], Any],
        name: str,
        labels: Sequence[str] | None = None,
        exclusive: bool = True,
    ) -> None:
        named = labels or getattr(function, "labels", None)
        if not named or len(named) < 2:
            raise InputError(f"{name} does not say its classes: give it an attribute `labels` with two names or more.")
        self.labels = tuple(str(label) for label in named)
        self.exclusive = exclusive
        self._function, self._name = function, name

    @classmethod
    def load(cls, path: str, labels: Sequence[str] | None = None, exclusive: bool = True) -> CallableClassifier:
        """The function at an import path such as `my_package.my_module:my_classifier`.

        Raises
        ------
        InputError : no such path, or what is there is no function. ModelError : its module cannot be imported.
        """
        if not _PATH.fullmatch(path):
            raise InputError(f"{path[:80]!r} is no import path: write module:function.")
        module, _, attribute = path.partition(":")
        try:
            function = getattr(import_module(module), attribute, None)
        except Exception as error:
            raise ModelError(
                f"{module} cannot be imported ({type(error).__name__}: {error}): mend it first."
            ) from error
        if not callable(function):
            raise InputError(f"{module} has no function {attribute}: check the name.")
        return cls(function, path, labels, exclusive)

    @property
    def record(self) -> Mapping[str, Any]:
        """Its import path and classes; what the function does, the record cannot tell."""
        return {"kind": "python", "name": self._name, "labels": list(self.labels), "exclusive": self.exclusive}

    def logits(self, images: Sequence[Image.Image]) -> NDArray[np.float64]:
        """(n, classes) logits that the function returns."""
        return in_batches(images, len(self.labels), self._run, self._name)

    def _run(self, images: list[Image.Image]) -> NDArray[np.float64]:
        try:
            found = np.asarray(self._function(images), dtype=np.float64)
        except MemoryError:
            raise
        except Exception as error:
            raise ModelError(f"{self._name} failed ({type(error).__name__}: {error}): mend it first.") from error
        if found.shape != (len(images), len(self.labels)):
            raise ModelError(
                f"{self._name} returned an array of shape {found.shape}; {(len(images), len(self.labels))} is needed: "
                "one row a picture, one column a class."
            )
        return found
