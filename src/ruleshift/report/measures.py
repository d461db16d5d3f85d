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
    "copied": "Share of sampled replies that repeat a reply which the training shows, from its beginning to its end; "
    "of RL, which shows none, one of the expert's to the problems that it draws.",
    "copied_answer": "Share that answer what one of these answers, in whatever order of operands.",
    "start_copied": "Share of the start model's replies here that repeat one of them.",
    "start_copied_answer": "Share of its answers here that do.",
    "expert_copied": "Share of the expert's own replies here that do: what a model that knows the rule comes to.",
    "expert_copied_answer": "Share of the expert's own answers here that do.",
    "sound_work": "Share of first replies that show their work in which it is true and leads to the answer given.",
    "distinct_right": "Different right answers among the replies to a problem.",
    "distinct_wrong": "Different wrong answers among them.",
    "agreement": "Share of the replies to a problem that give the most frequent answer.",
    "majority": "Share of problems whose most frequent answer is right.",
    "constrained": "Share of problems solved by the first sampled reply that can be read and uses what the prompt "
    "gives to use (checked without the answer).",
    "constrained_draws": "Replies drawn until one does, or all.",
    "strict": "Share of replies that are right, in the form to the letter, and whose steps, if any, are sound.",
    "answered": "Share of replies that are given by a model that gives 80% of those under the training rule.",
    "answered_wrong": "Share of the given replies that are wrong.",
    "sure_wrong": "Share of all replies that are given, and wrong.",
    "rule_follows": "Share of greedy answers that follow the rule of the prompt once its words are exchanged.",
    "rule_clings": "Share of them that still answer by the rule that is not stated any more.",
    "rule_kl": "KL of a fixed reply's next tokens, summed, between a prompt and the one with the other rule (nats).",
    "rule_moved": "How far the log-odds of the two answers move when the rule is exchanged (nats).",
    "rule_read": "Share of that move which the rule's own words still carry, mean over layers (patching).",
    "rule_attention": "Share of its attention that a reply pays to the words of the rule: a weaker sign.",
    "moved": "Share of parameters that differ from the start model's.",
    "rotation": "How far leading singular directions of the weights turned, in degrees.",
}


def meaning(metric: str) -> str:
    """One or two sentences; nothing for a measure of one's own."""
    return MEANINGS.get(metric, "")
