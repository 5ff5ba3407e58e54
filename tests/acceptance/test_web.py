"""`pipeline web` on the demonstration, by a real browser."""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from pipeline.demo.manifest import SAMPLES
from pipeline.postgres.connections import connect
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.queue import pauses
from pipeline.spaces import active_space
from tests.helpers.browser import chromium, watched
from tests.helpers.command import Demo
from tests.helpers.processes import wait_until

ROOT = Path(__file__).parents[2]
PIZZA = SAMPLES / "images/pizza.webp"


@dataclass(frozen=True)
class Web:
    """A running `pipeline web`."""

    url: str
    log: Path


@pytest.fixture(scope="module")
def web(demo: Demo) -> Iterator[Web]:
    log = demo.folder / "web.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", "web", "--port", "0"],
            cwd=demo.folder,
            env={**os.environ, "DATABASE_URL": demo.url, "XDG_CACHE_HOME": str(demo.folder / "c")},
            stderr=stderr,
        )
    try:
        wait_until(
            lambda: "queries are answered here" in log.read_text() or process.poll() is not None,
            "the pages",
        )
        found = re.search(r"pages at (http://127\.0\.0\.1:\d+); stop", log.read_text())
        assert found, log.read_text()
        yield Web(found[1], log)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, log.read_text()
        assert "Traceback" not in log.read_text()
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def search(page: Page, url: str, text: str, *chosen: str) -> None:
    page.goto(url)
    page.get_by_role("searchbox").fill(text)
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"[?&]q="))
    for modality in chosen:
        page.get_by_role("link", name=re.compile(f"^{modality} ")).first.click()
        page.wait_for_url(f"**modality={modality}*")
    page.wait_for_load_state("networkidle")


def test_a_text_finds_the_image_and_the_statement_shown_the_same_rows(
    web: Web, browser: Browser, demo: Demo, server: EmbeddedServer
) -> None:
    with watched(browser) as seen:
        page = seen.page
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        search(page, web.url, "a slice of pizza", "image")
        first = page.locator(".card").first
        expect(first.get_by_role("img", name="pizza")).to_be_visible()
        assert first.locator("img").evaluate("image => image.naturalWidth") > 0
        assert "modality=image" in page.url
        page.get_by_text("Show the SQL").click()
        page.get_by_role("button", name="Copy").click()
        expect(page.get_by_role("button", name="Copied")).to_be_visible()
        copied = page.evaluate("navigator.clipboard.readText()")
        numbers = [link.get_attribute("data-more") for link in page.locator(".item").all()]
    done = subprocess.run(
        [server.binary("psql"), demo.url, "-X", "-At", "-F", "\t", "-c", copied],
        capture_output=True,
        text=True,
        check=True,
    )
    in_psql = [line.split("\t")[1] for line in done.stdout.splitlines()]
    assert [str(number).rpartition("=")[2] for number in numbers] == in_psql
    assert len(in_psql) == 24


def test_an_image_that_is_chosen_dropped_or_pasted_finds_its_caption(
    web: Web, browser: Browser
) -> None:
    with watched(browser) as seen:
        page = seen.page
        page.goto(f"{web.url}/?modality=text")
        page.get_by_label("Search by a file").set_input_files(PIZZA)
        page.wait_for_url("**/?file=*")
        expect(page.locator(".card").first).to_contain_text("a pizza")
        expect(page.locator(".chosen img")).to_be_visible()
        for event, key in (("drop", "dataTransfer"), ("paste", "clipboardData")):
            before = page.url
            page.evaluate(
                """async ([event, key, url]) => {
                    const bytes = await (await fetch(url)).blob();
                    const data = new DataTransfer();
                    data.items.add(new File([bytes], "an image", { type: bytes.type }));
                    const init = { [key]: data, bubbles: true, cancelable: true };
                    const kind = event === "drop" ? DragEvent : ClipboardEvent;
                    document.body.dispatchEvent(new kind(event, init));
                }""",
                [event, key, page.locator(".chosen img").get_attribute("src")],
            )
            page.wait_for_url(lambda url, before=before: url != before and "file=" in url)
            expect(page.locator(".card").first).to_contain_text("a pizza")
        page.go_back()
        page.wait_for_url(before)
        expect(page.locator(".card").first).to_contain_text("a pizza")


