"""V-IRL in the pretraining mixture.

Every route comes from the split `pretrain`: the words for turns are drawn for each route, and are never those of the
training rule or of the shifted one; and its ways are shorter than those of training and test, so that what the base
lacks, keeping its place on a longer way, is lacking under every rule. In some conversations replies are wrong, more
often where a turn is wanted, and are told so: they are read and not learned.
"""

import random
from dataclasses import dataclass, replace

from ruleshift.chat import Chat, Sequences, encode_dialogue
from ruleshift.records import Message
from ruleshift.tasks.streams import stream
from ruleshift.tasks.virl.task import Virl, VirlProblem
from ruleshift.tasks.virl.visual import VirlVL


@dataclass(frozen=True)
class Walker:
    """How often wrong replies are read.

    turn_error, way_error, stop_error: probability that a reply is wrong where a turn is right, between corners, and at
    the destination. Of the wrong turns, `other_word` take another word of the list, `other_space` the right turn in
    words that are not listed; the rest walk on. Other wrong replies turn or stop where they should not. `misread` of
    the wrong replies that walk on at an intersection, or turn where there is none, also state it so. tries: most wrong
    replies at one point.
    """

    turn_error: float = 0.0
    way_error: float = 0.0
    stop_error: float = 0.0
    other_word: float = 0.65
    other_space: float = 0.2
    misread: float = 0.5
    tries: int = 2


ARGUMENT_WEIGHT = 4
FIRST_TRIES = Walker()
WITH_RETRIES = Walker(turn_error=0.3, way_error=0.04, stop_error=0.15)


def conversation(chat: Chat, walker: Walker, seed: int, index: int, picture: int | None = None) -> Sequences:
    """The walk at `index`, as token ids with the mask of its replies."""
    problem = (VirlVL(size=picture) if picture else Virl()).problem("pretrain", seed, index, "stepwise")
    rng = stream("walks", seed, index)
    messages = list(problem.context())
    learned: list[bool] = []
    ended = False
    while not ended:
        for _ in range(walker.tries):
            if rng.random() >= _error_rate(walker, problem):
                break
            messages += _submitted(problem, _wrong_reply(walker, problem, rng))
            learned.append(False)
        reply = problem.gold()
        ended = problem.point.kind == "destination"
        messages += _submitted(problem, reply)
        learned.append(True)
    return _weighted(chat, encode_dialogue(chat, messages[:-1], learned))


def _weighted(chat: Chat, walk: Sequences) -> Sequences:
    """The words of turns count ARGUMENT_WEIGHT times: a few tokens of a long conversation, and the ones that matter."""
    call = chat.tokenizer.convert_tokens_to_ids("turn_direction(")
    weights = list(walk.reply_mask)
    for place, token in enumerate(walk.token_ids[:-1]):
        if token == call:
            weights[place + 1] *= ARGUMENT_WEIGHT
    return replace(walk, reply_mask=tuple(weights))


def _submitted(problem: VirlProblem, reply: str) -> list[Message]:
    verdict = problem.submit(reply, last=False)
    return [Message("assistant", reply), Message("user", verdict.feedback, verdict.pictures)]


def _error_rate(walker: Walker, problem: VirlProblem) -> float:
    if problem.point.next_heading is not None:
        return walker.turn_error
    return walker.stop_error if problem.point.kind == "destination" else walker.way_error


def _wrong_reply(walker: Walker, problem: VirlProblem, rng: random.Random) -> str:
    point, itinerary = problem.point, problem.itinerary
    listed = itinerary.rule.space(itinerary.rule.stated).words
    if point.next_heading is None:
        actions = ["forward()"] if point.kind == "destination" else ["stop()", f"turn_direction({rng.choice(listed)})"]
        return _misread(walker, problem, rng.choice(actions), rng)
    kind = rng.random()
    if kind < walker.other_word:
        right = itinerary.turn(point, itinerary.rule.stated)
        return problem.reply(f"turn_direction({rng.choice([word for word in listed if word != right])})")
    if kind < walker.other_word + walker.other_space:
        other = itinerary.turn(point, "relative" if itinerary.rule.stated == "absolute" else "absolute")
        return problem.reply(f"turn_direction({other})")
    return _misread(walker, problem, "forward()", rng)


def _misread(walker: Walker, problem: VirlProblem, action: str, rng: random.Random) -> str:
    """A reply that may also state an intersection wrongly, as its action suggests."""
    reply = problem.reply(action)
    if problem.point.kind == "destination" or rng.random() >= walker.misread:
        return reply
    if problem.point.intersection:
        return reply.replace(' cross"', '"', 1)
    return reply.replace('","current instruction', ' cross","current instruction', 1) if "turn" in action else reply
