"""The experiments, by name. A new one is a file beside these and an entry here."""

from ruleshift.studies.headline import HEADLINE
from ruleshift.studies.study import Study
from ruleshift.studies.sweep import SWEEP
from ruleshift.studies.vision import VISION

STUDIES: dict[str, Study] = {"headline": HEADLINE, "vision": VISION, "sweep": SWEEP}
