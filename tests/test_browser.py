"""The page in a headless Chromium: it opens without a word of complaint, filters, searches, compares, follows links."""

import csv
import io
import json
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import synthetic
from ruleshift.engines.protocol import Reply
from ruleshift.records import Completion, Message, Turn
from ruleshift.report.page import write_report
from ruleshift.report.server import serve
from ruleshift.results import save_results
from ruleshift.revision import Conversation
from ruleshift.rollouts import KeptEpisode, KeptTurn, point_file, save
from ruleshift.studies.report import served, write_study_report
from ruleshift.tasks import get_task

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt install chromium"),
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),
]
HOSTILE = "<script>document.title='obeyed'</script><img src=x onerror=\"document.title='obeyed'\">"
PATIENCE = 120_000  # ms, for machines with other work


def study_in(folder: Path) -> Path:
    """Results, and the same problems under two arms: the start is right where the other one is not."""
    told = synthetic.results()
    save_results(folder / "results.json", told.rows, told.meta)
    right, wrong = synthetic.episodes()["sft"][1], synthetic.episodes()["sft"][0]
    for arm, step, shown in (("base", 0, right), ("sft", 80, wrong)):
        episodes = [kept(replace(shown, problem_id=f"gp-l/rule-ood/1/{i}"), i == 3) for i in range(6)]
        save(point_file(folder / "arms" / f"{arm}-seed0", step), episodes)
    return folder


def kept(episode: Any, hostile: bool) -> KeptEpisode:
    if hostile:
        first, *others = episode.turns
        said = Turn(first.appended_ids, Completion(HOSTILE), replace(first.verdict, outcome=HOSTILE, found=HOSTILE))
        messages = (Message("user", HOSTILE), *episode.messages[1:])
        episode = replace(episode, turns=(said, *others), messages=messages)
    turns = [KeptTurn.of(turn, pieces=(turn.completion.text[:5], turn.completion.text[5:])) for turn in episode.turns]
    known = {"logprobs": (-0.1, -2.5), "start": (-1.5, -2.5), "ids": (1, 2)}
    return KeptEpisode.of(episode, "rule-ood", "sampled", [replace(turn, **known) for turn in turns])


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as made:
        opened = made.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], timeout=PATIENCE)
        yield opened
        opened.close()


class Opened:
    """A page, what it complained of, and where it asked for anything."""

    def __init__(self, browser: Any, url: str, width: int = 1280, scheme: str = "light") -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page.set_default_timeout(PATIENCE)
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(url)
        self.page.wait_for_selector(".list li[data-number]")

    def until(self, condition: str) -> None:
        """Wait for a condition of JavaScript, asked from outside: the policy of the page evaluates no text."""
        end = time.monotonic() + PATIENCE / 1000
        while not self.page.evaluate(condition):
            assert time.monotonic() < end, condition
            time.sleep(0.02)

    def texts(self, selector: str) -> list[str]:
        return [str(text) for text in self.page.locator(selector).all_inner_texts()]

    def count(self) -> str:
        return str(self.page.inner_text(".count"))


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = study_in(tmp_path_factory.mktemp("study"))
    results = synthetic.results()
    write_study_report(folder / "report.html", results, synthetic.comparisons(), "rule-ood")
    return (folder / "report.html").as_uri()


@pytest.fixture
def opened(browser: Any, url: str) -> Iterator[Opened]:
    found = Opened(browser, url)
    yield found
    assert found.said == []
    assert [asked for asked in found.asked if not asked.startswith(("file:", "data:", "blob:"))] == []
    assert "obeyed" not in found.page.title()
    found.page.close()


def test_it_opens_and_draws_its_first_figure(opened: Opened) -> None:
    opened.page.wait_for_selector(".first .main-svg")
    assert opened.count() == "12 of 12 episodes"


def test_filters_search_and_presets(opened: Opened) -> None:
    page = opened.page
    page.select_option("[name=arm]", "sft")
    assert opened.count() == "6 of 12 episodes"
    page.select_option("[name=arm]", "")
    page.click("text=start right, sft wrong under shift")
    assert opened.count() == "6 of 12 episodes"
    assert all("sft seed 0" in text for text in opened.texts(".list li"))
    page.click("text=everything")
    page.fill("[name=q]", "ONERROR")
    page.press("[name=q]", "Enter")
    opened.until("document.querySelector('.count').textContent.startsWith('2 of')")
    page.wait_for_selector(".panel mark")
    assert {text.lower() for text in opened.texts(".panel mark")} == {"onerror"}


def test_side_by_side_colours_keys_and_links(opened: Opened, browser: Any) -> None:
    page = opened.page
    first = page.get_attribute(".panels", "data-number")
    page.keyboard.press("j")
    opened.until(f"document.querySelector('.panels').dataset.number !== '{first}'")
    page.keyboard.press("k")
    opened.until(f"document.querySelector('.panels').dataset.number === '{first}'")
    page.keyboard.press("s")
    opened.until("document.querySelectorAll('.panel').length === 2")
    headings = opened.texts(".panel h3")
    assert [heading.split()[0] for heading in headings] == ["base", "sft"]
    page.select_option(".toolbar select", "change")
    page.wait_for_selector(".token")
    shades = page.eval_on_selector_all(".panel .token", "found => found.map(e => e.style.backgroundColor)")
    assert "rgba(20, 110, 200" in shades[0]
    assert shades[1] == ""
    again = Opened(browser, page.url)  # the link leads to the same panels, coloured the same
    again.page.wait_for_selector(".token")
    assert again.texts(".panel h3") == headings
    assert again.said == []
    again.page.close()


