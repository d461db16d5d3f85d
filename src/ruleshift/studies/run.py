"""Carrying out a study: its runs, then from their points to numbers, tables and a page, task by task."""

import json
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console

from ruleshift.backbones.fingerprint import fingerprint
from ruleshift.backbones.load import load_backbone
from ruleshift.backbones.room import OF_FIXED, OF_STUDY, said_to
from ruleshift.backbones.save import is_saved, save_model
from ruleshift.evaluation.claims import Claim, claims
from ruleshift.evaluation.evaluate import rows_of
from ruleshift.evaluation.failures import rows_of_failures
from ruleshift.evaluation.floors import reference_rows
from ruleshift.evaluation.patching import levels_of
from ruleshift.evaluation.statistics import Estimate
from ruleshift.files import write_atomically
from ruleshift.lock import held
from ruleshift.report.arms import usual_ood
from ruleshift.report.terminal import WHOLE, claims_table, plain
from ruleshift.results import Results, save_results
from ruleshift.runs import RunFolder, environment
from ruleshift.settings import RLConfig, SFTConfig
from ruleshift.studies.arms import load_start, settings_of
from ruleshift.studies.board import Board, Course
from ruleshift.studies.cluster import Cluster, run_on_ray
from ruleshift.studies.compare import compare, end_difference, metrics_of
from ruleshift.studies.costs import costs_in
from ruleshift.studies.estimates import Basis
from ruleshift.studies.home import Home, home_of
from ruleshift.studies.insights import insight_records, load_insights
from ruleshift.studies.kept import Keep, size_of
from ruleshift.studies.log import StudyLog, workers_here
from ruleshift.studies.points import PointStore
from ruleshift.studies.pool import Job, run_jobs
from ruleshift.studies.profiles import load_profiles, profile_records
from ruleshift.studies.recipes import main_metric, task_of
from ruleshift.studies.refine import Refinement
from ruleshift.studies.report import write_study_report
from ruleshift.studies.reuse import take_over, taken_from
from ruleshift.studies.study import WARM, Findings, Plan, Run, StartModel, Study
from ruleshift.tasks import get_task
from ruleshift.tasks.recipe import Endpoint
from ruleshift.training.train import train

ARMS = "arms"  # folder of the runs in that of a task
PLANNED = ("model", "label", "seeds", "points", "kept", "further", "matched_on", "init_steps")  # of a plan, on record


def run_study(
    plans: Sequence[Plan],
    out: Path,
    workers: int | None = None,
    keep: Keep = "none",
    cluster: Cluster | None = None,
    reuse: Sequence[Path] = (),
) -> None:
    """Carry out (or resume) the study of some tasks, each in a folder of `out` that is named after it: in processes
    here, or on a cluster. Trainings are taken over from the studies in the folders `reuse` where they are the same.

    What it takes is estimated and told before, and episodes are kept as `keep` says. Writes results.json,
    comparisons.json and report.html there, and prints the tables. Raises InUse while another process does the same.
    """
    begun = [_start(plan) for plan in plans]  # a wrong name is noticed before the long work begins
    with home_of(out, cluster.store if cluster else None, plans[0].study.name) as home, held(out):
        _run_study(plans, begun, home, workers, keep, cluster, reuse)


def _run_study(
    plans: Sequence[Plan],
    begun: Sequence[tuple[StartModel, Basis]],
    home: Home,
    workers: int | None,
    keep: Keep,
    cluster: Cluster | None,
    reuse: Sequence[Path],
) -> None:
    starts, bases = zip(*begun, strict=True)
    out = home.out
    folders = [out / plan.folder for plan in plans]
    if cluster is None:
        workers = workers_here(plans, bases, [folder / ARMS for folder in folders], workers)
    log = StudyLog(out, dict(zip([plan.folder for plan in plans], bases, strict=True)), home.url)

    def jobs_of(starts: Sequence[StartModel]) -> list[Job]:
        return [
            Job(run, start, plan.measurement, folder / ARMS, keep=keep, expected=basis.expects(run, plan.measurement))
            for plan, start, basis, folder in zip(plans, starts, bases, folders, strict=True)
            for run in plan.runs()
        ]

    warm = {
        folder / WARM: _warm_settings(plan, start)
        for plan, start, folder in zip(plans, starts, folders, strict=True)
        if plan.warm_up()
    }
    home.meet(warm)
    if log.warms_up(plans):
        log.begin(plans, jobs_of(starts), size_of(plans, keep))
        home.give_files(out)
    refined = [
        Refinement(plan, _warmed_up(plan, start, folder), folder / ARMS, keep)
        for plan, start, folder in zip(plans, starts, folders, strict=True)
    ]
    home.meet(warm)
    for one in refined:
        home.give_start(one.start)
    jobs = jobs_of([one.start for one in refined])
    wanted = {job.root / job.run.folder: settings_of(job.run, job.start, job.measurement) for job in jobs}
    home.meet(wanted)
    if reuse:
        print(f"{take_over(jobs, reuse)} runs take over what was trained in {', '.join(map(str, reuse))}", flush=True)
        home.meet(wanted)
    log.begin(plans, jobs, size_of(plans, keep))

    def carry(jobs: Sequence[Job]) -> None:
        home.give_files(out)
        if cluster is None:
            run_jobs(jobs, workers)
        else:
            run_on_ray(jobs, cluster, home)

    carry(sorted(jobs, key=lambda job: not isinstance(job.run.training, RLConfig)))  # the longest first
    while jobs := [
        replace(job, expected=basis.expects_further(job.measurement))
        for one, basis in zip(refined, bases, strict=True)
        for job in one.next_jobs()
    ]:
        log.add(jobs)
        carry([job for job in jobs if not job.done])
    claimed = _claims(refined)
    found = [
        _conclude(one, start, folder, log.seconds, [claim for owner, claim in claimed if owner is one])
        for one, start, folder in zip(refined, starts, folders, strict=True)
    ]
    for one, task, folder in zip(refined, found, folders, strict=True):  # pages may show what others found
        _show(one.plan.study, task, folder)
    if claimed:
        shown = [replace(claim, task=owner.plan.folder) for owner, claim in claimed]  # tells start models apart
        Console().print(claims_table(shown))
    log.end()
    home.give_files(out, *folders)


