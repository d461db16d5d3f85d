"""The one exception family that users see: a single line that says what is wrong and what to do about it."""


class RuleshiftError(Exception):
    """A problem the user can fix. The message is one line and names the remedy; the CLI prints it and exits with 2."""


class Diverged(RuleshiftError):  # noqa: N818  (a word that users see)
    """A training that leads nowhere: its numbers are not finite any more, or there is nothing to learn from."""
