"""Settings that do not fit together are refused with options to give, and what is refused is accepted with these."""

import pickle
import re
from ast import literal_eval
from collections.abc import Iterator
from dataclasses import replace
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest

from ruleshift.bounds import Range
from ruleshift.cli import main, parse
from ruleshift.commands.checks import check_training
from ruleshift.errors import RuleshiftError
from ruleshift.misfits import MisfitError, as_option
from ruleshift.settings import DistilConfig, RLConfig, SFTConfig
from ruleshift.tasks import get_task
from ruleshift.training.algorithms import ALGORITHMS, DISTILLATIONS, check_algorithm, configured, guided_by_default

ENTRIES = [("rl", name) for name in ALGORITHMS] + [("distil", name) for name in DISTILLATIONS]
TINY = get_task("gp-l").recipe.rl["tiny"]


def values_of(kind: Any) -> list[Any]:
    """Some that a setting of this type may have."""
    inner = get_args(kind)
    if get_origin(kind) is Literal:
        return list(inner)
    if get_origin(kind) in (UnionType, Union):
        return [None, *values_of(inner[0])]
    if get_origin(kind) is Annotated:
        numbers = [0, 1, 3, 8, 50] if inner[0] is int else [-1.0, 0.0, 0.5, 1.0]
        return [n for n in numbers if all(n in bound for bound in inner[1:] if isinstance(bound, Range))]
    return [True, False] if kind is bool else []


def knobs(kind: type[RLConfig]) -> Iterator[tuple[str, Any]]:
    """Settings, each with some values, one at a time."""
    for name, of_type in get_type_hints(kind, include_extras=True).items():
        values = ["self", "expert", "runs/rl"] if name == "teacher" else values_of(of_type)
        yield from ((name, value) for value in values if name != "train_parts")