def test_keys_lead_through_the_results(web: Web, browser: Browser) -> None:
    with watched(browser) as seen:
        page = seen.page
        search(page, web.url, "a slice of pizza", "image")
        asked = page.url
        page.locator("body").press("/")
        expect(page.get_by_role("searchbox")).to_be_focused()
        items = page.locator(".item")
        page.keyboard.press("ArrowDown")
        expect(items.nth(0)).to_be_focused()
        page.keyboard.press("ArrowRight")
        expect(items.nth(1)).to_be_focused()
        page.keyboard.press("n")
        expect(items.nth(2)).to_be_focused()
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowLeft")
        expect(items.nth(0)).to_be_focused()
        page.keyboard.press("ArrowDown")
        below = page.evaluate("document.activeElement.getBoundingClientRect().top")
        assert below > items.nth(0).bounding_box()["y"]  # type: ignore[index]
        page.keyboard.press("ArrowUp")
        expect(items.nth(0)).to_be_focused()
        page.keyboard.press("m")
        page.wait_for_url("**/?item=*")
        expect(page.locator(".chosen")).to_contain_text("like item")
        page.go_back()
        page.wait_for_url(asked)
        page.locator(".item").nth(0).focus()
        page.keyboard.press("Enter")
        page.wait_for_url("**/items/*")
        expect(page.get_by_role("heading", level=1)).to_have_text("pizza")


def test_rows_go_on_while_one_scrolls_and_facets_filter(web: Web, browser: Browser) -> None:
    with watched(browser) as seen:
        page = seen.page
        search(page, web.url, "fruit", "image")
        assert page.locator(".card").count() == 24
        for count in (48, 72):
            page.locator(".more").scroll_into_view_if_needed()
            expect(page.locator(".card")).to_have_count(count)
        numbers = [link.get_attribute("data-more") for link in page.locator(".item").all()]
        assert len(set(numbers)) == len(numbers)
        page.mouse.wheel(0, -100_000)
        page.get_by_role("link", name=re.compile("^food-drink ")).click()
        page.wait_for_url("**filter=*")
        expect(page.locator(".chosen")).to_contain_text("group: food-drink")
        page.get_by_role("link", name="Without the filter group").click()
        page.wait_for_url(lambda url: "filter=" not in url)


def test_a_blend_leads_towards_one_and_away_from_another(web: Web, browser: Browser) -> None:
    with watched(browser) as seen:
        page = seen.page
        search(page, web.url, "an apple", "image")
        page.get_by_text("Blend, ranking, filter").click()
        page.get_by_label("Another term").fill("red")
        page.get_by_label("Its weight").fill("-0.5")
        page.get_by_role("button", name="Search", exact=True).click()
        page.wait_for_url("**term=red*")
        expect(page.locator(".chosen")).to_contain_text("-0.5 \N{MULTIPLICATION SIGN} red")
        page.get_by_text("Show the SQL").click()
        expect(page.locator(".sql code")).to_contain_text("text_embedding('red')], ARRAY[1, -0.5])")


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_narrow_and_wide_light_and_dark(
    web: Web, browser: Browser, width: int, scheme: str
) -> None:
    options = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    with watched(browser, **options) as seen:
        page = seen.page
        search(page, web.url, "a slice of pizza")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", background))) < 150) == (scheme == "dark")
        image = page.locator(".card img").first
        width_, height = image.evaluate("image => [image.naturalWidth, image.naturalHeight]")
        assert width_ > 0
        assert height > 0


def test_near_duplicates_stand_side_by_side_on_a_narrow_screen(web: Web, browser: Browser) -> None:
    with watched(browser, viewport={"width": 390, "height": 800}) as seen:
        page = seen.page
        page.goto(f"{web.url}/review/duplicates?modality=image&least=0.9")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        one, other = (page.locator(".card").nth(n).bounding_box() for n in (0, 1))
        assert one is not None
        assert other is not None
        assert one["y"] == other["y"]
        assert min(one["width"], other["width"]) > 150
        assert other["x"] >= one["x"] + one["width"]


def place_on_map(page: Page, item: int) -> tuple[float, float]:
    """Where an item is on the screen, while all of the map is seen."""
    box = page.locator("#points").bounding_box()
    assert box is not None
    found = page.request.get(page.url.partition("/map")[0] + "/map/points").json()
    picture = found["before" if "centred" not in page.url else "after"]
    at = 2 * found["ids"].index(item)
    scale = (min(box["width"], box["height"]) - 48) / 65_534
    x, y = picture[at] * scale, -picture[at + 1] * scale
    return box["x"] + box["width"] / 2 + x, box["y"] + box["height"] / 2 + y


def colours(page: Page) -> dict[str, float]:
    """Of the points of each modality, how far right they are in the mean, from 0 to 1."""
    return page.evaluate(
        """() => {
            const canvas = document.getElementById("points");
            const context = canvas.getContext("2d");
            const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
            const style = getComputedStyle(document.body);
            const means = {};
            for (const place of [0, 1]) {
                const hex = style.getPropertyValue(`--point-${place}`).trim();
                const [r, g, b] = [1, 3, 5].map(at => parseInt(hex.slice(at, at + 2), 16));
                let [sum, count] = [0, 0];
                for (let at = 0; at < data.length; at += 4) {
                    if (data[at] !== r || data[at + 1] !== g || data[at + 2] !== b) continue;
                    sum += (at / 4) % canvas.width;
                    count += 1;
                }
                means[place] = sum / count / canvas.width;
            }
            return means;
        }"""
    )


