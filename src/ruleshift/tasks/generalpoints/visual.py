"""GeneralPoints in pictures."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar, Self

from ruleshift.errors import RuleshiftError
from ruleshift.pictures import picture_of
from ruleshift.records import Message, Picture
from ruleshift.tasks.generalpoints import prompt
from ruleshift.tasks.generalpoints.judgement import Judgement
from ruleshift.tasks.generalpoints.pictures import Look, draw, look
from ruleshift.tasks.generalpoints.recipe import PICTURES
from ruleshift.tasks.generalpoints.rules import RANKS
from ruleshift.tasks.generalpoints.task import CardOptions, GeneralPoints, GeneralPointsProblem
from ruleshift.tasks.generalpoints.verifier import judge, recognised
from ruleshift.tasks.protocol import Style, is_terse
from ruleshift.tasks.recipe import Recipe
from ruleshift.tasks.streams import stream

TERSE_SIZE, FULL_SIZE = 192, 448  # pixels a side
SMALLEST, LARGEST = 32, 2048


@dataclass(frozen=True)
class GeneralPointsVLProblem(GeneralPointsProblem):
    """One hand in a picture, which is drawn when it is asked for. See `GeneralPointsVL` for the data sheet."""

    look: Look = field(kw_only=True)
    size: int = field(kw_only=True)
    shown: bool = field(kw_only=True, default=True)

    @cached_property
    def picture(self) -> Picture:
        return picture_of(draw(self.hand.cards, self.look, self.size))

    def context(self) -> tuple[Message, ...]:
        pictures = (self.picture,) if self.shown else ()
        return (Message("user", prompt.prompt(self.hand, self.style, self.id, pictured=True), pictures),)

    def _judged(self, read: prompt.CardReply) -> Judgement:
        return recognised(super()._judged(read), read.cards, self.hand.ranks, self.compat)

    def _is_read_right(self, read: prompt.CardReply) -> bool:
        return Counter(read.cards) == Counter(self.hand.ranks)

    def admits(self, reply: str) -> bool:
        """Whether as many cards are stated as there are, and a formula over their numbers is read: which cards they
        are, the picture alone tells."""
        read = prompt.read_reply(reply, self.style)
        if len(read.cards) != len(self.hand.cards) or not set(read.cards) <= set(RANKS):
            return False
        numbers = [self.hand.stated.value(rank) for rank in read.cards]
        return judge(read.formula or "", numbers).outcome in ("solved", "wrong_value")

    def guess(self, draw: int) -> str:
        """A reply that sees nothing: cards at random, their numbers joined with random operators."""
        rng = stream("gp-guess", draw)
        return self._guess(rng, [rng.choice(RANKS) for _ in self.hand.cards])

    def blind(self, draw: int) -> str:
        """The same: all that there is to know stands in the picture."""
        return self.guess(draw)

    def describe(self) -> Mapping[str, object]:
        return {**super().describe(), "look": self.look.facts(), "size": self.size}


@dataclass(frozen=True)
class PictureOptions(CardOptions):
    """What one is told, and how the cards are shown."""

    size: int | None = None
    """Pixels a side of the pictures; by default 192 in the terse style, else 448."""


@dataclass(frozen=True)
class GeneralPointsVL(GeneralPoints):
    """GeneralPoints in pictures, `gp-vl`.

    Description: as `gp-l`, with the same hands for the same split, seed and index; the cards are seen, not told.
        Training shows black suits; the shifted tests of vision show red ones (`visual-ood`, `both-ood`), other cards,
        tables and lights (`style-ood`), or suits in four colours (`four-colour`).
    Observation: a square picture of the hand, `size` pixels a side (None: 192 in the terse style, 448 in the others),
        in the first user message before the rule and the target; after a failed attempt the verifier's feedback.
    Action: as in `gp-l`. `cards` are the ranks that the model sees, in any order.
    Start: as in `gp-l`; the look of the picture is drawn from the ranges of the split.
    Rewards: as in `gp-l`, but -1.5 (`misread`) in place of -1 and -2 where the reply states other cards than those
        shown, or none. A formula that equals 24 with the true numbers is right whatever is stated; one that cannot be
        read keeps its -3. `compat="official"`: -1.5 for every reply that states other cards, whatever its formula.
    End: as in `gp-l`.
    Splits: `ruleshift.tasks.generalpoints.rules.SPLITS`, looks in `pictures.looks.LOOKS`.
    Reference: Chu et al., "SFT Memorizes, RL Generalizes" (arXiv 2501.17161), sections 4.1 and 5.2, appendix A.
    Versions: 1.0 first release.
    """

    id: str = "gp-vl"
    size: int | None = None
    shown: bool = True
    pictures: ClassVar[bool] = True
    recipe: ClassVar[Recipe] = PICTURES
    options: ClassVar[type] = PictureOptions

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size is not None and not SMALLEST <= self.size <= LARGEST:
            raise RuleshiftError(f"a picture of cards has {SMALLEST} to {LARGEST} pixels a side, not {self.size}")

    def with_options(self, options: CardOptions) -> Self:
        assert isinstance(options, PictureOptions)
        return replace(super().with_options(options), size=options.size)

    def problem(self, split: str, seed: int, index: int, style: Style = "full") -> GeneralPointsVLProblem:
        told = super().problem(split, seed, index, style)
        size = self.size or (TERSE_SIZE if is_terse(style) else FULL_SIZE)
        return GeneralPointsVLProblem(
            told.id,
            told.hand,
            style,
            self.compat,
            self.feedback,
            look=look(split, seed, index),
            size=size,
            shown=self.shown,
        )

    def unseen(self) -> Self:
        return replace(self, shown=False)
