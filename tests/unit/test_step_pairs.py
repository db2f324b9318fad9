"""Articles into pairs: filtered, split by article, exactly balanced, repeatable, and robust against bad files."""

from __future__ import annotations

import argparse
import json
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from isi_core.commands.order_build import add_build
from isi_core.datasets.howto_articles import SAMPLE_FOLDER, built_in_articles, write_articles, write_howto_sample
from isi_core.datasets.step_articles import read_articles
from isi_core.datasets.step_pair_files import read_pairs, write_pairs
from isi_core.datasets.step_pairs import (
    PairSizes,
    build_pairs,
    drawn_pairs,
    load_pairs,
    open_image,
    open_images,
    split_articles,
)
from isi_core.datasets.step_statistics import article_statistics, count_title_words, pair_statistics, split_titles
from isi_core.domain.errors import InputError
from isi_core.domain.step_pairs import StepPair
from isi_core.worlds.howtos import CATEGORIES

SMALL = PairSizes(40, 10, 20)


def picture(path: Path, colour: str, side: int = 48) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), colour).save(path)
    return path.name


@pytest.fixture
def article(tmp_path):
    """Builds a good article's entry; its pictures are written to `src/images`."""

    def build(title: str, category: str = "Crafts", steps: int = 4) -> dict:
        name = title.replace(" ", "_")
        made = [
            {
                "headline": f"{title} step {i}.",
                "image": picture(tmp_path / "src" / "images" / f"{name}_{i}.png", f"hsl({hash_of(name, i)},60%,50%)"),
            }
            for i in range(steps)
        ]
        return {"title": title, "category": category, "steps": made}

    return build


def hash_of(name: str, i: int) -> int:
    return (sum(map(ord, name)) * 7 + 31 * i) % 360


def save(folder: Path, entries: list, name: str = "articles.jsonl") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(e if isinstance(e, str) else json.dumps(e) for e in entries))
    return folder


@pytest.fixture(scope="module")
def sample():
    return read_articles(SAMPLE_FOLDER)


def sources(pair: StepPair, by_image: dict) -> set:
    return {by_image[image] for image in pair.images}


def test_no_article_crosses_a_split_and_every_category_is_exactly_balanced(sample):
    splits = build_pairs(sample, SMALL, seed=3)
    by_image = {step.image: a.source for a in sample.articles for step in a.steps}
    seen = [
        set().union(*(sources(p, by_image) for p in part)) for part in (splits.train, splits.validation, splits.test)
    ]
    assert all(seen)
    assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])
    order = {step.image: i for a in sample.articles for i, step in enumerate(a.steps)}
    for part in (splits.train, splits.validation, splits.test):
        assert [pair.idx for pair in part] == list(range(len(part)))
        counts = Counter((pair.category, pair.label) for pair in part)
        for category in CATEGORIES:
            assert counts[category, 0] == counts[category, 1] > 0
        for pair in part:
            assert len(sources(pair, by_image)) == 1  # two steps of one article
            assert (order[pair.images[0]] < order[pair.images[1]]) == bool(pair.label)
            assert pair.kind == CATEGORIES[pair.category]


def test_methods_of_one_how_to_stay_together(article, tmp_path):
    entries = []
    for i in range(12):
        methods = [article(f"Thing {i} way {m}")["steps"] for m in range(3)]
        entries.append({"goal": f"Thing {i}", "category_hierarchy": ["Crafts", "Paper"],
                        "methods": [{"name": "x", "steps": steps} for steps in methods]})  # fmt: skip
    found = read_articles(save(tmp_path / "src", entries))
    assert (len(found.articles), found.articles[0].category) == (36, "Crafts")
    parts = split_articles(found.articles, 0)
    titles = [{a.title for a in part} for part in parts]
    assert sum(map(len, titles)) == 12
    assert [len(part) for part in parts] == [27, 3, 6]


