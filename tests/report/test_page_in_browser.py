"""The page in headless Chromium: no console error, tables sort, filters work, nothing wider than a
phone.
"""

import json
import os
import shutil

import pytest

from pipelines import report
from tests.support.artifacts import write_project
from tests.support.small_project import ROOT

PHONE, TABLET, DESKTOP = 390, 768, 1280
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
)


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    chromedriver = shutil.which("chromedriver")
    if not browser or not chromedriver:
        missing = "chromium and chromedriver are needed: apt-get install chromium chromium-driver"
        pytest.fail(missing) if os.environ.get("CI") == "true" else pytest.skip(missing)
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(chromedriver))
    yield chrome
    chrome.quit()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    root = write_project(tmp_path_factory.mktemp("project"), cost=True)
    report.main(str(root))
    return (root / "reports" / "report.html").as_uri()


@pytest.fixture
def page(driver, address):
    size(driver, DESKTOP)
    open_whole(driver, address)
    return driver


def open_whole(driver, address):
    """Open `address` and wait until it is read to its end: the browser's own wait now and then ends
    before the page's script has run.
    """
    from selenium.webdriver.support.ui import WebDriverWait

    driver.get(address)
    WebDriverWait(driver, 60).until(
        lambda chrome: chrome.execute_script("return document.readyState") == "complete"
    )


def size(driver, width):
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width == PHONE}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def visible(page, selector):
    script = (
        "return [...document.querySelectorAll(arguments[0])].filter((e) =>"
        " e.getClientRects().length).length"
    )
    return page.execute_script(script, selector)


def column(page, table, number):
    script = """return [...document.querySelector(arguments[0]).tBodies[0].rows]
        .map((row) => row.cells[arguments[1]].dataset.v)
        .map((v) => v === undefined ? null : Number(v))"""
    return page.execute_script(script, table, number)


def click(page, selector, number=0):
    page.execute_script(
        "document.querySelectorAll(arguments[0])[arguments[1]].click()", selector, number
    )


BOARD = "#hourly table.board"
IN_DETAILS = "details .scroll"


def test_the_console_stays_empty_and_nothing_is_requested(page, address):
    assert page.get_log("browser") == []
    page.get_log("performance")  # the browser's own start page is not ours
    open_whole(page, address)
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    addresses = {
        m["params"]["request"]["url"]
        for m in messages
        if m["method"] == "Network.requestWillBeSent"
    }
    assert {url for url in addresses if not url.startswith("data:")} == {address}


def tables(page, width):
    """Of every table: its classes, whether it scrolls, whether it says so, whether its last column
    can be reached.
    """
    size(page, width)
    page.execute_script("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    page.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0]))")
    script = """return [...document.querySelectorAll(".scroll")].map((box) => {
            box.scrollLeft = 10000;
            const end = box.querySelector("thead th:last-child").getBoundingClientRect().right;
            const last = end <= window.innerWidth;
            const said = getComputedStyle(box, "::before").content.includes("more columns");
            const wide = box.scrollWidth > box.clientWidth;
            return [box.firstElementChild.className, wide, said, last]; })"""
    return page.execute_script(script)


@pytest.mark.parametrize("width", [TABLET, DESKTOP])
def test_a_table_wider_than_its_place_says_so_and_scrolls_to_its_last_column(page, width):
    widths = tables(page, width)
    assert [table for table in widths if table[1] != table[2] or not table[3]] == []
    is_wide = [wide for name, wide, _, _ in widths if "board" in name]
    assert all(is_wide) if width == TABLET else not all(wide for _, wide, _, _ in widths)


def test_on_a_phone_every_row_is_a_card_and_no_column_is_cut(page):
    assert not any(wide for _, wide, _, _ in tables(page, PHONE))
    script = """return [...document.querySelectorAll(".sortable tbody td")].filter((cell) => {
            const box = cell.getBoundingClientRect();
            return box.width && (box.right > window.innerWidth || cell.scrollWidth > box.width + 1);
        }).map((cell) => cell.dataset.label + ": " + cell.textContent)"""
    assert page.execute_script(script) == []
    label = "return getComputedStyle(document.querySelector('.board td'), '::before').content"
    assert "MAE" in page.execute_script(label)


def test_the_first_screen_holds_the_answer_of_every_dataset(page):
    page.execute_script("window.scrollTo(0, 0)")
    script = """return [...document.querySelectorAll(".answer")].map((part) =>
        [part.dataset.dataset, part.querySelectorAll("svg").length,
         part.getBoundingClientRect().bottom <= window.innerHeight])"""
    assert page.execute_script(script) == [["hourly", 2, True], ["daily", 2, True]]


