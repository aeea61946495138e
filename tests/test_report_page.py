"""The page in a real browser, opened from disk: it shows the clips, scrubs, filters as the command line does."""

from __future__ import annotations

import csv
import io
import json
import time
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from chromium import Chromium, chromium
from PIL import Image
from report_stores import HOSTILE, TILES, clip_id, labels_of, tile_colour, write_report_store

import vidray
from vidray.cli import main

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> str:
    held = write_report_store(tmp_path_factory.mktemp("page") / "store")
    vidray.build_index(held.url, extractor="classes")
    return held.url


@pytest.fixture(scope="module")
def report(store, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("page") / "a report"
    vidray.write_report(store, folder)
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as found:
        found.window(1280, 800)
        yield found


@pytest.fixture
def page(browser, report) -> Chromium:
    browser.said.clear()
    browser.requests.clear()
    browser.ask("Page.navigate", url="about:blank")
    browser.open(f"file://{quote(str(report))}/index.html#/clips")
    return browser


def shown(page: Chromium) -> list[int]:
    return page.run("[...vidray.filters.shown]")


def column(page: Chromium, table: str, name: str) -> int:
    columns = page.run("vidray.manifest.columns.map((one) => [one.table, one.name])")
    return columns.index([table, name])


def test_it_opens_from_disk_and_asks_nobody(page):
    page.until("document.querySelectorAll('.clip img').length > 8")
    page.until("[...document.querySelectorAll('.clip img')].every((one) => one.complete && one.naturalWidth === 480)")
    assert page.run("document.querySelector('.count').textContent") == "40 clips"
    assert all(url.startswith(("file:///", "data:,", "blob:")) for url in page.requests)
    page.run("location.hash = '#/overview'")
    told = page.until("document.getElementById('overview').innerText")
    for said in ("40\nclips", "a <b>broken</b> frame", "--retry-failed", "640 × 360", "dog"):
        assert said in told
    assert page.said == []


def test_less_than_a_minute_is_told_in_seconds(page):
    for seconds, said in ((24, "24\nseconds"), (90, "1.5\nminutes"), (7200, "2\nhours")):
        page.run(
            f"vidray.manifest.corpus.hours = {seconds} / 3600; vidray.drawOverview(); location.hash = '#/overview'"
        )
        page.until(f"document.querySelector('.figure').innerText === {json.dumps(said)}")


def test_a_poster_scrubs_under_the_pointer(page):
    left, top, width, height = page.box(".clip .frame")
    for tile in (0, 3, TILES - 1):
        page.mouse("mouseMoved", left + (tile + 0.5) / TILES * width, top + height / 2)
        page.until("document.querySelector('.clip .tile').dataset.tile", str(tile))
        page.until("getComputedStyle(document.querySelector('.clip img')).visibility", "hidden")
        assert np.abs(colour_at(page, left + 0.3 * width, top + 0.5 * height) - tile_colour(tile)).max() < 20
    page.mouse("mouseMoved", 5, 5)
    page.until("document.querySelector('.clip .tile').hidden")


def colour_at(page: Chromium, x: float, y: float) -> np.ndarray:
    """What is seen there, once it is drawn: the storyboard is decoded a moment after it is named."""
    import base64

    found = np.zeros(3)
    for _ in range(50):
        held = base64.b64decode(page.ask("Page.captureScreenshot", format="png")["data"])
        seen = np.asarray(Image.open(io.BytesIO(held)).convert("RGB"), int)[int(y), int(x)]
        if np.abs(seen - found).max() <= 1 and seen.max() > 30:
            return seen
        found = seen
        time.sleep(0.05)
    return found


@pytest.mark.parametrize(("first", "last"), [(0.22, 0.61), (0.0, 0.5), (0.4, 1.0)])
def test_a_brush_keeps_the_clips_that_its_where_keeps_on_the_command_line(page, store, capsys, first, last):
    number = column(page, "features/quality", "brightness")
    page.run("for (const group of document.querySelectorAll('#facets details')) group.open = true")
    page.drag(f'[data-column="{number}"] .brush', first, last)
    page.until("vidray.filters.chosen.size === 1 && vidray.filters.shown.length < 40")
    assert 2 < len(shown(page)) < 38
    assert kept_by(page, store, capsys) == {clip_id(clip) for clip in shown(page)}
    page.until(f"document.querySelector('.count').textContent === '{len(shown(page))} of 40 clips'")


def kept_by(page: Chromium, store: str, capsys) -> set[str]:
    """What the command line keeps by the expression that the page shows: all of the store is searched."""
    line = page.run("document.querySelector('.where code').textContent")
    import shlex

    flag, where = shlex.split(line)
    assert main(["search", store, "--clip", clip_id(0), "-k", "40", flag, where, "--json"]) == 0
    found = {hit["clip_id"] for hit in json.loads(capsys.readouterr().out.splitlines()[-1])["hits"]}
    # a clip is not among its own hits
    return found | ({clip_id(0)} & {clip_id(clip) for clip in shown(page)})


def test_bounds_that_are_values_keep_them_on_both_sides(page, store, capsys):
    number = column(page, "features/quality", "brightness")
    # 0.1 and 0.3 are no float32s: whoever compares them as float64 loses a clip
    page.run(f"vidray.filters.set({number}, {{low: 0.1, high: 0.3}})")
    page.until("vidray.filters.shown.length === 21")
    assert kept_by(page, store, capsys) == {clip_id(clip) for clip in range(10, 31)}


def test_labels_categories_and_names_filter_as_on_the_command_line(page, store, capsys):
    odd = column(page, "features/classes", "labels")
    codec = column(page, "videos", "video_codec")
    page.run(f"vidray.filters.toggle({odd}, 'dog')")
    page.run(f"vidray.filters.toggle({odd}, {json.dumps(LABEL)})")
    page.run(f"vidray.filters.toggle({codec}, 'hevc')")
    page.run("vidray.filters.name = 'SHOTS'; vidray.filters.apply()")
    wanted = [n for n in range(40) if {"dog", LABEL} & set(labels_of(n)) and n // 4 % 2 == 0 and n // 4 != 1]
    page.until(f"JSON.stringify([...vidray.filters.shown]) === '{json.dumps(wanted, separators=(',', ':'))}'")
    assert kept_by(page, store, capsys) == {clip_id(clip) for clip in wanted}


LABEL = 'it\'s "odd", <b>bold</b>'


def test_clips_are_sorted_and_those_without_a_value_come_last(page):
    number = column(page, "features/quality", "loudness_lufs")
    page.run(f"vidray.filters.order = {{by: {number}, down: true}}; vidray.filters.apply()")
    # of clip 3 quality failed, odd ones are silent
    page.until("vidray.filters.shown[0] === 38")
    assert shown(page)[:20] == list(range(38, -1, -2))


def test_a_selection_is_what_import_takes(page, store, tmp_path, report):
    page.ask("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    page.run("document.querySelector('[role=listbox]').focus()")
    page.key("x", "x")
    page.run("vidray.grid.pick(5); vidray.grid.pick(7); vidray.grid.pick(7)")
    page.run("document.querySelector('.selection input').focus()")
    page.type('a "good" one, yes')
    page.click(".selection button")
    file = tmp_path / "labels.csv"
    end = time.monotonic() + 20
    while not file.exists() and time.monotonic() < end:
        time.sleep(0.05)
    rows = list(csv.DictReader(io.StringIO(file.read_text())))
    assert [row["clip_id"] for row in rows] == [clip_id(0), clip_id(5)]
    assert rows[1]["uri"] == f"/media/{HOSTILE}"
    assert vidray.import_labels(store, file, name="chosen").labels == 2
    held = vidray.export(store, "labels/chosen", tmp_path / "back.csv", to="csv")
    back = csv.DictReader(io.StringIO(Path(held.path).read_text()))
    assert {row["label"] for row in back} == {'a "good" one, yes'}
    vidray.undo_import(store, name="chosen")


def test_what_strangers_wrote_is_shown_and_runs_nothing(page):
    name = HOSTILE.rpartition("/")[2]
    page.run(f"vidray.filters.name = {json.dumps('<script>')}; vidray.filters.apply()")
    page.until("vidray.filters.shown.length === 4")
    page.until(f"document.querySelector('.clip .name')?.textContent === {json.dumps(name)}")
    page.run("document.querySelector('.clip').click()")
    page.until("document.querySelector('#clip .side')?.innerText.includes('Hello <i>world</i> number 4')")
    assert page.run("document.querySelector('#clip h2').textContent") == name
    assert page.run("document.querySelector('#clip .what .hint').textContent").endswith(f"of /media/{HOSTILE}")
    assert page.run("document.querySelectorAll('#clip b, #clip i, #clip script, [onerror]').length") == 0
    # what would run, were it markup, may not: the policy refuses it too
    page.run("document.body.insertAdjacentHTML('beforeend', '<img src=data:, onerror=\"window.ran = 1\">')")
    page.run("new Promise((done) => setTimeout(done, 200))")
    assert page.run("window.ran") is None
    assert page.said
    assert all("Content Security Policy" in said for said in page.said)


def test_a_clip_has_a_page_with_what_was_found_in_it(page):
    page.run(f"location.hash = '#/clip/{clip_id(2)}'")
    page.until("document.querySelectorAll('#clip .strip button').length === 5")
    page.until("document.querySelectorAll('#clip .row-of-posters .poster').length === 8")
    assert page.run("document.querySelectorAll('#clip .box').length") == 0
    page.key("ArrowRight")
    page.until("document.querySelector('#clip .box')?.textContent === 'ball 0.5'")
    box, stage = (page.box(f"#clip {name}") for name in (".box", ".stage-box"))
    assert abs((box[0] - stage[0]) / stage[2] - 0.25) < 0.02
    assert abs((box[1] - stage[1]) / stage[3] - 0.5) < 0.02
    page.click("#clip .line")
    page.until("document.querySelector('#clip .stage-box .tile').dataset.tile === '2'")
    page.key("n", "n")
    page.until(f"location.hash === '#/clip/{clip_id(3)}'")
    page.key("Escape")
    page.until("location.hash === '#/clips' && !document.getElementById('clip').open")


def test_what_has_no_score_is_shown_without_one(page):
    page.run(f"location.hash = '#/clip/{clip_id(4)}'")
    page.until("document.querySelectorAll('#clip .strip button').length === 5")
    page.until("[...document.querySelectorAll('#clip dd .chip')].some((one) => one.textContent === 'calm')")
    page.key("ArrowRight")
    page.until("document.querySelector('#clip .box')?.textContent === 'ball'")
    assert page.said == []


def test_the_grid_goes_by_keys_and_by_likeness(page):
    page.run("document.querySelector('[role=listbox]').focus()")
    page.key("ArrowRight")
    page.key("ArrowRight")
    page.key("Enter", "\r")
    page.until(f"location.hash === '#/clip/{clip_id(2)}'")
    page.until("document.querySelectorAll('#clip .title button').length === 1")
    page.click("#clip .title button")
    page.until("vidray.filters.shown[0] === 2 && location.hash === '#/clips'")
    assert set(shown(page)[1:3]) == {1, 3}


def test_it_fits_a_phone(page):
    page.window(390, 800, mobile=True)
    try:
        for place in ("#/overview", "#/clips", f"#/clip/{clip_id(1)}"):
            page.run(f"location.hash = '{place}'")
            page.run("new Promise((done) => setTimeout(done, 300))")
            assert page.run("document.documentElement.scrollWidth") <= 390
    finally:
        page.window(1280, 800)
