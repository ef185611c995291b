"""The report in a real Chromium: what it loads, what it says, how it answers to pointer and keys."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from campaigns import RAISED, SOURCE, campaign, found, found_scheduled, hostile_report
from click.testing import CliRunner
from sequences import CALLBACK, calls

from fuzz.coverage import CoveredFile
from fuzz.html_report import CampaignReport, campaign_report, write_html
from fuzz.instrument import Site
from fuzz.progress import CampaignOptions
from recorder.contract import Level
from synctape import main

pytestmark = pytest.mark.browser

SWITCHES = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Any]]:
    """Starts a Chromium with a profile of its own; what it logs and asks the network for can be read."""
    os.environ["SE_OFFLINE"] = "true"  # selenium is to look for no driver elsewhere
    from selenium import webdriver

    started: list[Any] = []

    def begin() -> Any:
        if started:
            return started[0]
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or shutil.which("chromium-browser") or ""
        driver = shutil.which("chromedriver")
        assert options.binary_location and driver, "the browser tests need chromium and chromedriver"
        for switch in (*SWITCHES, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
            options.add_argument(switch)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        started.append(webdriver.Chrome(options=options, service=webdriver.ChromeService(driver)))
        started[0].get("about:blank")  # the page that a browser begins with loads parts of its own
        return started[0]

    yield begin
    for browser in started:
        browser.quit()


@pytest.fixture
def browser(start: Callable[[], Any], tmp_path: Path) -> Iterator[Open]:
    """Opens a report in a window of some width; afterwards nothing may have been logged or loaded."""
    browser = start()
    browser.get_log("performance")
    path = tmp_path / "report.html"

    def open_report(
        report: CampaignReport | None,
        width: int = 1280,
        *,
        dark: bool = False,
        script: bool = True,
        anchor: str = "",
    ) -> Any:
        if report is not None:  # None: it is there already
            write_html(report, path)
        colours = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": colours})
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not script})
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(path.as_uri() + anchor)
        return browser

    yield open_report
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert [entry["message"] for entry in browser.get_log("browser")] == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}
    assert {url for url in asked if not url.startswith("chrome://")} == {path.as_uri()}


def one(browser: Any, selector: str) -> Any:
    return browser.find_element("css selector", selector)


def every(browser: Any, selector: str) -> list[Any]:
    found: list[Any] = browser.find_elements("css selector", selector)
    return found


def point_at(browser: Any, node: Any) -> None:
    from selenium.webdriver import ActionChains

    ActionChains(browser).move_to_element(node).perform()


def press(browser: Any, *keys: str) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    for key in keys:
        ActionChains(browser).send_keys(getattr(Keys, key)).perform()


def in_view(browser: Any, node: Any) -> bool:
    at = browser.execute_script("return arguments[0].getBoundingClientRect().toJSON()", node)
    return bool(0 <= at["top"] < 900)


def photograph(browser: Any, path: Path) -> tuple[int, int]:
    """The whole page as a picture, also in the folder that SYNCTAPE_SCREENSHOTS names; its width and height."""
    size = browser.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
    clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
    taken = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    picture = base64.b64decode(taken["data"])
    path.write_bytes(picture)
    if folder := os.environ.get("SYNCTAPE_SCREENSHOTS"):
        (Path(folder) / path.name).write_bytes(picture)
    return int.from_bytes(picture[16:20], "big"), int.from_bytes(picture[20:24], "big")


HOSTILE_CALLS = calls(
    *['Progress("a longer text than fits", 1, 40)'] * 30, "Done(sync-event, S_OK)", "Done(NULL, S_OK)"
)
THREADS = found(
    *[call._replace(thread=number % 3) for number, call in enumerate(HOSTILE_CALLS)],
    number=31,
    method="Done",
    message="the handle given to Done was closed twice",
    place="",
    code="H14",
    oracle="handle",
    level=Level.HOSTILE,
    broken=("P14", "P20"),
)


def usual() -> CampaignReport:
    summary = campaign(RAISED, THREADS)
    summary.files[RAISED.name] = Path("findings") / f"{RAISED.name}.tape"
    file = CoveredFile(
        "host.py", SOURCE, [Site(2, "f entered"), Site(4, "false")], [Site(2, "true"), Site(3, "true")]
    )
    return campaign_report(summary, "my.module:Host", CampaignOptions(seed=7), CALLBACK, [file])


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 400])
def test_it_fits_the_window_and_shows_everything(browser: Open, tmp_path: Path, width: int, dark: bool) -> None:
    page = browser(usual(), width, dark=dark)
    assert page.title == "2 failures found: my.module:Host"
    page.execute_script("for (const node of document.querySelectorAll('details')) node.open = true")
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    assert page.execute_script("return document.body.scrollWidth") <= width
    for node in every(page, "h1, h2, .card, .failure, figure, .states, .source, table"):
        assert node.is_displayed()
    ground = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground.strip("rgb()").split(","))) < 300) is dark
    width_, height = photograph(page, tmp_path / f"report-{width}-{'dark' if dark else 'light'}.png")
    assert width_ == width and height > 2000


def test_a_click_through_the_sections(browser: Open) -> None:
    page = browser(usual())
    links = every(page, "nav a")
    assert [link.text for link in links] == ["Failures", "Growth", "Protocol", "Coverage", "Mutators", "Facts"]
    for link in links:
        link.click()
        title = one(page, f"{link.get_attribute('hash')} h2")
        assert title.text == link.text and in_view(page, title)


def test_a_call_tells_when_pointed_at_and_opens_its_row_when_chosen(browser: Open) -> None:
    page = browser(usual())
    failing = one(page, ".lanes .call.failing")
    tip = one(page, "#tip")
    assert not tip.is_displayed()
    point_at(page, failing)
    assert tip.is_displayed() and tip.text.splitlines() == ["Progress(NULL, 1, 0)", "→ raised"]
    row = one(page, f"#{failing.get_attribute('data-row')}")
    assert "current" in row.get_attribute("class") and "failing" in row.get_attribute("class")
    assert not one(row, "dl").is_displayed()
    failing.click()
    assert one(row, "dl").is_displayed() and in_view(page, row)
    assert one(row, "dl").text.splitlines()[:4] == ["pwcszProgress", "NULL", "ulIndex", "1"]
    point_at(page, one(page, "h1"))
    assert not tip.is_displayed() and "current" not in row.get_attribute("class")


def test_failures_and_calls_are_reached_with_the_keyboard(browser: Open) -> None:
    page = browser(usual())
    second = every(page, ".failure")[1]
    assert not one(second, ".lanes").is_displayed()
    page.execute_script("arguments[0].focus()", one(second, "summary"))
    press(page, "ENTER")
    assert one(second, ".lanes").is_displayed()
    made = every(second, ".lanes .call")
    assert len(made) == 32 and len(every(second, ".lanes .lane")) == 3
    page.execute_script("arguments[0].focus()", made[0])
    press(page, "ARROW_RIGHT", "ARROW_RIGHT", "ARROW_LEFT")
    assert page.switch_to.active_element == made[1]
    assert one(page, "#tip").is_displayed()
    press(page, "ESCAPE")
    assert not one(page, "#tip").is_displayed()
    press(page, "ENTER")
    assert one(page, f"#{made[1].get_attribute('data-row')} dl").is_displayed()


def test_a_schedule_is_drawn_and_its_switches_lie_in_their_call(browser: Open, tmp_path: Path) -> None:
    page = browser(campaign_report(campaign(found_scheduled()), "host:Host", CampaignOptions(), CALLBACK, ()))
    outer, inner = (call.rect for call in every(page, ".lanes .call > rect:first-child"))
    switch = one(page, ".lanes .switch circle").rect
    assert outer["x"] < switch["x"] < inner["x"] < inner["x"] + inner["width"] < outer["x"] + outer["width"]
    assert outer["y"] <= switch["y"] < outer["y"] + outer["height"] < inner["y"]
    point_at(page, one(page, ".lanes .call.failing"))
    assert "Done(NULL, S_OK)" in one(page, "#tip").text
    assert one(page, ".switches code").text == "self.done < 1"
    width, _ = photograph(page, tmp_path / "schedule.png")
    assert width == 1280


def test_a_chart_tells_its_values(browser: Open) -> None:
    page = browser(usual())
    figure = every(page, "figure")[0]
    chart, output = one(figure, ".chart"), one(figure, "output")
    assert output.text == "48 of 51"
    point_at(page, chart)
    assert output.text.endswith(" s") and " at " in output.text
    point_at(page, one(page, "h1"))
    assert output.text == "48 of 51"
    page.execute_script("arguments[0].focus()", one(page, "nav a"))
    page.execute_script("arguments[0].focus({focusVisible: true})", chart)
    press(page, "HOME")
    assert output.text == "0 at 0 s"
    press(page, "END", "ARROW_LEFT")
    assert output.text == "46 at 11.5 s"
    press(page, "ESCAPE")
    assert output.text == "48 of 51"


def test_the_reproduce_line_is_copied(browser: Open) -> None:
    page = browser(usual())
    page.execute_cdp_cmd(
        "Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    )
    button = one(page, "[data-copy]")
    button.click()
    page.execute_async_script("setTimeout(arguments[0], 200)")
    assert button.text == "Copied"
    text = page.execute_async_script("navigator.clipboard.readText().then(arguments[0], arguments[0])")
    assert text == f"synctape replay findings/{RAISED.name}.tape --target my.module:Host"


def test_a_link_to_a_failure_opens_it(browser: Open) -> None:
    page = browser(usual(), anchor=f"#{THREADS.name}")
    second = every(page, ".failure")[1]
    assert second.get_attribute("open") and in_view(page, one(second, "summary"))


def test_without_its_script_everything_is_there_but_what_answers(browser: Open) -> None:
    page = browser(usual(), script=False)
    for part in ("2 failures found", "Progress(NULL, 1, 0)", "S_OK", "never taken", "Mutators", "Seed"):
        assert part in one(page, "body").text, part
    assert not one(page, "[data-copy]").is_displayed()
    every(page, ".failure > summary")[1].click()
    assert every(page, ".failure")[1].get_attribute("open")


@pytest.mark.parametrize("width", [1280, 400])
def test_hostile_texts_are_only_shown(browser: Open, tmp_path: Path, width: int) -> None:
    page = browser(hostile_report(), width)
    page.execute_script("for (const node of document.querySelectorAll('details')) node.open = true")
    point_at(page, one(page, ".lanes .call"))
    assert "<img src=x onerror=alert(1)>" in one(page, "#tip").text
    assert len(every(page, "script")) == 1 and not every(page, "img")
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    photograph(page, tmp_path / f"hostile-{width}.png")


def test_a_page_that_a_campaign_has_written(browser: Open, tmp_path: Path) -> None:
    command = [
        "fuzz",
        "--target",
        "replayer.samples.send_receive:HastySendReceiveDialog",
        "--max-runs",
        "400",
        "--seed",
        "1",
    ]
    command += ["--findings", str(tmp_path / "findings"), "--report", str(tmp_path / "report.html")]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 1, done.output
    page = browser(None)
    failures = every(page, ".failure")
    assert failures and page.title.startswith(f"{len(failures)} failure")
    for failure in failures[1:]:
        one(failure, "summary").click()
    assert len(every(page, ".lanes .call.bad.failing")) == len(failures)
    assert every(page, ".states .label.seen") and every(page, "figure .line")
    one(page, ".source > summary").click()
    link = one(page, ".source .links a")
    link.click()
    assert in_view(page, one(page, f"tr{link.get_attribute('hash')}"))


def test_the_policy_lets_nothing_else_run_or_load(start: Callable[[], Any], tmp_path: Path) -> None:
    browser = start()
    write_html(usual(), tmp_path / "report.html")
    browser.get((tmp_path / "report.html").as_uri())
    browser.execute_script(
        "const node = document.createElement('script'); node.textContent = 'window.ran = 1';"
        "document.body.append(node);"
        "const image = document.createElement('img'); image.src = 'data:image/gif;base64,R0lGODlhAQABAAAAACw=';"
        "image.onerror = () => { window.refused = 1; }; document.body.append(image);"
    )
    browser.execute_async_script("setTimeout(arguments[0], 200)")
    assert browser.execute_script("return [window.ran, window.refused]") == [None, 1]
    logged = [entry["message"] for entry in browser.get_log("browser")]
    assert len(logged) == 2 and all("Content Security Policy" in message for message in logged)
    browser.get_log("performance")
