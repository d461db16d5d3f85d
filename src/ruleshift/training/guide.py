"""What a teacher adds to reinforcement learning: an advantage for each token, or a divergence in the loss.

With a teacher and rewards that weigh nothing (`reward_coef` 0) the one loop of `rl.py` is on-policy distillation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn
from transformers import PreTrainedModel

from ruleshift.backbones.head import by_chunks, chunks, logits_of
from ruleshift.backbones.vision import Known
from ruleshift.chat import Chat
from ruleshift.errors import RuleshiftError
from ruleshift.settings import DistilConfig, RLConfig
from ruleshift.training.accounting import Account
from ruleshift.training.context import check_context
from ruleshift.training.objectives import bounded_exp, divergence
from ruleshift.training.parts import Start
from ruleshift.training.privileged import Asked
from ruleshift.training.processes import ALONE, Processes
from ruleshift.training.teachers import ExpertTeacher, ModelTeacher, MovingTeacher, StartTeacher, Teacher, Told
from ruleshift.training.trajectories import Thrift, Trajectory, groups_of

PROBED = 32  # episodes of an update that a teacher is asked about to be measured alone, which is on no account


@dataclass(frozen=True)
class Pupil:
    """Who is taught: the model that learns, how it is as at the `start`, its chat, the features of pictures that it
    knows, the account on which its teacher's passes stand, and the processes that share these out."""

    model: PreTrainedModel
    start: Start
    chat: Chat
    known: Known | None
    account: Account
    processes: Processes = ALONE


class Guided(NamedTuple):
    """What is known before the steps of an update, an entry for each trajectory; `of_tokens` (T_i,) is empty without a
    teacher's advantages, `told` without a teacher whose divergence is in the loss."""

    of_tokens: list[torch.Tensor]
    told: list[Told]
    metrics: dict[str, float]


class Guide:
    """A teacher, and how the student learns from it. Without a teacher, every token has one fixed advantage."""

    def __init__(self, config: DistilConfig, student: Pupil, teacher: Teacher | None) -> None:
        self.config, self.student, self.teacher = config, student, teacher

    @property
    def modules(self) -> dict[str, nn.Module]:
        """What of the teacher changes, and a checkpoint holds."""
        return {"teacher": self.teacher.average.values} if isinstance(self.teacher, MovingTeacher) else {}

    def guided(self, asked: Sequence[Asked], trajectories: Sequence[Trajectory]) -> Guided:
        """Before an update learns: what the teacher says of the sampled tokens.

            A_t = -coef * (log student(y_t) - log teacher(y_t))        sampled_token

        whose mean, at samples of the student, has the gradient of KL(student || teacher) of the next token after each
        sampled prefix; tokens of which the teacher has no opinion have the advantage 0. Of divergences over all next
        tokens the first `PROBED` episodes are asked about.

        The metrics `teacher_on_right` and `teacher_on_wrong` are log teacher - log student in nats a reply, of replies
        that the verifier accepted and of others: a teacher for whom the second is higher speaks for wrong replies.
        Source: on-policy distillation as in Gu et al., arXiv 2306.08543, and Lu and Thinking Machines Lab, "On-Policy
        Distillation" (2025): discount 0, importance ratios without a clip.
        """
        config, teacher = self.config, self.teacher
        if teacher is None:
            fixed = [torch.full((len(t.positions),), float(config.fixed_advantage or 0.0)) for t in trajectories]
            return Guided(self._placed(fixed), [], {})
        told = [teacher.told(one, t) for one, t in zip(asked, trajectories, strict=True)]
        if isinstance(teacher, ModelTeacher):
            check_context(teacher.model, (len(one.trajectory.ids) for one in told), "teaching")
        full = config.distillation_mode == "full_logits"
        heard = told[:PROBED] if full else told
        if not full:
            self.count(told)
        sums = dict.fromkeys(("apart", "known", "right", "rights", "wrong", "wrongs"), 0.0)

        def valued(own: Sequence[int]) -> list[torch.Tensor]:
            of_tokens = [torch.empty(0)] * len(own)
            for group in groups_of([told[i].trajectory for i in own], config.max_tokens, config.max_pictures):
                scores, known = teacher.scores([told[own[i]] for i in group])
                drawn_by = [trajectories[own[i]] for i in group]
                tokens = torch.tensor([t.ids[p] for t in drawn_by for p in t.positions])
                parts_of = chunks(self.student.model, len(tokens))
                said = torch.cat([scores(part).cpu().gather(1, tokens[part, None])[:, 0] for part in parts_of])
                drawn = torch.tensor([p for t in drawn_by for p in t.old_logprobs])
                apart = (drawn - said) * known.cpu()
                sums["apart"] += float(apart.sum())
                sums["known"] += float(known.sum())
                parts = apart.split([len(t.positions) for t in drawn_by])
                for i, part in zip(group, parts, strict=True):
                    of_tokens[i] = -config.distillation_coef * part
                    _sort(-part, asked[own[i]], trajectories[own[i]], sums)
            return of_tokens

        of_tokens = self.student.processes.spread(valued, range(len(heard)))
        sums = self.student.processes.total(sums)
        metrics = {"teacher_kl": sums["apart"] / max(sums["known"], 1.0)}
        metrics |= {f"teacher_on_{of}": sums[of] / sums[f"{of}s"] for of in ("right", "wrong") if sums[f"{of}s"]}
        return Guided([], told, metrics) if full else Guided(self._placed(of_tokens), [], metrics)

    def loss(self, told: Sequence[Told], before: torch.Tensor, log_ratio: torch.Tensor) -> torch.Tensor:
        """How far the student is from the teacher at each token, weighed by min(ratio to the sampling policy,
        distillation_is_clip) where there is one: (T,).

        before (T, H), the hidden states that tokens were drawn from, log_ratio (T,): of the student. Source of the
        weight: SDPO, arXiv 2601.20802.
        """
        config, model = self.config, self.student.model
        assert self.teacher is not None
        scores = self.teacher.scores(told)

        def of(states: torch.Tensor, part: slice) -> tuple[torch.Tensor]:
            student = (logits_of(model, states) / config.temperature).log_softmax(-1)
            return (divergence(student, scores.logprobs(part), config.distillation_alpha),)

        with Thrift(config.bf16, config.gradient_checkpointing).around(model):
            (apart,) = by_chunks(model, before, of)
        apart = apart * scores.known
        if config.distillation_is_clip is not None:
            apart = apart * bounded_exp(log_ratio.detach()).clamp(max=config.distillation_is_clip)
        return config.distillation_coef * apart

    def count(self, told: Sequence[Told]) -> None:
        """Account for a pass of the teacher over these."""
        assert self.teacher is not None
        self.student.account.passed([one.trajectory for one in told], 1, self.teacher.share)

    def _placed(self, rows: list[torch.Tensor]) -> list[torch.Tensor]:
        return [row.float().to(self.student.model.device) for row in rows]