def test_the_same_seed_makes_the_same_pairs_whatever_the_files_order_and_another_seed_others(sample):
    one, same, other = (build_pairs(sample, SMALL, seed) for seed in (1, 1, 2))
    assert one == same
    assert one.test != other.test
    assert drawn_pairs(5, 6, 2, 4) == drawn_pairs(5, 6, 2, 4)
    assert drawn_pairs(5, 6, 2, 4).train != drawn_pairs(6, 6, 2, 4).train


def test_drawn_pairs_have_the_sizes_asked_for_and_test_only_what_no_training_saw():
    splits = drawn_pairs(0, 30, 4, 10, side=32)
    for part, wanted in ((splits.train, 30), (splits.validation, 4), (splits.test, 10)):
        assert Counter(p.category for p in part) == dict.fromkeys(CATEGORIES, wanted)
        assert sum(p.label for p in part) * 2 == len(part)
    looks = [
        {p.images[0].step.scene.article_seed for p in part} for part in (splits.train, splits.validation, splits.test)
    ]
    assert not (looks[0] & looks[1] or looks[0] & looks[2] or looks[1] & looks[2])
    first, second = open_images(splits.test[0])
    assert first.size == second.size == (32, 32)
    assert pickle.loads(pickle.dumps(splits.test[0])) == splits.test[0]  # data loaders send pairs to processes


def test_pairs_survive_the_way_through_files_with_their_pictures(tmp_path):
    splits = drawn_pairs(1, 8, 2, 4, side=40)
    assert write_pairs(splits, tmp_path / "one") == 8 * 14
    write_pairs(splits, tmp_path / "same")
    names = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*") if p.is_file())
    assert all((tmp_path / "one" / n).read_bytes() == (tmp_path / "same" / n).read_bytes() for n in names)
    record = json.loads((tmp_path / "one" / "train.jsonl").read_text().splitlines()[0])
    assert list(record) == ["idx", "title", "headlines", "images", "label", "category", "kind"]
    back = load_pairs(tmp_path / "one")
    assert back.problems == ()
    for before, after in zip(splits.test, back.test, strict=True):
        assert (before.idx, before.headlines, before.label, before.kind) == (
            after.idx,
            after.headlines,
            after.label,
            after.kind,
        )
        for a, b in zip(open_images(before), open_images(after), strict=True):
            assert a.tobytes() == b.tobytes()
    with pytest.raises(InputError, match="not an empty folder"):
        write_pairs(splits, tmp_path / "one")


def test_what_is_wrong_with_an_article_is_named_skipped_and_counted(article, tmp_path):
    folder = tmp_path / "src"
    good = [article(f"Good {i}") for i in range(4)]
    one_step, missing, corrupt, small, twice, same = (
        article(t) for t in ("One", "Miss", "Bad", "Small", "Twice", "Same")
    )
    one_step["steps"] = one_step["steps"][:1]
    missing["steps"][1]["image"] = "nowhere.png"
    whole = folder / "images" / corrupt["steps"][2]["image"]
    whole.write_bytes(whole.read_bytes()[:60])
    picture(folder / "images" / small["steps"][0]["image"], "red", 8)
    twice["steps"].append(dict(twice["steps"][0]))
    same["steps"] = [dict(same["steps"][0]) for _ in range(3)]
    no_words = article("Mute")
    no_words["steps"][3]["headline"] = "  "
    climbs = article("Climbs")
    picture(tmp_path / "secret.png", "black")
    climbs["steps"][0]["image"] = "../secret.png"
    entries = [*good, one_step, missing, corrupt, small, twice, same, no_words, climbs, "{not json", "[1]"]
    found = read_articles(save(folder, entries))
    assert [a.title for a in found.articles] == ["Good 0", "Good 1", "Good 2", "Good 3", "Twice"]
    assert len(found.articles[-1].steps) == 4
    assert found.skipped == 9
    told = "\n".join(found.problems)
    for words in (
        "article 5: it has one step",
        "article 6: the picture of step 2, nowhere.png, is missing",
        "is damaged or cut short",
        "8 x 8 pixels, less than 32",
        "article 9: step 5 is the same as a step before it",
        "article 10: all of its steps are the same",
        "article 11: step 4 has no headline",
        "article 12: the picture of step 1, ../secret.png, is missing",
        "article 13 is not a JSON object",
    ):
        assert words in told, words


