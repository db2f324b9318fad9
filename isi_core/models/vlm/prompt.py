"""A trial as the model's own prompt: rendered by its chat template, tokenized, with each input's tokens known.

One user message: the picture, then `{context} {question}`, or the question alone when the context is empty.
Spans come from the tokenizer's offsets in the real prompt, never from tokenizing a part by itself: BPE
merges across borders, and a text may occur twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from PIL import Image

from isi_core.domain.attribution import GROUPS
from isi_core.domain.errors import InputError, ModelError, first_line
from isi_core.domain.trial import Trial
from isi_core.models.vlm.pictures import Tiles, anyres_tiles, check_picture, image_grid
from isi_core.models.vlm.user_text import as_data, control_pattern, readable

# Private-use characters that stand for the user's text while the template is rendered, to find where it goes.
_HOLE = "\ue000\ue001\ue002"

SEVERAL_PICTURES = frozenset(
    {
        "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "idefics2", "idefics3", "smolvlm", "gemma3", "internvl", "mistral3",
        "llava_onevision", "llava_interleave",
    }
)  # fmt: skip
"""Model types that were trained on several pictures in a prompt; others read them, but were never taught to."""

CharSpan = tuple[int, int]


@dataclass(frozen=True)
class Span:
    """Where one text stands in the prompt.

    Attributes
    ----------
    positions : its tokens' places, ascending.
    tokens : those tokens as text; joined, they are the text.
    """

    positions: tuple[int, ...]
    tokens: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Prompt:
    """What the model gets for one trial.

    Attributes
    ----------
    text : the rendered prompt, image tokens not expanded.
    inputs : tensors of a batch of one, as the model's forward takes them.
    context, question : their tokens.
    image : places of the image tokens, ascending.
    image_grid : (rows, columns) of the picture's places: of the image tokens, or of what `tiles` puts back.
    tiles : how the image tokens lie where the picture is seen in tiles; None where they fill the grid themselves.
    """

    text: str
    inputs: dict[str, torch.Tensor]
    context: Span
    question: Span
    image: tuple[int, ...]
    image_grid: tuple[int, int]
    tiles: Tiles | None = None

    def __len__(self) -> int:
        """Number of tokens, image tokens included."""
        return int(self.inputs["input_ids"].shape[1])

    def by_place(self, columns: NDArray[Any]) -> NDArray[Any]:
        """(..., places of `image_grid`) of (..., image tokens) shares of attention."""
        return columns if self.tiles is None else self.tiles.put_back(columns)

    def groups(self) -> torch.Tensor:
        """(tokens,) index into `GROUPS` of each token of the prompt; the first position is a group of its own."""
        groups = torch.full((len(self),), GROUPS.index("other"))
        for name, positions in (
            ("image", self.image),
            ("context", self.context.positions),
            ("question", self.question.positions),
            ("first", (0,)),
        ):
            groups[list(positions)] = GROUPS.index(name)
        return groups


class PromptBuilder:
    """Makes prompts for one model.

    Attributes
    ----------
    name : the model's name, for messages.
    chat_template : Jinja source; None takes the checkpoint's own.
    max_tokens : what the model takes at most, prompt and answer together; None where it does not say.
    patch_size : side of one of the vision tower's patches, in pixels, or (height, width); None where it has none.
    image_token_id : what stands for a piece of a picture, as the model's config has it; None takes the processor's,
        which in some families (Gemma 3) is that of the one token written before the picture.

    Raises
    ------
    ModelError : there is no chat template, or it does not write the user's text as it is.
    """

    def __init__(
        self,
        processor: Any,
        name: str,
        chat_template: str | None = None,
        max_tokens: int | None = None,
        patch_size: int | Sequence[int] | None = None,
        image_token_id: int | None = None,
    ) -> None:
        self._processor = processor
        self._tokenizer = processor.tokenizer
        self.name = name
        self.chat_template = chat_template
        self.max_tokens = max_tokens
        self.patch_size = patch_size
        self._image_token: str = getattr(processor, "image_token", "<image>")
        if image_token_id is None:
            image_token_id = getattr(processor, "image_token_id", None)
        self._image_token_id: int | None = image_token_id
        self._merge_size = int(getattr(processor.image_processor, "merge_size", 1) or 1)
        self._frames: dict[int, tuple[str, str]] = {}
        self._before, self._after = self._frame(1)
        self._layouts: dict[int, tuple[str, str]] = {}
        added = self._tokenizer.added_tokens_decoder.values()
        self._controls = control_pattern(
            special=[token.content for token in added if token.special],
            added=[token.content for token in added],
            frame=f"{self._before} {self._after}",
        )
        self._control_ids = {i for i, token in self._tokenizer.added_tokens_decoder.items() if token.special}

    def build(self, trial: Trial, max_new_tokens: int) -> Prompt:
        """The prompt of a trial, with room for an answer of `max_new_tokens`.

        Raises
        ------
        InputError : no question, text too long, or a picture no vision tower can take.
        ModelError : the template or the tokenizer does not keep the text.
        """
        context, question = (as_data(text.strip(), self._controls) for text in (trial.context, trial.question))
        if not question:
            raise InputError("There is no question: type one and ask again.")
        pictures = (trial.image, *trial.further_images)
        for picture in pictures:
            check_picture(picture)
        message = f"{context} {question}" if context else question
        before, after = self._frame(len(pictures))
        text = before + message + after
        if self._render(message, len(pictures)) != text:
            raise ModelError(
                f"The chat template of {self.name} changes the user's text: choose another model or give a template."
            )
        laid_before, laid_after = self._layout(pictures)
        encoded = self._encode(trial, text, laid_before)
        offsets = [(int(start), int(end)) for start, end in encoded.pop("offset_mapping")[0]]
        replacements = encoded.pop("text_replacement_offsets", None)
        ids = encoded["input_ids"][0].tolist()

        begin = len(laid_before)
        end = begin + len(message)
        laid = laid_before + message + laid_after
        shift = _Shift(replacements[0] if replacements else None, laid, self._image_token, offsets)
        asked = (end - len(question), end)
        told = (begin, begin + len(context))
        question_span = _span(shift(asked), question, offsets)
        taken = set(question_span.positions)
        context_span = _span(shift(told), context, offsets, taken)
        for span in (context_span, question_span):
            self._check_plain(span, ids)

        image = tuple(i for i, token in enumerate(ids) if token == self._image_token_id)
        tiles = anyres_tiles(encoded, len(image), self.patch_size, self._processor.image_processor)
        grid = image_grid(encoded, len(image), self.patch_size, self._merge_size)
        prompt = Prompt(
            text=text,
            # `labels` (PaliGemma's processor makes some) are for training only.
            inputs={k: value for k, value in encoded.items() if isinstance(value, torch.Tensor) and k != "labels"},
            context=context_span,
            question=question_span,
            image=image,
            image_grid=grid if tiles is None else (tiles.rows, tiles.columns),
            tiles=tiles,
        )
        self.check_length(prompt, max_new_tokens)
        return prompt

    def check_length(self, prompt: Prompt, max_new_tokens: int) -> None:
        """Raise `InputError` where prompt and answer do not fit; the message says how many tokens do."""
        if self.max_tokens is None or len(prompt) + max_new_tokens <= self.max_tokens:
            return
        excess = len(prompt) + max_new_tokens - self.max_tokens
        problem = (
            f"The prompt has {len(prompt):,} tokens and the answer may have {max_new_tokens:,}, "
            f"but {self.name} takes {self.max_tokens:,} in all"
        )
        name, span = max(
            (("context", prompt.context), ("question", prompt.question)), key=lambda entry: len(entry[1].positions)
        )
        room = len(span.positions) - excess
        if room > 0:
            raise InputError(f"{problem}: shorten the {name} from {len(span.positions):,} to {room:,} tokens.")
        raise InputError(f"{problem}: allow a shorter answer, or choose a model that takes more.")

    def _frame(self, pictures: int) -> tuple[str, str]:
        """What the template writes before and after the user's text, with so many pictures in front of it."""
        if pictures not in self._frames:
            parts = self._render(_HOLE, pictures).split(_HOLE)
            if len(parts) != 2:
                raise ModelError(f"The chat template of {self.name} does not hold the question once: give a template.")
            self._frames[pictures] = parts[0], parts[1]
        return self._frames[pictures]

    def _layout(self, pictures: Sequence[Image.Image]) -> tuple[str, str]:
        """The same when the processor has added what it adds by itself (PaliGemma: `<bos>` and a line's end)."""
        layout = getattr(self._processor, "prepare_inputs_layout", None)
        before, after = self._frame(len(pictures))
        if layout is None:
            return before, after
        if len(pictures) not in self._layouts:
            try:
                laid = layout(images=_nested(pictures), text=[before + _HOLE + after])[1][0]
            except (ValueError, TypeError, KeyError, IndexError) as error:
                raise ModelError(
                    f"The chat template of {self.name} does not suit its processor ({first_line(error)}): give another."
                ) from error
            laid_before, _, laid_after = str(laid).partition(_HOLE)
            self._layouts[len(pictures)] = laid_before, laid_after
        return self._layouts[len(pictures)]

    def _render(self, message: str, pictures: int) -> str:
        shown = [{"type": "image"}] * pictures
        conversation = [{"role": "user", "content": [*shown, {"type": "text", "text": message}]}]
        try:
            return str(
                self._processor.apply_chat_template(
                    conversation, chat_template=self.chat_template, add_generation_prompt=True, tokenize=False
                )
            )
        except Exception as error:  # a template is a program of the checkpoint's: it may raise anything
            raise ModelError(
                f"The chat template of {self.name} cannot be used ({first_line(error)}): "
                "give one, or choose another model."
            ) from error

    def _encode(self, trial: Trial, text: str, laid_before: str) -> dict[str, Any]:
        options: dict[str, Any] = {}
        images = [picture.convert("RGB") for picture in (trial.image, *trial.further_images)]
        beginning = self._tokenizer.bos_token
        if beginning and beginning in laid_before:
            options["add_special_tokens"] = False  # the template or the processor writes it already
        try:
            return dict(
                self._processor(
                    images=_nested(images),
                    text=[text],
                    return_tensors="pt",
                    return_offsets_mapping=True,
                    return_text_replacement_offsets=True,
                    truncation=False,
                    padding=False,
                    **options,
                )
            )
        except NotImplementedError as error:
            raise ModelError(
                f"The tokenizer of {self.name} does not tell where its tokens stand: choose a model with a fast one."
            ) from error
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise ModelError(
                f"The processor of {self.name} does not take this picture and text ({first_line(error)}): "
                "choose another model or picture."
            ) from error

    def _check_plain(self, span: Span, ids: Sequence[int]) -> None:
        """Raise where a control token came out of the user's text all the same (by a normalizer, say)."""
        for position, token in zip(span.positions, span.tokens, strict=True):
            if ids[position] in self._control_ids:
                raise InputError(f"{self.name} reads {token!r} in the text as a command: remove it and ask again.")


