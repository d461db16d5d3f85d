"""Conversations that join a running session are what they would be from the start, with problems of several steps."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from engine_helpers import FAMILIES, RANDOM, puzzles, reply_ids, routes, stops, tiny_chat, tiny_model
from ruleshift.chat import episode_sequence
from ruleshift.engines import local
from ruleshift.engines.local import LocalEngine
from ruleshift.records import Episode
from ruleshift.revision import ANEW, revise

pytestmark = pytest.mark.usefixtures("on_one_thread")


class Watching(LocalEngine):
    """Keeps how many conversations each call kept and how many joined, and the width of the window."""

    def open(self, problems):
        watched = self.watched = []

        class Session(local.LocalSession):
            def append(self, keep, feedback, joining=()):
                super().append(keep, feedback, joining)
                watched.append((len(keep), len(joining), self.window.bias.shape[1]))

        return Session(self, problems)


def check_logprobs(model, episodes: Sequence[Episode]) -> None:
    """Log-probs are those of a plain pass over each conversation."""
    for episode in episodes:
        sequence = episode_sequence(episode)
        ids, mask = torch.tensor(sequence.token_ids), torch.tensor(sequence.reply_mask, dtype=torch.bool)
        with torch.no_grad():
            logprobs = torch.log_softmax(model(ids[None]).logits[0], dim=-1)
        expected = logprobs[:-1].gather(1, ids[1:, None])[:, 0][mask[1:]]
        drawn = [p for turn in episode.turns for p in turn.completion.logprobs]
        torch.testing.assert_close(torch.tensor(drawn), expected, atol=1e-4, rtol=0)


def test_tries_that_are_forgotten_are_drawn_anew():
    """Each try at a problem of one step is a first reply of another sample, whatever the size of the batch; on a route
    the steps that were taken stay in the conversation."""
    model, chat = tiny_model(FAMILIES["llama, grouped queries"]), tiny_chat(30)
    sampling, asked = replace(RANDOM, max_new_tokens=6), puzzles(9, solved_by=4)
    firsts = [
        revise(asked, LocalEngine(model, chat, sampling), 1, samples=[number * ANEW] * len(asked))
        for number in range(4)
    ]
    whole = revise(asked, LocalEngine(model, chat, sampling), turns=4, forgets=True)
    assert {len(episode.turns) for episode in whole} > {1, 4}
    for place, episode in enumerate(whole):
        assert reply_ids(episode) == [reply_ids(first[place])[0] for first in firsts[: len(episode.turns)]]
        assert {turn.appended_ids for turn in episode.turns} == {firsts[0][place].turns[0].appended_ids}
        assert len(episode.messages) == 1 + 2 * len(episode.turns)
    walked = revise(routes(12), LocalEngine(model, chat, sampling), turns=5, forgets=True)
    assert max(len(episode.steps) for episode in walked) > 2
    assert any(len(step) > 1 for episode in walked for step in episode.steps[1:])
    for batch_size in (1, 4):
        again = revise(routes(12), LocalEngine(model, chat, sampling, batch_size), turns=5, forgets=True)
        assert list(map(reply_ids, again)) == list(map(reply_ids, walked))
    for episode in walked:  # what was said after the steps before, read anew, is what leads to each try
        said: list[int] = []
        for step in episode.steps:
            for turn in step:
                ids = torch.tensor([*said, *turn.appended_ids, *turn.completion.token_ids])
                with torch.no_grad():
                    logprobs = torch.log_softmax(model(ids[None]).logits[0, :-1], dim=-1)
                count = len(turn.completion.token_ids)
                expected = logprobs.gather(1, ids[1:, None])[-count:, 0]
                torch.testing.assert_close(torch.tensor(turn.completion.logprobs), expected, atol=1e-4, rtol=0)
            said += step[-1].appended_ids + step[-1].completion.token_ids


@pytest.mark.parametrize("family", ["llama, grouped queries", "gpt2, learned positions"])
def test_a_refilled_batch_says_what_a_big_one_says(family):
    model, chat = tiny_model(FAMILIES[family]), tiny_chat(30)
    sampling = replace(RANDOM, max_new_tokens=6)
    whole = revise(routes(24), LocalEngine(model, chat, sampling, 24), turns=3)
    assert stops(whole) == {"stop", "length"}
    assert len({len(episode.turns) for episode in whole}) > 4
    assert max(len(episode.turns) for episode in whole) > 3  # beyond the budget of one step
    for batch_size in (1, 3, 7, 16):
        engine = Watching(model, chat, sampling, batch_size)
        episodes = revise(routes(24), engine, turns=3)
        assert [episode.problem_id for episode in episodes] == [episode.problem_id for episode in whole]
        assert [reply_ids(episode) for episode in episodes] == [reply_ids(episode) for episode in whole]
        assert sum(joined for _, joined, _ in engine.watched) == 24
        assert max(kept + joined for kept, joined, _ in engine.watched) == batch_size
        if batch_size > 1:
            assert sum(kept > 0 and joined > 0 for kept, joined, _ in engine.watched) >= 1
        check_logprobs(model, episodes)


def test_neither_order_nor_company_changes_a_conversation_that_joined():
    model, chat = tiny_model(), tiny_chat(30)
    forward = revise(routes(15), LocalEngine(model, chat, RANDOM, 4), turns=2)
    backward = revise(routes(15)[::-1], LocalEngine(model, chat, RANDOM, 6), turns=2)
    assert [reply_ids(e) for e in forward] == [reply_ids(e) for e in backward[::-1]]


def test_the_window_is_no_wider_than_the_longest_live_conversation():
    engine = Watching(tiny_model(), tiny_chat(30), replace(RANDOM, max_new_tokens=8), 4)
    episodes = revise(routes(40), engine, turns=2)
    total = sum(len(episode.token_ids) for episode in episodes)
    longest = max(len(episode.token_ids) for episode in episodes)
    widths = [width for _, _, width in engine.watched]
    assert max(widths) <= longest < total / 10
    assert any(after < before for before, after in pairwise(widths))  # it gets narrower again


def test_long_prompts_are_read_in_parts(monkeypatch):
    model, chat = tiny_model(), tiny_chat()
    whole = revise(routes(9), LocalEngine(model, chat, RANDOM, 4), turns=2)
    monkeypatch.setattr(local, "READ_AT_ONCE", 600)
    widths: list[int] = []

    class Watched(local.LocalSession):
        def _forward(self, window, ids, new, view=None):
            widths.append(ids.shape[1])
            return super()._forward(window, ids, new, view)

    monkeypatch.setattr(local, "LocalSession", Watched)
    parts = revise(routes(9), LocalEngine(model, chat, RANDOM, 4), turns=2)
    assert 1 < max(widths) < max(len(episode.turns[0].appended_ids) for episode in parts)
    assert [reply_ids(episode) for episode in parts] == [reply_ids(episode) for episode in whole]
    check_logprobs(model, parts)