def test_a_category_without_enough_articles_is_named_and_left_out(article, tmp_path):
    entries = [article(f"Good {i}") for i in range(5)] + [article("Lone", "Cars"), article("Lone too", "Cars")]
    splits = build_pairs(read_articles(save(tmp_path / "src", entries)), PairSizes(8, 2, 2))
    assert splits.categories == ("Crafts",)
    assert any("Category Cars: its 2 articles" in problem for problem in splits.problems)
    with pytest.raises(InputError, match="three articles a category"):
        build_pairs(read_articles(save(tmp_path / "src", entries[-2:])), PairSizes(8, 2, 2))


def test_an_article_told_twice_cannot_cross_the_splits(article, tmp_path):
    entries = [article(f"Good {i}") for i in range(6)]
    found = read_articles(save(tmp_path / "src", [*entries, *entries, *entries]))
    splits = build_pairs(found, PairSizes(8, 2, 2))
    titles = [{p.title for p in part} for part in (splits.train, splits.validation, splits.test)]
    assert not (titles[0] & titles[1] or titles[0] & titles[2] or titles[1] & titles[2])
    assert any("12 articles" in problem for problem in splits.problems)


def test_wikiplans_own_folders_are_read(tmp_path):
    for task in range(3):
        folder = tmp_path / "plan" / f"task_{task}"
        for step in range(1, 12):
            picture(folder / f"step_{step}.png", f"hsl({step * 30},50%,50%)")
            (folder / f"step_{step}.txt").write_text(f"Do thing {step}\n")
        (folder / "task.txt").write_text(f"How to do {task}\n")
    found = read_articles(tmp_path / "plan")
    assert [a.title for a in found.articles] == ["How to do 0", "How to do 1", "How to do 2"]
    assert [s.headline for s in found.articles[0].steps][8:] == ["Do thing 9", "Do thing 10", "Do thing 11"]
    assert found.articles[0].category == "uncategorized"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no file or folder"),
        ("", "holds no article"),
        ("nonsense", "holds no article"),
        ("[]", "holds no article"),
    ],
)
def test_a_source_without_articles_is_told_in_one_sentence(tmp_path, content, words):
    source = tmp_path / "nothing" if content is None else tmp_path / "a.json"
    if content is not None:
        source.write_text(content)
    with pytest.raises(InputError, match=words):
        read_articles(source)


def test_bad_pair_records_are_named_and_the_good_ones_kept(tmp_path):
    names = [picture(tmp_path / "set" / f"{c}.png", c) for c in ("red", "blue")]
    good = {"idx": 0, "title": "T", "headlines": ["a", "b"], "images": names, "label": 1, "category": "C"}
    bad = [
        good | {"idx": -1},
        good | {"idx": 1, "label": 2},
        good | {"idx": 2, "headlines": ["a"]},
        good | {"idx": 3, "images": ["red.png", "/etc/passwd"]},
        good | {"idx": 4, "headlines": ["a", "a"], "images": ["red.png", "red.png"]},
        good,
        {k: v for k, v in good.items() if k != "title"} | {"idx": 6},
        "{broken",
    ]
    save(tmp_path / "set", [good, *bad], "test.jsonl")
    found = read_pairs(tmp_path / "set")
    assert [p.idx for p in found.test] == [0]
    assert (found.test[0].kind, found.train) == ("", ())
    assert len(found.problems) == len(bad)
    for words in (
        "record 2: its idx",
        "neither 0 nor 1",
        "two headlines",
        "passwd is missing",
        "are the same",
        "idx 0 is taken",
    ):
        assert any(words in problem for problem in found.problems), words