def _start(plan: Plan) -> tuple[StartModel, Basis]:
    """The start model of a plan, once it has been loaded, and what it takes. Raises RuleshiftError if it cannot be, or
    if what it carries cannot be read and is asked for."""
    found = load_backbone(plan.model, pictures=get_task(plan.task).pictures, options=plan.loading, style=plan.style)
    if plan.measurement.flow_problems:
        levels_of(found.model)
    facts = {**found.chat.facts, **({} if plan.style == "auto" else {"style": plan.style})}
    start = StartModel(plan.model, plan.loading, found.style, facts, fingerprint(found.model))
    return start, Basis.of(found, plan.measurement)


def _warmed_up(plan: Plan, start: StartModel, out: Path) -> StartModel:
    """The start model after the SFT that comes before all arms, trained once into `out/init`; as it is without one."""
    training = plan.warm_up()
    if training is None:
        return start
    folder, task, name = out / WARM, task_of(plan.measurement), f"{plan.folder} warm start"
    with RunFolder.open(folder, _warm_settings(plan, start)) as run:
        if not is_saved(folder / "model"):
            backbone = load_start(start, task.pictures)
            with Board([Course(name, name, training.steps)], workers=1) as board:
                follow = lambda step, metrics: board.reach(name, step)  # noqa: E731
                with said_to(OF_FIXED if plan.init_steps else OF_STUDY):
                    train(training, backbone.model, backbone.chat, task, backbone.style, run, progress=follow)
            save_model(backbone.model, backbone.chat.source, folder / "model")
    warmed = replace(start, name=str(folder / "model"))
    return replace(warmed, weights=fingerprint(load_start(warmed, task.pictures).model))


def _warm_settings(plan: Plan, start: StartModel) -> dict[str, object]:
    """The configuration of the folder of what comes before all arms."""
    return {"task": plan.task, "training": plan.warm_up(), **start.settings}


def _claims(refined: Sequence[Refinement]) -> list[tuple[Refinement, Claim]]:
    """What the study claims on all its tasks, where they measured their primary endpoints.

    Corrected over what its file names, of tasks and arms that are left out of this run, too: so those that are run one
    after the other, or chosen, claim no more than all at once."""
    about: dict[tuple[int, str, str, str, Endpoint], Estimate] = {}
    for owner, one in enumerate(refined):
        plan = one.plan
        m, start, points = plan.measurement, plan.study.start, one.points()
        for arm, reference, end in plan.study.endpoints(plan.task):
            measured = end.split in m.splits and end.turns <= max(m.turns) and end.decoding in m.decodings
            what = (end.metric, end.split, end.turns, end.decoding)
            change = end_difference(points, arm, reference, start, what) if measured else None
            if change:
                about[owner, get_task(plan.task).id, arm, reference, end] = change
    study, here = refined[0].plan.study, {one.plan.task for one in refined}
    named = sum(len(study.endpoints(task)) for task in study.tasks) if here & {*study.tasks} else 0
    made = claims(
        [(t, arm, reference, end, change) for (_, t, arm, reference, end), change in about.items()], named=named
    )
    return [(refined[owner], claim) for (owner, *_), claim in zip(about, made, strict=True)]


