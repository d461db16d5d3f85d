"""Conversations to token ids and loss masks: the only place that tokenises.

A conversation grows by pieces: the prompt, then in turn a reply (sampled ids, kept as they are) and the tokens that
lead from the end of that reply to the start of the next one (feedback). No piece is ever tokenised twice.

A picture stands before the text of its message as placeholders, as many as the model has features for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase, ProcessorMixin

from ruleshift.errors import RuleshiftError
from ruleshift.records import Episode, Message, Picture
from ruleshift.sight import Eye

_MARK = "RuleshiftReply"
Sizes = tuple[tuple[int, int], ...]  # height and width of each picture


@dataclass(frozen=True)
class Sequences:
    """Token ids of one conversation with a mask that is 1 on the tokens of replies (the ones to learn).

    `pictures` are those that placeholders among the ids stand for, in order.
    """

    token_ids: tuple[int, ...]
    reply_mask: tuple[int, ...]
    pictures: tuple[Picture, ...] = ()


class Chat:
    """Encodes conversations for one tokenizer through its chat template.

    `end_ids` are the ids that end a turn (the template's end-of-turn token, the tokenizer's end of sequence). With a
    processor, whose tokenizer then counts, messages may have pictures, and `eye` is what makes tensors of them.
    Raises RuleshiftError when there is no chat template, or one that drops or rewrites replies, or fails.
    """

    def __init__(self, source: PreTrainedTokenizerBase | ProcessorMixin, name: str = "the model") -> None:
        self.source, self.name = source, name
        self.eye = Eye(source, name) if isinstance(source, ProcessorMixin) else None
        tokenizer: PreTrainedTokenizerBase = source.tokenizer if isinstance(source, ProcessorMixin) else source
        own = source.chat_template
        self._template = own if isinstance(own, str | None) else own.get("default")
        if self._template is None and tokenizer.chat_template is None:
            raise RuleshiftError(
                f"the tokenizer of {name} has no chat template; add a chat_template.jinja to its folder "
                "(the file of an instruction-tuned sibling of the model will do)"
            )
        self.tokenizer = tokenizer
        self._feedback_ids = lru_cache(maxsize=10_000)(self._render_feedback)  # feedback repeats itself
        after_reply = self._render([Message("user", "x"), Message("assistant", _MARK)], generate=False)
        if after_reply.count(_MARK) != 1:
            raise RuleshiftError(f"the chat template of {name} does not print assistant messages as they are")
        if self.eye is not None and any(mark in after_reply for mark in ("'type'", '"type"')):  # a part, as it is
            raise RuleshiftError(
                f"the chat template of {name} takes text only; add its processor's chat_template.jinja"
            )
        # Some templates print a space before a reply that they do not print where one is asked for.
        asked = self._render([Message("user", "x")], generate=True)
        self._opening = self._unprinted_opening(asked)
        between = after_reply.removeprefix(asked).split(_MARK)[0] if after_reply.startswith(asked) else ""
        self._before = between if between.isspace() else ""
        # What the template prints between the end of a reply and the next message starts with the end-of-turn token.
        self._closing = after_reply.split(_MARK)[1]
        closing_ids = self._ids(self._closing)
        ends = [i for i in closing_ids[:1] if i in tokenizer.all_special_ids]
        if tokenizer.eos_token_id is not None:
            ends.append(tokenizer.eos_token_id)
        if not ends:
            raise RuleshiftError(f"the tokenizer of {name} has no end-of-turn token; set eos_token in its config")
        self.end_ids = frozenset(ends)
        self._end_id = ends[0]
        self.pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[-1]

    def encode_prompt(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Ids of the opening messages, ready for the first reply."""
        text = self._render(messages, generate=True)
        return self._opening + self._placed(text, [_sizes(message) for message in messages])

    def encode_feedback(self, message: Message, ended: bool) -> tuple[int, ...]:
        """Ids from the end of a reply to the start of the next: end of turn, the feedback message, reply header.

        ended: whether the reply already holds its end-of-turn token.
        """
        ids = self._feedback_ids(message.content, _sizes(message))
        return ids[1:] if ended and ids[:1] == (self._end_id,) else ids

    def _render_feedback(self, feedback: str, sizes: Sizes) -> tuple[int, ...]:
        pictures = tuple(Picture(height, width, b"") for height, width in sizes)
        dialogue = [Message("user", "x"), Message("assistant", _MARK), Message("user", feedback, pictures)]
        return self._placed(self._render(dialogue, generate=True).split(_MARK, 1)[1], [sizes])

    def encode_reply(self, text: str) -> tuple[int, ...]:
        """Ids of a given reply (an expert's), closed by the end-of-turn token."""
        return (*self._ids(self._before + self._plain(text)), self._end_id)

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of a reply, special tokens left out."""
        return self.tokenizer.decode(list(token_ids), skip_special_tokens=True)  # type: ignore[return-value]

    def _render(self, messages: Sequence[Message], generate: bool) -> str:
        dialogue: list[Any] = [{"role": message.role, "content": self._content(message)} for message in messages]
        try:
            text = self.tokenizer.apply_chat_template(
                dialogue, chat_template=self._template, tokenize=False, add_generation_prompt=generate
            )
        except TemplateError as error:
            raise RuleshiftError(f"the chat template of {self.name} cannot print a conversation ({error})") from error
        assert isinstance(text, str)
        return text

    def _unprinted_opening(self, prompt: str) -> tuple[int, ...]:
        """The ids that processors put before a prompt whose template does not print the beginning of sequence; for
        models of text it is the template's to print. Source: transformers, `ProcessorMixin.apply_chat_template`."""
        bos = self.tokenizer.bos_token
        if self.eye is None or bos is None or prompt.startswith(bos):
            return ()
        first = self.tokenizer("x")["input_ids"][:1]
        return tuple(first) if first == [self.tokenizer.bos_token_id] else ()

    def _content(self, message: Message) -> str | list[dict[str, str]]:
        """What the template is given: text, or with a processor a list of parts, pictures first."""
        if self.eye is None:
            if message.pictures:
                raise RuleshiftError(
                    f"{self.name} reads text only, and this task shows pictures: choose a vision-language model"
                )
            return message.content
        pictures = [{"type": "image"} for _ in message.pictures]
        return [*pictures, {"type": "text", "text": self._plain(message.content)}]

    def _plain(self, text: str) -> str:
        """Text in which no placeholder stands, so that none is taken for a picture: `<image>` becomes `< image>`."""
        return text if self.eye is None else text.replace(self.eye.token, f"{self.eye.token[0]} {self.eye.token[1:]}")

    def _placed(self, text: str, sizes: Sequence[Sizes]) -> tuple[int, ...]:
        """Ids of a rendered text, each placeholder repeated for the size of its picture."""
        if self.eye is None:
            return self._ids(text)
        first, *parts = text.split(self.eye.token)
        flat = [size for of_message in sizes for size in of_message]
        if len(parts) != len(flat):
            raise RuleshiftError(
                f"the chat template of {self.name} shows {len(parts)} of {len(flat)} pictures: it must print "
                f"{self.eye.token} for every part of a message that is an image"
            )
        spaces = [self.eye.space_of_size(*size).text for size in flat]
        return self._ids(first + "".join(space + part for space, part in zip(spaces, parts, strict=True)))

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])


