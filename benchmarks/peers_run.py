"""The peers' side of `benchmarks.peers`: runs in an environment of their own and imports nothing of this project.

`python peers_run.py IN OUT` reads cases as JSON (texts, log-likelihoods, class probabilities of every ordered pair) and
writes what lm-polygraph and uqlm make of them. Their packages import at once everything they can do (servers' clients,
metrics, plots); here only the modules that measure are imported, by name, from the packages as they were installed.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import logging
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

PACKAGES = (
    "lm_polygraph",
    "lm_polygraph.estimators",
    "lm_polygraph.stat_calculators",
    "lm_polygraph.utils",
    "uqlm",
    "uqlm.nli",
    "uqlm.utils",
)
CONTRADICTION, ENTAILMENT = 0, 2


def open_packages() -> None:
    """Let modules of the peers be imported without what their packages' own `__init__` import."""
    for name in PACKAGES:
        first, *rest = name.split(".")
        folders = [Path(entry, first) for entry in sys.path if Path(entry, first).is_dir()]
        package = types.ModuleType(name)
        package.__path__ = [str(folder.joinpath(*rest)) for folder in folders]
        sys.modules[name] = package


def load(module: str, name: str) -> Any:
    """A class or function of a peer's module."""
    return getattr(importlib.import_module(module), name)


def estimator(name: str, module: str, **options: Any) -> Callable[[dict[str, Any]], float]:
    """One of lm-polygraph's estimators, of the statistics of one case."""
    made = load(f"lm_polygraph.estimators.{module}", name)(**options)
    return lambda stats: float(made(stats)[0])


def polygraph_stats(case: dict[str, Any]) -> dict[str, Any]:
    """A case as the statistics that lm-polygraph's estimators take: a batch of one."""
    import numpy as np

    probabilities = np.array(case["probabilities"])
    return {
        "sample_texts": [case["texts"]],
        "sample_log_probs": [[sum(tokens) for tokens in case["log_likelihoods"]]],
        "sample_tokens": [[list(range(len(tokens))) for tokens in case["log_likelihoods"]]],
        "semantic_matrix_entail": probabilities[None, :, :, ENTAILMENT],
        "semantic_matrix_contra": probabilities[None, :, :, CONTRADICTION],
        "semantic_matrix_classes": probabilities.argmax(axis=-1)[None],
        "entailment_id": ENTAILMENT,
    }


def polygraph_classes() -> Callable[[dict[str, Any]], dict[str, Any]]:
    """lm-polygraph's partition, added to the statistics."""
    calculator = load("lm_polygraph.stat_calculators.semantic_classes", "SemanticClassesCalculator")()

    def classes(stats: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = calculator(stats, [""], None)
        return found

    return classes


def uqlm_clusterer() -> Callable[[dict[str, Any]], Any]:
    """uqlm's clusters and entropies; its entailment model is asked nothing that the case does not answer."""
    import numpy as np

    nli_class = load("uqlm.nli.nli", "NLI")
    clusterer = load("uqlm.nli.cluster", "SemanticClusterer")
    utilities = importlib.import_module("uqlm.nli.entropy_utils")

    def measure(case: dict[str, Any]) -> dict[str, Any]:
        nli = object.__new__(nli_class)  # without the model that its __init__ downloads
        nli.label_mapping = ["contradiction", "neutral", "entailment"]
        texts = case["texts"]
        nli.probabilities = {
            (a, b): np.array(case["probabilities"][i][j])[None]
            for i, a in enumerate(texts)
            for j, b in enumerate(texts)
        }
        logprobs = [[{"logprob": value} for value in tokens] for tokens in case["log_likelihoods"]]
        by_token, uniform = utilities.compute_response_probabilities(logprobs, len(texts))
        _, _, shares, indices = clusterer(nli=nli).evaluate(texts, response_probabilities=uniform)
        weighed = utilities.compute_cluster_probabilities(by_token, indices)
        discrete = float(utilities.compute_semantic_entropy(shares))
        [normalized] = utilities.normalize_entropy([discrete], len(texts) - 1)
        return {
            "uqlm_clusters": [[int(i) for i in members] for members in indices],
            "uqlm_discrete": discrete,
            "uqlm_tokenprob": float(utilities.compute_semantic_entropy(weighed)),
            "uqlm_confidence": 1 - float(normalized),
        }

    return measure


def peers() -> tuple[dict[str, Callable[[dict[str, Any]], Any]], dict[str, str]]:
    """What can be measured here, each of a case, and why the rest cannot."""
    found: dict[str, Callable[[dict[str, Any]], Any]] = {}
    missing: dict[str, str] = {}

    def offer(key: str, make: Callable[[], Callable[[dict[str, Any]], Any]]) -> None:
        try:
            found[key] = make()
        except (ImportError, AttributeError, LookupError, OSError) as error:
            missing[key] = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"

    def of_classes(**options: Any) -> Callable[[dict[str, Any]], Any]:
        classes = polygraph_classes()
        entropy = estimator("SemanticEntropy", "semantic_entropy", **options)

        def measure(case: dict[str, Any]) -> float:
            stats = polygraph_stats(case)
            return entropy(stats | classes(stats))

        return measure

    def of_stats(name: str, module: str, **options: Any) -> Callable[[dict[str, Any]], Any]:
        measure = estimator(name, module, **options)
        return lambda case: measure(polygraph_stats(case))

    def ids() -> Callable[[dict[str, Any]], Any]:
        classes = polygraph_classes()

        def measure(case: dict[str, Any]) -> list[int]:
            placed = classes(polygraph_stats(case))["semantic_classes_entail"]["sample_to_class"][0]
            return [int(placed[i]) for i in range(len(placed))]

        return measure

    offer("polygraph_ids", ids)
    offer("polygraph_mean", of_classes)
    offer("polygraph_direct", lambda: of_classes(entropy_estimation="direct"))
    offer("polygraph_frequency", lambda: of_classes(class_probability_estimation="frequency"))
    for key, name, module in (
        ("polygraph_sequence", "MonteCarloSequenceEntropy", "monte_carlo_sequence_entropy"),
        ("polygraph_normalized", "MonteCarloNormalizedSequenceEntropy", "monte_carlo_normalized_sequence_entropy"),
        ("polygraph_sets", "NumSemSets", "num_sem_sets"),
        ("polygraph_eigenvalue", "EigValLaplacian", "eig_val_laplacian"),
        ("polygraph_degree", "DegMat", "deg_mat"),
        ("polygraph_lexical", "LexicalSimilarity", "lexical_similarity"),
    ):
        offer(key, lambda name=name, module=module: of_stats(name, module))  # type: ignore[misc]
    offer("uqlm", uqlm_clusterer)
    return found, missing


def version(name: str) -> str:
    """A package's version; "not installed" where there is none."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def main() -> None:
    """Measure every case."""
    logging.disable(logging.INFO)
    given, out = map(Path, sys.argv[1:3])
    open_packages()
    measures, missing = peers()
    results = []
    for case in json.loads(given.read_text(encoding="utf-8")):
        found: dict[str, Any] = {}
        for key, measure in measures.items():
            value = measure(case)
            found |= value if isinstance(value, dict) else {key: value}
        results.append(found)
    versions = {name: version(name) for name in ("lm-polygraph", "uqlm")}
    out.write_text(json.dumps({"versions": versions, "missing": missing, "cases": results}), encoding="utf-8")


if __name__ == "__main__":
    main()
