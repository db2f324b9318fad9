"""Our measures of uncertainty beside lm-polygraph's and uqlm's, of the same answers, likelihoods and implications.

`python -m benchmarks.peers` samples answers with tiny-llava, compares them with tiny-nli, adds cases made by hand on
which the rules part, hands all of it to both peers as JSON, and prints a Markdown table: ours, theirs, by how much they
differ, what of that is left once the stated cause is taken out (0 means that the cause is the whole difference), and
the cause. The peers are installed from PyPI into a folder of their own, never into this project's environment:
`--environment FOLDER` keeps it for the next time. Torch, transformers, NumPy and SciPy, which both need, are this
project's own. What cannot be installed is said in the table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers_rows import ROWS, Case, grouped, made_by_hand
from isi_core.measures.clustering import renumbered
from isi_core.measures.semantic_entropy import class_probabilities

PEERS = ("lm-polygraph==0.7.0", "uqlm==0.6.7")
NEEDED = ("openai", "rouge-score", "nltk", "absl-py")
"""What the modules that measure import beside what this project has."""


def sampled(count: int, samples: int = 10) -> list[Case]:
    """Answers that tiny-llava draws under contradictory contexts; tiny-nli compares them, each after its question."""
    from isi_core.datasets.built_in import load_dataset
    from isi_core.domain.decoding import Decoding
    from isi_core.domain.interventions import ContextPreset
    from isi_core.models.catalogue import DEFAULT_ENTAILMENT, DEFAULT_VLM
    from isi_core.models.shelf import Shelf
    from isi_core.studies.trials import build_trial

    dataset, shelf = load_dataset(), Shelf()
    chosen = dataset.observations[:count]
    trials = [build_trial(dataset, observation, [ContextPreset("contradictory")]) for observation in chosen]
    with shelf.vlm(DEFAULT_VLM) as vlm, shelf.entailment(DEFAULT_ENTAILMENT) as entailment:
        outputs = vlm.evaluate(trials, Decoding(n_samples=samples), ["samples"])
        return [
            Case(
                trial.question,
                tuple(answer.text for answer in output.samples),
                tuple(answer.log_likelihoods for answer in output.samples),
                class_probabilities([answer.text for answer in output.samples], trial.question, entailment),
            )
            for trial, output in zip(trials, outputs, strict=True)
            if output.samples is not None
        ]


def prepare(folder: Path) -> Path:
    """The Python of an environment with the peers, made where it is not there yet; not all may have been installed."""
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        # Torch and what else this project has are visible there, and are not downloaded a second time.
        own = sysconfig.get_paths()["purelib"]
        [packages] = list(folder.glob("lib*/**/site-packages"))[:1]
        (packages / "project.pth").write_text(f"{own}\n", encoding="utf-8")
        for names in (["--no-deps", *PEERS], list(NEEDED)):
            command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *names]
            if subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
                print(f"pip could not install {' '.join(names)}; the table says what is missing.", file=sys.stderr)
    return python


def ask_peers(python: Path, cases: Sequence[Case]) -> dict[str, Any]:
    """What the peers make of the cases: `versions`, `missing` with reasons, and a result a case."""
    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(folder, "in.json"), Path(folder, "out.json")
        given.write_text(json.dumps([case.to_json() for case in cases]), encoding="utf-8")
        script = Path(__file__).with_name("peers_run.py")
        subprocess.run([str(python), str(script), str(given), str(out)], check=True, cwd=folder)
        found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        return found


def compare(cases: Sequence[Case], found: dict[str, Any]) -> list[dict[str, Any]]:
    """The table's lines as plain values: means over the cases, and the largest differences of a case."""
    lines = []
    for row in ROWS:
        line: dict[str, Any] = {"measure": row.measure, "peer": row.peer, "why": row.why}
        ours = np.array([row.ours(case) for case in cases])
        line["ours"] = float(ours.mean())
        values = [result.get(row.key) for result in found["cases"]]
        if any(value is None for value in values):
            reason = found["missing"].get(row.key) or found["missing"].get(row.key.split("_")[0], "not measured")
            lines.append(line | {"theirs": None, "difference": None, "left": None, "why": f"not here: {reason}"})
            continue
        theirs = np.array([row.theirs(value) for value in values])
        cause = np.array([row.cause(case) for case in cases])
        line |= {
            "theirs": float(theirs.mean()),
            "difference": float(np.abs(theirs - ours).max()),
            "left": float(np.abs(theirs - cause).max()),
        }
        lines.append(line)
    return lines


def markdown(lines: Sequence[dict[str, Any]], versions: dict[str, str]) -> str:
    """The table."""

    def shown(value: float | None) -> str:
        return "–" if value is None else "0" if abs(value) < 1e-9 else f"{value:.3g}"

    head = ["measure", "ours", "theirs", "largest difference", "left without the cause", "peer", "cause"]
    made = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for line in lines:
        numbers = [shown(line[name]) for name in ("ours", "theirs", "difference", "left")]
        made.append(f"| {' | '.join([line['measure'], *numbers, line['peer'], line['why']])} |")
    return "\n".join([*made, "", ", ".join(f"{name} {found}" for name, found in versions.items())])


def clusters_table(cases: Sequence[Case], found: dict[str, Any]) -> str:
    """Clusters of the cases made by hand, by every rule."""
    made = ["| case | ours, loose, last wins | ours, strict, first wins | lm-polygraph | uqlm |", "|" + " --- |" * 5]
    for case, result in zip(cases, found["cases"], strict=True):
        ids = result.get("polygraph_ids")
        theirs = [str(list(renumbered(ids))) if ids else "–", str(result.get("uqlm_clusters", "–"))]
        made.append(f"| {' | '.join([case.name, str(list(grouped(case))), str(list(case.strict)), *theirs])} |")
    return "\n".join(made)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--environment", type=Path, help="folder of the peers' environment; made where it is missing")
    parser.add_argument("--trials", type=int, default=24, help="trials whose answers are sampled")
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write the numbers")
    arguments = parser.parse_args()
    hand, drawn = made_by_hand(), sampled(arguments.trials)
    with ExitStack() as held:
        folder = arguments.environment or Path(held.enter_context(tempfile.TemporaryDirectory()), "peers")
        python = prepare(folder)
        both = ask_peers(python, [*drawn, *hand])
    found, of_hand = (both | {"cases": cases} for cases in (both["cases"][: len(drawn)], both["cases"][len(drawn) :]))
    lines, hand_lines = compare(drawn, found), compare(hand, of_hand)
    print(f"{len(drawn)} trials of tiny-llava, {len(drawn[0].texts)} answers each: means, and largest differences\n")
    print(markdown(lines, found["versions"]))
    print("\nCases made by hand\n")
    print(clusters_table(hand, of_hand))
    print()
    print(markdown(hand_lines, of_hand["versions"]))
    if arguments.json is not None:
        numbers = {"versions": found["versions"], "sampled": lines, "by_hand": hand_lines}
        arguments.json.write_text(json.dumps(numbers, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
