"""GeneralPoints in text."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Self

from ruleshift.records import Feedback, Message, Verdict, Work
from ruleshift.tasks.feedback import check_feedback
from ruleshift.tasks.generalpoints import prompt
from ruleshift.tasks.generalpoints.canonical import canonical
from ruleshift.tasks.generalpoints.deal import Deal, deal, draw_faces
from ruleshift.tasks.generalpoints.judgement import Judgement
from ruleshift.tasks.generalpoints.recipe import TEXT
from ruleshift.tasks.generalpoints.rules import SPLITS, Rule
from ruleshift.tasks.generalpoints.solver import solvable, solve
from ruleshift.tasks.generalpoints.steps import is_whole, judged_work
from ruleshift.tasks.generalpoints.targets import LARGEST
from ruleshift.tasks.generalpoints.verifier import BUDGET_SPENT, judge, verdict
from ruleshift.tasks.protocol import Style, Task, check_split, check_style, shows_work
from ruleshift.tasks.recipe import Recipe
from ruleshift.tasks.streams import stream


@dataclass(frozen=True)
class GeneralPointsProblem:
    """One hand. See `GeneralPoints` for the data sheet."""

    id: str
    hand: Deal
    style: Style
    compat: str = "fixed"
    feedback: Feedback = "full"

    def context(self) -> tuple[Message, ...]:
        return (Message("user", prompt.prompt(self.hand, self.style, self.id)),)

    def submit(self, reply: str, last: bool) -> Verdict:
        read = prompt.read_reply(reply, self.style)
        found = verdict(self._judged(read), self.style, self.feedback)
        penalty = BUDGET_SPENT if last and not found.solved else 0.0
        return replace(
            found,
            reward=found.reward + penalty,
            valid=read.valid,
            read_right=self._is_read_right(read),
            work=self._work(read),
        )

    def _judged(self, read: prompt.CardReply) -> Judgement:
        target = self.hand.scored.target
        if read.formula is None:
            return Judgement("unreadable", -3.0, target)
        return judge(read.formula, self.hand.numbers(self.hand.scored), target, self.compat)

    def _work(self, read: prompt.CardReply) -> Work | None:
        """What the steps shown are worth under the rule that the prompt states, if any are."""
        numbers = self.hand.numbers(self.hand.stated)
        return judged_work(read.steps, numbers, read.formula or "") if read.steps else None

    def _is_read_right(self, read: prompt.CardReply) -> bool:
        return read.numbers == self.hand.numbers(self.hand.scored)

    def gold(self) -> str:
        """An expert's reply: one of the distinct solutions under the rule that is scored, drawn per problem; where the
        work is shown, one of those with whole partial results, if there are any."""
        shown = (
            [formula for formula in self.solutions if is_whole(formula, LARGEST)] if shows_work(self.style) else None
        )
        formula = stream("gp-gold", self.id).choice(shown or self.solutions)
        return self.reply(f"{formula}={self.hand.scored.target}")

    def golds(self) -> tuple[str, ...]:
        """A reply for each distinct solution."""
        return tuple(self.reply(f"{formula}={self.hand.scored.target}") for formula in self.solutions)

    def rule(self) -> str:
        """What face cards count as, and the target, under the rule that is scored."""
        return prompt.rule_words(self.hand.scored, self.style)

    def answer(self, reply: str) -> str | None:
        """The formula of a reply, up to the order of operands."""
        return canonical(prompt.read_reply(reply, self.style).formula or "")

    def exchanged(self, split: str) -> tuple[Self, Self] | None:
        """The hand as it is, and with J, Q and K counting as in a split; None without any of them in it, or where it
        cannot be solved then."""
        rule = self.hand.stated
        other = Rule(draw_faces(SPLITS[split], stream("gp-exchange", split, self.id)), rule.target)
        numbers = self.hand.numbers(other)
        if numbers == self.hand.numbers(rule) or not solvable(numbers, other.target):
            return None
        return self, replace(self, hand=replace(self.hand, stated=other, scored=other))

    def follows(self, reply: str) -> bool:
        """Whether the formula is over the numbers that the cards count by the rule that is stated."""
        judged = self._judged(prompt.read_reply(reply, self.style))
        return judged.outcome in ("solved", "wrong_value")

    def admits(self, reply: str) -> bool:
        """Whether a formula is read that uses each number of the hand once, by the rule that is stated."""
        formula = prompt.read_reply(reply, self.style).formula or ""
        return judge(formula, self.hand.numbers(self.hand.stated)).outcome in ("solved", "wrong_value")

    def guess(self, draw: int) -> str:
        """A reply that reads the cards right and joins their numbers with random operators."""
        return self._guess(stream("gp-guess", draw), self.hand.ranks)

    def _guess(self, rng: random.Random, ranks: Sequence[str]) -> str:
        rule = self.hand.scored
        numbers = [rule.value(rank) for rank in ranks]
        order = list(numbers)
        rng.shuffle(order)
        formula = str(order[0]) + "".join(rng.choice("+-*/") + str(number) for number in order[1:])
        return prompt.write_reply(ranks, numbers, f"{formula}={rule.target}", self.style)

    def reply(self, formula: str) -> str:
        """A reply that reads the cards right (under the rule that is scored) and gives this formula."""
        return prompt.write_reply(self.hand.ranks, self.hand.numbers(self.hand.scored), formula, self.style)

    @cached_property
    def solutions(self) -> tuple[str, ...]:
        return solve(self.hand.numbers(self.hand.scored), self.hand.scored.target)

    def describe(self) -> Mapping[str, object]:
        hand = self.hand
        return {
            "cards": list(hand.ranks),
            "suits": [card.suit for card in hand.cards],
            "stated_faces": list(hand.stated.faces),
            "scored_faces": list(hand.scored.faces),
            "target": hand.scored.target,
            "solutions": list(self.solutions),
        }


@dataclass(frozen=True)
class CardOptions:
    """What one is told."""

    feedback: Feedback = "full"
    """What the verifier says of a wrong formula: which numbers it lacks and what it comes to (full), which kind of
    fault it has (outcome), or only that it is not right (silent)."""


@dataclass(frozen=True)
class GeneralPoints(Task):
    """GeneralPoints in text, `gp-l`.

    Description: four cards are dealt; the model writes a formula over their numbers that equals 24. The prompt
        states what J, Q and K count as. Training counts them as 10; the shifted test as 11, 12 and 13.
    Observation: the rule, the target and the ranks of the cards, in one user message; after a failed attempt the
        verifier's feedback as a further user message.
    Action: one reply, a JSON object with `cards`, `number` and `formula`.
    Start: ranks uniform over A..K with replacement, redrawn until the hand can be solved and belongs to the split.
    Rewards (`compat="fixed"`): +5 solved; -1 legal, wrong value; -2 wrong numbers; -3 illegal or no formula found;
        a further -1 when the verification budget is spent. `compat="official"`: those of the official code.
    End: solved, or the verification budget (5 by default) is spent.
    Splits: `ruleshift.tasks.generalpoints.rules.SPLITS`.
    Reference: Chu et al., "SFT Memorizes, RL Generalizes" (arXiv 2501.17161), section 4.1 and appendix A.
    Versions: 1.0 first release.
    """

    id: str = "gp-l"
    version: str = "1.0"
    default_turns: int = 5
    metric: str = "success"
    compat: str = "fixed"
    feedback: Feedback = "full"
    pictures: ClassVar[bool] = False
    recipe: ClassVar[Recipe] = TEXT
    options: ClassVar[type] = CardOptions

    def __post_init__(self) -> None:
        check_feedback(self.feedback, self.compat)

    def with_options(self, options: CardOptions) -> Self:
        return replace(self, feedback=options.feedback)

    def splits(self) -> Mapping[str, str]:
        return {name: split.description for name, split in SPLITS.items()}

    def count(self, split: str) -> int | None:
        return SPLITS[split].size

    def problem(self, split: str, seed: int, index: int, style: Style = "full") -> GeneralPointsProblem:
        check_split(self, split)
        check_style(style)
        name = f"{self.id}/{split}/{seed}/{index}"
        return GeneralPointsProblem(name, deal(split, seed, index), style, self.compat, self.feedback)
