"""Inspect AI: the tasks as evaluations (`inspect eval ruleshift/gp_l --model ...`), and ours as logs (`inspect view`).

The solver appends the verifier's feedback to the conversation, as everywhere in ruleshift. The scorer replays the
replies of a sample against its problem, so that `inspect score` works on any log of these tasks.
"""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.asking import replay
from ruleshift.evaluation.episodes import load_episodes
from ruleshift.evaluation.evaluate import Point, cell_of, rows_of
from ruleshift.evaluation.failures import with_explanations
from ruleshift.evaluation.finished import load_finished
from ruleshift.evaluation.profile import rows_of_samples
from ruleshift.evaluation.statistics import pooled_share, share_interval
from ruleshift.evaluation.suites import SUITES, SuitePart
from ruleshift.integrations.places import ProblemRef, data_url, facts, needs, options_text, say
from ruleshift.records import Episode, Message
from ruleshift.results import Row
from ruleshift.tasks.protocol import Style, check_split, how_many
from ruleshift.tasks.protocol import Task as Opened

needs("inspect_ai", "inspect")
from inspect_ai import Task, task  # noqa: E402
from inspect_ai.dataset import MemoryDataset, Sample  # noqa: E402
from inspect_ai.log import (  # noqa: E402
    EvalConfig,
    EvalDataset,
    EvalLog,
    EvalMetric,
    EvalResults,
    EvalSample,
    EvalScore,
    EvalSpec,
    EvalStats,
    write_eval_log,
)
from inspect_ai.model import (  # noqa: E402
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    ContentImage,
    ContentText,
    ModelOutput,
)
from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Target, metric, scorer  # noqa: E402
from inspect_ai.solver import Generate, Solver, TaskState, solver  # noqa: E402

_SPLITS = ("id", "rule-ood")  # of a task whose recipe names none


@task
def gp_l(**arguments: Any) -> Task:
    """GeneralPoints in text; for arguments see `problems`."""
    return problems("gp-l", **arguments)


@task
def gp_vl(**arguments: Any) -> Task:
    """GeneralPoints in pictures; for arguments see `problems`."""
    return problems("gp-vl", **arguments)


@task
def virl_l(**arguments: Any) -> Task:
    """V-IRL in text; for arguments see `problems`."""
    return problems("virl-l", **arguments)


@task
def virl_vl(**arguments: Any) -> Task:
    """V-IRL in pictures; for arguments see `problems`."""
    return problems("virl-vl", **arguments)


@task
def problems(
    task: str,
    splits: str | Sequence[str] = (),
    n: int = 0,
    seed: int = 1000,
    style: Style = "full",
    turns: int = 0,
    suite: str = "",
    **options: Any,
) -> Task:
    """Any task of ruleshift, its own name or `package.module:Class`.

    splits: those to evaluate; by default those of the suite, or what studies measure. n: problems of each (0: as many
    as the suite has, or 100). suite: `quick` or `full`, as `ruleshift compare` asks them. turns: the verification
    budget (0: the task's). Further arguments are the options of the task. The problems are those of `ruleshift eval`
    with the same split and seed. Raises RuleshiftError for an unknown task, split, suite or option.
    """
    place = ProblemRef(task, seed=seed, style=style, turns=turns, options=options_text(options))
    known = place.open_task()
    part = _part(known, task, suite)
    chosen = tuple(splits.split(",")) if isinstance(splits, str) else tuple(splits) or part.splits
    for split in chosen:
        check_split(known, split)
    samples = [
        _sample(ProblemRef(**{**place.row(), "split": split, "index": index}))
        for split in chosen
        for index in range(how_many(known, split, n or part.n))
    ]
    return Task(
        dataset=MemoryDataset(samples, name=f"ruleshift/{known.id}"),
        solver=revision(),
        scorer=verdict(),
        version=known.version,
        name=known.id.replace("-", "_"),
    )


def suite(name: str = "quick", **arguments: Any) -> list[Task]:
    """A suite of `ruleshift compare` on its four tasks, for `inspect_ai.eval_set(suite("full"), log_dir=...)`."""
    return [make(suite=name, **arguments) for make in (gp_l, virl_l, gp_vl, virl_vl)]


