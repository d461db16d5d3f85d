"""Names of measures beside success (see `insight`). No heavy imports."""

SHARES = (
    *(f"{whose}{what}" for whose in ("", "start_", "expert_") for what in ("copied", "copied_answer")),
    "agreement",
    "majority",
    "constrained",
    "strict",
    "answered",
    "answered_wrong",
    "sure_wrong",
    "rule_follows",
    "rule_clings",
    "rule_read",
    "rule_attention",
    "moved",
    *(f"pass@{2**i}" for i in range(11)),
)
"""Those that are shares, which tables show in percent."""
OF_THE_START = {
    "copied": "start_copied",
    "copied_answer": "start_copied_answer",
    "expert_copied": "start_copied",
    "expert_copied_answer": "start_copied_answer",
}
"""Measures that depend on the training of an arm, with what the start model has of the same: that is measured beside
them, and stands in the place of the start model's own value."""
GREEDY = ("rule_follows", "rule_clings")
"""Those of greedy replies; all others are of sampled ones."""
OUTSIDE = ("rule_read", "rule_attention")
"""Shares that estimates can put outside of 0 to 1, or that are no counts: their interval is the normal one."""
