"""How far a model is from the one that it began as: the forward KL per reply, with an error that is made small."""

from collections.abc import Sequence
from statistics import fmean

import torch
from transformers import PreTrainedModel

from ruleshift.backbones.head import chunks, logits_of
from ruleshift.engines.local import LocalEngine
from ruleshift.evaluation.statistics import is_precise, pooled_share, standard_error
from ruleshift.revision import revise
from ruleshift.sight import Eye
from ruleshift.tasks.protocol import Style, Task, how_many
from ruleshift.training.trajectories import Trajectory, groups_of, reply_states

SPLIT, SEED = "id-val", 7
MAX_TOKENS, MAX_PICTURES = 3_000, 64  # of a pass


class StartReplies:
    """What a start model replies to problems of `id-val`, one try each, drawn as they are needed.

    `start` must stay as it is: give it a copy of a model that is trained.
    """

    def __init__(self, start: LocalEngine, task: Task, style: Style, first: int, most: int) -> None:
        """first, most: problems whose replies are read in any case, and at most."""
        self.engine, self.task, self.style = start, task, style
        self.most = how_many(task, SPLIT, max(first, most))
        self.ends = [min(first, self.most)]  # of the lots: each doubles what was read before
        while self.ends[-1] < self.most:
            self.ends.append(min(2 * self.ends[-1], self.most))
        self.lots: list[list[Trajectory]] = []
        self._lot(0)

    def kl_of(self, model: PreTrainedModel) -> list[float]:
        """Forward KL(start || model) per reply in nats on the training rule: a number per problem (see `pooled_share`)
        whose mean it is, of as many problems, in lots, as bring its standard error below 5% of it, or
        below 0.005 nats.

            KL = E_{y ~ start} sum_t KL(start(. | y_<t) || model(. | y_<t))

        It has the mean of log start(y) - log model(y) and about a tenth of its variance: only prefixes are drawn.
        Source: "RL's Razor" (arXiv 2509.04259), section 4, for the quantity; A. Amini et al., Better estimation of the
        KL divergence between language models (arXiv 2504.10637), the Rao-Blackwell estimator.
        """
        sums: list[float] = []
        replies: list[int] = []
        found: list[float] = []
        for index in range(len(self.ends)):
            lot = self._lot(index)
            sums += forward_kl(self.engine.model, model, lot, self.engine.chat.eye)
            replies += [len(trajectory.rewards) for trajectory in lot]
            found = pooled_share(sums, replies)
            if is_precise(fmean(found), standard_error(found)):
                break
        return found

    def _lot(self, index: int) -> list[Trajectory]:
        if index == len(self.lots):
            first = self.ends[index - 1] if index else 0
            problems = [self.task.problem(SPLIT, SEED, i, self.style) for i in range(first, self.ends[index])]
            self.lots.append([Trajectory.of(episode) for episode in revise(problems, self.engine, 1)])
        return self.lots[index]


@torch.no_grad()
def forward_kl(
    start: PreTrainedModel, model: PreTrainedModel, trajectories: Sequence[Trajectory], eye: Eye | None = None
) -> list[float]:
    """KL(start || model) of the next token in nats, summed over the places of the reply tokens of each trajectory."""
    sums = [0.0] * len(trajectories)
    modes = [(one, one.training) for one in (start, model)]
    for one, _ in modes:
        one.eval()
    for chosen in groups_of(trajectories, MAX_TOKENS, MAX_PICTURES):
        group = [trajectories[i] for i in chosen]
        before, after = (reply_states(one, group, eye).before for one in (start, model))  # (T, H) each
        pairs = ((logits_of(start, before[part]), logits_of(model, after[part])) for part in chunks(model, len(before)))
        kl = torch.cat([token_kl(*pair) for pair in pairs])  # (T,)
        for i, part in zip(chosen, kl.split([len(trajectory.positions) for trajectory in group]), strict=True):
            sums[i] = float(part.sum())
    for one, training in modes:
        one.train(training)
    return sums


def token_kl(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """KL(softmax(a) || softmax(b)) of logits (T, V): (T,). A token that a never draws adds nothing."""
    p, q = a.log_softmax(-1), b.log_softmax(-1)
    return torch.where(p.isinf(), 0.0, p.exp() * (p - q)).sum(-1)
