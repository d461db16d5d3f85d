"""Do longer horizons and larger action spaces keep what is learned? Trained and tested on both.

Cards: five cards in the place of four, tested on three, five and six. Walks: eight legs or more, and compasses of 16 or
36 words. Each arm is the recipe's with another split to train on; replies and tests leave room for six cards.
"""

from dataclasses import replace

from ruleshift.settings import Measurement
from ruleshift.studies.recipes import StudyRecipe
from ruleshift.studies.study import Arm, Claimed, Study, Training, head_to_head
from ruleshift.studies.tables import ends, matched
from ruleshift.tasks.recipe import Endpoint

TRAINED = {"five-cards": "five-cards", "long": "train-long", "big-actions": "train-big-actions"}  # tests, and training
TESTED = ("three-cards", "five-cards", "six-cards", "long", "big-actions")
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
    """RL against SFT where both trained on short problems and are tested on long ones."""
    ends_of = {
        "gp-l": Endpoint("success", "five-cards", 5, "sampled"),
        "virl-l": Endpoint("success", "long", 1, "sampled"),  # decisions are counted where a walk comes to
    }
    says = "RL generalises and SFT memorises (arXiv 2501.17161), asked of length: an open question there"
    against = "what is longer is also more of the same: hands share numbers with training, routes ways of turning"
    return tuple(
        Claimed(f"{says}; {task}", "rl", "raises", "sft", endpoint, (task,), against)
        for task, endpoint in ends_of.items()
    )


HORIZON = Study(
    name="horizon",
    question="Do longer horizons and larger action spaces keep what is learned?",
    about="SFT and PPO trained on usual, longer and larger problems, and tested on all of them.",
    paper="left open there (arXiv 2501.17161)",
    cost="not timed yet; by parts timed on a busy machine 57 minutes a seed on two CPU cores, 13 with --quick",
    tasks=("gp-l", "virl-l"),
    arms=arms,
    measures=measures,
    pairs=head_to_head("rl", "sft"),
    primary=_claimed(),
    tables=(ends, matched),
)