def _sort(lift: torch.Tensor, asked: Asked, trajectory: Trajectory, sums: dict[str, float]) -> None:
    """Add what the tokens of an episode gain with the teacher (T,) to the sums of right replies or of wrong ones."""
    of_turns = torch.zeros(asked.turns).index_add(0, torch.tensor(trajectory.turn), lift)
    for turn, gained in zip(asked.episode.turns, of_turns.tolist(), strict=False):
        name = "right" if turn.verdict.right else "wrong"
        sums[name] += gained
        sums[f"{name}s"] += 1


def guide_of(config: RLConfig, student: Pupil, model: PreTrainedModel | None) -> Guide | None:
    """The guide that these settings ask for, if they do. `model`: the teacher that is another model. Raises
    RuleshiftError for one that does not know the student's tokens."""
    if not isinstance(config, DistilConfig):
        return None
    if config.fixed_advantage is not None:
        return Guide(config, student, None)
    if config.teacher == "expert":
        vocabulary = student.model.get_output_embeddings().weight.shape[0]
        return Guide(config, student, ExpertTeacher(student.chat, vocabulary, student.model.device))
    if config.teacher == "self":
        return Guide(config, student, _own(config, student))
    if model is None:
        raise RuleshiftError(f"the teacher {config.teacher!r} was not loaded: give its model to RL")
    sizes = [one.get_output_embeddings().weight.shape[0] for one in (model, student.model)]
    if sizes[0] != sizes[1]:
        raise RuleshiftError(
            f"the teacher {config.teacher!r} knows {sizes[0]} tokens and the student {sizes[1]}: choose one of the "
            "student's family"
        )
    counts = [sum(p.numel() for p in one.parameters()) for one in (model, student.model)]
    return Guide(config, student, ModelTeacher(model, student.chat, config, counts[0] / counts[1]))


def _own(config: DistilConfig, student: Pupil) -> ModelTeacher:
    """The student as a teacher of itself."""
    kind = config.teacher_model_kind
    teacher: ModelTeacher
    if kind == "ema":
        teacher = MovingTeacher(student.model, student.chat, config)
    elif kind == "base":
        teacher = StartTeacher(student.model, student.chat, config, student.start)
    else:
        teacher = ModelTeacher(student.model, student.chat, config)
    teacher.features = student.known
    return teacher
