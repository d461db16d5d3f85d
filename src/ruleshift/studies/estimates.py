"""What runs will take, from their settings.

All that a run does consists of replies: drawn token by token, or read in one pass, with what is said before them. How
long either takes is timed on the start model, on this machine and in one thread, in less than a second. A backward pass
is taken for two. Episodes are taken to use up their turns, and drawn replies to be as long as the start model's. What
is read, and what conversations take of memory, follows from the expert's: a start model may end a walk where it begins.
"""

import time
from dataclasses import dataclass
from typing import Self

import torch

from ruleshift.backbones.head import AT_ONCE
from ruleshift.backbones.load import Backbone
from ruleshift.engines.local import LocalEngine, at_once, cached
from ruleshift.engines.protocol import Sampling
from ruleshift.evaluation.evaluate import evaluate
from ruleshift.settings import Measurement, RLConfig
from ruleshift.studies.board import Expected
from ruleshift.studies.costs import peak_memory
from ruleshift.studies.kept import MAX_TOKENS, replies_of
from ruleshift.studies.profiles import PROFILED
from ruleshift.studies.recipes import task_of
from ruleshift.studies.study import Run, Training
from ruleshift.tasks.protocol import Task, how_many
from ruleshift.training.sft_lessons import demonstration
from ruleshift.training.trajectories import Trajectory, evaluate_tokens

PROBED = (4, 16, 64)  # problems, until they take long enough to be timed
SHOWN = (1, 8, 64)  # conversations of the expert, likewise
LONG_ENOUGH = 0.5  # seconds: few replies at once take nearly as long as many
BYTES = 4  # of a number that can learn
HELD = 2  # copies of the weights in a run: the model and the start model
LEARNED = 3  # of what learns: gradients, two moments of the optimiser
WRITTEN = 3  # of what learns in a checkpoint: it, two moments of the optimiser
CACHES = 2  # while columns are squeezed out of one: that, and what becomes of it
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


def work_of_insight(m: Measurement, task: Task, layers: int) -> Work:
    """What is sampled at a point for its insight, half of a problem's steps being read before; and read of the flow
    from the rule to the answer: two replies after two prompts, after one of them again for each level of the model, and
    one for attention (see `rule_flow`)."""
    sampled = PROFILED * m.insight_problems * m.insight_samples
    flow = m.flow_problems if m.insight_problems else 0
    return Work(sampled + flow, sampled * replies_of(task, 1) / 2 + flow * (5.0 + 2.0 * (layers + 1)))


