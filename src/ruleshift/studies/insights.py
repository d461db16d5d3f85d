"""Insights of the runs of a study, where it asks for them: at each of their points, from the models that were kept.

RUN/points/000030.insight.json   measured after all points of the run; one that is missing is measured again
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from transformers import PreTrainedModel

from ruleshift.engines.local import LocalEngine
from ruleshift.engines.protocol import Sampling
from ruleshift.evaluation.copying import TrainingReplies, expert_replies
from ruleshift.evaluation.evaluate import Point
from ruleshift.evaluation.insight import Insight, coverage_curve, load_insight, rows_of_insight, save_insight
from ruleshift.evaluation.rule_flow import exchanges, rule_flow
from ruleshift.evaluation.sampled import Sampled, sampled_replies
from ruleshift.evaluation.subspaces import rotation
from ruleshift.evaluation.training_profile import share_moved
from ruleshift.runs import RunFolder
from ruleshift.settings import Measurement, SFTConfig
from ruleshift.studies.profiles import PROFILED
from ruleshift.studies.study import Run
from ruleshift.tasks.protocol import Style, Task, TaskProblem
from ruleshift.training.sft import lessons_again

Where = tuple[Task, Style]


def path_of(folder: Path, step: int) -> Path:
    """Where the insight of a step is kept, in the folder of its run."""
    return folder / "points" / f"{step:06d}.insight.json"


def missing(folder: Path, run: Run, measurement: Measurement) -> list[int]:
    """The points of a run whose insight is asked for and not there."""
    wanted = run.points if measurement.insight_problems else ()
    return [step for step in wanted if not path_of(folder, step).is_file()]


@dataclass(frozen=True)
class ShownReplies:
    """What the training of a run shows from its beginning to its end, after what it went on from, and the replies of
    the start model looked at for it, split by split. SFT shows what it learns from; RL learns from its own replies, and
    what stands here are the expert's to the problems that it draws. Nothing of the start model itself, and where what
    was shown is not there any more."""

    replies: TrainingReplies | None
    start: tuple[Sampled | None, ...]


def shown_to(run: Run, m: Measurement, where: Where, start: LocalEngine, root: Path) -> ShownReplies:
    """Of a run in `root`. start: samples from the start model."""
    found = _shown(run, run.length, where, start, root) if run.training or run.start else None
    replies = None if found is None else TrainingReplies.of(found)
    splits = m.splits[:PROFILED]
    return ShownReplies(
        replies, tuple(_sampled(start, m, where, split, replies) if replies else None for split in splits)
    )


def _shown(
    run: Run, steps: int, where: Where, start: LocalEngine, root: Path
) -> Iterable[tuple[TaskProblem, str]] | None:
    """Until a step, each with its problem; None where that is not known."""
    (task, style), folder, training = where, RunFolder(root / run.folder), run.training
    before = _shown(run.start.run, run.start.step, where, start, root) if run.start else ()
    own: Iterable[tuple[TaskProblem, str]] | None = ()
    if isinstance(training, SFTConfig):
        lessons = lessons_again(start.model, start.chat, task, style, training, folder)
        own = None if lessons is None else chain.from_iterable(map(lessons.learned, lessons.shown(steps)))
    elif training is not None:
        lines = [line for line in folder.read_metrics() if line["step"] <= steps]  # one for each update
        drawn = sum(line.get("drawn_episodes", training.episodes) for line in lines)
        own = expert_replies(task, style, training.split, training.seed, int(drawn) // training.group)
    return None if before is None or own is None else chain(before, own)


def measure(
    engine: LocalEngine,
    start: PreTrainedModel,
    m: Measurement,
    where: Where,
    shown: ShownReplies,
    point: Point,
    folder: Path,
) -> None:
    """Measure the insight of a point, and save it. engine: samples from its model; start: what the study began with."""
    (task, style), model = where, engine.model
    pairs = exchanges(task, style, m.flow_problems)
    insight = Insight(
        point.task,
        point.arm,
        point.seed,
        point.step,
        tuple(
            _sampled(engine, m, where, split, shown.replies, before)
            for split, before in zip(m.splits, shown.start, strict=False)
        ),
        rule_flow(model, engine.chat, pairs, m.max_new_tokens) if pairs else None,
        share_moved(start, model),
        rotation(start, model),
    )
    save_insight(path_of(folder, point.step), insight)


def _sampled(
    engine: LocalEngine,
    m: Measurement,
    where: Where,
    split: str,
    shown: TrainingReplies | None,
    start: Sampled | None = None,
) -> Sampled:
    task, style = where
    return sampled_replies(engine, task, split, m.insight_problems, m.insight_samples, style, m.seed, shown, start)


def sampling_of(m: Measurement) -> Sampling:
    """How replies are drawn."""
    return Sampling(1.0, m.max_new_tokens, seed=m.seed)


def load_insights(root: Path, runs: Sequence[Run]) -> list[Insight]:
    """All that were measured, run by run."""
    paths = [path_of(root / run.folder, step) for run in runs for step in run.points]
    return [load_insight(path) for path in paths if path.is_file()]


def insight_records(insights: Sequence[Insight], points: Sequence[Point]) -> dict[str, object]:
    """The content of insights.json, numbers to five digits: at every point each measure as [value, problems, ends of
    its interval], by split; what each level of the model carries of the rule (`RuleFlow.shares`); at the end of each
    run, risk against coverage."""
    known = {(point.arm, point.seed, point.step): point for point in points}
    ends = {(one.arm, one.seed): one.step for one in insights}  # in the order of steps
    return {
        "version": 2,
        "task": insights[0].task,
        "points": [_point(one, known[one.arm, one.seed, one.step]) for one in insights],
        "levels": [
            {
                **_place(one),
                "carried": _short(sum(level) / len(level) for level in one.flow.shares()),
                "attention": _short(sum(layer) / len(layer) for layer in one.flow.attention),
                "aligned": sum(one.flow.aligned) / len(one.flow.aligned),
                "problems": len(one.flow.kl),
            }
            for one in insights
            if one.flow is not None
        ],
        "coverage": [
            {**_place(one), "split": replies.split, "curve": list(map(_short, coverage_curve(replies)))}
            for one in insights
            if one.step == ends[one.arm, one.seed]
            for replies in one.replies
        ],
    }


def _place(one: Insight) -> dict[str, object]:
    return {"arm": one.arm, "seed": one.seed, "step": one.step}


def _point(one: Insight, point: Point) -> dict[str, object]:
    measures: dict[str, dict[str, list[float]]] = {}
    for row in rows_of_insight(one):
        measures.setdefault(row.split, {})[row.metric] = _short((row.value, row.n, row.ci_low, row.ci_high))
    kl, flops = _short((point.kl_to_start, point.train_flops))
    return {**_place(one), "kl_to_start": kl, "train_flops": flops, "measures": measures}


def _short(numbers: Iterable[float]) -> list[float]:
    return [number if isinstance(number, int) else float(f"{number:.5g}") for number in numbers]
