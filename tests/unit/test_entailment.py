"""Entailment by a real DeBERTa-v2 classifier with random weights and a tokenizer trained on the fly."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import DebertaV2Config, DebertaV2ForSequenceClassification, DebertaV2Model, PreTrainedTokenizerFast

from isi_core.domain.answer import Answer
from isi_core.domain.errors import Cancelled, ModelError
from isi_core.domain.uncertainty import UncertaintySettings
from isi_core.measures.semantic_entropy import measure
from isi_core.models.entailment.hugging_face import HuggingFaceEntailment, _batches
from isi_core.models.entailment.protocol import CLASSES, EntailmentModel

SENTENCES = [
    "Is there a red car? Yes, there is a red car.",
    "Is there a red car? No, the car is blue.",
    "Are there more boats than fish? Yes.",
    "Are there more boats than fish? There are two fish and one boat in the picture, so no.",
    "Is the house left of the tree? I cannot tell.",
]
ALL_PAIRS = [(a, b) for a in SENTENCES for b in SENTENCES]
POSITIONS = 128
ROWS_SEED = 10


@cache
def train_tokenizer() -> PreTrainedTokenizerFast:
    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator(SENTENCES, trainers.BpeTrainer(vocab_size=80, special_tokens=special))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]"
    )


def make_config(labels: Sequence[str], vocabulary: int) -> DebertaV2Config:
    return DebertaV2Config(
        vocab_size=vocabulary,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=POSITIONS,
        type_vocab_size=0,
        relative_attention=True,
        position_buckets=16,
        pos_att_type=["p2c", "c2p"],
        pad_token_id=0,
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
    )


def save_model(folder: Path, labels: Sequence[str], **options: Any) -> Path:
    """A classifier whose outputs depend on the labels' *meaning* only: its rows follow their order."""
    tokenizer = train_tokenizer()
    torch.manual_seed(0)
    model = DebertaV2ForSequenceClassification(make_config(labels, len(tokenizer)))
    rows = torch.randn(3, 32, generator=torch.Generator().manual_seed(ROWS_SEED)) * 10
    with torch.no_grad():
        for parameter in model.deberta.parameters():  # large enough that pairs differ visibly
            if parameter.ndim > 1:
                parameter.mul_(8)
        order = [CLASSES.index(label.lower()) if label.lower() in CLASSES else i for i, label in enumerate(labels)]
        model.classifier.weight.copy_(rows[order])
        pairs = tokenizer([a for a, _ in ALL_PAIRS], [b for _, b in ALL_PAIRS], padding=True, return_tensors="pt")
        model.classifier.bias.copy_(-model.eval()(**pairs).logits.mean(dim=0))  # every class gets its share of pairs
    model.save_pretrained(folder, **options)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("nli") / "random-nli", CLASSES)


@pytest.fixture(scope="module")
def entailment(folder: Path) -> HuggingFaceEntailment:
    return HuggingFaceEntailment.load(folder, "random-nli", device="cpu")


