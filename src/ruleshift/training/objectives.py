"""What is optimised: a policy loss of three choices, and the losses beside it. Pure functions on flat tensors.

The choices are the probability ratio (one for a token, or one for a whole reply: the product over its tokens, or their
geometric mean), where it is clipped, and how its terms are weighed against each other.

T tokens of N turns are given flat, without padding: `turn` (T,) holds the turn of each token.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch

Level = Literal["token", "sequence", "geometric"]
Weighing = Literal["ratio", "turn", "episode", "constant"]
LARGEST_LOG = 20.0  # of a ratio; beyond it, ratios grow linearly, so that neither they nor their gradients overflow


class PolicyLoss(NamedTuple):
    """`loss` of each ratio (a token's, or a turn's), where the clip decided, and the k3 estimate of KL(old || new) in
    nats."""

    loss: torch.Tensor  # (T,) or (N,)
    clipped: torch.Tensor  # (T,) or (N,), 1 where the clip decided
    approx_kl: torch.Tensor  # scalar


def policy_loss(
    logprobs: torch.Tensor,
    old_logprobs: torch.Tensor,
    turn: torch.Tensor,
    advantages: torch.Tensor,
    level: Level,
    clip: float | None,
    clip_high: float | None = None,
    counts: torch.Tensor | None = None,
    of_tokens: torch.Tensor | None = None,
) -> PolicyLoss:
    """The clipped objective with one ratio per token, or one per turn. Every token of a turn has the turn's advantage,
    and with one ratio per token `of_tokens` (T,) is added to that.

    `sequence`: the product over the tokens of a turn, not normalised by length. `geometric`: their geometric mean,
    exp(1/|y| sum over t of log r_t). counts: how often each token counts in its ratio (1 where nothing is said), as an
    exponent; one that counts 0 times has the ratio 1.

    logprobs, old_logprobs, counts: (T,); turn: (T,) integers in 0..N-1; advantages: (N,). `loss` is (T,) or (N,).
    Sources: `token`, Schulman et al., arXiv 1707.06347; `sequence` and counts, the official code of arXiv 2501.17161;
    `geometric`, GSPO, Zheng et al., arXiv 2507.18071, equation 7.
    """
    difference = logprobs - old_logprobs
    log_ratio = _log_ratio(difference, turn, len(advantages), level, counts)
    if level == "token":
        advantages = advantages[turn] if of_tokens is None else advantages[turn] + of_tokens
    approx_kl = k3(difference.detach()).mean()
    return PolicyLoss(*clipped_objective(log_ratio, advantages, clip, clip_high), approx_kl)


def importance_weights(
    logprobs: torch.Tensor, sampled: torch.Tensor, turn: torch.Tensor, turns: int, level: Level, cap: float
) -> torch.Tensor:
    """min(p / q, cap), by which a term of the policy loss is weighed where the program that sampled gave its tokens the
    probability q, and the one that learns, under the same weights, p: one for each ratio of the level.

    logprobs, sampled: (T,), log p and log q; turn: (T,) integers in 0..turns-1. Returns (T,), or (N,) of N turns. All
    tokens of a reply count in its ratio, however often they do in that of the policy.
    Source: truncated importance sampling, Yao et al., "Your efficient RL framework secretly brings you off-policy RL
    training" (2025); Ionides (2008), Journal of Computational and Graphical Statistics 17.
    """
    return _log_ratio(logprobs - sampled, turn, turns, level).exp().clamp(max=cap)


def _log_ratio(
    difference: torch.Tensor, turn: torch.Tensor, turns: int, level: Level, counts: torch.Tensor | None = None
) -> torch.Tensor:
    """Logarithms of the ratios of a level, (T,) or (N,), of the differences of log-probs (T,)."""
    counted = difference if counts is None else difference * counts
    if level == "token":
        return counted
    total = difference.new_zeros(turns).index_add(0, turn, counted)
    if level == "sequence":
        return total
    often = torch.ones_like(difference) if counts is None else counts
    return total / difference.new_zeros(turns).index_add(0, turn, often).clamp(min=1e-8)


def clipped_objective(
    log_ratio: torch.Tensor, advantage: torch.Tensor, clip: float | None, clip_high: float | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """-min(r A, clip(r, 1 - clip, 1 + clip_high) A) for r = exp(log_ratio), entry by entry, and where the clip decided.

    clip_high is clip where it is None. Without a clip (None) it is -r A, whose gradient at r = 1 is the policy
    gradient. Sources: Schulman et al., arXiv 1707.06347, equation 7; clip_high, DAPO, Yu et al., arXiv 2503.14476.
    """
    ratio = bounded_exp(log_ratio)
    plain = ratio * advantage
    if clip is None:
        return -plain, torch.zeros_like(plain)
    bounded = ratio.clamp(1 - clip, 1 + (clip if clip_high is None else clip_high)) * advantage
    return -torch.minimum(plain, bounded), (bounded < plain).to(ratio.dtype)


def weights(tokens: Sequence[int], level: Level, weighing: Weighing) -> list[float]:
    """How much each term of the policy loss of an episode counts, in the order of its ratios.

    tokens: how many each of its turns has. `ratio`, `constant`: all terms alike, so that long replies count more where
    each token has a ratio; `turn`: the terms of a turn make 1 together; `episode`: those of the episode do (the 1/|o|
    of GRPO, arXiv 2402.03300, equation 3). The loss of a mini-batch is the weighed sum of terms divided by `divisor`.
    """
    counts = list(tokens) if level == "token" else [1] * len(tokens)
    if weighing == "turn":
        return [1 / count for count in counts for _ in range(count)]
    share = 1 / sum(counts) if weighing == "episode" else 1.0
    return [share] * sum(counts)


def divisor(each: Sequence[float], episodes: int, level: Level, weighing: Weighing, longest: int) -> float:
    """By what the weighed sum of the terms of a mini-batch is divided: the sum of their weights, or (`constant`) what
    does not depend on how long the replies are, the number of episodes, times the longest reply where each token has
    a ratio. Source of the latter: Dr. GRPO, Liu et al., arXiv 2503.20783, section 3.
    """
    if weighing == "constant":
        return float(episodes * (longest if level == "token" else 1))
    return sum(each)


def bounded_exp(log_ratio: torch.Tensor) -> torch.Tensor:
    """exp(x), and beyond LARGEST_LOG its tangent there: finite, and with a finite gradient, for every finite x."""
    beyond = (log_ratio - LARGEST_LOG).clamp(min=0)
    return log_ratio.clamp(max=LARGEST_LOG).exp() * (1 + beyond)


def k3(log_ratio: torch.Tensor) -> torch.Tensor:
    """A low-variance, non-negative estimate of KL(q || p) from samples of q, entry by entry: exp(d) - 1 - d.

    log_ratio: d = log p - log q at the samples, any shape. Where q learns, the gradient of its mean is not that of
    KL(q || p): at samples of q it is the gradient of KL(p || q). Beyond d = LARGEST_LOG it grows linearly.
    Source: Schulman, "Approximating KL divergence" (2020).
    """
    return bounded_exp(log_ratio) - 1 - log_ratio


def k2(log_ratio: torch.Tensor) -> torch.Tensor:
    """d^2 / 2, a biased estimate of KL(q || p) from samples of q, entry by entry, whose gradient is unbiased: where q
    learns, the gradient of its mean at samples of q is that of KL(q || p).

    log_ratio: d = log p - log q at the samples, any shape. Source: Schulman, "Approximating KL divergence" (2020).
    """
    return 0.5 * log_ratio**2


def divergence(student: torch.Tensor, teacher: torch.Tensor, alpha: float) -> torch.Tensor:
    """How far two distributions of the next token are apart, in nats: (T,).

        alpha = 0: KL(teacher || student)      alpha = 1: KL(student || teacher)
        else:      alpha KL(teacher || m) + (1 - alpha) KL(student || m),   m = alpha teacher + (1 - alpha) student

    student, teacher: log-probabilities (T, V), where the teacher's may be -inf if alpha < 1. At 0.5 this is the
    Jensen-Shannon divergence; towards either end, divided by alpha or by 1 - alpha, it is the KL of that end. Sources:
    GKD, Agarwal et al., arXiv 2306.13649, section 2; alpha as in SDPO, arXiv 2601.20802, and in TRL.
    """
    if alpha == 0:
        return _kl(teacher, student)
    if alpha == 1:
        return _kl(student, teacher)
    mixed = torch.logaddexp(teacher + math.log(alpha), student + math.log(1 - alpha))
    return alpha * _kl(teacher, mixed) + (1 - alpha) * _kl(student, mixed)


def _kl(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """KL(p || q) of log-probabilities (T, V): (T,). A token that p never draws adds nothing."""
    never = p.isinf()
    return (p.masked_fill(never, 0.0).exp() * (p - q).masked_fill(never, 0.0)).sum(-1)


KL_ESTIMATES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"k3": k3, "k2": k2}


def mismatch(logprobs: torch.Tensor, drawn: torch.Tensor) -> dict[str, float]:
    """How far the program that learns and the one that sampled disagree about the same tokens under the same weights:
    mean and largest absolute difference of log-probs, and the k3 estimate of KL(sampler || trainer), in nats.

    logprobs, drawn: (T,), by the trainer and by the sampler.
    """
    difference = (logprobs - drawn).double()
    return {
        "mismatch_mean": float(difference.abs().mean()),
        "mismatch_max": float(difference.abs().max()),
        "mismatch_kl": float(k3(difference).mean()),
    }


def value_loss(
    values: torch.Tensor, returns: torch.Tensor, old_values: torch.Tensor | None = None, clip: float | None = None
) -> torch.Tensor:
    """Half the squared error, (N,); with a clip, the larger of that and the one of the value held within `clip` of its
    old one, so that a value gains nothing by moving further.

    values, returns, old_values: (N,). Source of the clip: the official code of arXiv 2501.17161, as in OpenAI's PPO.
    """
    plain = (values - returns) ** 2
    if clip is not None and old_values is not None:
        held = old_values + (values - old_values).clamp(-clip, clip)
        plain = torch.maximum(plain, (held - returns) ** 2)
    return 0.5 * plain


def entropy(logprobs: torch.Tensor) -> torch.Tensor:
    """Entropy in nats of each row of log-probabilities (T, V): (T,)."""
    return -(logprobs.exp() * logprobs).sum(-1)