def test_the_map_makes_the_gap_visible(web: Web, browser: Browser) -> None:
    with watched(browser, reduced_motion="reduce") as seen:
        page = seen.page
        page.goto(f"{web.url}/map")
        expect(page.locator("#figures")).to_contain_text("2,594 items")
        expect(page.locator("#points")).to_have_attribute("data-state", "stored")
        for modality in ("text", "image"):
            expect(page.get_by_label(f"{modality} 1,297")).to_be_checked()
        apart = colours(page)
        assert abs(apart["0"] - apart["1"]) > 0.2
        page.get_by_label("Each modality centred").check()
        expect(page.locator("#points")).to_have_attribute("data-state", "centred")
        expect(page.locator("#figures")).to_contain_text("fall together")
        page.wait_for_url("**/map?vectors=centred")
        together = colours(page)
        assert abs(together["0"] - together["1"]) < 0.05
        page.go_back()
        expect(page.get_by_label("As stored")).to_be_checked()
        expect(page.locator("#points")).to_have_attribute("data-state", "stored")
        assert colours(page) == apart


def test_items_of_the_map_are_shown_listed_and_opened(
    web: Web, browser: Browser, demo: Demo
) -> None:
    with connect(demo.url) as connection:
        row = connection.execute(
            "SELECT id FROM multimodal_items WHERE content_ref LIKE '%/pizza.webp'"
        ).fetchone()
    assert row is not None
    with watched(browser) as seen:
        page = seen.page
        page.goto(f"{web.url}/map?without=text")
        expect(page.get_by_label("text 1,297")).not_to_be_checked()
        x, y = place_on_map(page, row[0])
        page.mouse.move(x, y)
        page.mouse.wheel(0, -1_000)
        page.wait_for_url("**view=*")
        page.mouse.move(x + 1, y)
        shown = page.locator(".preview").get_by_role("img", name="pizza")
        expect(shown).to_be_visible()
        page.wait_for_function("image => image.naturalWidth > 0", arg=shown.element_handle())

        page.get_by_role("button", name="Lasso").click()
        page.mouse.move(x - 20, y - 20)
        page.mouse.down()
        for a, b in ((20, -20), (20, 20), (-20, 20)):
            page.mouse.move(x + a, y + b, steps=4)
        page.mouse.up()
        listed = page.locator("#selected")
        expect(listed.get_by_role("img", name="pizza")).to_be_visible()
        expect(listed.get_by_role("heading")).to_contain_text("in the lasso")
        expect(listed.locator("p").first).to_have_text(re.compile(r"^\d+ image$"))
        items = listed.locator(".item")
        kept = items.evaluate_all("all => all.map(item => item.pathname)")
        assert f"/items/{row[0]}" in kept
        page.reload()
        expect(items).to_have_count(len(kept))
        assert items.evaluate_all("all => all.map(item => item.pathname)") == kept
        page.locator("#points").scroll_into_view_if_needed()
        page.evaluate("scrollTo(0, 0)")
        page.mouse.click(x, y)
        page.wait_for_url(f"**/items/{row[0]}")


def test_the_map_by_keys_on_a_narrow_dark_screen(web: Web, browser: Browser) -> None:
    options = {"viewport": {"width": 390, "height": 800}, "color_scheme": "dark"}
    with watched(browser, **options, has_touch=True) as seen:
        page = seen.page
        page.goto(f"{web.url}/map")
        expect(page.locator("#points")).to_have_attribute("data-state", "stored")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert all(0 <= mean <= 1 for mean in colours(page).values())
        page.locator("#points").focus()
        for key in ("+", "+", "ArrowLeft", "Enter"):
            page.keyboard.press(key)
        expect(page.locator("#selected .item").first).to_be_visible()
        page.wait_for_url("**lasso=*")
        page.keyboard.press("Escape")
        expect(page.locator("#selected")).to_be_hidden()
        page.get_by_role("button", name="Whole map").click()
        page.touchscreen.tap(*place_on_map(page, 1))
        expect(page.locator(".preview .item")).to_be_visible()
        page.get_by_label("text 1,297").uncheck()
        page.get_by_role("button", name="List what is in view").click()
        expect(page.locator("#selected h2")).to_have_text("1,297 items in the lasso")
        expect(page.locator("#selected .item")).to_have_count(60)
    with watched(browser, java_script_enabled=False) as seen:
        seen.page.goto(f"{web.url}/map")
        expect(seen.page.get_by_text("The map is drawn by JavaScript")).to_be_visible()
        expect(seen.page.locator("#points")).to_be_hidden()


