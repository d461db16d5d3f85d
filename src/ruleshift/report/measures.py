"""What each measure means, in the words that stand where it is used."""

MEANINGS = {
    "success": "Share of problems solved within the given number of replies.",
    "step_accuracy": "Share of right replies, retries counted.",
    "first_try_accuracy": "Share of steps whose first reply is right.",
    "steps_passed": "How many steps are solved before one fails.",
    "decision_accuracy": "Share of right first replies where something is to be decided.",
    "validity": "Share of first replies that follow the requested form to the letter, right or wrong.",
    "recognition": "Share of first replies that state what is shown as the verifier counts it. Where prompt and "
    "verifier disagree on purpose (fake), 0 is no fault: the model states the values of the rule that it was told.",
    "stated_words": "Share of decisions answered in words of the rule that the prompt states.",
    "trained_words": "Share of decisions answered in words of the training rule.",
    "other_words": "Share of decisions answered in words of neither rule.",
}


def meaning(metric: str) -> str:
    """One or two sentences; nothing for a measure of one's own."""
    return MEANINGS.get(metric, "")
