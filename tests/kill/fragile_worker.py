"""A worker that is killed by one evaluation, wherever it is asked; it holds no model, so that it starts at once."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

RECORD = {"name": "none", "source": "none", "revision": "0", "dtype": "float32", "quantization": "none"}
WORD = "It was asked."


class Fragile:
    """Has the methods of `ray_worker.Worker`; every evaluation comes back as a failure with a word of its own."""

    def load(self, job: str) -> str:
        """As the real one's; the text of the question that kills comes in the place of the model's name."""
        self._deadly = json.loads(job)["model"]
        return json.dumps({"pid": os.getpid(), "vlm": RECORD, "entailment": None, "attention": True})

    def ask(self, trials: str, pictures: dict[str, Any]) -> str:
        """As the real one's."""
        asked = json.loads(trials)
        if any(trial["observation_id"] == self._deadly for trial in asked):
            os.kill(os.getpid(), signal.SIGKILL)
        return json.dumps([{"place": i, "seconds": 0.01, "failure": [WORD, False]} for i in range(len(asked))])