def one_by_one(folder: Path, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    """The published way: one call a pair, no padding."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    model = DebertaV2ForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    rows = []
    with torch.no_grad():
        for premise, hypothesis in pairs:
            logits = model(**tokenizer(premise, hypothesis, return_tensors="pt")).logits[0]
            rows.append(torch.softmax(logits, dim=-1).numpy())
    return np.array(rows)


def test_batches_equal_one_by_one(entailment: HuggingFaceEntailment, folder: Path) -> None:
    expected = one_by_one(folder, ALL_PAIRS)
    found = entailment.classify(ALL_PAIRS)
    assert found.shape == (len(ALL_PAIRS), 3) and found.dtype == np.float64
    assert np.ptp(expected, axis=0).min() > 0.05  # the pairs differ, so that a mix-up shows
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-12)
    np.testing.assert_array_equal(entailment.implications(ALL_PAIRS), expected.argmax(axis=1))


@pytest.mark.parametrize(
    "labels", [("ENTAILMENT", "NEUTRAL", "CONTRADICTION"), ("Neutral", "Entailment", "Contradiction")]
)
def test_label_order_is_read_from_the_config(
    entailment: HuggingFaceEntailment, tmp_path: Path, labels: tuple[str, ...]
) -> None:
    other = HuggingFaceEntailment.load(save_model(tmp_path / "nli", labels), "other")
    np.testing.assert_allclose(other.classify(ALL_PAIRS), entailment.classify(ALL_PAIRS), atol=1e-6)


def count_rows(entailment: HuggingFaceEntailment) -> tuple[list[int], Any]:
    rows: list[int] = []
    hook = entailment._model.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    return rows, hook


def test_identical_pairs_are_asked_once_in_batches_of_32(entailment: HuggingFaceEntailment) -> None:
    pairs = [(a, f"{b} {n}") for a, b in ALL_PAIRS for n in (1, 2)]
    rows, hook = count_rows(entailment)
    try:
        found = entailment.classify(pairs + pairs[::-1])
    finally:
        hook.remove()
    assert rows == [32, 18]
    np.testing.assert_array_equal(found[: len(pairs)], found[len(pairs) :][::-1])


def test_no_pairs(entailment: HuggingFaceEntailment) -> None:
    assert entailment.classify([]).shape == (0, 3)
    assert entailment.implications([]).shape == (0,)


def test_long_pairs_get_smaller_batches() -> None:
    lengths = [512] * 40 + [8] * 40
    batches = list(_batches(lengths))
    assert [len(b) for b in batches] == [16, 16, 16, 32]
    assert sorted(i for b in batches for i in b) == list(range(80))


def test_a_cut_pair_keeps_its_answers(entailment: HuggingFaceEntailment) -> None:
    question = "Is there a red car? " * 1000
    endings = ["Yes, there is a red car.", "No, the car is blue."]
    found = entailment.classify([(question + a, question + b) for a in endings for b in endings])
    assert entailment.max_tokens == POSITIONS
    assert len(np.unique(found.round(6), axis=0)) == 4


def test_hostile_text(entailment: HuggingFaceEntailment) -> None:
    pairs = [("", ""), ("[SEP] [CLS]", "<b>&</b>"), ("\ud800", "a\x00b"), ("مرحبا", "🚗" * 50)]
    assert np.isfinite(entailment.classify(pairs)).all()


def test_progress_and_cancel(entailment: HuggingFaceEntailment) -> None:
    fractions: list[float] = []
    entailment.classify(ALL_PAIRS, lambda message, fraction: fractions.append(fraction))
    assert fractions[0] == 0.0 and fractions[-1] == 1.0 and fractions == sorted(fractions)

    def stop(message: str, fraction: float) -> None:
        raise Cancelled("Cancelled.")

    with pytest.raises(Cancelled):
        entailment.classify(ALL_PAIRS, stop)


def test_record(entailment: HuggingFaceEntailment, folder: Path) -> None:
    model: EntailmentModel = entailment  # the protocol fits
    record = model.record
    assert (record.name, record.source, record.dtype, record.device) == ("random-nli", "random-nli", "float32", "cpu")
    assert record.revision == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_half_precision_weights_load_as_float32(
    entailment: HuggingFaceEntailment, folder: Path, tmp_path: Path
) -> None:
    half = DebertaV2ForSequenceClassification.from_pretrained(folder).half()
    half.save_pretrained(tmp_path)
    train_tokenizer().save_pretrained(tmp_path)
    loaded = HuggingFaceEntailment.load(tmp_path, "half")
    assert loaded.record.dtype == "float32"
    np.testing.assert_allclose(loaded.classify(ALL_PAIRS), entailment.classify(ALL_PAIRS), atol=0.05)


@pytest.mark.parametrize("labels", [("entailment", "not_entailment"), ("LABEL_0", "LABEL_1", "LABEL_2")])
def test_other_classes_are_refused_by_name(tmp_path: Path, labels: tuple[str, ...]) -> None:
    tokenizer = train_tokenizer()
    DebertaV2ForSequenceClassification(make_config(labels, len(tokenizer))).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=labels[0]):
        HuggingFaceEntailment.load(tmp_path, "other-classes")


def test_a_model_without_a_classifier_is_refused(tmp_path: Path) -> None:
    tokenizer = train_tokenizer()
    DebertaV2Model(make_config(CLASSES, len(tokenizer))).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="no trained entailment classifier"):
        HuggingFaceEntailment.load(tmp_path, "headless")


def test_what_cannot_be_loaded_gets_one_sentence(folder: Path, tmp_path: Path) -> None:
    pickled, broken = tmp_path / "pickled", tmp_path / "broken"
    for copy in (pickled, broken):
        copy.mkdir()
        for file in folder.iterdir():
            (copy / file.name).write_bytes(file.read_bytes())
    weights = torch.nn.Linear(2, 2).state_dict()
    (pickled / "model.safetensors").unlink()
    torch.save(weights, pickled / "pytorch_model.bin")
    (broken / "model.safetensors").write_bytes(b"not safetensors")
    for bad in (pickled, broken, tmp_path / "nowhere"):
        with pytest.raises(ModelError) as caught:
            HuggingFaceEntailment.load(bad, "bad-model")
        assert "bad-model" in str(caught.value) and "\n" not in str(caught.value)


def test_measure_with_a_real_model_equals_the_published_procedure(
    entailment: HuggingFaceEntailment, folder: Path
) -> None:
    """Pairs of question and answer one by one, repeats and all, clustered greedily as published."""
    question = "Is there a red car?"
    answers = ["Yes.", "No, the car is blue.", "Yes.", "I cannot tell.", "There is a red car.", "No.", "Yes."]
    samples = tuple(
        Answer(text, log_likelihoods=(-0.1 * i, -1.0), sampling_log_likelihoods=(-0.2 * i, -0.5))
        for i, text in enumerate(answers)
    )
    texts = [f"{question} {answer}" for answer in answers]
    expected = one_by_one(folder, [(a, b) for a in texts for b in texts]).argmax(axis=1).reshape(7, 7)

    found = measure(samples, question, entailment, UncertaintySettings())

    off_diagonal = ~np.eye(7, dtype=bool)
    np.testing.assert_array_equal(np.array(found.implications)[off_diagonal], expected[off_diagonal])
    assert found.settings.entailment_model == "random-nli"
    ids = [-1] * 7
    for i in range(7):
        if ids[i] == -1:
            ids[i] = max(ids) + 1
            for j in range(i + 1, 7):
                both = [expected[i, j], expected[j, i]]
                if 0 not in both and both != [1, 1]:
                    ids[j] = ids[i]
    assert list(found.semantic_ids) == ids and 1 < found.n_clusters < 7


def test_a_batch_that_runs_out_of_memory_is_asked_in_halves(folder: Path) -> None:
    model = HuggingFaceEntailment.load(folder, "random-nli", device="cpu")
    expected = model.classify(ALL_PAIRS)
    sizes: list[int] = []

    def check(module: torch.nn.Module, args: Any, options: dict[str, Any]) -> None:
        sizes.append(len(options["input_ids"]))
        if sizes[-1] > room:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    hook = model._model.register_forward_pre_hook(check, with_kwargs=True)
    room = 7
    told: list[float] = []
    np.testing.assert_allclose(model.classify(ALL_PAIRS, lambda _, done: told.append(done)), expected, atol=1e-6)
    assert sizes[:3] == [25, 12, 6]
    assert max(sizes[2:]) <= room  # it has learnt
    assert sum(sizes[2:]) == len(ALL_PAIRS)
    assert told == sorted(told)
    room = 0
    with pytest.raises(ModelError, match="ran out of memory on cpu"):
        model.classify(ALL_PAIRS)
    hook.remove()
    np.testing.assert_array_equal(model.classify(ALL_PAIRS), expected)
