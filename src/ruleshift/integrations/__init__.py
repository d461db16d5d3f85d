"""ruleshift inside the tools that people already use: one module for each, which imports the tool when it is used.

Nothing else in the package knows of any of them. Every module has an extra of its own, since their needs exclude each
other; `docs/integrations.md` says what to type.
"""
