"""Conversations to token ids and loss masks: the only place that tokenises.

A conversation grows by pieces: the prompt, then in turn a reply (sampled ids, kept as they are) and the tokens that
lead from the end of that reply to the start of the next one (feedback). No piece is ever tokenised twice.

A picture stands before the text of its message as placeholders, as many as the model has features for it.
"""

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase, ProcessorMixin

from ruleshift.errors import RuleshiftError
from ruleshift.records import Episode, Message, Picture
from ruleshift.sight import Eye
from ruleshift.templates import LABEL, OWN_LABEL, PLAIN, TODAY, Shape, UnprintedError, after_marks, fill, mark, printed
from ruleshift.turns import THOUGHTS, close_thought, find_end, open_thought

_REPLY = "RuleshiftReply"
_ASK, _ANSWER = Message("user", "x"), Message("assistant", _REPLY)
_LABELS = re.compile(f"\n({LABEL}|{OWN_LABEL})")
_LABEL_TOKENS = 12  # the last ones of a reply, among which the label of the next speaker is looked for
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

    `end_ids` are the ids that end a turn: those given as `ends` (of the generation config), the tokenizer's end of
    sequence, and the first special token that the template prints after a reply. With the plain template a reply also
    ends where the label of a speaker stands (`stop`). With a processor, whose tokenizer then counts, messages may
    have pictures, and `eye` is what makes tensors of them.

    template: in place of the tokenizer's own. system: a message before every conversation. thinking: whether a model
    that can think before it answers does; if not, the template's switch says so, or the thought that it opens is
    closed. Raises RuleshiftError when there is no chat template, or one that drops or rewrites messages, or fails.
    """

    def __init__(
        self,
        source: PreTrainedTokenizerBase | ProcessorMixin,
        name: str = "the model",
        ends: Collection[int] = (),
        template: str | None = None,
        system: str | None = None,
        thinking: bool = False,
    ) -> None:
        self.source, self.name, self.system, self.thinking = source, name, system, thinking
        self.eye = Eye(source, name) if isinstance(source, ProcessorMixin) else None
        self.tokenizer: PreTrainedTokenizerBase = source.tokenizer if isinstance(source, ProcessorMixin) else source
        if template is not None:
            source.chat_template = template  # saved models keep it
        self._template = self._own_template()
        self._tokens = tuple(
            (kind, str(token))
            for kind, token in self.tokenizer.special_tokens_map.items()
            if not isinstance(token, list)
        )
        self._skeletons: dict[Shape, str] = {}
        self._feedback_ids = lru_cache(maxsize=10_000)(self._encode_feedback)  # feedback repeats itself
        self._prepare()
        after_reply, self._asked = self._render([_ASK, _ANSWER], asks=False), self._render([_ASK], asks=True)
        if self.eye is not None and any(mark in after_reply for mark in ("'type'", '"type"')):  # a part, as it is
            raise RuleshiftError(
                f"the chat template of {name} takes text only; add its processor's chat_template.jinja"
            )
        # Some templates print a space before a reply that they do not print where one is asked for.
        self._opening = self._unprinted_opening(self._asked)
        before, _, after = after_reply.partition(_REPLY)
        between = before.removeprefix(self._asked) if before.startswith(self._asked) else ""
        self._before = between if between.isspace() else ""
        self._find_ends(ends, after)
        if system is not None:
            self.encode_prompt([_ASK])  # fails for a template that takes none
        self.stop = _LABELS if self._template == PLAIN else None
        self.facts = self._facts(template)

    def _own_template(self) -> str:
        for template in (self.source.chat_template, self.tokenizer.chat_template):
            found = template.get("default") if isinstance(template, dict) else template
            if isinstance(found, str):
                return found
        raise RuleshiftError(
            f"the tokenizer of {self.name} has no chat template: --chat-template plain is one for base models, and "
            "--chat-template FILE takes that of an instruction-tuned sibling (chat_template.jinja)"
        )

    def _prepare(self) -> None:
        """Have the template print the conversations that are always needed, and see whether it knows of thinking."""
        ask, given = ("user",), (("system",) if self.system is not None else ()) + ("user",)
        first = [self._shape(roles, True) for roles in dict.fromkeys((ask, given, (*ask, "assistant", "user")))]
        others = [self._shape((*ask, "assistant"), False), self._shape(ask, True, not self.thinking)]
        shapes = (*first, *others)
        try:
            self._skeletons.update(zip(shapes, printed(self._template, shapes, self._tokens), strict=True))
        except TemplateError as error:
            raise self._failure(error) from error
        header, other = (after_marks(self._skeletons[self._shape(ask, True, thinks)]) for thinks in (False, True))
        self._has_switch, self._has_thought = header != other, open_thought(header) is not None
        if self.thinking and not self._has_switch and not self._has_thought:
            raise RuleshiftError(f"the chat template of {self.name} knows of no thinking: leave --thinking out")
        thought = open_thought(other) if self.thinking else None
        self.opens_thought, self._thought = thought is not None, f"{thought[0]}\n" if thought else ""

    @property
    def thought_ids(self) -> tuple[int, int]:
        """The tokens that begin and end a thought. Raises RuleshiftError where there are none of that kind."""
        known = self.tokenizer.get_vocab()
        for begin, end in THOUGHTS:
            if begin in known and end in known:
                return known[begin], known[end]
        raise RuleshiftError(
            f"the tokenizer of {self.name} has no tokens that begin and end a thought: leave --thinking out"
        )

    def _find_ends(self, given: Collection[int], closing: str) -> None:
        eos = self.tokenizer.eos_token_id
        named = {*given, *(() if eos is None else (eos,))}
        following = self._skeletons[self._shape(("user", "assistant", "user"), True)].partition(mark(1))[2]
        end = find_end(self.tokenizer, closing, following.partition(mark(2))[0].removeprefix(closing), named)
        if end is None:
            raise RuleshiftError(f"the tokenizer of {self.name} has no end-of-turn token; set eos_token in its config")
        self._end, self.end_ids = end, frozenset({*named, end.id})

    def _facts(self, template: str | None) -> Mapping[str, str]:
        """What prompts depend on beyond tokenizer and task, for the record: empty for most models."""
        facts = {}
        if template is not None:
            digest = hashlib.sha256(template.encode()).hexdigest()[:16]
            facts["chat_template"] = "plain" if template == PLAIN else f"sha256 {digest}"
        if self.system is not None:
            facts["system"] = self.system
        if self._has_switch or self._has_thought:
            how = "by the template's switch" if self._has_switch else "its thought is closed"
            facts["thinking"] = "on" if self.thinking else f"off, {how}"
        if "strftime_now" in self._template:
            facts["date"] = f"{TODAY:%Y-%m-%d}"
        return facts

    def encode_prompt(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Ids of the opening messages, after the system message, ready for the first reply."""
        first = [] if self.system is None else [Message("system", self.system)]
        text = self._render([*first, *messages], asks=True)
        return self._opening + self._placed(text, [_sizes(message) for message in messages])

    def encode_feedback(self, message: Message, reply: Sequence[int]) -> tuple[int, ...]:
        """Ids from the end of a reply to the start of the next: end of turn, the feedback message, reply header.

        reply: its ids, with which the end of turn or the label of the next speaker may have come already.
        """
        whole, after_end, after_label = self._feedback_ids(message.content, _sizes(message))
        if reply[-1:] and reply[-1] in ({self._end.id} if self._end.opens else self.end_ids):
            return after_end
        return after_label if self._label(reply) == LABEL else whole

    def _encode_feedback(self, feedback: str, sizes: Sizes) -> tuple[tuple[int, ...], ...]:
        """The ids as a whole, those after the end of turn, and those after the label of the next speaker."""
        pictures = tuple(Picture(height, width, b"") for height, width in sizes)
        dialogue = [_ASK, _ANSWER, Message("user", feedback, pictures)]
        text = self._render(dialogue, asks=True).split(_REPLY, 1)[1]
        whole = self._placed(text, [sizes])
        end = self._end.lead + str(self.tokenizer.convert_ids_to_tokens(self._end.id))
        after_end = whole[whole.index(self._end.id) + 1 :] if text.startswith(end) else whole
        before, label, after = text.partition(f"\n{LABEL}")
        after_label = whole if self.stop is None else self._following(before + label, after, [sizes])
        return whole, after_end, after_label

    def encode_reply(self, text: str) -> tuple[int, ...]:
        """Ids of a given reply (an expert's), closed by the end of turn."""
        return (*self._following(self._asked, self._before + self._plain(text) + self._end.lead), self._end.id)

    def ended(self, reply: Sequence[int]) -> bool:
        """Whether a reply has come to its end."""
        return reply[-1] in self.end_ids or self.labelled(reply)

    def labelled(self, reply: Sequence[int]) -> bool:
        """Whether a reply goes on to the label of a speaker, which ends it too (plain template)."""
        return self._label(reply) is not None

    def _label(self, reply: Sequence[int]) -> str | None:
        """The label of a speaker to which a reply goes on."""
        if self.stop is None:
            return None
        found = self.stop.search(str(self.tokenizer.decode(list(reply[-_LABEL_TOKENS:]))))
        return None if found is None else found[1]

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of a reply: special tokens and a speaker's label left out, and with the mark of a thought that its
        prompt opened."""
        text: str = self.tokenizer.decode(list(token_ids), skip_special_tokens=True)  # type: ignore[assignment]
        return self._thought + (text if self.stop is None else self.stop.split(text, maxsplit=1)[0])

    def _shape(
        self, roles: Sequence[str], asks: bool, thinks: bool | None = None, pictures: Sequence[int] = ()
    ) -> Shape:
        shown = None if self.eye is None else tuple(pictures or [0] * len(roles))
        return Shape(tuple(roles), shown, asks, self.thinking if thinks is None else thinks)

    def _render(self, messages: Sequence[Message], asks: bool) -> str:
        if self.eye is None and any(message.pictures for message in messages):
            raise RuleshiftError(
                f"{self.name} reads text only, and this task shows pictures: choose a vision-language model"
            )
        shape = self._shape(
            [message.role for message in messages], asks, pictures=[len(message.pictures) for message in messages]
        )
        contents = [
            message.content if message.role == "assistant" else self._plain(message.content) for message in messages
        ]
        try:
            if shape not in self._skeletons:
                self._skeletons[shape] = printed(self._template, (shape,), self._tokens)[0]
            text = fill(self._skeletons[shape], shape, contents)
        except TemplateError as error:
            raise self._failure(error) from error
        return text + (close_thought(after_marks(self._skeletons[shape])) if asks and not self.thinking else "")

    def _failure(self, error: TemplateError) -> RuleshiftError:
        if isinstance(error, UnprintedError):
            remedy = "leave --system out" if error.role == "system" else "give another with --chat-template"
            return RuleshiftError(
                f"the chat template of {self.name} does not print {error.role} messages as they are: {remedy}"
            )
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        also = ", or leave --system out" if self.system is not None else ""
        return RuleshiftError(
            f"the chat template of {self.name} cannot print a conversation ({reason}): give another with "
            f"--chat-template{also}"
        )

    def _unprinted_opening(self, prompt: str) -> tuple[int, ...]:
        """The ids that processors put before a prompt whose template does not print the beginning of sequence; for
        models of text it is the template's to print. Source: transformers, `ProcessorMixin.apply_chat_template`."""
        bos = self.tokenizer.bos_token
        if self.eye is None or bos is None or prompt.startswith(bos):
            return ()
        first = self.tokenizer("x")["input_ids"][:1]
        return tuple(first) if first == [self.tokenizer.bos_token_id] else ()

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

    def _following(self, before: str, text: str, sizes: Sequence[Sizes] = ()) -> tuple[int, ...]:
        """Ids of a text as it stands after another: where a text begins, some tokenizers add the mark of a space. As it
        is alone where the two share a token."""
        head, whole = self._ids(before), self._placed(before + text, sizes)
        return whole[len(head) :] if whole[: len(head)] == head else self._placed(text, sizes)

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])


def _sizes(message: Message) -> Sizes:
    return tuple((picture.height, picture.width) for picture in message.pictures)


def encode_dialogue(chat: Chat, messages: Sequence[Message], learned: Sequence[bool] | None = None) -> Sequences:
    """A given conversation (opening messages, then replies and feedback in turn), with the mask of its replies, or of
    those that are `learned`."""
    first = next((i for i, message in enumerate(messages) if message.role == "assistant"), len(messages))
    ids = list(chat.encode_prompt(messages[:first]))
    mask = [0] * len(ids)
    counted = iter(learned if learned is not None else repeat(True))
    for message in messages[first:]:
        if message.role == "assistant":
            piece = chat.encode_reply(message.content)
            mask += [int(next(counted))] * len(piece)
        else:
            piece = chat.encode_feedback(message, piece)
            mask += [0] * len(piece)
        ids += piece
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
