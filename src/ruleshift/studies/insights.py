"""Insights of the runs of a study, where it asks for them: at each of their points, from the models that were kept.

RUN/points/000030.insight.json   measured after all points of the run; one that is missing is measured again
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from transformers import PreTrainedModel

from ruleshift.engines.local import LocalEngine
from ruleshift.engines.protocol import Sampling
from ruleshift.evaluation.copying import TrainingReplies, training_replies
from ruleshift.evaluation.evaluate import Point
from ruleshift.evaluation.insight import Insight, coverage_curve, load_insight, rows_of_insight, save_insight
from ruleshift.evaluation.rule_flow import exchanges, rule_flow
from ruleshift.evaluation.sampled import sampled_replies
from ruleshift.evaluation.subspaces import rotation
from ruleshift.evaluation.training_profile import share_moved
from ruleshift.results import Row
from ruleshift.settings import Measurement
from ruleshift.studies.profiles import PROFILED
from ruleshift.studies.study import Run
from ruleshift.tasks.protocol import Style, Task


def path_of(folder: Path, step: int) -> Path:
    """Where the insight of a step is kept, in the folder of its run."""
    return folder / "points" / f"{step:06d}.insight.json"


def missing(folder: Path, run: Run, measurement: Measurement) -> list[int]:
    """The points of a run whose insight is asked for and not there."""
    wanted = run.points if measurement.insight_problems else ()
    return [step for step in wanted if not path_of(folder, step).is_file()]


def known_of(task: Task, style: Style, run: Run, measurement: Measurement) -> TrainingReplies:
    """The expert's replies that count as copied from: to the training problems of the run's seed, whatever its arm
    learned from, so that the numbers of all arms are of one kind."""
    return training_replies(task, style, run.seed, measurement.insight_training)


def measure(
    engine: LocalEngine,
    start: PreTrainedModel,
    m: Measurement,
    where: tuple[Task, Style],
    known: TrainingReplies,
    point: Point,
    folder: Path,
) -> None:
    """Measure the insight of a point, and save it. engine: samples from its model; start: what the study began with."""
    (task, style), model = where, engine.model
    replies = [
        sampled_replies(engine, task, split, m.insight_problems, m.insight_samples, style, m.seed, known)
        for split in m.splits[:PROFILED]
    ]
    pairs = exchanges(task, style, m.flow_problems)
    insight = Insight(
        point.task,
        point.arm,
        point.seed,
        point.step,
        tuple(replies),
        rule_flow(model, engine.chat, pairs, m.max_new_tokens) if pairs else None,
        share_moved(start, model),
        rotation(start, model),
    )
    save_insight(path_of(folder, point.step), insight)


def sampling_of(m: Measurement) -> Sampling:
    """How replies are drawn."""
    return Sampling(1.0, m.max_new_tokens, seed=m.seed)


def load_insights(root: Path, runs: Sequence[Run]) -> list[Insight]:
    """All that were measured, run by run."""
    paths = [path_of(root / run.folder, step) for run in runs for step in run.points]
    return [load_insight(path) for path in paths if path.is_file()]


def rows_with_points(insights: Sequence[Insight], points: Sequence[Point]) -> list[Row]:
    """The rows of insights, each with the KL and FLOPs of its point."""
    known = {(point.arm, point.seed, point.step): point for point in points}
    rows = []
    for one in insights:
        point = known[one.arm, one.seed, one.step]
        rows += rows_of_insight(one, point.kl_to_start, point.train_flops)
    return rows


def insight_records(insights: Sequence[Insight], points: Sequence[Point]) -> dict[str, object]:
    """The content of insights.json: rows; what each level of the model carries of the rule (`RuleFlow.shares`); at the
    end of each run, risk against coverage."""
    ends = {(one.arm, one.seed): one.step for one in insights}  # in the order of steps
    levels = [
        {
            "arm": one.arm,
            "seed": one.seed,
            "step": one.step,
            "carried": [sum(level) / len(level) for level in one.flow.shares()],
            "attention": [sum(layer) / len(layer) for layer in one.flow.attention],
            "aligned": sum(one.flow.aligned) / len(one.flow.aligned),
            "problems": len(one.flow.kl),
        }
        for one in insights
        if one.flow is not None
    ]
    coverage = [
        {"arm": one.arm, "seed": one.seed, "step": one.step, "split": replies.split, "curve": coverage_curve(replies)}
        for one in insights
        if one.step == ends[one.arm, one.seed]
        for replies in one.replies
    ]
    rows = [asdict(row) for row in rows_with_points(insights, points)]
    return {"version": 1, "rows": rows, "levels": levels, "coverage": coverage}
