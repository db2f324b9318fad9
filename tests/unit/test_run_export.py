"""A run's folder: exact, repeatable, safe for spreadsheets, and read back without trust."""

import csv
import io
import json
import math
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from isi_core.domain.errors import InputError
from isi_core.domain.interventions import Box, TextLabel
from isi_core.reports import run_export
from isi_core.reports.run_export import read_run, run_zip
from isi_core.reports.run_tables import cell
from isi_core.store.serialization import evaluation_to_json
from tests.evaluations import evaluation, investigated, scene, uncertainty


def _files(made: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(made)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _rows(made: bytes, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(_files(made)[f"isi_run/{name}"].decode(), newline="")))


def _rezipped(made: bytes, change: dict[str, bytes | None]) -> bytes:
    """The zip with files replaced, added or (None) left out."""
    files = {**_files(made), **change}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            if content is not None:
                archive.writestr(name, content)
    return buffer.getvalue()


def test_a_measured_run_comes_back_whole(tmp_path):
    evaluations, labels = investigated(tmp_path, count=3)
    made = run_zip(evaluations, labels)
    back = read_run(made)
    assert [evaluation_to_json(e) for e in back] == [evaluation_to_json(e) for e in evaluations]
    for one, other in zip(back, evaluations, strict=True):
        assert one.trial.image.tobytes() == other.trial.image.tobytes()
        assert one.trial.digest == other.trial.digest
        assert np.array_equal(one.attribution.heat_map, other.attribution.heat_map)
    path = tmp_path / "run.zip"
    path.write_bytes(made)
    assert len(read_run(path)) == 3
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "unpacked")
    assert len(read_run(tmp_path / "unpacked" / "isi_run")) == 3
    assert run_zip(back, labels) == made


def test_odd_text_and_missing_parts_come_back_whole():
    odd = "<b>&\n😀 שלום \ud83d \x00 =1+1"
    made = evaluation("", question=odd, context=odd, interventions=(TextLabel(0.1, 0.1, "x"), Box(0, 0, 1, 1)))
    made = replace(made, answer=None, attribution=None, uncertainty=replace(uncertainty(), predictive_entropy=math.nan))
    (back,) = read_run(run_zip([made]))
    assert evaluation_to_json(back) == evaluation_to_json(made)
    assert back.trial.interventions == made.trial.interventions
    assert math.isnan(back.uncertainty.predictive_entropy)
    json.loads(
        _files(run_zip([made]))["isi_run/run.json"], parse_constant=pytest.fail
    )  # no NaN: strict readers take it


def test_the_same_run_is_the_same_bytes_and_one_folder():
    run = [evaluation(), evaluation("No.", image=scene(2)), evaluation("No.", image=scene(2))]
    made = run_zip(run, ["a", "b", "c"], report=b"%PDF-1.4")
    assert made == run_zip(run, ["a", "b", "c"], report=b"%PDF-1.4")
    names = set(_files(made))
    pictures = {f"isi_run/images/{e.trial.image_digest[:8]}.png" for e in run}
    assert len(pictures) == 2
    assert names == pictures | {f"isi_run/{n}" for n in ("run.json", "results.csv", "samples.csv", "report.pdf")}
    assert _files(made)["isi_run/report.pdf"] == b"%PDF-1.4"


def test_pictures_whose_digests_begin_alike_get_longer_names():
    digests = ["a" * 63 + "1", "a" * 63 + "2", "b" * 64]
    paths = run_export._picture_paths(digests)
    assert len(set(paths.values())) == 3
    assert all(run_export._PICTURE_NAME.fullmatch(p) for p in paths.values())


def test_tables_hold_every_number_at_full_precision():
    made = run_zip([evaluation(), evaluation("No.", measured=False)], ["first", "second"])
    first, second = _rows(made, "results.csv")
    assert first["label"] == "first" and first["judgement"] == "right" and second["judgement"] == "wrong"
    assert float(first["semantic_entropy"]) == uncertainty().semantic_entropy
    assert float(first["attention_image"]) == 0.5 and float(first["attention_absolute_other"]) == 0.2
    assert (first["seed"], first["temperature"], first["top_k"]) == ("17", "0.9", "33")
    assert second["semantic_entropy"] == second["attention_image"] == ""
    samples = _rows(made, "samples.csv")
    assert [s["cluster"] for s in samples] == ["1", "1", "1", "2"]
    assert samples[2]["answer"] == "Yes, it is." and samples[2]["log_likelihood_model"] == "-0.25"
    assert {s["evaluation"] for s in samples} == {"1"}
    assert _rows(run_zip([evaluation(measured=False)]), "samples.csv") == []


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd", "'+cmd"),
        ("-cmd", "'-cmd"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("  =1", "'  =1"),
        ("\r=1", "'\r=1"),
        ("-1.5e-3", "-1.5e-3"),
        ("+12", "+12"),
        ("-1+1", "'-1+1"),
        (-0.25, "-0.25"),
        (True, "True"),
        (None, ""),
        (math.nan, ""),
        ('a,b\n"c"', 'a,b\n"c"'),
    ],
)
def test_no_cell_is_a_formula(value, shown):
    assert cell(value) == shown


