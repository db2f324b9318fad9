"""Any vision-language model of Hugging Face's, every measure from one prefill a trial."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import torch
from PIL import Image

from isi_core.domain.attribution import AttentionRecord
from isi_core.domain.decoding import Decoding
from isi_core.domain.errors import InputError, ModelError
from isi_core.domain.evaluation import Measure, ModelOutput, ModelRecord
from isi_core.domain.progress import Progress
from isi_core.domain.trial import Trial
from isi_core.models.out_of_memory import give_back, is_out_of_memory
from isi_core.models.threads import is_small, one_thread
from isi_core.models.vlm import attention_rows
from isi_core.models.vlm.answers import to_answer
from isi_core.models.vlm.attention_rows import RowRecorder, Rows
from isi_core.models.vlm.batches import batches_exactly, decode_together
from isi_core.models.vlm.generation import Generated, beam_search, decode, shares_exactly
from isi_core.models.vlm.loading import Checkpoint, Quantization, load_checkpoint
from isi_core.models.vlm.part import Part, never_back
from isi_core.models.vlm.pictures import tower_picture
from isi_core.models.vlm.prefill import CACHE_BYTES, Prefill, PrefillCache, decoder_blocks, key_value_bytes, read_prompt
from isi_core.models.vlm.prompt import SEVERAL_PICTURES, Prompt, PromptBuilder
from isi_core.models.vlm.protocol import Capabilities
from isi_core.models.vlm.reading import BatchRecorder, Reader, pictures_of, read_once_a_picture, read_prompts, stackable
from isi_core.models.vlm.samples import draw_samples, draw_together
from isi_core.models.vlm.sampling import Draw, Forced, Greedy
from isi_core.models.vlm.shared_prefix import can_share

BATCH = 16
"""Trials that are read and answered side by side, where their keys and values take no more than `READ_BYTES`."""

READ_BYTES = 4 << 30

_READING, _ANSWERING, _SAMPLING = (0.0, 0.2), (0.2, 0.5), (0.5, 1.0)


class HuggingFaceVLM:
    """An `AutoModelForImageTextToText` behind the `VisionLanguageModel` protocol; make one with `load`.

    One caller at a time (the shelf holds the lock); other models may run in other threads.

    Attributes
    ----------
    record : which model exactly.
    capabilities : what it can be asked for.
    prefills : prompts it has read and still remembers.
    """

    def __init__(
        self, checkpoint: Checkpoint, chat_template: str | None = None, cache_bytes: int = CACHE_BYTES
    ) -> None:
        self._model: Any = checkpoint.model
        self._processor: Any = checkpoint.processor
        self._end_tokens = checkpoint.end_tokens
        self.record: ModelRecord = checkpoint.record
        self.prefills = PrefillCache(cache_bytes)
        config = self._model.config
        self._prompts = PromptBuilder(
            self._processor,
            self.record.name,
            chat_template,
            max_tokens=getattr(config.get_text_config(), "max_position_embeddings", None),
            patch_size=getattr(getattr(config, "vision_config", None), "patch_size", None),
            image_token_id=getattr(config, "image_token_id", None),
        )
        self._small = is_small(self._model)
        self._layers = len(decoder_blocks(self._model))
        self._shares: bool | None = None
        self._batches: bool | None = None
        self._once_a_picture: bool | None = None
        self._at_once = BATCH
        self._token_bytes = key_value_bytes(self._model)
        self.capabilities = Capabilities(
            attention=attention_rows.install(self._model), hidden_states=self._layers > 0, likelihoods=True, beam=True,
            several_pictures=config.model_type in SEVERAL_PICTURES,
        )  # fmt: skip

    @classmethod
    def load(
        cls,
        source: str | Path,
        name: str,
        *,
        dtype: torch.dtype | str | None = None,
        quantization: Quantization = "none",
        device: str | None = None,
        revision: str | None = None,
        chat_template: str | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> HuggingFaceVLM:
        """Load from a local folder or a hub id; safetensors only, never code from the checkpoint.

        `device` None takes CUDA, else MPS, else the CPU; `dtype` None is float32 on a CPU, bfloat16 or
        float16 elsewhere. `chat_template` (Jinja) stands in for the checkpoint's own. Up to `cache_bytes`
        are kept of prompts that were read.

        Raises
        ------
        ModelError : it cannot be loaded or used; the message says what would.
        """
        checkpoint = load_checkpoint(
            source, name, dtype=dtype, quantization=quantization, device=device, revision=revision
        )
        return cls(checkpoint, chat_template, cache_bytes)

    def evaluate(
        self,
        trials: Sequence[Trial],
        decoding: Decoding,
        measures: Collection[Measure],
        progress: Progress | None = None,
    ) -> list[ModelOutput]:
        """One output a trial, with what `measures` names.

        `answer` is decoded by the decoding's strategy, the `samples` are always drawn; `attention` is
        that of the answer and brings it along. The same settings give the same answers, whichever
        measures are taken with them. `progress` is told at every decoder block of a prompt and at
        every token; what it raises ends the work and leaves the model as it was.

        Raises
        ------
        InputError : no question, a text too long, a picture that cannot be used, an unknown measure.
        ModelError : the model cannot do what was asked of it.
        """
        self._check(measures)
        outputs: list[ModelOutput] = []
        progress = never_back(progress) if progress is not None else None
        with self._running():
            while len(outputs) < len(trials):
                begin = len(outputs)
                here = trials[begin : begin + self._at_once]
                part = Part(progress, begin / len(trials), (begin + len(here)) / len(trials))
                outputs += self._evaluate_batch(here, decoding, measures, part)
        if progress is not None and outputs:
            progress("Done", 1.0)
        return outputs

    def likelihoods(
        self, trials: Sequence[Trial], token_ids: Sequence[int], progress: Progress | None = None
    ) -> list[tuple[float, ...]]:
        """For each trial, log p of each of these answer tokens after the ones before it (raw logits, nats).

        Prompts are read side by side where that is exact; those not known yet are not remembered, so that
        many changed pictures do not push out the prompt that a person works on.

        Raises
        ------
        InputError : there are no tokens, or as `evaluate`.
        """
        self._check_open()
        if not token_ids:
            raise InputError("There is no answer whose likelihood could be measured: ask first.")
        found: list[tuple[float, ...]] = []
        size = self._at_once
        progress = never_back(progress) if progress is not None else None
        with self._running():
            while len(found) < len(trials):
                here = trials[len(found) : len(found) + size]
                part = Part(progress, len(found) / len(trials), (len(found) + len(here)) / len(trials))
                try:
                    found += self._forced(here, token_ids, part)
                except (RuntimeError, MemoryError) as error:
                    if size == 1 or not is_out_of_memory(error):
                        raise
                    size = max(1, size // 2)
                    self.prefills.clear()
                    give_back()
        return found

    @property
    def network(self) -> Any:
        """The model itself, whose blocks may be read and steered; its weights must stay as they are.

        Raises
        ------
        ModelError : it was released.
        """
        self._check_open()
        return self._model

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of prompts and answers.

        Raises
        ------
        ModelError : the model was released.
        """
        self._check_open()
        return self._processor.tokenizer

    def prompts(self, trials: Sequence[Trial], room: int) -> list[Prompt]:
        """The trials as `evaluate` reads them, on the model's device; `room` tokens are kept free for an answer.

        Raises
        ------
        InputError : no question, a text too long, a picture that cannot be used.
        ModelError : the model was released.
        """
        self._check_open()
        return [self._to_device(self._prompts.build(trial, room)) for trial in trials]

    def first_token(self, trial: Trial, progress: Progress | None = None) -> tuple[str, torch.Tensor]:
        """The prompt, and (vocabulary,) log p in nats of the answer's first token, from the raw logits.

        The prompt is not remembered.

        Raises
        ------
        InputError : no question, a text too long, a picture that cannot be used.
        ModelError : the model was released, or ran out of memory.
        """
        self._check_open()
        with self._running():
            prefill = self._prefill(trial, 1, Part(progress), remember=False)
            return prefill.prompt.text, prefill.logits.log_softmax(dim=-1)

    def model_sees(self, image: Image.Image) -> Image.Image:
        """The picture as it reaches the vision tower, scaled and cropped, the colours put back."""
        self._check_open()
        return tower_picture(self._processor.image_processor, image)

    def close(self) -> None:
        """Give the memory back; the model cannot be used afterwards."""
        self.prefills.clear()
        self._model = self._processor = self._prompts = None  # type: ignore[assignment]
        give_back()

    @contextmanager
    def _running(self) -> Iterator[None]:
        """Without gradients, on as many threads as pay; a lack of memory is told in a sentence."""
        try:
            with torch.inference_mode(), one_thread(self._small):
                yield
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self.prefills.clear()
            raise ModelError(
                f"{self.record.name} ran out of memory on {self.record.device}: shorten the context, ask for shorter "
                "answers, or choose 4-bit or a smaller size."
            ) from error

    def _check_open(self) -> None:
        if self._model is None:
            raise ModelError(f"{self.record.name} was released: load it again.")

    def _check(self, measures: Collection[Measure]) -> None:
        self._check_open()
        if unknown := set(measures) - set(get_args(Measure)):
            raise InputError(f"Unknown measure {', '.join(sorted(unknown))}: use {', '.join(get_args(Measure))}.")
        if "attention" in measures and not self.capabilities.attention:
            raise ModelError(f"{self.record.name} does not tell its attention: measure it with another model.")
        if "hidden_states" in measures and not self.capabilities.hidden_states:
            raise ModelError(f"{self.record.name} does not tell its hidden states: use another model.")

    def _evaluate_batch(
        self, trials: Sequence[Trial], decoding: Decoding, measures: Collection[Measure], part: Part
    ) -> list[ModelOutput]:
        """Together where that is exact, else, and where memory runs out, one after the other."""
        if len(trials) > 1 and decoding.strategy != "beam":
            try:
                together = self._evaluate_together(trials, decoding, measures, part.within(0.0, 0.99))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                together = None
                self.prefills.clear()
                give_back()
            if together is not None:
                return together
        count = len(trials)
        return [
            self._evaluate(trial, decoding, measures, part.within(i / count, (i + 1) / count))
            for i, trial in enumerate(trials)
        ]

    def _evaluate_together(
        self, trials: Sequence[Trial], decoding: Decoding, measures: Collection[Measure], part: Part
    ) -> list[ModelOutput] | None:
        """The same as `_evaluate` of each, in batches; None where prompts cannot be put side by side."""
        prefills = self._prefill_together(trials, decoding.max_new_tokens, part.within(*_READING))
        if prefills is None:
            return None
        prompts = [prefill.prompt for prefill in prefills]
        shared = all(self._shared(prefill) for prefill in prefills)
        answers: list[Generated | None] = [None] * len(trials)
        recorder = samples = None
        if "answer" in measures or "attention" in measures:
            if "attention" in measures:
                recorder = BatchRecorder(prompts, self._model.device)
            answering = part.within(*_ANSWERING).counter(
                f"Answering {len(trials)} questions at a time", decoding.max_new_tokens
            )
            answers = [
                *decode_together(
                    self._model,
                    prefills,
                    range(len(prefills)),
                    [0] * len(prefills),
                    Draw(decoding, ["answer"]) if decoding.strategy == "sample" else Greedy(decoding),
                    end_tokens=self._end_tokens,
                    max_new_tokens=decoding.max_new_tokens,
                    shared=shared,
                    on_token=answering,
                    recorder=recorder,
                )
            ]
        if "samples" in measures:
            samples = draw_together(
                self._model,
                prefills,
                decoding,
                end_tokens=self._end_tokens,
                shared=shared,
                part=part.within(*_SAMPLING),
                make_room=self.prefills.clear,
            )
        tokenizer = self._processor.tokenizer
        return [
            ModelOutput(
                prompt=prefill.prompt.text,
                prompt_tokens=len(prefill.prompt),
                answer=None if (said := answers[i]) is None else to_answer(said, tokenizer),
                samples=None if samples is None else tuple(to_answer(drawn, tokenizer) for drawn in samples[i]),
                attention=None
                if recorder is None or said is None
                else self._attention(prefill, said, recorder.rows(i)),
                hidden_states=prefill.hidden_states if "hidden_states" in measures else None,
            )
            for i, prefill in enumerate(prefills)
        ]

    def _forced(self, trials: Sequence[Trial], token_ids: Sequence[int], part: Part) -> list[tuple[float, ...]]:
        """`likelihoods` of one batch, together where that is exact, else one after the other."""
        choose, count = Forced(token_ids), len(token_ids)
        # The answer ends where it ended, not where the model would end it after another prompt.
        options: dict[str, Any] = {"end_tokens": (), "max_new_tokens": count}
        reading = part.within(0.0, 0.8)
        together = self._prefill_together(trials, count, reading, remember=False) if len(trials) > 1 else None
        if together is not None:
            shared = all(self._shared(prefill) for prefill in together)
            rows, numbers = range(len(together)), [0] * len(together)
            rated = decode_together(self._model, together, rows, numbers, choose, shared=shared, **options)
        else:
            rated = []
            for i, trial in enumerate(trials):
                here = reading.within(i / len(trials), (i + 1) / len(trials))
                prefill = self._prefill(trial, count, here, remember=False)
                rated += decode(self._model, prefill, [0], choose, shared=self._shared(prefill), **options)
        part.report("Rating the answer", 1.0)
        return [tuple(row.likelihoods) for row in rated]

    def _prefill_together(
        self, trials: Sequence[Trial], max_new_tokens: int, part: Part, remember: bool = True
    ) -> list[Prefill] | None:
        """The prompts' prefills, those not known yet read in one pass; None where that is not exact."""
        known = {trial.digest: self.prefills.get(trial.digest) for trial in trials}
        prompts = {
            trial.digest: self._to_device(self._prompts.build(trial, max_new_tokens))
            for trial in trials
            if known[trial.digest] is None
        }
        if self._batches is False or (prompts and not stackable(list(prompts.values()))):
            return None
        if prompts:
            longest = max(map(len, prompts.values()))
            self._at_once = max(1, min(BATCH, READ_BYTES // max(1, longest * self._token_bytes)))
        if len(prompts) > self._at_once:  # these are read one by one, the next ones so many at a time
            return None
        if self._batches is None and len(prompts) > 1:
            pair = [read_prompt(self._model, prompt, False) for prompt in list(prompts.values())[:2]]
            self._batches = batches_exactly(self._model, pair)
            if not self._batches:
                return None
        if prompts:
            layer = part.layers(f"Reading {len(prompts)} prompts")
            read = self._reader(list(prompts.values()))
            attend = self.capabilities.attention
            known.update(zip(prompts, read(self._model, list(prompts.values()), attend, layer, 0), strict=True))
        prefills = []
        for trial in trials:
            prefill = known[trial.digest]
            if prefill is None or not can_share(prefill.cache, len(prefill.prompt)):
                return None
            self._prompts.check_length(prefill.prompt, max_new_tokens)
            if remember:
                self.prefills.put(trial.digest, prefill)
            prefills.append(prefill)
        return prefills

    def _reader(self, prompts: Sequence[Prompt]) -> Reader:
        """How these prompts are read: each picture once, where several have one and that is exact."""
        pictures = pictures_of(prompts)
        shown_again = next((i for i, picture in enumerate(pictures) if picture in pictures[:i]), None)
        if shown_again is None or self._once_a_picture is False:
            return read_prompts
        if self._once_a_picture is None:
            pair = prompts[pictures.index(pictures[shown_again])], prompts[shown_again]
            alone = [read_prompt(self._model, prompt, False) for prompt in pair]
            self._once_a_picture = batches_exactly(self._model, alone, read_once_a_picture)
        return read_once_a_picture if self._once_a_picture else read_prompts

    def _evaluate(self, trial: Trial, decoding: Decoding, measures: Collection[Measure], part: Part) -> ModelOutput:
        prefill = self._prefill(trial, decoding.max_new_tokens, part.within(*_READING))
        answer = attention = samples = None
        if "answer" in measures or "attention" in measures:
            generated, rows = self._answer(prefill, decoding, "attention" in measures, part.within(*_ANSWERING))
            answer = to_answer(generated, self._processor.tokenizer)
            if rows is not None:
                attention = self._attention(prefill, generated, rows)
        if "samples" in measures:
            drawn = self._samples(prefill, decoding, part.within(*_SAMPLING))
            samples = tuple(to_answer(generated, self._processor.tokenizer) for generated in drawn)
        return ModelOutput(
            prompt=prefill.prompt.text,
            prompt_tokens=len(prefill.prompt),
            answer=answer,
            samples=samples,
            attention=attention,
            hidden_states=prefill.hidden_states if "hidden_states" in measures else None,
        )

    def _prefill(self, trial: Trial, max_new_tokens: int, part: Part, remember: bool = True) -> Prefill:
        known = self.prefills.get(trial.digest)
        if known is not None:
            self._prompts.check_length(known.prompt, max_new_tokens)
            return known
        part.report("Reading the picture and the text", 0.0)
        prompt = self._to_device(self._prompts.build(trial, max_new_tokens))
        prefill = read_prompt(
            self._model,
            prompt,
            self.capabilities.attention,
            part.layers("Reading the picture and the text"),
        )
        if remember:
            self.prefills.put(trial.digest, prefill)
        return prefill

    def _answer(self, prefill: Prefill, decoding: Decoding, attend: bool, part: Part) -> tuple[Generated, Rows | None]:
        """The main answer, and the attention rows of its tokens, the end token's left out."""
        limit = decoding.max_new_tokens
        choose: Greedy | Draw | Forced = Greedy(decoding)
        if decoding.strategy == "sample":
            choose = Draw(decoding, ["answer"])
        elif decoding.strategy == "beam":
            searching, part = part.within(0.0, 0.9), part.within(0.9, 1.0)
            tokens = beam_search(
                self._model,
                prefill,
                decoding,
                self._end_tokens,
                searching.counter("Searching", limit),
                self._shared(prefill),
            )
            # Beams are searched without their likelihoods and attention; the best one is read once more for them.
            choose, limit = Forced(tokens), len(tokens)
        recorder = RowRecorder(prefill.prompt, self._model.device, len(prefill.prompt)) if attend else None
        [generated] = decode(
            self._model,
            prefill,
            [0],
            choose,
            end_tokens=self._end_tokens,
            max_new_tokens=limit,
            on_token=part.counter("Answering", limit),
            recorder=recorder,
            shared=self._shared(prefill),
        )
        if recorder is None:
            return generated, None
        return generated, recorder.rows()

    def _attention(self, prefill: Prefill, answer: Generated, later: Rows) -> AttentionRecord:
        """The prompt's row and the answer's, the end token's left out."""
        if prefill.rows is None:
            raise ModelError(f"{self.record.name} does not tell its attention: measure it with another model.")
        rows = prefill.rows + later if len(later.sums) else prefill.rows
        steps = len(answer.tokens) - answer.finished
        return attention_rows.attention_record(
            prefill.prompt, Rows(rows.sums[:steps], rows.columns[:steps]), self._layers
        )

    def _samples(self, prefill: Prefill, decoding: Decoding, part: Part) -> list[Generated]:
        return draw_samples(
            self._model,
            prefill,
            decoding,
            end_tokens=self._end_tokens,
            shared=self._shared(prefill),
            part=part,
            make_room=lambda: self.prefills.clear(but=prefill),
        )

    def _shared(self, prefill: Prefill) -> bool:
        """Whether answers read the prompt's keys and values where they are; found out with the first prompt."""
        if self._shares is None:
            self._shares = self.capabilities.attention and shares_exactly(self._model, prefill)
        return self._shares and can_share(prefill.cache, len(prefill.prompt))

    def _to_device(self, prompt: Prompt) -> Prompt:
        number = getattr(torch, self.record.dtype)
        inputs = {
            key: value.to(self._model.device, number if value.is_floating_point() else value.dtype)
            for key, value in prompt.inputs.items()
        }
        return replace(prompt, inputs=inputs)