@pytest.mark.parametrize("width", [PHONE, TABLET, DESKTOP])
def test_no_page_is_wider_than_its_screen(page, width):
    size(page, width)
    page.execute_script("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    script = "return [document.documentElement.scrollWidth, document.body.scrollWidth]"
    assert max(page.execute_script(script)) <= width


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_a_long_name_without_blanks_makes_no_page_wider(page, width):
    size(page, width)
    page.execute_script(
        """document.querySelectorAll('details').forEach((part) => { part.open = true; });
        const places = 'h2, figcaption, p, li, svg .axis, .sortable td, .sortable tbody th';
        document.querySelectorAll(places).forEach((place) => { place.append('W'.repeat(150)); });"""
    )
    script = "return [document.documentElement.scrollWidth, document.body.scrollWidth]"
    assert max(page.execute_script(script)) <= width


def test_text_in_charts_stays_readable_on_a_phone(page):
    size(page, PHONE)
    script = """return Math.min(...[...document.querySelectorAll('main figure:not(.small) svg')]
        .filter((s) => s.viewBox.baseVal.width > 300)
        .map((s) => 12 * s.getBoundingClientRect().width / s.viewBox.baseVal.width))"""
    assert page.execute_script(script) >= 9


def test_a_click_on_a_column_sorts_and_a_second_one_turns_the_order(page):
    click(page, f"{BOARD} thead button", 1)
    falling = [v for v in column(page, BOARD, 1) if v is not None]
    click(page, f"{BOARD} thead button", 1)
    rising = [v for v in column(page, BOARD, 1) if v is not None]
    assert falling == sorted(falling, reverse=True)
    assert rising == sorted(rising)


def test_rows_without_a_value_stay_last_in_both_orders(page):
    click(page, "[data-show=hourly]")
    last = (
        "return"
        " [...document.querySelectorAll(arguments[0])][1].tBodies[0].lastElementChild.className"
    )
    second = (
        "document.querySelectorAll(arguments[0])[1].querySelectorAll('thead button')[1].click()"
    )
    for _ in range(2):
        page.execute_script(second, BOARD)
        assert page.execute_script(last, BOARD) == "failed"


def test_names_sort_as_words(page):
    click(page, f"{BOARD} thead button", 0)
    names = page.execute_script(
        "return [...document.querySelector(arguments[0]).tBodies[0].rows].map((r) =>"
        " r.dataset.model)",
        BOARD,
    )
    assert names == sorted(names)


def test_a_dataset_can_be_shown_alone(page):
    click(page, "[data-show=daily]")
    assert (visible(page, "#hourly"), visible(page, "#daily"), visible(page, "#protocol")) == (
        0,
        1,
        1,
    )
    click(page, "[data-show='']")
    assert visible(page, "#hourly") == 1


def test_an_unticked_model_leaves_every_table_and_chart(page):
    assert visible(page, "main [data-model=gru]") > 0
    click(page, ".pick input[value=gru]")
    assert visible(page, "main [data-model=gru]") == 0
    assert visible(page, f"{BOARD} tr[data-model=lstm]") > 0
    assert page.execute_script("return document.getElementById('picked').textContent") == "6 of 7"


def test_networks_none_and_all_can_be_picked_at_once(page):
    click(page, "[data-pick=networks]")
    assert visible(page, f"{BOARD} tr[data-model=ridge]") == 0
    assert visible(page, f"{BOARD} tr[data-model=lstm]") > 0
    click(page, "[data-pick=none]")
    assert visible(page, f"{BOARD} tbody tr") == 0
    click(page, "[data-pick=all]")
    assert visible(page, f"{BOARD} tr[data-model=ridge]") > 0


def test_a_chart_tells_its_values_where_it_is_touched(page):
    tooltip = page.execute_script("""
        const svg = document.querySelector('#hourly svg[data-x]');
        svg.scrollIntoView();
        const box = svg.getBoundingClientRect();
        const [x, y] = [box.right - box.width / 4, box.top + box.height / 2];
        const at = {bubbles: true, clientX: x, clientY: y};
        svg.dispatchEvent(new PointerEvent('pointermove', at));
        const tip = document.getElementById('tip');
        return tip.hidden ? '' : tip.textContent;
    """)
    assert "actual: " in tooltip


def test_dark_and_light_are_both_offered(page):
    grounds = []
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        grounds.append(
            page.execute_script("return getComputedStyle(document.body).backgroundColor")
        )
    assert grounds[0] != grounds[1]


def test_without_scripts_everything_is_shown_and_no_dead_button_is(driver, page, address):
    everything = "main :not(.explained, .explained *)"
    visible_parts = visible(page, everything)
    assert visible(page, ".explained") == 0  # a touch of the column's head explains it
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    open_whole(driver, address)
    try:
        assert visible(driver, ".bar") == 0
        assert visible(driver, everything) == visible_parts
        assert visible(driver, ".explained") > 0
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_on_paper_the_filters_are_gone_and_every_table_is_whole(page):
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert visible(page, ".bar") == 0
        script = (
            "return [...document.querySelectorAll('.scroll')].map((e) =>"
            " getComputedStyle(e).overflowX)"
        )
        assert set(page.execute_script(script)) == {"visible"}
        assert visible(page, ".explained") == visible(page, ".scroll:has([data-tip])")
        assert visible(page, IN_DETAILS) == len(page.find_elements("css selector", IN_DETAILS))
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_the_search_of_the_site_from_the_disk_gets_copies_as_from_a_worker(driver, tmp_path):
    shutil.copy(ROOT / "docs" / "iframe-worker.js", tmp_path)
    (tmp_path / "worker.js").write_text(
        "onmessage = ({ data }) => { const kept = data.words; data.words = 0; postMessage(kept); };"
    )
    page = "<!doctype html><body><script src='iframe-worker.js'></script></body>"
    (tmp_path / "index.html").write_text(page)
    open_whole(driver, (tmp_path / "index.html").as_uri())
    script = """
        const done = arguments[0], sent = { words: "own csv" };
        const worker = new Worker("worker.js");
        worker.onmessage = ({ data }) => done([sent.words, data]);
        worker.postMessage(sent);
    """
    assert driver.execute_async_script(script) == ["own csv", "own csv"]
