"""What the tables of docs/results/README.md show: a column for each number, and what stands below."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    metric: str
    split: str
    turns: int
    heading: str


COLUMNS = {
    "gp-l": (
        Column("success", "id", 1, "training rule, 1 turn"),
        Column("success", "id", 5, "training rule, 5 turns"),
        Column("success", "rule-ood", 1, "shifted rule, 1 turn"),
        Column("success", "rule-ood", 5, "shifted rule, 5 turns"),
        Column("success", "heldout", 1, "unseen numbers, 1 turn"),
        Column("success", "heldout", 5, "unseen numbers, 5 turns"),
        Column("success", "rule-ood-heldout", 1, "shifted rule, unseen numbers, 1 turn"),
        Column("success", "rule-ood-heldout", 5, "shifted rule, unseen numbers, 5 turns"),
        Column("success", "fake", 1, "fake, 1 turn"),
    ),
    "virl-l": (
        Column("decision_accuracy", "id", 1, "training rule, decisions"),
        Column("decision_accuracy", "rule-ood", 1, "shifted rule, decisions"),
        Column("decision_accuracy", "city-ood", 1, "other cities, decisions"),
        Column("decision_accuracy", "fake", 1, "fake, decisions"),
        Column("stated_words", "fake", 1, "fake, words of the stated rule"),
        Column("trained_words", "fake", 1, "fake, words of the training rule"),
        Column("other_words", "fake", 1, "fake, other words"),
        Column("success", "id", 1, "training rule, routes, 1 try"),
        Column("success", "rule-ood", 1, "shifted rule, routes, 1 try"),
        Column("step_accuracy", "id", 2, "training rule, steps"),
        Column("success", "id", 2, "training rule, routes"),
        Column("step_accuracy", "rule-ood", 2, "shifted rule, steps"),
        Column("success", "rule-ood", 2, "shifted rule, routes"),
        Column("step_accuracy", "city-ood", 2, "other cities, steps"),
        Column("step_accuracy", "fake", 1, "fake, steps"),
    ),
    "gp-vl": (
        Column("success", "id", 1, "training rule, black suits, 1 turn"),
        Column("success", "id", 5, "training rule, black suits, 5 turns"),
        Column("success", "visual-ood", 1, "red suits, 1 turn"),
        Column("success", "visual-ood", 5, "red suits, 5 turns"),
        Column("success", "rule-ood", 1, "shifted rule, 1 turn"),
        Column("success", "rule-ood", 5, "shifted rule, 5 turns"),
        Column("success", "heldout", 1, "unseen numbers, 1 turn"),
        Column("success", "heldout", 5, "unseen numbers, 5 turns"),
        Column("success", "rule-ood-heldout", 1, "shifted rule, unseen numbers, 1 turn"),
        Column("success", "rule-ood-heldout", 5, "shifted rule, unseen numbers, 5 turns"),
        Column("recognition", "id", 1, "black suits, read right"),
        Column("recognition", "visual-ood", 1, "red suits, read right"),
        Column("recognition", "rule-ood", 1, "shifted rule, read right"),
    ),
    "virl-vl": (
        Column("success", "id", 1, "training city, routes, 1 try"),
        Column("success", "visual-ood", 1, "in other looks, routes, 1 try"),
        Column("success", "city-ood", 1, "other cities, routes, 1 try"),
        Column("success", "mini", 1, "mini, routes, 1 try"),
        Column("success", "rule-ood", 1, "shifted rule, routes, 1 try"),
        Column("success", "rule-ood", 2, "shifted rule, routes"),
        Column("step_accuracy", "id", 2, "training city, steps"),
        Column("step_accuracy", "mini", 2, "mini, steps"),
        Column("step_accuracy", "rule-ood", 2, "shifted rule, steps"),
        Column("decision_accuracy", "id", 1, "training city, decisions"),
        Column("decision_accuracy", "rule-ood", 1, "shifted rule, decisions"),
        Column("recognition", "id", 1, "training city, read right"),
        Column("recognition", "city-ood", 1, "other cities, read right"),
    ),
}
SHOWN = {
    "gp-l": "Score under the shifted rule against the training rule",
    "virl-l": "Score under the shifted rule against the training rule",
    "gp-vl": "Score with red suits against black suits",
    "virl-vl": "Score in the looks of other cities against those of the training city",
}
NOTES = {
    "gp-l": "Success in %; {n} hands a cell. *shifted rule*: J, Q, K count 11, 12, 13. *fake*: the prompt states the "
    "shifted rule, the verifier scores the training rule; higher means memorised.",
    "virl-l": "Right decisions (start, turns and destination; under a shifted rule turns alone), right steps (retries "
    "counted) and whole routes in %, 2 tries at a position; {n} routes a cell. *shifted rule*: left and right in place "
    "of compass names. *fake*: the prompt lists the shifted words, the verifier wants those of training, 1 try; higher "
    "means memorised.",
    "gp-vl": "Success, and first replies that state all cards rightly, in %; {n} hands a cell. *black suits*: as in "
    "training; *shifted rule*: black suits, J, Q, K count 11, 12, 13.",
    "virl-vl": "Whole routes, without a mistake where one try is named; right steps (retries counted); right decisions "
    "(start, turns and destination, where a walk comes to; under a shifted rule turns alone); positions whose first "
    "reply states rightly what is seen; in %, with 2 tries at a position but where one is named; {n} routes a "
    "cell, 18 in *mini*. *in other looks*: the training city as nine others look; "
    "*shifted rule*: the training city, left and right in place of compass names.",
}
