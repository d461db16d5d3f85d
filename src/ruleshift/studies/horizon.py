"""Do longer horizons and larger action spaces keep what is learned? Trained and tested on both.

Cards: five cards in the place of four, tested on three, five and six, and on five of multisets that no training deals.
Walks: five legs for three or four, eight legs or more, and compasses of 16 or 36 words. Each arm is the recipe's with
another split to train on; replies and tests leave room for six cards. Ways of eight legs have some 30 places, of which
the bundled model passes hardly one: they are shown, and nothing is claimed of them.
"""

from dataclasses import replace

from ruleshift.settings import Measurement
from ruleshift.studies.recipes import StudyRecipe
from ruleshift.studies.study import Arm, Claimed, Pair, Study, Training, head_to_head
from ruleshift.studies.tables import ends, matched
from ruleshift.tasks.recipe import Endpoint

TRAINED = {"five-cards": "five-cards", "long": "train-long", "big-actions": "train-big-actions"}  # tests, and training
TESTED = ("three-cards", "five-cards", "five-cards-heldout", "six-cards", "five-legs", "long", "big-actions")
CARDS, WALKS = ("gp-l",), ("virl-l",)
ROOM = 1.5  # times the usual length of replies: six cards for four


def arms(recipe: StudyRecipe, options: None) -> list[Arm]:
    """SFT and RL on the usual problems, and on longer and larger ones."""
    from ruleshift.tasks import get_task

    splits = get_task(recipe.measurement.task).splits()
    there = {name: split for name, split in TRAINED.items() if split in splits}
    found = []
    ways: dict[str, Training] = {"sft": recipe.sft, "rl": recipe.rl}
    for way, usual in ways.items():
        training = replace(usual, max_new_tokens=round(ROOM * usual.max_new_tokens))
        found.append(Arm(way, training, f"after {way.upper()} on the usual problems"))
        for name, split in there.items():
            about = f"after {way.upper()} on `{split}`"
            found.append(Arm(f"{way}-{name}", replace(training, split=split), about, way, dense=False))
    return found


def measures(usual: Measurement) -> Measurement:
    """The usual splits of rules, and those of other lengths and action spaces."""
    from ruleshift.tasks import get_task

    tested = [split for split in TESTED if split in get_task(usual.task).splits()]
    splits = [split for split in usual.splits if split in ("id", "rule-ood")]
    return replace(usual, splits=(*splits, *tested), max_new_tokens=round(ROOM * usual.max_new_tokens))


def _claimed() -> tuple[Claimed, ...]:
    """By what is solved whole. Longer walks: RL against SFT, both trained on short ones. Longer hands, tested on
    multisets that no training deals, and larger action spaces: of these the start model solves nothing, so that
    nothing can be kept; whether they can be learned."""
    longer = Endpoint("success", "five-legs", 1, "sampled")
    hands, actions = (
        Endpoint("success", "five-cards-heldout", 5, "sampled"),
        Endpoint("success", "big-actions", 1, "sampled"),
    )
    unread = "the bundled start model solves hardly any of them; each way to train has its own rate"
    return (
        Claimed(
            "RL generalises and SFT memorises (arXiv 2501.17161), asked of length: an open question there",
            "rl",
            "raises",
            "sft",
            longer,
            WALKS,
            "what is longer is also more of the same; rates are those of usual walks, and SFT's is the larger one",
        ),
        Claimed(
            "SFT learns longer hands than its start can read", "sft-five-cards", "raises", None, hands, CARDS, unread
        ),
        Claimed("RL learns them, too, from rewards alone", "rl-five-cards", "raises", None, hands, CARDS, unread),
        Claimed(
            "SFT learns more actions than its start can read", "sft-big-actions", "raises", None, actions, WALKS, unread
        ),
        Claimed("RL learns them, too, from rewards alone", "rl-big-actions", "raises", None, actions, WALKS, unread),
    )


HORIZON = Study(
    name="horizon",
    question="Do longer horizons and larger action spaces keep what is learned?",
    about="SFT and PPO trained on usual, longer and larger problems, and tested on all of them.",
    paper="left open there (arXiv 2501.17161)",
    cost="with --quick on two busy CPU cores: walks (600) 12 minutes a seed, cards (200) 20; full size not timed",
    tasks=("gp-l", "virl-l"),
    arms=arms,
    measures=measures,
    pairs=(
        *head_to_head("rl", "sft"),
        *(Pair(f"{way}-{name}", way) for name in TRAINED for way in ("sft", "rl")),
        *(Pair(f"rl-{name}", f"sft-{name}") for name in TRAINED),
    ),
    primary=_claimed(),
    tables=(ends, matched),
)
