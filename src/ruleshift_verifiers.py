"""The name under which verifiers and prime-rl find ruleshift: `vf-eval ruleshift-verifiers`."""

from ruleshift.integrations.verifiers import RevisionEnv, RevisionTaskset

__all__ = ["RevisionEnv", "RevisionTaskset"]