@dataclass(frozen=True)
class Basis:
    """What estimates need to know of a start model: its sizes, and the seconds that a reply takes here."""

    parameters: int
    vocabulary: int
    layers: int
    width: int
    cached: int  # numbers a token in the cache of the sampler
    tokens: float  # of an episode in which the expert replies, a walk or one reply, with what is said before
    drawing: float
    reading: float
    process: int  # bytes of one that has loaded it
    at_once: int = 256  # conversations that are evaluated at once
    adapter: int = 0  # numbers in adapters of rank 1

    @classmethod
    def of(cls, backbone: Backbone, m: Measurement) -> Self:
        """Timed on problems of validation."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            drawing = _drawing(backbone, m)
            tokens, reading = _reading(backbone, m)
        finally:
            torch.set_num_threads(threads)
        model = backbone.model
        config = model.config.get_text_config()
        parameters = sum(weight.numel() for weight in model.parameters())
        linear = [module for module in model.get_decoder().modules() if isinstance(module, torch.nn.Linear)]
        return cls(
            parameters,
            config.vocab_size,
            config.num_hidden_layers,
            config.hidden_size,
            cached(model),
            tokens,
            drawing,
            reading,
            peak_memory(),
            at_once=at_once(model),
            adapter=sum(module.in_features + module.out_features for module in linear),
        )

    def seconds(self, work: Work) -> float:
        return work.drawn * self.drawing + work.read * self.reading

    def expects(self, run: Run, m: Measurement) -> Expected:
        """Of a run, where a point counts as what its points take on average. All that one without training does is
        measuring."""
        task = task_of(m)
        insight = self.seconds(work_of_insight(m, task, self.layers))
        along, end = (self.seconds(work_of_point(m, task, end)) + insight for end in (False, True))
        points = along * (len(run.points) - 1) + end
        training = self.seconds(work_of_training(run, task))
        return Expected(training / run.length, points / len(run.points)) if training else Expected(points / run.length)

    def expects_further(self, m: Measurement) -> Expected:
        """Of what measures further points of a run, each a unit."""
        return Expected(self.seconds(work_of_point(m, task_of(m), end=False)))

    def memory(self, run: Run, m: Measurement) -> int:
        """Bytes of the process that makes this run: weights, and what learns or samples, whichever takes more. What is
        evaluated counts as well, also where nothing is trained."""
        task, training = task_of(m), run.training
        problems = max(m.kl_problems, *(how_many(task, split, m.n) for split in m.splits))
        if m.profile_problems or m.insight_problems:
            problems = self.at_once
        at_work = [self._caches(task, min(problems, self.at_once), max(m.turns))]
        weights: float = self.parameters
        if training is not None:
            weights = HELD * self.parameters + LEARNED * self._learned(training)
            at_work.append(self._learning(training))
        if isinstance(training, RLConfig):
            at_work.append(self._caches(task, min(training.batch_size, training.episodes), training.turns))
        return self.process + round(BYTES * (weights + max(at_work)))

    def _caches(self, task: Task, rows: int, turns: int) -> float:
        """Numbers in the cache of so many conversations."""
        return CACHES * self.cached * rows * self.tokens * replies_of(task, turns) / replies_of(task, 1)

    def _learning(self, training: Training) -> float:
        """Numbers that a pass keeps for the way back."""
        conversations = (
            training.episodes if isinstance(training, RLConfig) else min(training.batch, training.micro_batch)
        )
        tokens = max(self.tokens, min(training.max_tokens, conversations * self.tokens))
        whole = 1 if training.gradient_checkpointing else self.layers  # layers of which all is kept, and not the states
        states = (self.layers - whole + ACTIVATIONS * whole) * self.width * tokens
        return states + LOGITS * min(tokens * self.vocabulary, AT_ONCE)

    def _learned(self, training: Training) -> int:
        """Numbers that learn: those of the model, or of adapters."""
        return training.lora_rank * self.adapter if training.lora_rank else self.parameters

    def disk(self, run: Run) -> int:
        """Bytes of the models and checkpoints of this run."""
        training = run.training
        if training is None:
            return 0
        written = -(-run.length // training.save_every)
        checkpoints = min(written, 2 if isinstance(training, RLConfig) else training.checkpoints)
        # One of RL has the model whole beside what learns, one of SFT with it.
        apart = isinstance(training, RLConfig) or training.lora_rank > 0
        checkpoint = apart * self.parameters + WRITTEN * self._learned(training)
        return BYTES * (self.parameters * len({*run.points, *run.kept}) + checkpoints * checkpoint)


def _drawing(backbone: Backbone, m: Measurement) -> float:
    """Seconds that a reply of an episode of one try takes."""
    engine = LocalEngine(backbone.model, backbone.chat, Sampling(1.0, m.max_new_tokens, m.seed))
    task = task_of(m)
    evaluate(engine, task, "id-val", PROBED[0], 1, backbone.style, m.seed)  # makes what is kept: a city, its pictures
    for problems in PROBED:
        began = time.monotonic()
        episodes = evaluate(engine, task, "id-val", problems, 1, backbone.style, m.seed)
        seconds = time.monotonic() - began
        if seconds > LONG_ENOUGH:
            break
    return seconds / sum(len(episode.turns) for episode in episodes)


def _reading(backbone: Backbone, m: Measurement) -> tuple[int, float]:
    """Tokens of the longest of some conversations of the expert, and seconds in which a reply of them is read."""
    task, chat = task_of(m), backbone.chat

    def conversations(problems: int) -> list[Trajectory]:
        indices = range(how_many(task, "id-val", problems))
        return [demonstration(chat, task.problem("id-val", m.seed, i, backbone.style), 1) for i in indices]

    tokens = max(len(shown.ids) for shown in conversations(SHOWN[1]))
    evaluate_tokens(backbone.model, conversations(1), MAX_TOKENS, chat.eye)  # the first takes longer
    for problems in SHOWN:
        shown = conversations(problems)
        began = time.monotonic()
        evaluate_tokens(backbone.model, shown, MAX_TOKENS, chat.eye)
        seconds = time.monotonic() - began
        if seconds > LONG_ENOUGH:
            break
    return tokens, seconds / (len(shown) * replies_of(task, 1))