def test_what_is_shown_is_copied_as_text_and_json(opened: Opened) -> None:
    page = opened.page
    page.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    copied = {}
    for name in ("text", "JSON"):
        page.click(f"text=copy {name}")
        page.wait_for_function("window.copied !== undefined")
        copied[name] = page.evaluate("const text = window.copied; window.copied = undefined; text")
    shown = opened.texts(".panel .bubble")
    assert shown[-1].split()[-1] in copied["text"]
    assert json.loads(copied["JSON"])


def test_everything_is_reached_by_keys_alone(opened: Opened) -> None:
    page, focus = opened.page, "document.activeElement"
    page.keyboard.press("Tab")
    assert page.evaluate(f"{focus}.className") == "skip"
    page.keyboard.press("Enter")
    reached = []
    while "list" not in reached:
        page.keyboard.press("Tab")
        reached.append(page.evaluate(f"{focus}.className || {focus}.name || {focus}.textContent"))
        assert len(reached) < 60, reached
    assert {"everything", "arm", "q"} <= set(reached)  # presets, filters and search on the way
    first = page.get_attribute(".panels", "data-number")
    page.keyboard.press("ArrowDown")
    opened.until(f"document.querySelector('.panels').dataset.number !== '{first}'")
    page.keyboard.press("/")
    page.keyboard.type("onerror")
    page.keyboard.press("Enter")
    opened.until("document.querySelector('.count').textContent.startsWith('2 of')")
    page.keyboard.press("Escape")
    page.keyboard.press("s")
    opened.until("document.querySelectorAll('.panel').length === 2")
    page.focus(".attempts summary")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")  # the table, which scrolls
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    opened.until("document.querySelectorAll('.panel').length === 1")


def test_print_has_figures_and_no_controls(opened: Opened) -> None:
    page = opened.page
    folded = "document.querySelectorAll('details.table:not([open])').length"
    page.evaluate(f"addEventListener('beforeprint', () => {{ window.folded = {folded}; }})")
    page.emulate_media(media="print")
    assert opened.page.pdf().startswith(b"%PDF")
    drawn = opened.page.eval_on_selector_all(
        ".plot", "all => all.filter(e => e.offsetParent).map(e => e.dataset.drawn)"
    )
    assert drawn
    assert set(drawn) == {"yes"}
    for hidden in (".tools", ".filters", ".list", ".toolbar"):
        assert not opened.page.locator(hidden).first.is_visible()


def test_tables_sort_and_give_their_numbers(opened: Opened) -> None:
    page = opened.page
    table = page.locator("details.table").first
    table.locator("summary").click()
    table.locator("thead tr:last-child th button").first.click()
    values = [float(text.split()[0]) for text in table.locator("tbody td:nth-child(2) b").all_inner_texts()]
    assert values == sorted(values, reverse=True)
    for kind in ("csv", "json"):
        with page.expect_download() as waiting:
            table.locator(f"[data-save={kind}]").click()
        text = Path(waiting.value.path()).read_text()
        records = json.loads(text) if kind == "json" else list(csv.DictReader(io.StringIO(text)))
        assert {record["arm"] for record in records} == {"base", "sft", "rl"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_cuts_nothing_off(browser: Any, url: str, scheme: str) -> None:
    opened = Opened(browser, url, width=390, scheme=scheme)
    assert opened.page.evaluate("document.documentElement.scrollWidth") == 390
    opened.page.keyboard.press("s")
    opened.until("document.querySelectorAll('.panel').length === 2")
    boxes = [panel.bounding_box() for panel in opened.page.locator(".panel").all()]
    assert boxes[0]["y"] + boxes[0]["height"] <= boxes[1]["y"]  # stacked
    assert opened.page.evaluate("document.documentElement.scrollWidth") == 390
    assert opened.said == []
    opened.page.close()


def test_a_served_page_asks_only_its_server(browser: Any, tmp_path: Path) -> None:
    server = serve(served(study_in(tmp_path)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        here = f"http://127.0.0.1:{server.server_address[1]}/"
        opened = Opened(browser, here)
        opened.page.wait_for_selector(".panel")
        assert opened.count() == "12 of 12 episodes"
        assert all(asked.startswith(here) for asked in opened.asked if not asked.endswith("favicon.ico"))
        assert [text for text in opened.said if "favicon" not in text and "404" not in text] == []
        opened.page.close()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_served_walk_has_its_map(browser: Any, tmp_path: Path) -> None:
    problem = get_task("virl-l").problem("rule-ood", 0, 0, "terse")
    conversation = Conversation(problem, 2)
    for text in (problem.reply("stop"), problem.gold()):
        conversation.take(Reply((), Completion(text)))
    save(
        point_file(tmp_path / "arms" / "base-seed0", 0), [KeptEpisode.of(conversation.episode(), "rule-ood", "sampled")]
    )
    rows = [replace(row, task="virl-l", turns=2) for row in synthetic.results().rows if row.turns == 5]
    save_results(tmp_path / "results.json", rows, {})
    server = serve(served(tmp_path))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        opened = Opened(browser, f"http://127.0.0.1:{server.server_address[1]}/")
        opened.page.wait_for_selector(".map img")
        opened.until("document.querySelector('.map img').naturalWidth === 900")
        opened.page.close()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_page_without_kept_episodes_shows_the_few_it_is_given(browser: Any, tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", synthetic.results(), [], synthetic.episodes())
    opened = Opened(browser, (tmp_path / "report.html").as_uri())
    assert opened.count() == "4 of 4 episodes"
    assert opened.said == []
    opened.page.close()
