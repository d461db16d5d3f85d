"""The experiments, by name. A new one is a file beside these and an entry here."""

from ruleshift.studies.algorithms import ALGORITHMS_STUDY, ALGORITHMS_SWEEP
from ruleshift.studies.arms_study import ARMS, ARMS_SWEEP
from ruleshift.studies.failures import FAILURES
from ruleshift.studies.headline import HEADLINE
from ruleshift.studies.memorisation import MEMORISATION
from ruleshift.studies.phase import PHASE
from ruleshift.studies.study import Study
from ruleshift.studies.sweep import SWEEP
from ruleshift.studies.vision import VISION

STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        HEADLINE,
        VISION,
        SWEEP,
        ALGORITHMS_STUDY,
        ALGORITHMS_SWEEP,
        ARMS,
        ARMS_SWEEP,
        PHASE,
        MEMORISATION,
        FAILURES,
    )
}
