"""Choosing tokens: the same distributions as transformers' own, drawn with numbers of our own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from transformers import (
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from isi_core.domain.decoding import Decoding
from isi_core.models.vlm.sampling import Draw, Forced, Greedy, invert, likelihoods

VOCABULARY = 12


def make_logits(rows: int = 1, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, VOCABULARY, generator=torch.Generator().manual_seed(seed)) * 2


def make_ids(rows: int = 1) -> torch.Tensor:
    return torch.tensor([[3, 5, 3]]).expand(rows, -1)


@pytest.mark.parametrize(
    "decoding",
    [
        Decoding(temperature=1.0, top_k=0),
        Decoding(temperature=0.7, top_k=5),
        Decoding(temperature=1.4, top_k=0, top_p=0.8),
        Decoding(temperature=0.9, top_k=8, top_p=0.9, repetition_penalty=1.5),
    ],
)
def test_draws_follow_the_warped_distribution(decoding: Decoding) -> None:
    """A chi-squared test on a tiny vocabulary, against the distribution that transformers' own warpers make."""
    rows = 4000
    logits = make_logits()
    ids = make_ids()
    expected = RepetitionPenaltyLogitsProcessor(decoding.repetition_penalty)(ids, logits)
    expected = TemperatureLogitsWarper(decoding.temperature)(ids, expected)
    if decoding.top_k:
        expected = TopKLogitsWarper(decoding.top_k)(ids, expected)
    if decoding.top_p < 1:
        expected = TopPLogitsWarper(decoding.top_p)(ids, expected)
    probabilities = expected[0].double().softmax(-1).numpy()

    draw = Draw(decoding, [str(i) for i in range(rows)])
    tokens, chosen = draw(make_ids(rows), logits.expand(rows, -1), range(rows), 0)
    counts = np.bincount(tokens.numpy(), minlength=VOCABULARY)
    assert counts[probabilities == 0].sum() == 0
    possible = probabilities > 0
    assert chisquare(counts[possible], probabilities[possible] / probabilities.sum() * rows).pvalue > 1e-3
    np.testing.assert_allclose(chosen.numpy(), np.log(probabilities[tokens.numpy()]), atol=1e-5)


@pytest.mark.parametrize("options", [{"top_k": 5}, {"top_k": 0, "top_p": 0.7}, {"top_k": 40, "top_p": 0.9}])
def test_leaving_out_what_cannot_be_drawn_changes_no_draw(options: dict[str, float]) -> None:
    rows, vocabulary = 2000, 300
    logits = torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(3)) * 2
    draw = Draw(Decoding(**options), [str(i) for i in range(rows)])  # type: ignore[arg-type]
    tokens, chosen = draw(make_ids(rows), logits, range(rows), 0)
    warped = draw._processors(make_ids(rows), logits)
    assert torch.equal(tokens, invert(warped.softmax(dim=-1), draw._numbers[:, 0]))
    torch.testing.assert_close(chosen, likelihoods(warped, tokens), atol=1e-6, rtol=0)
    few, own = Draw(Decoding(**options), ["0", "1"])(make_ids(2), logits[:2], [0, 1], 0)  # type: ignore[arg-type]
    assert few.tolist() == tokens[:2].tolist()
    torch.testing.assert_close(own, chosen[:2], atol=1e-6, rtol=0)


def test_a_rows_numbers_depend_on_the_seed_and_its_name_alone() -> None:
    few, many = Draw(Decoding(seed=7), ["a", "b"]), Draw(Decoding(seed=7), ["x", "b", "c", "a"])
    other_seed = Draw(Decoding(seed=8), ["a", "b"])
    shorter = Draw(Decoding(seed=7, max_new_tokens=5), ["a"])
    torch.manual_seed(1)  # the global generator is of no consequence
    state = torch.get_rng_state()
    for step in range(5):
        logits = make_logits(seed=step)
        a, b = (int(few(make_ids(), logits, [row], step)[0]) for row in (0, 1))
        assert (a, b) == tuple(int(many(make_ids(), logits, [row], step)[0]) for row in (3, 1))
        assert a == int(shorter(make_ids(), logits, [0], step)[0])
        together = few(make_ids(2), logits.expand(2, -1), [0, 1], step)[0].tolist()
        assert together == [a, b]
    assert torch.equal(torch.get_rng_state(), state)
    wide = torch.zeros(1, 10_000)
    assert int(few(make_ids(), wide, [0], 0)[0]) != int(other_seed(make_ids(), wide, [0], 0)[0])


def test_greedy_heeds_the_penalty_and_reports_the_models_own_likelihood() -> None:
    logits = torch.full((1, VOCABULARY), -1.0)
    logits[0, 3], logits[0, 7] = 3.0, 2.9
    plain, [own] = Greedy(Decoding())(make_ids(), logits, [0], 0)
    assert (int(plain), float(own)) == (3, pytest.approx(float(logits.log_softmax(-1)[0, 3])))
    penalized, [own] = Greedy(Decoding(repetition_penalty=1.2))(make_ids(), logits, [0], 0)
    assert (int(penalized), float(own)) == (7, pytest.approx(float(logits.log_softmax(-1)[0, 7])))


def test_forced_tokens_are_taken_in_order() -> None:
    forced = Forced([4, 9])
    for step, token in enumerate((4, 9)):
        tokens, own = forced(make_ids(), make_logits(), [0], step)
        assert tokens.tolist() == [token]
        assert torch.equal(own, likelihoods(make_logits(), tokens))


def test_impossible_tokens_are_never_drawn_at_the_borders() -> None:
    probabilities = torch.tensor([[0.0, 0.5, 0.0, 0.5, 0.0]]).repeat(4, 1)
    numbers = torch.tensor([0.0, 0.5, 1.0 - 2.0**-53, 0.25], dtype=torch.float64)
    assert invert(probabilities, numbers).tolist() == [1, 3, 3, 1]
    rounded = torch.full((1, 3), 1 / 3)  # sums to a little more or less than one
    assert invert(rounded, numbers[2:3]).tolist() == [2]


@pytest.mark.parametrize("top_k", [0, 5])
def test_logits_that_are_not_numbers_show_in_the_likelihood(top_k: int) -> None:
    logits = make_logits(2)
    logits[1, 4:] = float("nan")
    tokens, chosen = Draw(Decoding(top_k=top_k), ["a", "b"])(make_ids(2), logits, [0, 1], 0)
    assert int(tokens.max()) < VOCABULARY
    assert chosen.isnan().tolist() == [False, True]
