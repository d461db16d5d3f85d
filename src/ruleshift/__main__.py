"""`python -m ruleshift` is the command `ruleshift`."""

import sys

from ruleshift.cli import main

if __name__ == "__main__":
    sys.exit(main())