def test_without_javascript_it_searches_and_goes_on(web: Web, browser: Browser) -> None:
    with watched(browser, java_script_enabled=False) as seen:
        page = seen.page
        search(page, web.url, "a slice of pizza", "image")
        expect(page.get_by_role("img", name="pizza").first).to_be_visible()
        first = page.locator(".item").first.get_attribute("href")
        page.get_by_role("link", name="More", exact=True).click()
        page.wait_for_url("**after=*")
        assert page.locator(".card").count() == 24
        assert page.locator(".item").first.get_attribute("href") != first
        page.go_back()
        page.get_by_role("link", name="Filters").click()
        page.get_by_role("link", name=re.compile("^food-drink ")).click()
        page.wait_for_url("**filter=*")
        expect(page.get_by_role("img", name="pizza").first).to_be_visible()


def test_the_page_of_jobs_renews_itself_where_it_disturbs_nobody(
    web: Web, browser: Browser, demo: Demo
) -> None:
    def looked(seen: Page) -> int:
        """How often it has renewed itself after another while."""
        seen.clock.run_for(6_000)
        seen.wait_for_load_state("networkidle")
        return len(asked)

    with connect(demo.url) as connection, watched(browser) as seen:
        page, asked = seen.page, []
        page.clock.install()
        page.goto(f"{web.url}/jobs")
        page.on("request", lambda request: asked.append(request.url))
        name = active_space(connection).name
        pauses.pause(connection, name, "stocktaking")
        try:
            page.clock.run_for(6_000)
            expect(page.get_by_text("stocktaking")).to_be_visible()
        finally:
            pauses.resume(connection, name)
        page.locator("h2").first.select_text()
        before = len(asked)
        assert looked(page) == before
        page.evaluate("getSelection().removeAllRanges()")
        page.evaluate("Object.defineProperty(document, 'hidden', { value: true, writable: true })")
        assert looked(page) == looked(page) == before
        page.evaluate("document.hidden = false")
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        expect(page.get_by_text("stocktaking")).to_have_count(0)
    with watched(browser, java_script_enabled=False) as seen:
        seen.page.goto(f"{web.url}/jobs")
        seen.page.get_by_role("link", name="Refresh").click()
        expect(seen.page.get_by_role("heading", level=1)).to_have_text("Jobs")


@pytest.fixture(scope="module")
def axe() -> str:
    """The program of axe-core, which is installed beside the project where npm is."""
    if shutil.which("npm") is None:
        pytest.skip("there is no npm here, by which axe-core is installed")
    folder = subprocess.run(
        ["npm", "root", "--global"], capture_output=True, text=True, check=True
    ).stdout.strip()
    program = Path(folder) / "axe-core/axe.min.js"
    if not program.exists():
        pytest.skip("there is no axe-core here: npm install --global axe-core")
    return program.read_text(encoding="utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_against_any_page(
    web: Web, browser: Browser, axe: str, scheme: str
) -> None:
    with watched(browser, color_scheme=scheme) as seen:
        page = seen.page
        search(page, web.url, "a slice of pizza")
        item = page.locator(".item").first.get_attribute("href")
        for path in (
            "/?q=fruit&term=red&weight=-1",
            item,
            "/jobs",
            "/review",
            "/review/duplicates?least=0.9",
            "/review/outliers?modality=image",
            "/spaces",
            "/facets",
            "/map?lasso=-9000_-9000_9000_-9000_0_9000",
        ):
            page.goto(f"{web.url}{path}", wait_until="networkidle")
            if page.get_by_text("Show the SQL").count():
                page.get_by_text("Show the SQL").click()
            page.evaluate(axe)
            found = page.evaluate("axe.run().then(found => found.violations)")
            said = [(one["id"], [node["target"] for node in one["nodes"]][:3]) for one in found]
            assert said == [], path


def test_the_pictures_of_the_documentation_can_be_drawn_anew(
    web: Web, browser: Browser, tmp_path: Path
) -> None:
    spec = importlib.util.spec_from_file_location("pictures", ROOT / "tools/web_screenshots.py")
    assert spec is not None
    assert spec.loader is not None
    pictures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pictures)
    drawn = pictures.draw(browser, web.url, tmp_path)
    there = list((ROOT / "docs").glob("web-*.png"))
    assert {path.name for path in drawn} == {path.name for path in there}
    for path in [*drawn, *there]:
        with Image.open(path) as image:
            assert image.size == (1280, 720)
        assert path.stat().st_size < 200_000


def test_the_page_is_small(web: Web) -> None:
    sizes = {
        path: len(httpx.get(f"{web.url}{path}").content)
        for path in (
            "/?q=a+slice+of+pizza", "/facets?q=a", "/static/style.css", "/static/page.js",
            "/static/htmx.min.js", "/static/icon.svg",
        )
    }  # fmt: skip
    assert sum(sizes.values()) < 300_000, sizes