def _sizes(message: Message) -> Sizes:
    return tuple((picture.height, picture.width) for picture in message.pictures)


def encode_dialogue(chat: Chat, messages: Sequence[Message]) -> Sequences:
    """A given conversation (opening messages, then replies and feedback in turn), with the mask of its replies."""
    first = next((i for i, message in enumerate(messages) if message.role == "assistant"), len(messages))
    ids = list(chat.encode_prompt(messages[:first]))
    mask = [0] * len(ids)
    for message in messages[first:]:
        if message.role == "assistant":
            piece = chat.encode_reply(message.content)
        else:
            piece = chat.encode_feedback(message, ended=True)
        ids += piece
        mask += [int(message.role == "assistant")] * len(piece)
    pictures = tuple(picture for message in messages for picture in message.pictures)
    return Sequences(tuple(ids), tuple(mask), pictures)


def episode_sequence(episode: Episode) -> Sequences:
    """The ids of an episode as sampled, with the mask of its replies."""
    ids: list[int] = []
    mask: list[int] = []
    for turn in episode.turns:
        ids += turn.appended_ids + turn.completion.token_ids
        mask += [0] * len(turn.appended_ids) + [1] * len(turn.completion.token_ids)
    return Sequences(tuple(ids), tuple(mask), episode.pictures)
