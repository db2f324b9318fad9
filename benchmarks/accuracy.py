"""Accuracy of an embedded model on scenes of a seed never used in training or choice.

`python -m benchmarks.accuracy --count 500 --seed 20261124` draws the scenes (held out from
every training by their digest), asks each question greedily with the natural picture and no
context, and prints the accuracy a family with its 95 % Wilson interval. `--context` asks under
another context.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict

from isi_core.datasets.scene_dataset import draw_scene_observations
from isi_core.domain.decoding import Decoding
from isi_core.domain.trial import Trial
from isi_core.measures.statistics import wilson_interval
from isi_core.models.shelf import Shelf
from isi_core.worlds.scenes.drawing import render_scene


def main() -> None:
    """Ask every question and print the table."""
    parser = argparse.ArgumentParser(description="Accuracy of an embedded model on fresh scenes.")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=20261124)
    parser.add_argument("--model", default="tiny-llava")
    parser.add_argument("--context", choices=["none", "complementary", "contradictory"], default="none")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    right: dict[str, list[bool]] = defaultdict(list)
    with Shelf().vlm(arguments.model) as vlm:
        for drawn in draw_scene_observations(arguments.count, arguments.seed):
            context = "" if arguments.context == "none" else getattr(drawn, arguments.context)
            trial = Trial(drawn.name, render_scene(drawn.scene), context, drawn.question.text, drawn.question.truth)
            [output] = vlm.evaluate([trial], Decoding(), ["answer"])
            verdict = output.answer.verdict if output.answer else "unclear"
            right[drawn.question.family].append(verdict == trial.truth_word)
    right["all"] = [value for family in list(right) for value in right[family]]
    rows = []
    for family, values in right.items():
        interval = wilson_interval(sum(values), len(values))
        rows.append(
            {
                "family": family,
                "accuracy": sum(values) / len(values),
                "low": interval.low,
                "high": interval.high,
                "n": len(values),
            }
        )
    if arguments.json:
        print(json.dumps(rows))
        return
    print("| family | accuracy | 95 % interval | n |\n| --- | --- | --- | --- |")
    for row in rows:
        print(f"| {row['family']} | {row['accuracy']:.3f} | {row['low']:.3f} to {row['high']:.3f} | {row['n']} |")


if __name__ == "__main__":
    main()
