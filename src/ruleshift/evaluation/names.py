"""Names of measures beside success (see `insight`). No heavy imports."""

SHARES = (
    "copied",
    "copied_answer",
    "expert_copied",
    "expert_copied_answer",
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
OUTSIDE = ("rule_read", "rule_attention")
"""Shares that estimates can put outside of 0 to 1, or that are no counts: their interval is the normal one."""
