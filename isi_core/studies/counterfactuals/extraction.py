"""A corpus of attributes from a handful of pictures, by a vision-language model (DiffEx, section 3.1 and its prompts).

The model is asked of one picture after the other, with corpora of other domains as examples; then it is asked for the
kinds of each item. What it answers is seldom valid JSON: it is read leniently, cleaned, merged, and what was mended or
left out is told. An answer without any attribute never ends the work.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from isi_core.domain.attributes import Attribute, Corpus
from isi_core.domain.corpus_reading import expand_corpus, read_corpus
from isi_core.domain.decoding import Decoding
from isi_core.domain.errors import InputError, ModelError
from isi_core.domain.progress import Progress, part_of
from isi_core.domain.trial import Trial
from isi_core.models.vlm.protocol import VisionLanguageModel
from isi_core.studies.counterfactuals.near_synonyms import merged_near_synonyms

MOST_PICTURES = 20
MOST_ITEMS = 60
"""Items of level 2 that are asked about in one expansion."""
LONGEST_ANSWER = 1024
"""Tokens."""
MOST_WORDS = 6
"""Words of a label; what is longer is a sentence about the picture."""
_EXAMPLES = ("pet", "places")
_SHOWN_ANSWER = 200

_EXTRACT = """You name the visual attributes by which pictures of one kind differ from each other.
Answer with one JSON object and nothing else: attribute groups, in each of them kinds of attributes, in each of these
the sub-types, as short noun phrases of one to four words that an image editor could add to a picture.
Name what can be seen and changed without changing what the picture is of.
{examples}
Domain: {domain}
Attributes of pictures like this one:"""

_EXPAND = """You name sub-types of a visual attribute.
Answer with one JSON list of 3 to 8 strings and nothing else, short phrases of one to three words.
Domain: pet. Attribute: collar. Sub-types: ["leather", "with a bell", "spiked"]
Domain: face. Attribute: beard. Sub-types: ["goatee", "full", "Balbo", "anchor", "stubble"]
Domain: {domain}. Attribute: {attribute}. Sub-types:"""


@dataclass(frozen=True)
class Extraction:
    """A corpus and how it came about.

    Attributes
    ----------
    notes : sentences for a person: what was mended, merged, left out.
    answers : (what was asked about, the model's answer word for word).
    model : the model's record.
    """

    corpus: Corpus
    notes: tuple[str, ...]
    answers: tuple[tuple[str, str], ...]
    model: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "corpus": self.corpus.to_json(),
            "notes": list(self.notes),
            "answers": [{"about": about, "answer": answer} for about, answer in self.answers],
            "model": self.model,
        }


def extract_corpus(
    pictures: Sequence[Image.Image],
    domain: str,
    vlm: VisionLanguageModel,
    examples: Sequence[Corpus] | None = None,
    expand: bool = True,
    decoding: Decoding | None = None,
    progress: Progress | None = None,
) -> Extraction:
    """A corpus of the domain from what the model sees in the pictures, each item then expanded into sub-types.

    Parameters
    ----------
    pictures : RGB, at most 20.
    examples : in-context examples; without, two corpora that come with the studio, of other domains.

    Raises
    ------
    InputError : no picture, too many, no domain, or no answer held a single attribute.
    ModelError : the model failed. Cancelled : by `progress`.
    """
    if not pictures or len(pictures) > MOST_PICTURES:
        raise InputError(f"Attributes are extracted from 1 to {MOST_PICTURES} pictures; got {len(pictures)}.")
    if not domain.strip():
        raise InputError("Say what the pictures are of, such as face or bird.")
    told = _example_words(domain, examples)
    question = _EXTRACT.format(examples=told, domain=domain.strip())
    names = [f"picture {number}" for number in range(1, len(pictures) + 1)]
    answers = _ask(vlm, list(pictures), [question] * len(pictures), names, decoding, part_of(progress, 0, 0.4))
    corpus, notes = Corpus(domain.strip(), {}), []
    for name, answer in zip(names, answers, strict=True):
        corpus, more = _merged(corpus, name, answer)
        notes += more
    if not corpus.categories:
        shown = " ".join(answers[0].split())[:_SHOWN_ANSWER]
        raise InputError(
            f"The model named no attribute; its first answer was {shown!r}: try a model that follows instructions, or "
            "other pictures."
        )
    asked = tuple(zip(names, answers, strict=True))
    if not expand:
        return Extraction(corpus, tuple(notes), asked, vlm.record.to_json())
    more_found = expand_by_model(corpus, vlm, pictures, decoding, part_of(progress, 0.4, 1))
    return replace(more_found, notes=(*notes, *more_found.notes), answers=(*asked, *more_found.answers))


def expand_by_model(
    corpus: Corpus,
    vlm: VisionLanguageModel,
    pictures: Sequence[Image.Image],
    decoding: Decoding | None = None,
    progress: Progress | None = None,
) -> Extraction:
    """Ask for the sub-types of each item of level 2 (of level 1 where nothing stands below), and merge them in.

    Parameters
    ----------
    pictures : shown with the questions in turn, since such a model looks at a picture.

    Raises
    ------
    InputError : no picture. ModelError : the model failed. Cancelled : by `progress`.
    """
    if not pictures:
        raise InputError("A vision-language model is asked with a picture: give one of the domain.")
    items = [a for a in corpus.attributes() if a.level == 2 or (a.level == 1 and not corpus.children(a))]
    notes = [f"Only the first {MOST_ITEMS} of {len(items)} items were expanded."] if len(items) > MOST_ITEMS else []
    items = items[:MOST_ITEMS]
    questions = [_EXPAND.format(domain=corpus.domain, attribute=item.phrase) for item in items]
    shown = [pictures[number % len(pictures)] for number in range(len(items))]
    names = [item.text for item in items]
    answers = _ask(vlm, shown, questions, names, decoding, progress)
    for item, answer in zip(items, answers, strict=True):
        corpus, more = _expanded(corpus, item, answer)
        notes += more
    return Extraction(corpus, tuple(notes), tuple(zip(names, answers, strict=True)), vlm.record.to_json())


def _example_words(domain: str, examples: Sequence[Corpus] | None) -> str:
    from isi_core.studies.counterfactuals.corpora import find_corpus

    if examples is None:
        examples = [find_corpus(name) for name in _EXAMPLES if name != domain.strip().lower()]
    parts = []
    for example in examples:
        # A taste of each: a small model's prompt is short.
        groups = list(example.categories.items())[:3]
        tree = {one: {two: list(leaves[:3]) for two, leaves in list(below.items())[:2]} for one, below in groups}
        parts.append(
            f"Domain: {example.domain}\nAttributes of pictures like this one:\n{json.dumps(tree, ensure_ascii=False)}"
        )
    return "\n".join(parts)


def _ask(
    vlm: VisionLanguageModel,
    pictures: Sequence[Image.Image],
    questions: Sequence[str],
    names: Sequence[str],
    decoding: Decoding | None,
    progress: Progress | None,
) -> list[str]:
    """The model's answers as text; one that failed for a reason of its own question stays empty."""
    decoding = decoding or Decoding(max_new_tokens=LONGEST_ANSWER)
    answers = []
    for number, (picture, question, name) in enumerate(zip(pictures, questions, names, strict=True)):
        trial = Trial(name, picture.convert("RGB"), "", question, None)
        if progress is not None:
            progress(f"Asking about {name}", number / len(questions))
        [output] = vlm.evaluate([trial], decoding, {"answer"})
        if output.answer is None:
            raise ModelError(f"{vlm.record.name} gave no answer: choose another model.")
        answers.append(output.answer.text)
    return answers


def _merged(corpus: Corpus, name: str, answer: str) -> tuple[Corpus, list[str]]:
    """The corpus with an answer's attributes; what of the answer could not be used is told."""
    try:
        found = read_corpus(answer, corpus.domain)
    except InputError:
        return corpus, [f"The answer about {name} held no attribute and was left out."]
    kept, notes = _phrases_only(found.corpus)
    if not kept.categories:
        return corpus, [f"The answer about {name} held sentences instead of attributes and was left out."]
    whole = expand_corpus(corpus, {"categories": kept.to_json()["categories"]}) if corpus.categories else None
    merged = merged_near_synonyms(whole.corpus if whole is not None else kept)
    told = [*found.notes, *notes, *(whole.notes if whole is not None else ()), *merged.notes]
    # That pictures of one domain show the same attribute again is no defect worth a line.
    told = [note for note in told if "stood twice" not in note]
    return Corpus(corpus.domain, merged.corpus.categories), [f"{name}: {note}" for note in told]


def _expanded(corpus: Corpus, item: Attribute, answer: str) -> tuple[Corpus, list[str]]:
    try:
        found = read_corpus(answer, corpus.domain).corpus
    except InputError:
        return corpus, [f"The answer about {item.text} held no sub-type and was left out."]
    labels = list(dict.fromkeys(a.label for a in _phrases_only(found)[0].leaves() if a.label != item.label))
    if not labels:
        return corpus, [f"The answer about {item.text} held no sub-type and was left out."]
    below: Any = dict.fromkeys(labels, None) if item.level == 1 else labels
    tree = {item.path[0]: below if item.level == 1 else {item.path[1]: labels}}
    whole = expand_corpus(corpus, {"categories": tree})
    merged = merged_near_synonyms(whole.corpus)
    told = [note for note in (*whole.notes, *merged.notes) if "stood twice" not in note]
    return merged.corpus, [f"{item.text}: {note}" for note in told]


def _phrases_only(corpus: Corpus) -> tuple[Corpus, list[str]]:
    """The corpus without labels that are sentences, and without what stands below them."""
    gone = [a.label for a in corpus.attributes() if len(a.label.split()) > MOST_WORDS]

    def short(label: str) -> bool:
        return len(label.split()) <= MOST_WORDS

    kept = {
        one: {two: tuple(filter(short, leaves)) for two, leaves in below.items() if short(two)}
        for one, below in corpus.categories.items()
        if short(one)
    }
    notes = [f"Sentences were left out: {', '.join(label[:60] for label in gone[:3])}."] if gone else []
    return Corpus(corpus.domain, kept), notes
