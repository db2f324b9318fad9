"""Rankings held against the truth: drawn rules on the built-in faces, the exact editor, known causes.

    python -m benchmarks.ranking [--rules 20] [--images 24] [--beam 3]
    python -m benchmarks.ranking --growth [--rules 20]

For each rule (none of them shipped) the classifier is the rule itself. Printed are
- rho: Spearman correlation of influence (eq. 1, on `--images` pictures, and on twice as many) with the planted
  influence (eq. 1 computed from the rule, over 1,000 other subjects that lack the attribute) among the leaves that
  have any, and AUROC of those against the leaves without;
- pair: the effect of the best pair of leaves that beam search saw, as a share of the best of all pairs across
  branches, and the edits it took as a share of the exhaustive ones; the same of greedy search;
- race: edits of all leaves on all pictures over those of racing, and whether the five strongest are the same.

With `--growth`, instead: edits of beam (B = 1 to 5), greedy and exhaustive search over growing numbers of attributes
and pictures, with fitted exponents, and the plot in `benchmarks/results/` (the paper's Table B).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from random import Random

import numpy as np
from PIL import Image
from scipy.stats import spearmanr

from benchmarks.ranking_growth import draw, measure, table
from isi_core.domain.attributes import Attribute, Corpus, Edit, EditSet
from isi_core.measures.statistics import auc_interval
from isi_core.models.classifiers.rule import RuleClassifier
from isi_core.models.editors.protocol import Picture
from isi_core.models.editors.render import RenderEditor
from isi_core.studies.counterfactuals.corpora import world_corpus
from isi_core.studies.counterfactuals.edit_checks import CheckSettings
from isi_core.studies.counterfactuals.effects import Effects
from isi_core.studies.counterfactuals.racing import race
from isi_core.studies.counterfactuals.search import Found, Score, beam_search, both_ways, leaf_sets
from isi_core.worlds.attributed import Subject, world
from isi_core.worlds.rules import Rule, draw_rule

FACES, CORPUS = world("faces"), world_corpus("faces")
POPULATION = 1_000
TOP = 5


def drawn_pictures(rng: Random, count: int) -> list[Picture]:
    """Pictures that need no pixels: a rule looks at their subjects."""
    blank = Image.new("RGB", (32, 32))
    return [Picture.of(blank, f"face {i}", FACES.draw_subject(rng)) for i in range(count)]


def fresh(pictures: Sequence[Picture], rule: Rule) -> Effects:
    """Effects that have been asked nothing yet."""
    return Effects(pictures, RenderEditor("faces"), RuleClassifier(rule), 1, checks=CheckSettings())


def change(effects: Effects) -> Score:
    """Signed mean change over the valid edits."""

    def of(edits: EditSet) -> float:
        known = [delta.change for delta in effects.deltas(edits) if delta.valid]
        return float(np.mean(known)) if known else float("nan")

    return lambda sets: [of(edits) for edits in sets]


def searched(effects: Effects, beam: int, corpus: Corpus = CORPUS) -> Found:
    """Beam search for pairs, up and down; a beam of one is greedy search."""
    return both_ways(lambda score: beam_search(corpus, score, beam, joint=2), change(effects))


def searched_in(effects: Effects, corpus: Corpus, beam: int) -> Found:
    """The same, as `ranking_growth.measure` asks for it."""
    return searched(effects, beam, corpus)


def best_leaf_pair(found: Found) -> float:
    """The best of the pairs of leaves that a search looked at."""
    pairs = [s for edits, s in found.scores.items() if len(edits) == 2 and all(e.attribute.level == 3 for e in edits)]
    return max(pairs, default=0.0)


def planted(rule: Rule, subjects: Sequence[Subject], leaf: Attribute) -> float:
    """Eq. 1 from the rule itself: mean |change| over the subjects that lack the leaf."""
    lacking = [subject for subject in subjects if not FACES.has(subject, leaf.path)]
    edited = [FACES.with_attribute(subject, leaf.path) for subject in lacking]
    return float(np.mean([abs(rule.logit(b) - rule.logit(a)) for a, b in zip(lacking, edited, strict=True)]))


def best_of_all_pairs(rule: Rule, pictures: Sequence[Picture], pairs: Sequence[EditSet]) -> float:
    """Size of the greatest mean change of all pairs over the pictures that lack both, as exhaustive search finds it."""
    sums, counts = np.zeros(len(pairs)), np.zeros(len(pairs))
    for subject in (picture.subject for picture in pictures if picture.subject is not None):
        base = rule.logit(subject)
        first = {leaf: FACES.with_attribute(subject, leaf.path) for leaf in CORPUS.leaves()}
        for i, (one, two) in enumerate(pairs):
            a, b = one.attribute, two.attribute
            if first[a] is not subject and first[b] is not subject:
                sums[i] += rule.logit(FACES.with_attribute(first[a], b.path)) - base
                counts[i] += 1
    return float(np.abs(sums / np.maximum(counts, 1)).max())


def influences(effects: Effects, numbers: Sequence[int]) -> dict[Attribute, float]:
    """Eq. 1 of every leaf, from its valid edits of these pictures; 0 where there are none."""

    def size(leaf: Attribute) -> float:
        known = [abs(delta.change) for delta in effects.deltas((Edit(leaf),), numbers) if delta.valid]
        return float(np.mean(known)) if known else 0.0

    return {leaf: size(leaf) for leaf in CORPUS.leaves()}


def one_rule(number: int, images: int, beam: int) -> tuple[float, ...]:
    """rho (twice), AUROC, best pair and edits of beam and greedy as shares, saving and agreement of racing."""
    rng = Random(f"ranking {number}")
    rule = draw_rule(rng, FACES, f"drawn {number}")
    double = drawn_pictures(rng, 2 * images)
    pictures = double[:images]
    leaves = CORPUS.leaves()
    whole = fresh(double, rule)
    influence = influences(whole, range(images))
    population = [FACES.draw_subject(rng) for _ in range(POPULATION)]
    causes = [leaf for leaf in leaves if rule.influences(leaf.path)]
    truth = [planted(rule, population, leaf) for leaf in causes]
    rhos = [
        float(spearmanr([found[leaf] for leaf in causes], truth).statistic)
        for found in (influence, influences(whole, range(2 * images)))
    ]
    auc = auc_interval([leaf in causes for leaf in leaves], [influence[leaf] for leaf in leaves]).estimate

    pairs = leaf_sets(leaves, 2)
    best = best_of_all_pairs(rule, pictures, pairs)
    exhaustive = images * len(pairs)
    shares = []
    for width in (beam, 1):
        effects = fresh(pictures, rule)
        found = searched(effects, width)
        shares += [best_leaf_pair(found) / best, effects.asked / exhaustive]

    def changes(edits: EditSet, numbers: Sequence[int]) -> list[float]:
        return [abs(d.change) if d.valid else float("nan") for d in whole.deltas(edits, numbers)]

    went = race([(Edit(leaf),) for leaf in leaves], changes, images, TOP)
    strongest = sorted(leaves, key=lambda leaf: -influence[leaf])[:TOP]
    same = len({edits[0].attribute for edits in went.top} & set(strongest))
    return *rhos, auc, *shares, images * len(leaves) / went.edits, float(same)


def growth(rules: int) -> None:
    """Print how the edits grow, and draw it."""
    drawn = [RuleClassifier(draw_rule(Random(f"growth {number}"), FACES)) for number in range(rules)]
    found = measure(drawn, CORPUS, drawn_pictures, searched_in)
    print(table(found))
    for path in draw(found, rules):
        print(path)


def main() -> None:
    """Print one line a rule and the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules", type=int, default=20)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--beam", type=int, default=3)
    parser.add_argument("--growth", action="store_true")
    arguments = parser.parse_args()
    if arguments.growth:
        growth(arguments.rules)
        return
    started = time.monotonic()
    rows = []
    for number in range(arguments.rules):
        rows.append(one_rule(number, arguments.images, arguments.beam))
        rho, more, auc, pair, share, greedy, greedy_share, saving, same = rows[-1]
        print(
            f"rule {number:2}: rho {rho:.3f}, {more:.3f}  AUROC {auc:.3f}  best pair: beam {pair:.1%} for {share:.1%} "
            f"of the edits, greedy {greedy:.1%} for {greedy_share:.1%}  racing {saving:.1f}x, {same:.0f} of {TOP}",
            flush=True,
        )
    table = np.array(rows)
    mean, least, most = table.mean(axis=0), table.min(axis=0), table.max(axis=0)
    print(
        f"rho: mean {mean[0]:.3f}, least {least[0]:.3f}; on twice the pictures {mean[1]:.3f}, least {least[1]:.3f}; "
        f"AUROC: mean {mean[2]:.3f}, least {least[2]:.3f}"
    )
    reached = int((table[:, 3] >= 0.95).sum())
    print(
        f"beam: mean {mean[3]:.1%} of the best pair, least {least[3]:.1%}, at least 95 % on {reached} of {len(rows)}; "
        f"edits mean {mean[4]:.1%}, most {most[4]:.1%} of exhaustive"
    )
    print(f"greedy: mean {mean[5]:.1%} of the best pair for {mean[6]:.1%} of the edits")
    print(f"racing: mean {mean[7]:.2f}x, least {least[7]:.2f}x fewer edits; mean {mean[8]:.2f} of {TOP} the same")
    print(f"{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