def test_formulas_in_answers_and_labels_are_disarmed_in_the_tables():
    evil = '=HYPERLINK("http://x.example","yes")'
    made = run_zip([replace(evaluation(evil), uncertainty=uncertainty([(evil,), ("No.",)]))], [evil])
    assert _rows(made, "results.csv")[0]["answer"] == f"'{evil}"
    assert _rows(made, "results.csv")[0]["label"] == f"'{evil}"
    assert _rows(made, "samples.csv")[0]["answer"] == f"'{evil}"


def test_wrong_calls_are_refused_in_words():
    with pytest.raises(InputError, match="press Ask"):
        run_zip([])
    with pytest.raises(InputError, match="labels"):
        run_zip([evaluation()], ["a", "b"])


def test_what_is_no_run_is_refused(tmp_path):
    made = run_zip([evaluation()])
    cases: dict[str, bytes] = {
        "not a run": b"not a zip file",
        "damaged": made[: len(made) // 2],
        "no run.json": _rezipped(made, {"isi_run/run.json": None}),
        "several": _rezipped(made, {"other/run.json": b"{}"}),
        "not valid JSON": _rezipped(made, {"isi_run/run.json": b"{" * 10}),
        "valid JSON": _rezipped(made, {"isi_run/run.json": b"[" * 200_000}),
        "not a run of": _rezipped(made, {"isi_run/run.json": b'{"kind": "x", "evaluations": []}'}),
        "newer": _rezipped(made, {"isi_run/run.json": b'{"kind": "isi-studio-run", "format": 99, "evaluations": []}'}),
        "names no picture": _rezipped(
            made, {"isi_run/run.json": b'{"kind": "isi-studio-run", "format": 1, "evaluations": [3]}'}
        ),
    }
    for words, content in cases.items():
        with pytest.raises(InputError, match=words):
            read_run(content)
    with pytest.raises(InputError, match="cannot be read"):
        read_run(tmp_path / "nowhere.zip")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"lacks run\.json"):
        read_run(tmp_path / "empty")


def test_paths_that_climb_out_are_refused(tmp_path):
    made = run_zip([evaluation()])
    for name in ("../evil.txt", "/etc/evil", "isi_run/../../evil", "C:evil"):
        with pytest.raises(InputError, match="climbs out"):
            read_run(_rezipped(made, {name: b"x"}))
    run = json.loads(_files(made)["isi_run/run.json"])
    for name in ("../../secret.png", "/etc/secret.png", "images/../secret.png", "images/XYZ.png", "run.json"):
        run["evaluations"][0]["image"] = name
        with pytest.raises(InputError, match="names no picture"):
            read_run(_rezipped(made, {"isi_run/run.json": json.dumps(run).encode()}))


def test_links_out_of_an_unpacked_folder_are_refused(tmp_path):
    made = run_zip([evaluation()])
    with zipfile.ZipFile(io.BytesIO(made)) as archive:
        archive.extractall(tmp_path)
    (picture,) = (tmp_path / "isi_run" / "images").iterdir()
    outside = tmp_path / "outside.png"
    picture.rename(outside)
    picture.symlink_to(outside)
    with pytest.raises(InputError, match="leads out"):
        read_run(tmp_path / "isi_run")


def test_changed_or_missing_pictures_are_refused():
    made = run_zip([evaluation()])
    (name,) = (n for n in _files(made) if n.endswith(".png"))
    (other,) = (c for n, c in _files(run_zip([evaluation(image=scene(9))])).items() if n.endswith(".png"))
    with pytest.raises(InputError, match="changed"):
        read_run(_rezipped(made, {name: other}))
    with pytest.raises(InputError, match="lacks images"):
        read_run(_rezipped(made, {name: None}))
    with pytest.raises(InputError, match="not a picture"):
        read_run(_rezipped(made, {name: b"text"}))


def test_bombs_are_refused_before_they_are_unpacked(monkeypatch):
    made = run_zip([evaluation(), evaluation(image=scene(5))])
    (name, _) = sorted(n for n in _files(made) if n.endswith(".png"))
    with pytest.raises(InputError, match="larger than 60 MB"):
        read_run(_rezipped(made, {name: bytes(run_export.MAX_PICTURE_BYTES + 1)}))
    monkeypatch.setattr(run_export, "MAX_PIXELS", 128 * 128)
    with pytest.raises(InputError, match="megapixels"):
        read_run(made)
    monkeypatch.setattr(run_export, "MAX_JSON_BYTES", 100)
    with pytest.raises(InputError, match=r"run\.json is larger"):
        read_run(made)
    monkeypatch.setattr(run_export, "MAX_FILES", 2)
    with pytest.raises(InputError, match="more than a run has"):
        read_run(made)


def test_a_zip_that_lies_about_its_sizes_is_refused():
    made = bytearray(run_zip([evaluation()]))
    with zipfile.ZipFile(io.BytesIO(bytes(made))) as archive:
        info = archive.getinfo("isi_run/run.json")
        start = info.header_offset + 60
    made[start : start + 40] = bytes(40)
    with pytest.raises(InputError, match="damaged"):
        read_run(bytes(made))