def options(**settings: Any) -> list[str]:
    """As they are given on a command line."""
    words: list[str] = []
    for name, value in settings.items():
        flag = name.replace("_", "-")
        words += [f"--{'' if value else 'no-'}{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
    return words


def remedies(message: str) -> list[dict[str, Any]]:
    """What a refusal says to give, one or the other."""
    given = message.rpartition(": give ")[2]
    assert given.startswith("--"), message
    return [
        dict(_setting(*found) for found in re.findall(r"--(no-)?([a-z-]+)(?: ([^ ,-][^ ,]*))?", one))
        for one in given.split(", or ")
    ]


def _setting(no: str, flag: str, value: str) -> tuple[str, Any]:
    number = re.fullmatch(r"-?[\d.e-]+|None", value)
    return flag.replace("-", "_"), (literal_eval(value) if number else value) if value else not no


def refusal(verb: str, algorithm: str, preset: RLConfig, **changes: Any) -> str:
    """Why an entry with these settings is refused; nothing where it is not."""
    base = guided_by_default(preset) if verb == "distil" else preset
    try:
        check_algorithm(configured(base, algorithm, **changes))
    except RuleshiftError as error:
        return str(error)
    return ""


def told(words: list[str]) -> str:
    """The same of a command line."""
    try:
        check_algorithm(parse(words).training)
    except RuleshiftError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("preset", ["tiny", "paper"])
def test_every_entry_with_any_other_setting_is_accepted_or_is_with_what_the_refusal_says(preset):
    of_preset = get_task("gp-l").recipe.rl[preset]
    heard: set[str] = set()
    for verb, algorithm in ENTRIES:
        base = {"teacher": "expert"} if refusal(verb, algorithm, of_preset) else {}
        assert not refusal(verb, algorithm, of_preset, **base)
        for name, value in knobs(DistilConfig if verb == "distil" else RLConfig):
            changes = {**base, name: value}
            message = refusal(verb, algorithm, of_preset, **changes)
            for remedy in remedies(message) if message else []:
                again = refusal(verb, algorithm, of_preset, **changes | remedy)
                assert not again, f"{verb} {algorithm} {changes}: {message}; and then, with {remedy}: {again}"
            heard |= {re.sub(r"[\d.]+", "N", message)} if message else set()
    assert len(heard) > 20


REFUSED = {
    "reinforce --critic": "a critic is a baseline already: give --baseline-decay None, or --no-critic",
    "grpo --baseline-decay 0.5 --critic": "already: give --baseline-decay None --no-critic$",
    "reinforce --buffer 9": "estimate: give --buffer 0, or --critic --baseline-decay None",
    "gspo --clip None": "and there is none: give --clip-high None, or --clip 0.0003",
    "ppo --clip None --clip-high 0.3": "and there is none: give --clip-high None, or --clip 0.2",
    "ppo --no-critic": "--value-only 1 .* there is none: give --value-only 0, or --critic",
    "ppo --value-steps 0": "--value-only 1 .* no steps: give --value-steps 50, or --value-only 0",
    "ppo --updates 1": "--value-only 1 .* of --updates 1 none is left .*: give --value-only 0, or --updates 2$",
    "ppo --value-only 30": "none is left for the model: give --value-only 0, or --updates 31$",
    "ppo --baseline-decay 0.5": "give --baseline-decay None, or --no-critic --value-only 0",
    "ppo --resample 1": "--resample 1 .*: give --group 8, or --resample 0",
    "ppo --estimator group_scaled": "give --no-critic --value-only 0 --group 8, or --estimator gae",
    "ppo --estimator group_scaled --episodes 9": "give --no-critic --value-only 0 --group 3, or",
    "ppo --estimator group_scaled --episodes 11": "give --no-critic --value-only 0 --group 8 --episodes 16, or",
    "rloo --group 1": "--group 1 leaves nothing to compare an episode with: give --group 4, or --estimator gae",
    "grpo --group 3": "--episodes 128 is not a multiple of --group 3: give --episodes 129, or --group 2",
    "grpo --baseline-decay 0.5": "a group is a baseline already: give --baseline-decay None, or --estimator gae",
    "grpo --value-only 1": "give --value-only 0, or --critic --value-steps 50 --estimator gae",
    "maxrl --reward verifier": "--reward verifier can take below 0: give --reward success, or --estimator group_scaled",
    "maxrl --reward potential": "--reward potential can take below 0: give --reward success",
    "maxrl --overlong 0.2": "--overlong 0.2 can take below 0: give --overlong 0.0",
    "maxrl --kl-in reward --kl-coef 0.1": "--kl-in reward can take below 0: give --kl-in loss",
    "dapo --estimator group_over_mean": "--reward verifier --overlong 0.2 .*: give --reward success --overlong 0.0",
    "sdft --teacher expert": "the expert needs nothing shown: give --privileged-context none --teacher-model-kind",
    "sdft --teacher runs/rl": "--teacher runs/rl has others: give --teacher-model-kind base, or --teacher self",
    "fixed --teacher runs/rl": "in the place of what --teacher runs/rl says, .*: give --fixed-advantage None, or",
    "fixed --privileged-context rule": "or --teacher self --privileged-context none$",
    "ppo --kl-in reward --reward-coef 0": "which --reward-coef 0.0 leaves out: give --kl-in loss, or --kl-coef 0.0, or",
    "ppo --sft-mix noise --sft-coef 0.5": "in the place of --sft-coef 0.5: give --sft-coef 0.0, or --sft-mix fixed",
    "gkd --teacher expert --distillation-mode sampled_token": "give --distillation-alpha 1.0, or --distillation-mode",
    "sdpo --distillation-mode sampled_token": "give --distillation-alpha 1.0 --distillation-is-clip None, or",
    "opd --teacher expert --ratio sequence": "give --ratio token, or --distillation-mode full_logits",
    "fixed --ratio sequence": "give --ratio token$",
    "fixed --distillation-is-clip 2": "--distillation-is-clip 2.0 corrects .*: give --distillation-is-clip None$",
    "opd": r"\(rule, .*, success-or-feedback\) teaches nothing: give --privileged-context demonstration, or",
    "sdft --privileged-context success": "--group 1 has none: give --group 8, or --privileged-context feedback",
}


@pytest.mark.parametrize(("words", "message"), REFUSED.items(), ids=REFUSED)
def test_a_refusal_names_all_that_is_to_be_given(words, message):
    name, *rest = words.split()
    verb = "rl" if name in ALGORITHMS else "distil"
    given = [verb, "gp-l", "--algorithm", name, *rest]
    said = told(given)
    assert re.search(message, said), said
    for remedy in remedies(said):
        assert told([*given, *options(**remedy)]) == ""


def test_what_maxrl_can_learn_from_is_accepted():
    """What is never below 0; a KL that weighs nothing is not in the reward."""
    for changes in ({"reward": "partial"}, {"kl_in": "reward"}, {"kl_coef": 0.1}, {"credit": "turn"}):
        assert refusal("rl", "maxrl", TINY, **changes) == ""


def test_an_unknown_algorithm_is_told_which_there_are_and_one_of_another_verb_which_verb(tmp_path, capsys):
    assert re.match("unknown --algorithm 'pop'; choose from ppo, reinforce, .*maxrl$", refusal("rl", "pop", TINY))
    assert re.match("--algorithm opd is of `ruleshift distil`: use that, or one of ppo, ", refusal("rl", "opd", TINY))
    assert re.match("--algorithm ppo is of `ruleshift rl`: use that, or one of opd, ", refusal("distil", "ppo", TINY))
    out = tmp_path / "run"
    assert main(["rl", "gp-l", "--algorithm", "pop", "--out", str(out)]) == 2
    assert capsys.readouterr().err.startswith("error: unknown --algorithm 'pop'; choose from ppo")
    assert main(["rl", "gp-l", "--algorithm", "maxrl", "--reward", "verifier", "--out", str(out)]) == 2
    assert "give --reward success" in capsys.readouterr().err
    assert not (out / "config.json").exists()


def test_numbers_that_make_no_whole_batches_are_refused_with_those_that_do():
    with pytest.raises(RuleshiftError, match=r"--batch 64 .* --micro-batch 48: give --batch 96, or --micro-batch 32$"):
        SFTConfig(micro_batch=48)
    SFTConfig(batch=96, micro_batch=48)
    SFTConfig(micro_batch=32)
    with pytest.raises(RuleshiftError, match=r"same old weights: give --save-every 4$"):
        SFTConfig(loss="psft", loss_lag=2, save_every=3)
    SFTConfig(loss="psft", loss_lag=2, save_every=4)


def test_a_misfit_is_told_as_whoever_asks_writes_settings():
    with pytest.raises(MisfitError) as caught:
        check_algorithm(configured(TINY, "reinforce", critic=True))
    misfit = pickle.loads(pickle.dumps(caught.value))  # as it is passed from one process to another
    assert (
        str(misfit) == str(caught.value) == "a critic is a baseline already: give --baseline-decay None, or --no-critic"
    )
    assert misfit.remedies == [{"baseline_decay": None}, {"critic": False}]
    with pytest.raises(MisfitError) as caught:
        check_algorithm(configured(TINY, "rloo", group=1))
    assert caught.value.reason("{}={}".format).startswith("group=1 leaves nothing")
    with pytest.raises(MisfitError, match=r"so that only the decoder can learn: give --train-parts decoder$"):
        check_training(replace(TINY, train_parts=("tower",)), get_task("gp-l"))
    assert as_option("train_parts", ("tower", "decoder")) == "--train-parts tower decoder"
