"""A classifier of texts: TF-IDF of words and pairs of words, then logistic regression."""

from __future__ import annotations

from collections.abc import Sequence

from isi_core.domain.errors import InputError
from isi_core.measures.probes import STRENGTHS, Features, Floats, Labels, Probe, Trainer, check_training, log_loss

_MOST_WORDS = 5_000
_SHOWN = 12


def of_texts(texts: Sequence[str]) -> Trainer:
    """A trainer whose features (n, 1) are places in `texts`; words are counted on the training split alone.

    C is the one with the lowest validation log-loss; the probe's settings name the words with the largest weights.
    """

    def train(x: Features, y: Labels, xv: Features, yv: Labels, seed: int) -> Probe:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression

        check_training(x, y)
        words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, max_features=_MOST_WORDS, sublinear_tf=True)
        try:
            known = words.fit_transform(_texts(x))
        except ValueError:
            raise InputError("The texts share no words: there is nothing to learn from them.") from None
        best: tuple[float, float, LogisticRegression] | None = None
        for strength in STRENGTHS:
            head = LogisticRegression(C=strength * 10, max_iter=1_000, random_state=seed).fit(known, y)
            loss = log_loss(yv, head.predict_proba(words.transform(_texts(xv)))[:, 1]) if len(yv) else 0.0
            if best is None or loss < best[0] - 1e-9:
                best = loss, strength * 10, head
        assert best is not None
        _, strength, head = best

        def predict(features: Features) -> Floats:
            found: Floats = head.predict_proba(words.transform(_texts(features)))[:, 1].astype(float)
            return found

        order = abs(head.coef_[0]).argsort()[::-1][:_SHOWN]
        names = words.get_feature_names_out()
        told = {str(names[i]): round(float(head.coef_[0][i]), 3) for i in order}
        return Probe(predict, {"C": strength, "words": told})

    def _texts(features: Features) -> list[str]:
        return [texts[int(i)] for i in features[:, 0]]

    return train
