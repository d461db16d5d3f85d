"""What runs will take, from their settings.

All that a run does consists of replies: drawn token by token, or read in one pass, with what is said before them. How
long either takes is timed on the start model, on this machine and in one thread, in less than a second. A backward pass
is taken for two. Episodes are taken to use up their turns, and replies to be as long as the start model's.
"""

import time
from dataclasses import dataclass
from typing import Self

import torch

from ruleshift.backbones.head import AT_ONCE
from ruleshift.backbones.load import Backbone
from ruleshift.engines.local import LocalEngine
from ruleshift.engines.protocol import Sampling
from ruleshift.evaluation.evaluate import evaluate
from ruleshift.settings import Measurement, RLConfig
from ruleshift.studies.board import Expected
from ruleshift.studies.costs import peak_memory
from ruleshift.studies.kept import MAX_TOKENS, replies_of
from ruleshift.studies.recipes import task_of
from ruleshift.studies.study import Run
from ruleshift.tasks.protocol import Task, how_many
from ruleshift.training.trajectories import Trajectory, evaluate_tokens

PROBED = (4, 16, 64)  # problems, until they take long enough to be timed
LONG_ENOUGH = 0.5  # seconds: few replies at once take nearly as long as many
BYTES = 4  # of a number that can learn
COPIES = 5  # of the weights in a run: the model, the start model, gradients, two moments of the optimiser
HELD = 2  # those that are there where adapters learn: the model and the start model
SAVED = 6  # in its checkpoints: two of them, each with two moments
ACTIVATIONS = 40  # numbers kept for the backward pass: per token, layer and unit of width
LOGITS = 3  # copies of those that are computed at once


@dataclass(frozen=True)
class Work:
    """Replies with what is said before them: drawn, and read in one pass."""

    drawn: float = 0.0
    read: float = 0.0


def work_of_training(run: Run, task: Task) -> Work:
    """In SFT a forward and backward pass; in RL the sampler's, one for the values and one of the start model, too."""
    training = run.training
    if training is None:
        return Work()
    if not isinstance(training, RLConfig):
        return Work(read=3.0 * training.steps * training.batch * replies_of(task, 1))
    replies = training.updates * training.episodes * replies_of(task, training.turns)
    return Work(replies, (2.0 + 3.0 * training.epochs) * replies)


def work_of_point(m: Measurement, task: Task, end: bool) -> Work:
    """The problems of every split, and those on which the KL to the start is measured; `end`: of a training."""
    problems = sum(how_many(task, split, m.n) for split in m.splits) * len(m.decodings)
    drawn = problems * replies_of(task, max(m.turns if end else m.everywhere))
    return Work(drawn, m.kl_problems * replies_of(task, 1))


@dataclass(frozen=True)
class Basis:
    """What estimates need to know of a start model: its sizes, and the seconds that a reply takes here."""

    parameters: int
    vocabulary: int
    layers: int
    width: int
    cached: int  # numbers a token in the cache of the sampler
    tokens: float  # of an episode: a reply, or all those of a walk, with what is said before them
    drawing: float
    reading: float
    process: int  # bytes of one that has loaded it

    @classmethod
    def of(cls, backbone: Backbone, m: Measurement) -> Self:
        """Timed on problems of validation."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            drawn, replies, drawing = _drawn(backbone, m)
            evaluate_tokens(backbone.model, drawn[: PROBED[0]], MAX_TOKENS, backbone.chat.eye)  # the first takes longer
            began = time.monotonic()
            evaluate_tokens(backbone.model, drawn, MAX_TOKENS, backbone.chat.eye)
            reading = (time.monotonic() - began) / replies
        finally:
            torch.set_num_threads(threads)
        tokens = sum(len(trajectory.ids) for trajectory in drawn) / len(drawn)
        config = backbone.model.config.get_text_config()
        parameters = sum(weight.numel() for weight in backbone.model.parameters())
        layers, width, heads = config.num_hidden_layers, config.hidden_size, config.num_attention_heads
        cached = 2 * layers * width * (getattr(config, "num_key_value_heads", None) or heads) // heads
        return cls(parameters, config.vocab_size, layers, width, cached, tokens, drawing, reading, peak_memory())

    def seconds(self, work: Work) -> float:
        return work.drawn * self.drawing + work.read * self.reading

    def expects(self, run: Run, m: Measurement) -> Expected:
        """Of a run, where a point counts as what its points take on average. All that one without training does is
        measuring."""
        task = task_of(m)
        along, end = (self.seconds(work_of_point(m, task, end)) for end in (False, True))
        points = along * (len(run.points) - 1) + end
        training = self.seconds(work_of_training(run, task))
        return Expected(training / run.length, points / len(run.points)) if training else Expected(points / run.length)

    def expects_further(self, m: Measurement) -> Expected:
        """Of what measures further points of a run, each a unit."""
        return Expected(self.seconds(work_of_point(m, task_of(m), end=False)))

    def memory(self, run: Run) -> int:
        """Bytes of the process that makes this run."""
        training = run.training
        if training is None:
            return self.process + BYTES * self.parameters
        tokens: float = training.max_tokens
        sampling = 0.0
        if isinstance(training, RLConfig):
            episodes = min(training.batch_size, training.episodes)
            sampling = self.cached * episodes * training.turns * self.tokens
        else:
            tokens = max(self.tokens, min(tokens, training.micro_batch * self.tokens))
        whole = 1 if training.gradient_checkpointing else self.layers  # layers of which all is kept, and not the states
        states = (self.layers - whole + ACTIVATIONS * whole) * self.width * tokens
        learning = states + LOGITS * min(tokens * self.vocabulary, AT_ONCE)
        weights = (HELD if training.lora_rank else COPIES) * self.parameters
        return self.process + round(BYTES * (weights + max(learning, sampling)))

    def disk(self, run: Run) -> int:
        """Bytes of the models and checkpoints of this run."""
        if run.training is None:
            return 0
        saved = 0 if run.training.lora_rank else SAVED  # models are kept whole
        return BYTES * self.parameters * (saved + len({*run.points, *run.kept}))


def _drawn(backbone: Backbone, m: Measurement) -> tuple[list[Trajectory], int, float]:
    """Episodes of one try, the replies in them, and the seconds that each took."""
    engine = LocalEngine(backbone.model, backbone.chat, Sampling(1.0, m.max_new_tokens, m.seed))
    task = task_of(m)
    evaluate(engine, task, "id-val", PROBED[0], 1, backbone.style, m.seed)  # makes what is kept: a city, its pictures
    for problems in PROBED:
        began = time.monotonic()
        episodes = evaluate(engine, task, "id-val", problems, 1, backbone.style, m.seed)
        seconds = time.monotonic() - began
        if seconds > LONG_ENOUGH:
            break
    replies = sum(len(episode.turns) for episode in episodes)
    return [Trajectory.of(episode) for episode in episodes], replies, seconds / replies