def _nested(pictures: Sequence[Image.Image]) -> list[Any]:
    """One prompt's pictures are a list of their own; of a single one, all processors take it flat."""
    return [list(pictures)] if len(pictures) > 1 else list(pictures)


class _Shift:
    """Places in the rendered text to places in the tokenized one, where the image token is expanded."""

    def __init__(
        self, replacements: Sequence[dict[str, Any]] | None, text: str, image_token: str, offsets: Sequence[CharSpan]
    ) -> None:
        if replacements is None:
            # A processor that does not report its replacements has made them at the image tokens, all before the user's
            # text: what the text has grown by is known from where its last token ends.
            grown = max(end for _, end in offsets) - len(text)
            self._gains = [(text.rindex(image_token) + len(image_token), grown)]
        else:
            grown_to = [(r["span"], r["new_span"]) for r in replacements]
            self._gains = [(span[1], new[1] - span[1]) for span, new in grown_to]

    def __call__(self, span: CharSpan) -> CharSpan:
        return self._place(span[0]), self._place(span[1])

    def _place(self, place: int) -> int:
        return place + next((gain for end, gain in reversed(self._gains) if end <= place), 0)


def _span(place: CharSpan, text: str, offsets: Sequence[CharSpan], taken: set[int] | None = None) -> Span:
    """The tokens that hold characters of `text`, which stands at `place`; those already `taken` left out.

    A character that several tokens share (an emoji of four byte tokens) is shown at the first of them.
    """
    begin, end = place
    positions, tokens = [], []
    shown = begin
    for position, (token_begin, token_end) in enumerate(offsets):
        # Strict, since added tokens and padding stand at (0, 0).
        if token_begin < end and token_end > begin and position not in (taken or ()):
            piece_begin, piece_end = max(token_begin, shown), min(token_end, end)
            positions.append(position)
            tokens.append(readable(text[piece_begin - begin : max(piece_begin, piece_end) - begin]))
            shown = max(shown, piece_end)
    return Span(tuple(positions), tuple(tokens))
