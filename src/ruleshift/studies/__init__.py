"""The experiments, by name. A new one is a file beside these and an entry here."""

from ruleshift.studies.algorithms import ALGORITHMS_STUDY, ALGORITHMS_SWEEP
from ruleshift.studies.arms_study import ARMS, ARMS_SWEEP
from ruleshift.studies.data_shift import DATA_SHIFT
from ruleshift.studies.failures import FAILURES
from ruleshift.studies.headline import HEADLINE
from ruleshift.studies.horizon import HORIZON
from ruleshift.studies.memorisation import MEMORISATION
from ruleshift.studies.no_sft import NO_SFT
from ruleshift.studies.overfit import OVERFIT
from ruleshift.studies.phase import PHASE
from ruleshift.studies.retention import RETENTION
from ruleshift.studies.rewards import REWARDS
from ruleshift.studies.smollm2 import SMOLLM2
from ruleshift.studies.study import Study
from ruleshift.studies.sweep import SWEEP
from ruleshift.studies.table import TABLE
from ruleshift.studies.verification import VERIFICATION
from ruleshift.studies.verification_vision import VERIFICATION_VISION
from ruleshift.studies.vision import VISION

STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        *(HEADLINE, VISION, TABLE, SMOLLM2),
        *(SWEEP, ALGORITHMS_STUDY, ALGORITHMS_SWEEP, ARMS, ARMS_SWEEP),
        *(VERIFICATION, VERIFICATION_VISION, NO_SFT, OVERFIT, REWARDS, HORIZON, DATA_SHIFT, RETENTION),
        *(PHASE, MEMORISATION, FAILURES),
    )
}
