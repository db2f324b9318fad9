"""Corpora from a model's answers, over real HTTP: messy text, near-synonyms, sentences, servers that fail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from isi_core.cli import main
from isi_core.domain.attributes import Corpus
from isi_core.domain.errors import Cancelled, InputError, ModelError
from isi_core.models.shelf import Shelf
from isi_core.studies.counterfactuals.extraction import expand_by_model, extract_corpus
from isi_core.studies.counterfactuals.near_synonyms import merged_near_synonyms, nearly_same
from tests.openai_server import Fault, OpenAIServer, serve

FENCED = """Sure! Here is what I see:
```json
{
  "Facial Hair": {"Beards": {"goatee", "full beard",}, // a set, and a comma too many
                  "mustache": ["handlebar", "Handlebar"]},
  "eyewear": {"glasses": ["round", "squared"]},
}
```
Let me know if you need more!"""
PYTHON = "{'facial hair': {'beard': ['Goatees', 'anchor']}, 'eyewear': {'glass': ['square', 'aviatr', 'aviator']}}"
TORN = '{"hair": {"colour": ["blond", "grey", "<b>red</b>"], "length": ["long", "bald'
PROSE = (
    "I am sorry, but I can not help with that. The picture shows a person who is looking at the camera today, really."
)


def pictures(count: int) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)) for _ in range(count)]


def says(text: str) -> Fault:
    """A chat completion of this text."""
    return Fault(
        200,
        {
            "model": "scripted",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 9},
        },
    )


@contextmanager
def scripted(*answers: str) -> Iterator[OpenAIServer]:
    """A server on 127.0.0.1 that gives these answers, one a request."""
    nobody: Any = None
    with serve(nobody, model="scripted", faults=[says(answer) for answer in answers]) as server:
        yield server


def asked(server: OpenAIServer) -> list[str]:
    return [
        part["text"] for body in server.asked() for part in body["messages"][0]["content"] if part["type"] == "text"
    ]


def labels(corpus: Corpus) -> set[str]:
    return {a.text for a in corpus.leaves()}


def test_messy_answers_become_one_corpus_and_what_was_mended_is_told() -> None:
    with scripted(FENCED, PYTHON, TORN, PROSE) as server, Shelf().vlm(server.name) as vlm:
        made = extract_corpus(pictures(4), "face", vlm, expand=False)
    assert made.corpus.domain == "face"
    assert labels(made.corpus) == {
        "Facial Hair › Beards › goatee",
        "Facial Hair › Beards › full beard",
        "Facial Hair › Beards › anchor",
        "Facial Hair › mustache › handlebar",
        "eyewear › glasses › round",
        "eyewear › glasses › squared",
        "eyewear › glasses › aviatr",
        "hair › colour › blond",
        "hair › colour › grey",
        "hair › colour › red",
        "hair › length › long",
        "hair › length › bald",
    }
    told = " ".join(made.notes)
    assert "aviator into aviatr" in told and "square into squared" in told and "picture 4 held" in told
    assert "Markup and emoji" in told and [about for about, _ in made.answers] == [f"picture {n}" for n in range(1, 5)]
    assert made.answers[3][1] == PROSE and json.loads(json.dumps(made.to_json()))["model"]["name"]
    questions = asked(server)
    assert len(set(questions)) == 1 and "Domain: face" in questions[0] and "Domain: pet" in questions[0]
    assert '"ear shape"' in questions[0]
    images = [p["image_url"]["url"] for b in server.asked() for p in b["messages"][0]["content"] if "image_url" in p]
    assert len(set(images)) == 4


def test_each_item_is_expanded_by_a_question_of_its_own() -> None:
    first = '{"hair": {"colour": ["blond"], "length": []}, "hat": []}'
    with (
        scripted(
            first, '["grey", "Blonde", "red",]', "- short\n- long\n", "Sub-types: ['cap', 'fedora', 'hat']"
        ) as server,
        Shelf().vlm(server.name) as vlm,
    ):
        made = extract_corpus(pictures(1), "face", vlm)
    assert labels(made.corpus) == {
        "hair › colour › blond",
        "hair › colour › grey",
        "hair › colour › red",
        "hair › length › short",
        "hair › length › long",
        "hat › cap",
        "hat › fedora",
    }
    assert [about for about, _ in made.answers][1:] == ["hair › colour", "hair › length", "hat"]
    assert "Attribute: colour hair. Sub-types:" in asked(server)[1] or "hair" in asked(server)[1]


def test_an_answer_without_attributes_leaves_the_corpus_as_it_was() -> None:
    corpus = Corpus("face", {"hair": {"colour": ("blond",)}})
    with scripted(PROSE) as server, Shelf().vlm(server.name) as vlm:
        made = expand_by_model(corpus, vlm, pictures(1))
    assert made.corpus == corpus and "held no sub-type" in made.notes[0]


def test_no_attribute_at_all_is_told_with_what_the_model_said() -> None:
    with scripted(PROSE, "{}") as server, Shelf().vlm(server.name) as vlm:
        with pytest.raises(InputError, match="first answer was 'I am sorry"):
            extract_corpus(pictures(2), "face", vlm)
        with pytest.raises(InputError, match="1 to 20 pictures"):
            extract_corpus([], "face", vlm)
        with pytest.raises(InputError, match="what the pictures are of"):
            extract_corpus(pictures(1), " ", vlm)


def test_a_server_that_fails_is_told_and_a_person_can_stop() -> None:
    nobody: Any = None
    refusals = [Fault(403, {"error": {"message": "not for you"}})] * 3
    with (
        serve(nobody, model="scripted", faults=refusals) as server,
        Shelf().vlm(server.name) as vlm,
        pytest.raises(ModelError),
    ):
        extract_corpus(pictures(1), "face", vlm)

    def stop(message: str, fraction: float) -> None:
        if "picture 2" in message:
            raise Cancelled

    with scripted(FENCED, FENCED) as server, Shelf().vlm(server.name) as vlm:
        with pytest.raises(Cancelled):
            extract_corpus(pictures(2), "face", vlm, progress=stop)
        assert len(server.asked()) == 1


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("patterned scarf", "patterned scarfs", True),
        ("aviator", "aviatr", True),
        ("striped", "stripe", True),
        ("Square glasses", "glasses, square", True),
        ("visible", "invisible", False),
        ("symmetric", "asymmetric", False),
        ("thin lips", "thick lips", False),
        ("male", "female", False),
        ("1940s hat", "1950s hat", False),
        ("long hair", "long hair bun", False),
    ],
)
def test_near_synonyms_are_spellings_not_meanings(one: str, other: str, same: bool) -> None:
    assert nearly_same(one, other) is same and nearly_same(other, one) is same


def test_what_stood_below_a_merged_label_is_kept() -> None:
    corpus = Corpus("face", {"eyewear": {"goggles": ("ski",), "gogles": ("swim", "ski")}, "eyeware": {"monocle": ()}})
    merged = merged_near_synonyms(corpus)
    assert merged.corpus.categories == {"eyewear": {"goggles": ("ski", "swim"), "monocle": ()}}
    assert "gogles into goggles" in merged.notes[0] and "eyeware into eyewear" in merged.notes[0]
    assert merged_near_synonyms(merged.corpus).notes == ()


def test_the_shipped_corpora_hold_no_near_synonyms_that_would_be_lost() -> None:
    from isi_core.studies.counterfactuals.corpora import corpus_names, find_corpus

    for name in corpus_names():
        corpus = find_corpus(name)
        assert merged_near_synonyms(corpus).corpus == corpus, merged_near_synonyms(corpus).notes


def test_the_commands_extract_expand_and_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, image in enumerate(pictures(2)):
        image.save(folder / f"{number}.png")
    out = tmp_path / "face.json"
    with scripted(FENCED, PYTHON, '["soul patch"]', "none", "nothing, I fear, that I could name here at all") as server:
        given = ["corpus", "extract", "--domain", "face", "--pictures", str(folder), "--model", server.name]
        assert main([*given, "--out", str(out), "--json"]) == 0
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert told["corpus"] == json.loads(out.read_text()) and len(told["answers"]) == 5 and told["notes"]
    assert "were merged" in said.err
    assert "soul patch" in told["corpus"]["categories"]["Facial Hair"]["Beards"]
    with scripted(*['["new one"]'] * 3) as server:
        expanded = ["corpus", "expand", str(out), "--pictures", str(folder), "--model", server.name, "--json"]
        assert main(expanded) == 0
    assert "new one" in json.loads(capsys.readouterr().out)["corpus"]["categories"]["eyewear"]["glasses"]
    assert main(["corpus", "expand", "face"]) == 2 and "--model" in capsys.readouterr().err
    assert main(["corpus", "extract", "--domain", "face"]) == 2 and "--pictures" in capsys.readouterr().err
    messy = tmp_path / "messy.txt"
    messy.write_text("{'hat': {'fedora', 'fedoras', 'fedorra'}}")
    assert main(["corpus", "check", str(messy), "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["categories"] == {"hat": {"fedora": []}} and "nearly alike" in said.err
