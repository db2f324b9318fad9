"""Attributes and corpora: phrases, lenient reading, what is mended, what is refused."""

from __future__ import annotations

import json

import pytest

from isi_core.domain.attributes import Attribute, Corpus, Edit, edit_set
from isi_core.domain.corpus_reading import MOST_ATTRIBUTES, expand_corpus, label_key, read_corpus
from isi_core.domain.errors import InputError
from isi_core.studies.counterfactuals.corpora import FOLDER, corpus_names, find_corpus, open_corpus, world_corpus
from isi_core.worlds.attributed import world


@pytest.mark.parametrize(
    ("path", "phrase"),
    [
        (("beard",), "beard"),
        (("facial hair", "beard", "goatee"), "goatee beard"),
        (("eyewear", "sunglasses", "aviator sunglasses"), "aviator sunglasses"),
        (("accessories", "glasses", "sunglasses"), "sunglasses"),
        (("hair", "texture", "wavy"), "wavy hair texture"),
        (("beak", "colors", "red"), "red beak colors"),
        (("hats", "felt hat", "fedora"), "fedora felt hat"),
    ],
)
def test_a_phrase_carries_the_path_not_the_leaf_alone(path: tuple[str, ...], phrase: str) -> None:
    assert Attribute(path).phrase == phrase


def test_an_edit_set_is_the_same_in_any_order_and_holds_an_attribute_once() -> None:
    one, two = Edit(Attribute(("a",))), Edit(Attribute(("b",)), -1, 2.0)
    assert edit_set([one, two]) == edit_set([two, one])
    assert [Edit.from_json(json.loads(json.dumps(e.to_json()))) for e in (one, two)] == [one, two]
    with pytest.raises(InputError, match="twice"):
        edit_set([one, Edit(Attribute(("a",)), -1)])


@pytest.mark.parametrize("bad", [(), ("a", "b", "c", "d"), ("a", " ")])
def test_an_attribute_has_one_to_three_labels(bad: tuple[str, ...]) -> None:
    with pytest.raises(InputError):
        Attribute(bad)


def test_a_corpus_tells_levels_children_and_leaves_of_uneven_depth() -> None:
    corpus = Corpus.from_json(
        {"domain": "face", "categories": {"beard": {"shape": ["goatee", "full"]}, "hat": ["cap"]}}
    )
    beard, hat = corpus.children()
    assert [a.path for a in corpus.attributes(2)] == [("beard", "shape"), ("hat", "cap")]
    assert [a.path for a in corpus.leaves()] == [
        ("beard", "shape", "goatee"),
        ("beard", "shape", "full"),
        ("hat", "cap"),
    ]
    assert corpus.below(beard) == corpus.leaves()[:2]
    assert corpus.children(hat) == (Attribute(("hat", "cap")),)
    assert corpus.children(Attribute(("nose",))) == ()
    assert Corpus.from_json(corpus.to_json()) == corpus
    assert Attribute(("hat", "cap")) in corpus and Attribute(("hat", "fedora")) not in corpus


@pytest.mark.parametrize(
    "text",
    [
        '{"domain": "face", "categories": {"beard": {"shape": ["goatee", "full"]}, "hat": {"cap": []}}}',
        '{"domain": "face", "categories": {"beard": {"shape": ["goatee", "full",],}, "hat": ["cap"],',
        "Sure!\n```json\n{'domain': 'face', 'categories': {'beard': {'shape': {'goatee', 'full'}}, "
        "'hat': ('cap',)}}\n```",
        '{"domain": "face", "beard": {"shape": "goatee, full"}, "hat": ["cap"]} Anything else?',
        "{domain: face, categories: {beard: {shape: [goatee, full]}, // a comment\n hat: [cap]}}",
        '{"domain": "face", "categories": [{"name": "beard", "children": '
        '[{"name": "shape", "children": ["goatee", "full"]}]},'
        ' {"name": "hat", "subtypes": ["cap"]}]}',
        '\ufeff{"domain": "face", "categories": {"beard": {"shape": ["goatee", "Goatees", "full"]}, '
        '"hats": [], "Hat": ["cap"]}}',
    ],
)
def test_what_models_write_is_read(text: str) -> None:
    corpus = read_corpus(text.encode()).corpus
    assert corpus.domain == "face"
    found = {tuple(label_key(part) for part in leaf.path) for leaf in corpus.leaves()}
    assert found == {("beard", "shape", "goatee"), ("beard", "shape", "full"), ("hat", "cap")}


