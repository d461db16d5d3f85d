"""The flow from the stated rule to the answer, on models of which it is known: those that ignore it, and those that
read it at a layer that is known."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel

from helpers import tiny_chat, tiny_model
from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.patching import attention_to, exchanged_places, levels_of
from ruleshift.evaluation.rule_flow import RuleFlow, exchanges, rule_flow
from ruleshift.tasks import get_task
from ruleshift.tasks.protocol import Exchangeable, TaskProblem

Pairs = list[tuple[TaskProblem, TaskProblem]]


pytestmark = pytest.mark.usefixtures("on_one_thread")


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return exchanges(get_task("gp-l"), "terse", 3)


def flow_of(model: PreTrainedModel, pairs: Pairs) -> RuleFlow:
    return rule_flow(model, tiny_chat(), pairs, 4)


def silenced(model: PreTrainedModel, layer: int) -> PreTrainedModel:
    """The model, one of whose layers leaves the residual stream as it is."""
    with torch.no_grad():
        block = model.model.layers[layer]
        block.self_attn.o_proj.weight.zero_()
        block.mlp.down_proj.weight.zero_()
    return model


def means(rows: list[list[float]]) -> list[float]:
    return [sum(row) / len(row) for row in rows]


def test_places_that_differ_are_found_and_aligned() -> None:
    assert exchanged_places([1, 5, 2, 6, 3], [1, 7, 2, 8, 3]) == ([1, 3], [1, 3])
    assert exchanged_places([1, 2, 3], [1, 2, 3]) == ([], [])
    longer = exchanged_places([1, 5, 6, 2, 3], [1, 9, 2, 3])  # two tokens for one: their last stands for it
    assert longer == ([2], [1])
    assert exchanged_places([1, 2, 3], [1, 2, 2, 3])[0] == []  # what is only added has no counterpart


def test_a_model_that_cannot_tell_the_rules_apart_lets_nothing_flow(pairs: Pairs) -> None:
    model, chat = tiny_model(spread=0.3), tiny_chat()
    prompts = [[chat.encode_prompt(problem.context()) for problem in pair] for pair in pairs]
    told = {token for a, b in prompts for place in exchanged_places(a, b)[0] for token in (a[place], b[place])}
    alike = sorted(told)
    with torch.no_grad():
        table = model.get_input_embeddings().weight
        table[alike] = table[alike[0]].clone()
    found = flow_of(model, pairs)
    assert found.kl == pytest.approx([0.0] * 3, abs=1e-6)
    assert found.moved == pytest.approx([0.0] * 3, abs=1e-5)
    assert means(found.shares()) == [0.0] * 3
    control = flow_of(tiny_model(spread=0.3), pairs)
    assert min(control.kl) > 0.01
    assert min(map(abs, control.moved)) > 0.01


def test_all_of_the_rule_stands_in_its_own_words_before_the_first_layer_and_nothing_after_the_last(
    pairs: Pairs,
) -> None:
    found = flow_of(tiny_model(layers=3, spread=0.3), pairs)
    assert found.aligned == (1, 1, 1)
    for problem in range(3):
        assert found.carried[0][problem] == pytest.approx(found.moved[problem], abs=1e-3)
        assert found.carried[3][problem] == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize(("reads", "share"), [(0, 0.0), (1, 1.0)])
def test_the_layer_that_reads_the_rule_is_found(pairs: Pairs, reads: int, share: float) -> None:
    """Of two layers only one does anything: after the first one the words carry all, if the second one reads them."""
    found = flow_of(silenced(tiny_model(layers=2, spread=0.3), 1 - reads), pairs)
    moved, carried = sum(found.moved), [sum(level) for level in found.carried]
    assert abs(moved) > 0.01
    assert carried == pytest.approx([moved, share * moved, 0.0], abs=1e-3)


def test_shares_are_pooled_over_problems() -> None:
    found = RuleFlow((1.0, 1.0), (1, 0), (0, 1), (4.0, 0.0), ((4.0, 0.0), (1.0, 1.0)), ((0.1, 0.3),), (1, 1))
    assert means(found.shares()) == pytest.approx([1.0, 0.5])


def test_attention_adds_up_to_all() -> None:
    model, ids = tiny_model(spread=0.3), torch.arange(5, 13)
    before = model.config._attn_implementation
    assert attention_to(model, ids, [7, 3], range(8)).tolist() == pytest.approx([1.0, 1.0], abs=1e-5)
    assert attention_to(model, ids, [3], range(4, 8)).tolist() == [0.0, 0.0]  # what comes later
    assert model.config._attn_implementation == before


class Ticked:
    """A problem every reply to which follows its rule, or none."""

    def __init__(self, problem: TaskProblem, ticks: bool) -> None:
        self.problem, self.ticks, self.id = problem, ticks, problem.id
        self.context, self.submit, self.gold = problem.context, problem.submit, problem.gold

    def exchanged(self, split: str) -> None:
        return None

    def follows(self, reply: str) -> bool:
        return self.ticks


def test_answers_are_judged_under_both_rules(pairs: Pairs) -> None:
    judged = [(Ticked(own, False), Ticked(other, i > 0)) for i, (own, other) in enumerate(pairs)]
    found = flow_of(tiny_model(layers=1), judged)  # type: ignore[arg-type]
    assert (found.follows, found.clings) == ((0, 1, 1), (0, 0, 0))


def test_rules_are_exchanged_in_their_words_alone() -> None:
    for task, style in (("gp-l", "terse"), ("gp-l", "full"), ("virl-l", "stepwise"), ("virl-l", "full")):
        made = exchanges(get_task(task), style, 6)  # type: ignore[arg-type]
        assert len(made) == 6
        for own, other in made:
            assert isinstance(own, Exchangeable)
            assert isinstance(other, Exchangeable)
            words = [problem.context()[0].content.split() for problem in (own, other)]
            assert words[0] != words[1]
            assert own.gold() != other.gold()
            assert own.follows(own.gold())
            assert not own.follows(other.gold())
            assert other.follows(other.gold())
            assert not other.follows(own.gold())
            assert own.submit(own.gold(), False).right
            assert other.submit(other.gold(), False).right
    assert exchanges(get_task("gp-vl"), "terse", 2) == []


def test_a_model_whose_layers_are_elsewhere_is_refused() -> None:
    model = GPT2LMHeadModel(GPT2Config(vocab_size=20, n_embd=8, n_layer=1, n_head=1, n_positions=8))
    with pytest.raises(RuleshiftError, match="flow_problems=0"):
        levels_of(model)