def _part(task: Opened, name: str, suite: str) -> SuitePart:
    """What is asked of a task: by a suite, or by studies."""
    if suite in SUITES:
        return SUITES[suite].part(task, name)
    if suite:
        raise RuleshiftError(f"unknown suite {suite!r}; choose from {', '.join(SUITES)}")
    measurement = task.recipe.measurement
    return SuitePart(name, _SPLITS if measurement is None else measurement.splits, 100)


def _sample(place: ProblemRef) -> Sample:
    problem = place.problem()
    return Sample(
        input=[chat_message(message) for message in problem.context()],
        target=problem.gold(),
        id=problem.id,
        metadata={**place.row(), "facts": dict(problem.describe())},
    )


def chat_message(message: Message) -> ChatMessage:
    """A message as Inspect has it, with its pictures before its text."""
    if message.role == "assistant":
        return ChatMessageAssistant(content=message.content)
    kind = ChatMessageSystem if message.role == "system" else ChatMessageUser
    if not message.pictures:
        return kind(content=message.content)
    seen = [ContentImage(image=data_url(picture)) for picture in message.pictures]
    return kind(content=[*seen, ContentText(text=message.content)])


@solver
def revision() -> Solver:
    """Ask, submit the reply, append the verifier's feedback, until the problem or the budget ends."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        conversation = ProblemRef.of(state.metadata).conversation()
        conversation.request()
        while not conversation.ended:
            state = await generate(state)
            say(conversation, state.output.completion)
            state.messages.append(chat_message(conversation.messages[-1]))
        return state

    return solve


@metric
def by_split() -> Metric:
    """Of each split the share of problems solved and, of problems with steps, of right replies, with 95% intervals."""

    def compute(scores: list[SampleScore]) -> Any:
        groups: dict[str, list[Mapping[str, float]]] = {}
        for found in scores:
            groups.setdefault(str((found.sample_metadata or {}).get("split")), []).append(_values(found.score))
        shown: dict[str, float] = {}
        for split, values in groups.items():
            shown.update(_shares(f"{split} success", [value["success"] for value in values]))
            if any(value["steps"] > 1 for value in values):
                right = pooled_share([value["right"] for value in values], [value["replies"] for value in values])
                shown.update(_shares(f"{split} step_accuracy", right))
        return shown

    return compute


def _shares(name: str, values: Sequence[float]) -> dict[str, float]:
    low, high = share_interval(values)
    return {name: sum(values) / len(values), f"{name} low": low, f"{name} high": high}


def _values(score: Score) -> Mapping[str, float]:
    assert isinstance(score.value, dict)
    return {name: float(value or 0.0) for name, value in score.value.items()}


@scorer(metrics=[by_split()])
def verdict() -> Scorer:
    """What the verifier says of the replies of a sample, taken from its conversation."""

    async def score(state: TaskState, target: Target) -> Score:
        conversation = ProblemRef.of(state.metadata).conversation()
        for message in state.messages:
            if message.role == "assistant" and not conversation.ended:
                conversation.request()
                say(conversation, message.text)
        if not conversation.turns:
            return Score(value=dict.fromkeys(_NAMES, 0.0), explanation="no reply")
        return score_of(conversation.episode(), str(state.metadata["split"]))

    return score


_NAMES = ("success", "reward", "replies", "right", "steps", "valid", "read_right")


def score_of(episode: Episode, split: str) -> Score:
    """An episode as a score: `success`, the sum of rewards, how many replies it took, how many of them were right, how
    many steps were reached, and at how many of these the first reply was right in form and was read right."""
    cell = cell_of(split, "sampled", [episode])
    steps = cell.tries[0]
    return Score(
        value={
            "success": float(all(tries > 0 for tries in steps)),
            "reward": episode.total_reward,
            "replies": float(len(episode.turns)),
            "right": float(sum(tries > 0 for tries in steps)),
            "steps": float(len(steps)),
            "valid": float(cell.valid[0]),
            "read_right": float(cell.read_right[0]),
        },
        answer=episode.turns[-1].completion.text,
        explanation=" / ".join(turn.verdict.outcome for turn in episode.turns),
        metadata={"turns": [facts(turn.verdict) for turn in episode.turns]},
    )


# ---------------------------------------------------------------- our evaluations as logs


def write_log(source: Path, folder: Path, model: str = "ruleshift") -> Path:
    """Write an evaluation as a log into a folder that `inspect view --log-dir` opens; the path of the log.

    source: the folder of `ruleshift eval --out`, which knows its model, or the file of `ruleshift eval --episodes`.
    Raises RuleshiftError for anything else, and for an evaluation that has not ended.
    """
    log = _log_of_folder(source) if source.is_dir() else log_of(load_episodes(source), model)
    path = folder / f"{log.eval.task.replace('/', '-')}-{source.stem}.eval"
    folder.mkdir(parents=True, exist_ok=True)
    write_eval_log(log, str(path))
    return path


def log_of(episodes: Sequence[Episode], model: str = "ruleshift") -> EvalLog:
    """Episodes of `ruleshift eval --episodes` as a log of Inspect, with the numbers of `ruleshift eval` as metrics.

    Raises RuleshiftError where there are none, or where they are of several tasks.
    """
    tasks = {episode.problem_id.split("/")[0] for episode in episodes}
    if len(tasks) != 1:
        raise RuleshiftError(f"these are episodes of {len(tasks)} tasks: give those of one")
    name = tasks.pop()
    splits = dict.fromkeys(_split(episode) for episode in episodes)
    cells = [cell_of(split, "sampled", [e for e in episodes if _split(e) == split]) for split in splits]
    budgets = range(1, max(abs(t) for cell in cells for steps in cell.tries for t in steps) + 1)
    return _log(name, model, episodes, rows_of(Point(name, "base", 0, 0, 0.0, 0.0, tuple(cells)), budgets), {})


def _log_of_folder(folder: Path) -> EvalLog:
    """An evaluation as a log: its replies are judged anew, and have to get the verdicts that are on disk."""
    finished = load_finished(folder)
    finished.episodes()  # raises where some have not ended
    questions, episodes, targets = finished.questions, {}, {}
    for place in questions.places():
        conversation = questions.conversation(place, keeps_pictures=True)
        problem = questions.task.problem(place.split, questions.seed, place.index, questions.style)
        targets[problem.id] = problem.gold()
        replay(conversation, finished.kept[place])
        episodes[place] = conversation.episode()
    rows = rows_of_samples(questions, episodes, finished.decoding, range(1, questions.turns + 1))
    rows = with_explanations(rows, questions, episodes)
    return _log(questions.task.id, finished.model, list(episodes.values()), rows, targets)


def _log(
    name: str, model: str, episodes: Sequence[Episode], rows: Sequence[Row], targets: Mapping[str, str]
) -> EvalLog:
    now = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
    epochs: Counter[str] = Counter()
    samples = []
    for episode in episodes:
        epochs[episode.problem_id] += 1
        target = targets.get(episode.problem_id, "")
        samples.append(_logged(episode, model, epochs[episode.problem_id], target))
    spec = EvalSpec(
        created=now,
        task=f"ruleshift/{name.replace('-', '_')}",
        dataset=EvalDataset(name=name, samples=len(epochs), sample_ids=list(epochs)),
        model=model,
        config=EvalConfig(epochs=max(epochs.values())),
    )
    metrics = {metric.name: metric for metric in _metrics(rows)}
    score = EvalScore(name="verdict", scorer="verdict", metrics=metrics, scored_samples=len(samples))
    results = EvalResults(total_samples=len(samples), completed_samples=len(samples), scores=[score])
    stats = EvalStats(started_at=now, completed_at=now)
    return EvalLog(status="success", eval=spec, results=results, stats=stats, samples=samples)


def _logged(episode: Episode, model: str, epoch: int, target: str) -> EvalSample:
    messages = [chat_message(message) for message in episode.messages]
    first = len(messages) - 2 * len(episode.turns)
    return EvalSample(
        id=episode.problem_id,
        epoch=epoch,
        input=messages[:first],
        target=target,
        messages=messages,
        output=ModelOutput.from_content(model, episode.turns[-1].completion.text),
        scores={"verdict": score_of(episode, _split(episode))},
        metadata={"split": _split(episode)},
    )


def _split(episode: Episode) -> str:
    return episode.problem_id.split("/")[1]


def _metrics(rows: Sequence[Row]) -> Iterable[EvalMetric]:
    """The rows of `ruleshift eval`, each with its interval; first, for the head of the page, success of all turns."""
    most = max(row.turns for row in rows)
    for row in sorted(rows, key=lambda row: (row.metric, row.turns) != ("success", most)):
        label = f"{row.split} {row.metric} {row.turns}"
        yield EvalMetric(name=label, value=row.value)
        yield EvalMetric(name=f"{label} low", value=row.ci_low)
        yield EvalMetric(name=f"{label} high", value=row.ci_high)