def test_doubles_are_merged_with_what_is_below_them_and_told() -> None:
    reading = read_corpus({"Moustache": {"styles": ["Handlebar"]}, "mustaches": {"style": ["handlebars", "walrus"]}})
    assert reading.corpus.to_json()["categories"] == {"Moustache": {"styles": ["Handlebar", "walrus"]}}
    assert any("mean the same" in note and "mustaches into Moustache" in note for note in reading.notes)


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        ("Eye Color", "colour of the eyes", True),
        ("leaf-spots", "Leaf spot", True),
        ("spectacles", "eyeglasses", True),
        ("berries", "berry", True),
        ("thin", "thick", False),
        ("iris", "iri", False),
        ("long hair", "short hair", False),
    ],
)
def test_labels_that_mean_the_same(one: str, two: str, same: bool) -> None:
    assert (label_key(one) == label_key(two)) is same


def test_markup_emoji_and_control_characters_go_and_are_told() -> None:
    reading = read_corpus({"<b>beard</b> 🧔": ["goatee\x00\x1b[31m", "&lt;script&gt;full", "😀", "x" * 200, 7, True]})
    labels = [part for leaf in reading.corpus.leaves() for part in leaf.path]
    assert labels[:2] == ["beard", "goatee 31m"] or labels[1].startswith("goatee")
    assert not any(c in "".join(labels) for c in "<>🧔😀\x1b\x00&")
    assert "script" not in "".join(labels)
    told = " ".join(reading.notes)
    assert "Markup and emoji" in told and "without a word" in told and "80 characters" in told and "Numbers" in told


def test_cycles_end_and_are_told() -> None:
    cyclic: dict[str, object] = {"hat": ["cap"]}
    cyclic["beard"] = cyclic
    reading = read_corpus(cyclic)
    assert Attribute(("hat", "cap")) in reading.corpus
    assert any("contains itself" in note for note in reading.notes)
    named = read_corpus('{"beard": {"shape": ["beards", "goatee"]}}')
    assert [leaf.label for leaf in named.corpus.leaves()] == ["goatee"]
    assert any("below itself" in note for note in named.notes)


def test_what_is_deeper_than_three_levels_is_left_out_and_told() -> None:
    reading = read_corpus('{"a": {"b": {"c": {"d": ["e"]}}}}')
    assert [leaf.path for leaf in reading.corpus.leaves()] == [("a", "b", "c")]
    assert any("three levels" in note for note in reading.notes)


def test_thousands_of_attributes_are_cut_and_told_in_good_time() -> None:
    reading = read_corpus({f"g{i}": {f"x{j}": [f"leaf {k}" for k in range(99)] for j in range(10)} for i in range(12)})
    assert len(reading.corpus.attributes()) == MOST_ATTRIBUTES
    assert any("12,012 attributes" in note for note in reading.notes)


@pytest.mark.parametrize(
    "nothing", ["", "{}", "[]", "[" * 50_000, None, 3, "{" * 1000 + "}", b"\xff\xfe\x00", "😀 😀", "<p></p>"]
)
def test_nothing_in_it_is_told_and_nothing_crashes(nothing: object) -> None:
    with pytest.raises(InputError):
        read_corpus(nothing)


def test_deep_nesting_does_not_exhaust_the_stack() -> None:
    assert read_corpus('{"a":' * 100_000).corpus.categories == {"a": {}}


def test_expansion_adds_without_doubles() -> None:
    corpus = Corpus.from_json({"domain": "face", "categories": {"beard": {"shape": ["goatee"]}}})
    grown = expand_corpus(corpus, '{"beards": {"shape": ["Goatee", "Balbo"]}, "hat": ["cap"]}').corpus
    assert [leaf.path for leaf in grown.leaves()] == [
        ("beard", "shape", "goatee"),
        ("beard", "shape", "Balbo"),
        ("hat", "cap"),
    ]


def test_every_shipped_corpus_is_in_order_and_has_three_levels() -> None:
    names = {"face", "plant health", "bird", "retina", "wildcat", "pet", "food", "places", "fashion", "faces", "birds"}
    assert set(corpus_names()) == names
    for path in FOLDER.glob("*.json"):
        reading = open_corpus(path)
        assert reading.notes == ()
        assert reading.corpus.to_json() == json.loads(path.read_text(encoding="utf-8"))
        assert len(reading.corpus.attributes(1)) >= 5 and len(reading.corpus.leaves()) >= 40
    with pytest.raises(InputError, match="choose from"):
        find_corpus("../../etc/passwd")


@pytest.mark.parametrize("name", ["faces", "birds"])
def test_a_world_s_corpus_is_its_tree(name: str) -> None:
    assert [leaf.path for leaf in world_corpus(name).leaves()] == list(world(name).leaves())