def _conclude(one: Refinement, start: StartModel, out: Path, seconds: float, claimed: Sequence[Claim]) -> Findings:
    """From the points of a task's runs to its numbers."""
    plan = one.plan
    study, m = plan.study, plan.measurement
    points = one.points()
    metrics = metrics_of(get_task(plan.task))
    start_and_split = (study.start, study.trained)
    comparisons = compare(points, plan.pairs(), m.turns, metrics, *start_and_split, m.everywhere, plan.origins())
    task = task_of(m)
    rows = [row for point in points for row in rows_of(point, m.turns, task.metric != "success")]
    rows += [row for point in {(one.arm, one.seed): one for one in points}.values() for row in rows_of_failures(point)]
    rows += reference_rows(task, m.splits, m.n, m.turns, m.decodings, m.seed, start.style)
    meta = _meta(plan, start, out / ARMS, seconds) | {"claims": [asdict(claim) for claim in claimed]}
    results = Results(tuple(rows), meta)
    ends = {(run.name, run.seed): PointStore(out / ARMS, run, m).seconds(run.points[-1]) for run in plan.runs()}
    insights = load_insights(out / ARMS, plan.runs())
    drawn = {(run.name, run.seed): _conversations(run, out / ARMS) for run in plan.runs()}
    profiles = load_profiles(out / ARMS, plan.runs())
    found = Findings(results, comparisons, points, m, ends, insights, drawn, profiles)
    save_results(out / "results.json", results.rows, results.meta)
    write_atomically(out / "comparisons.json", _json([asdict(c) for c in comparisons]))
    if m.profile_problems:
        write_atomically(out / "profiles.json", _json(profile_records(profiles)))
    if insights:
        write_atomically(out / "insights.json", _json(insight_records(insights, points), indent=None))
    for name, content in study.files.items():
        write_atomically(out / name, _json(content(found)))
    return found


def _conversations(run: Run, root: Path) -> dict[int, float]:
    """Of each step that a training wrote down, the conversations until then, with those of what it went on from: all
    that it learned from, each as often as it did, or as many as were drawn for that."""
    step, total = 0, 0.0
    if run.start is not None:
        before = _conversations(run.start.run, root)
        total = max((count for done, count in before.items() if done <= run.start.step), default=0.0)
    if run.training is None:
        return {0: total} if run.start is not None else {}
    each = run.training.batch if isinstance(run.training, SFTConfig) else run.training.episodes
    found: dict[int, float] = {}
    for line in RunFolder(root / run.folder).read_metrics():
        total += line.get("drawn_episodes", (line["step"] - step) * each)
        step = line["step"]
        found[step] = total
    return found


def _show(study: Study, found: Findings, out: Path) -> None:
    """The page and the tables of a task; in tables.json they stand uncut."""
    console = Console()
    write_study_report(out / "report.html", found.results, found.comparisons, usual_ood(found.results))
    whole = [plain(table) for tables in study.tables for table in tables(found, WHOLE)]
    write_atomically(out / "tables.json", _json([asdict(table) for table in whole]))
    for tables in study.tables:
        for table in tables(found, console.width):
            console.print(table)
    console.print(f"report: {out / 'report.html'}   numbers: {out / 'results.json'}", soft_wrap=True)


def _json(content: object, indent: int | None = 1) -> str:
    """JSON as a file holds it, in one line where it is not indented. Raises ValueError for a number that is not
    finite."""
    return json.dumps(content, indent=indent, separators=(",", ":" if indent is None else ": "), allow_nan=False) + "\n"


def _meta(plan: Plan, start: StartModel, arms: Path, seconds: float) -> dict[str, object]:
    here, study = environment(), plan.study
    task = get_task(plan.task)
    runs, arms_of = plan.runs(), plan.arms()
    diverged = {run.folder: PointStore(arms, run, plan.measurement).diverged() for run in runs}
    work = sum(cost.seconds for run in runs for cost in costs_in(arms / run.folder).values())
    taken = {run.folder: source for run in runs if (source := taken_from(arms / run.folder)) is not None}
    return {
        "title": f"{study.question} {plan.recipe.title}",
        "study": study.name,
        "metric": main_metric(task),
        "feedback": plan.measurement.feedback,
        "pictures": task.pictures,
        "start": study.start,
        "arms": [
            {"name": study.start, "about": "the start model", "variant_of": None},
            *({"name": arm.name, "about": arm.about, "variant_of": arm.variant_of} for arm in arms_of),
        ],
        "diverged": [
            {"arm": run.name, "seed": run.seed, "why": why} for run in runs if (why := diverged[run.folder]) is not None
        ],
        **({"taken": taken} if taken else {}),
        "trained": study.trained,
        "figures": study.figures,
        "command": "ruleshift " + shlex.join(sys.argv[1:]),
        "seeds": sorted({run.seed for run in runs if run.training}),
        "commit": here["git_commit"],
        "time": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "duration_s": round(seconds),
        "work_s": round(work),
        "versions": here["packages"],
        "splits": {name: task.splits()[name] for name in plan.measurement.splits},
        "kl_unit": "nats per reply",
        "config": {
            **{name: getattr(plan, name) for name in PLANNED},
            **({"chat": start.facts} if start.facts else {}),
            "options": plan.options and asdict(plan.options),
            **({"warm_up": asdict(warm_up)} if (warm_up := plan.warm_up()) else {}),
            "training": {arm.name: asdict(arm.training) for arm in arms_of if arm.training},
            **({"starts": starts} if (starts := {arm.name: asdict(arm.start) for arm in arms_of if arm.start}) else {}),
            "measurement": asdict(plan.measurement),
        },
    }