@pytest.mark.parametrize("sizes", [(0, 2, 2), (2, 2, 10**6), (1, 2, 2)])
def test_sizes_that_make_no_sense_are_refused(sizes):
    with pytest.raises(InputError, match="between 2 and"):
        PairSizes(*sizes)


def test_the_sample_is_what_its_command_makes(sample, tmp_path):
    readme = (SAMPLE_FOLDER / "README.md").read_text()
    assert "order build howto FOLDER --articles 60 --seed 0 --side 96" in readme
    assert (len(sample.articles), sample.problems, sample.skipped) == (60, (), 0)
    drawn = built_in_articles("sample 0", 60, 96, held_out=True)
    for made, read in zip(drawn.articles, sample.articles, strict=True):
        assert (made.source, made.title, made.category, made.kind) == (
            read.source,
            read.title,
            read.category,
            read.kind,
        )
        assert [s.headline for s in made.steps] == [s.headline for s in read.steps]
        assert open_image(made.steps[0].image).tobytes() == open_image(read.steps[0].image).tobytes()
    write_howto_sample(tmp_path / "new", 2)
    for path in (tmp_path / "new" / "images").iterdir():
        assert path.read_bytes() == (SAMPLE_FOLDER / "images" / path.name).read_bytes()


def test_statistics_count_what_is_there(sample):
    splits = drawn_pairs(2, 6, 2, 4)
    rows = {row.category: row for row in pair_statistics(splits)}
    assert list(rows) == [*sorted(CATEGORIES), "all"]
    assert (rows["kite"].train, rows["kite"].validation, rows["kite"].test, rows["kite"].pairs) == (6, 2, 4, 12)
    assert (rows["kite"].kind, rows["all"].kind, rows["all"].pairs) == ("both", "", 8 * 12)
    assert all(row.reversed_share == 0.5 for row in rows.values())
    words = [
        len(h.split()) for part in (splits.train, splits.validation, splits.test) for p in part for h in p.headlines
    ]
    assert rows["all"].headline_words == pytest.approx(np.mean(words))
    articles = {row.category: row for row in article_statistics(sample.articles)}
    assert sum(row.articles for row in articles.values()) == 60
    assert all(4 <= row.fewest <= row.steps <= row.most <= 8 for row in articles.values())


def test_verbs_and_nouns_of_titles_are_told_apart():
    found = count_title_words(["How to Plant a Flower", "How to Plant Two Kites", "How to Knit Warm Socks Quickly"])
    if found.tagger == "built-in lexicon":
        assert found.verbs == (("plant", 2), ("knit", 1))
        assert dict(found.nouns) == {"flower": 1, "kites": 1, "socks": 1}
    known = count_title_words(split_titles(drawn_pairs(0, 40, 2, 2)))
    assert {"plant", "mow", "wrap"} <= {word for word, _ in known.verbs}
    assert {"flower", "lawn", "parcel"} <= {word for word, _ in known.nouns}
    assert not {word for word, _ in known.verbs} & {"flower", "tower", "a", "the", "with"}


def test_the_command_builds_pairs_from_a_folder_of_articles(tmp_path, capsys):
    parser = argparse.ArgumentParser()
    add_build(parser.add_subparsers(dest="action"))
    write_articles(built_in_articles("x", 48, 40).articles, tmp_path / "src")
    options = ["--train", "20", "--validation", "4", "--test", "6", "--json"]
    arguments = parser.parse_args(["build", str(tmp_path / "src"), str(tmp_path / "out"), *options])
    arguments.run(arguments)
    told = json.loads(capsys.readouterr().out)
    back = read_pairs(tmp_path / "out")
    assert (
        told["pairs"] == len(back.train) + len(back.validation) + len(back.test) == told["table"][-1]["train"] + 8 * 10
    )
    arguments = parser.parse_args(["build", "howto", str(tmp_path / "articles"), "--articles", "3"])
    arguments.run(arguments)
    assert len(read_articles(tmp_path / "articles").articles) == 3
