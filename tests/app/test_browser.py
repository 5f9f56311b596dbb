"""The page in a real browser, driven by Playwright."""

import os
import re
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from pgpis.app.found import found_pose
from pgpis.cli import main

pytest.importorskip("playwright.sync_api", reason="the page's tests in a browser need playwright (extra dev)")
from playwright.sync_api import expect

pytestmark = [
    pytest.mark.slow,
    pytest.mark.enable_socket,
    pytest.mark.allow_hosts(["127.0.0.1", "localhost"]),
]
WRISTS = (4, 7)
PHONE = {"width": 390, "height": 844}


@pytest.fixture
def visit(chromium, page):
    """Opens the page as another visitor; ends with an error where anything was asked of another host, or failed."""
    expect.set_options(timeout=60_000)
    contexts, strangers, errors = [], [], []

    def route(route):
        if urlsplit(route.request.url).hostname in ("127.0.0.1", None):
            route.continue_()
        else:
            strangers.append(route.request.url)
            route.abort()

    def open_page(**options):
        context = chromium.new_context(
            **{"accept_downloads": True, "viewport": {"width": 1280, "height": 900}} | options
        )
        contexts.append(context)
        context.route("**/*", route)
        tab = context.new_page()
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.set_default_timeout(30_000)
        tab.goto(page)
        tab.get_by_role("button", name="Make the picture").wait_for()
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert not strangers, "the page asked other hosts"
    assert not errors


@pytest.fixture
def shots(tmp_path_factory):
    """Folder of screenshots, for people to look at."""
    folder = tmp_path_factory.getbasetemp() / "screenshots"
    folder.mkdir(exist_ok=True)
    return folder


def panel(tab, name):
    """Open a tab of the page, and return what it shows."""
    tab.get_by_role("tab", name=name, exact=True).click()
    return tab.get_by_role("tabpanel").filter(visible=True)


def upload(place, label, *paths):
    """Choose files for the input of a label; wait until they are there."""
    block = place.locator(".block").filter(has_text=label).filter(has=place.page.locator("input[type=file]")).first
    with place.page.expect_response(lambda answer: "/upload" in answer.url):
        block.locator("input[type=file]").first.set_input_files(paths)
    place.page.wait_for_timeout(500)


def open_more(place):
    """Open More; its fields get their first values a moment after they are there."""
    place.get_by_role("button", name="More").click()
    place.page.wait_for_timeout(700)


def few_steps(place, steps=1):
    """Open More, and ask for a small picture in few steps."""
    open_more(place)
    place.get_by_label("Steps").fill(str(steps))
    place.get_by_label("Height in pixels").fill("128")
    place.get_by_label("Width in pixels").fill("96")


def download(place, name, path):
    with place.page.expect_download() as waiting:
        place.get_by_role("link", name=name).or_(place.get_by_role("button", name=name)).first.click()
    waiting.value.save_as(path)
    return path


def pixels(path):
    return np.asarray(Image.open(path)).astype(int)


def test_upload_drag_make_download(visit, people, shots, tmp_path):
    tab = visit()
    place = panel(tab, "New pose")
    upload(place, "Photo of the person", people[0])
    open_more(place)
    place.get_by_label("Model").fill("synth-mcld")
    place.get_by_label("Model").press("Enter")
    made, found = [], []
    for way in ("as it is", "dragged"):
        place.get_by_role("radio", name="a skeleton").check()
        if way == "as it is":
            place.get_by_role("button", name="Begin with the pose in the photo").click()
        joint = place.locator('.joint[aria-label^="left wrist, x"]')
        joint.wait_for()
        tab.wait_for_timeout(500)
        if way == "dragged":
            joint.scroll_into_view_if_needed()
            box = joint.locator(".dot").bounding_box()
            tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
            tab.mouse.down()
            tab.mouse.move(box["x"] + 110, box["y"] - 170, steps=5)
            tab.mouse.up()
            tab.wait_for_timeout(500)
        place.get_by_role("button", name="Make the picture").click()
        expect(place.get_by_text("Done", exact=True)).to_be_visible()
        picture = pixels(download(place, "Download PNG", tmp_path / f"{way}.png"))
        for _ in range(60):  # what was told of the picture before may stand there still
            if not made or not np.array_equal(picture, made[0]):
                break
            tab.wait_for_timeout(500)
            picture = pixels(download(place, "Download PNG", tmp_path / f"{way}.png"))
        made.append(picture)
        tab.screenshot(path=shots / f"skeleton-{way.replace(' ', '-')}.png", full_page=True)
        place.get_by_role("button", name="Make the picture").scroll_into_view_if_needed()
        # the faces of the small models do not tell the detector front and back apart: it is the wrist on this side
        wrists = found_pose(tmp_path / f"{way}.png", tmp_path / way).points[list(WRISTS)]
        found.append(max(wrists, key=lambda point: point[0]))
    assert np.abs(made[0] - made[1]).mean() > 0.5, "the pose did not change the picture"
    assert found[0][1] - found[1][1] > 20, "the wrist was dragged upwards, and is not found there"
    again = ["predict", "--like", tmp_path / "dragged.png", "--sources", people[0], "--out", tmp_path / "again"]
    assert main([str(word) for word in again]) == 0
    (picture,) = (tmp_path / "again").glob("*.png")
    assert picture.read_bytes() == (tmp_path / "dragged.png").read_bytes()


def test_named_pose_by_example(visit, shots):
    tab = visit(viewport={"width": 1280, "height": 1000})
    place = panel(tab, "New pose")
    place.get_by_role("button", name="example 1").click()
    place.get_by_role("button", name="Waving").click()
    expect(place.get_by_label("Pose", exact=True)).to_have_value("Waving")
    place.get_by_role("button", name="Make the picture").click()
    expect(place.get_by_text("Done", exact=True)).to_be_visible()
    tab.wait_for_timeout(1000)
    tab.screenshot(path=shots / "new-pose.png", full_page=True)
    pictures = tab.evaluate("[...document.images].filter((picture) => !picture.alt).map((picture) => picture.src)")
    assert pictures == [], "pictures without alternative texts"


def drawing_for_long(visit, people):
    tab = visit()
    place = panel(tab, "New pose")
    upload(place, "Photo of the person", people[0])
    few_steps(place, steps=200)
    place.get_by_role("button", name="Make the picture").click()
    expect(place.get_by_text(re.compile(r"step \d+ of 200")).first).to_be_visible()
    return tab, place


def test_stop_ends_the_drawing(visit, people):
    _, place = drawing_for_long(visit, people)
    place.get_by_role("button", name="Stop").click()
    expect(place.get_by_text("Stopped", exact=True)).to_be_visible(timeout=5_000)


def test_another_button_stops_what_is_drawn_without_an_error(visit, people):
    tab, _ = drawing_for_long(visit, people)
    panel(tab, "Compare").get_by_role("button", name="Compare", exact=True).click()
    expect(panel(tab, "New pose").get_by_text("Stopped", exact=True)).to_be_visible(timeout=10_000)
    expect(tab.get_by_text("took its place")).to_have_count(0)


def test_visitors_get_their_own_pictures(visit, people, tmp_path):
    tabs = [visit(), visit()]
    for tab, photo in zip(tabs, (people[0], people[2]), strict=True):
        place = panel(tab, "New pose")
        upload(place, "Photo of the person", photo)
        few_steps(place)
    for tab in tabs:
        panel(tab, "New pose").get_by_role("button", name="Make the picture").click()
    made = []
    for number, tab in enumerate(tabs):
        place = panel(tab, "New pose")
        expect(place.get_by_text("Done", exact=True)).to_be_visible()
        made.append(pixels(download(place, "Download PNG", tmp_path / f"{number}.png")))
    assert np.abs(made[0] - made[1]).mean() > 5
    home = Path(os.environ["GRADIO_TEMP_DIR"])
    visitors = len(list((home / "visitors").iterdir()))
    tabs[1].close()
    for _ in range(100):
        if len(list((home / "visitors").iterdir())) < visitors:
            break
        tabs[0].wait_for_timeout(100)
    else:
        raise AssertionError("what a visitor brought is still there")


def test_edit(visit, people, shots):
    tab = visit()
    place = panel(tab, "Edit")
    upload(place, "Photo of the person", people[0])
    upload(place, "Photo of somebody else", people[2])
    few_steps(place)
    place.get_by_role("button", name="Edit", exact=True).click()
    expect(place.get_by_text("Done", exact=True)).to_be_visible()
    expect(place.get_by_text("unedited", exact=True).first).to_be_visible()
    tab.screenshot(path=shots / "edit.png", full_page=True)


def test_further_photos_of_the_same_person(visit, people, shots):
    tab = visit()
    place = panel(tab, "New pose")
    upload(place, "Photo of the person", people[0])
    place.get_by_role("button", name="Further photos").click()
    tab.wait_for_timeout(700)
    upload(place, "Photos of the same person", people[1])
    few_steps(place)
    place.get_by_role("button", name="Make the picture").click()
    expect(place.get_by_text("Done, of 2 photos of the person", exact=True)).to_be_visible()
    place.get_by_role("button", name="What the model saw").click()
    expect(place.get_by_text("source 2", exact=True)).to_be_visible()
    for width in (1280, PHONE["width"]):
        tab.set_viewport_size({"width": width, "height": 900})
        tab.wait_for_timeout(700)
        tab.screenshot(path=shots / f"further-photos-{width}.png", full_page=True)
        assert tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    place.get_by_role("button", name="example 1").click()
    place.get_by_role("button", name="Make the picture").click()
    expect(place.get_by_text("Done", exact=True)).to_be_visible()


@pytest.mark.usefixtures("predicting_here")
def test_folder_gives_a_zip(visit, people, shots, tmp_path):
    tab = visit()
    place = panel(tab, "Folder")
    upload(place, "Photos of people", *people[:2])
    upload(place, "Poses", people[3])
    open_more(place)
    place.get_by_label("Steps").fill("1")
    place.get_by_role("button", name="Make all pictures").click()
    expect(place.get_by_text("2 pictures", exact=True)).to_be_visible(timeout=120_000)
    tab.screenshot(path=shots / "folder.png", full_page=True)
    with tab.expect_download() as waiting:
        place.locator(".block").filter(has_text="All pictures").locator("a").first.click()
    waiting.value.save_as(tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert "predictions.csv" in archive.namelist()


def test_by_keyboard_alone(visit):
    tab = visit()
    tab.get_by_role("button", name="example 1").first.wait_for()
    tab.keyboard.press("Tab")

    def reach(name, most=60):
        for _ in range(most):
            focused = tab.evaluate("""() => {
              const element = document.activeElement;
              return [element.getAttribute("aria-label"), element.innerText, element.value, element.name].join(" ");
            }""")
            if name in focused:
                return
            tab.keyboard.press("Tab")
        raise AssertionError(f"{name} cannot be reached by keyboard")

    reach("example 1")
    tab.keyboard.press("Enter")
    reach("a named pose")
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("ArrowUp")
    reach("Make the picture")
    tab.keyboard.press("Enter")
    expect(tab.get_by_text("Done", exact=True)).to_be_visible()


def test_hostile_uploads_get_a_message_and_the_page_still_works(visit, people, tmp_path):
    tab = visit()
    place = panel(tab, "New pose")
    for name, content in (
        ("a.png", b"<svg onload='alert(1)'/>"),
        ("b.png", people[0].read_bytes()[:500]),
        ("c.gif", b"GIF89a"),
    ):
        (tmp_path / name).write_bytes(content)
        upload(place, "Photo of the person", tmp_path / name)
        place.get_by_role("button", name="Make the picture").click()
        expect(tab.get_by_test_id("toast-text").filter(has_text="Photo").first).to_be_visible()
        tab.get_by_test_id("toast-close").first.click()
        place.get_by_label("Remove Image").first.click()
    upload(place, "Photo of the person", people[0])
    few_steps(place)
    place.get_by_role("button", name="Make the picture").click()
    expect(place.get_by_text("Done", exact=True)).to_be_visible()


@pytest.mark.parametrize(("scheme", "size"), [("light", PHONE), ("dark", PHONE), ("dark", None)])
def test_nothing_is_wider_than_the_screen(visit, shots, scheme, size):
    tab = visit(color_scheme=scheme, **({"viewport": size, "has_touch": True, "is_mobile": True} if size else {}))
    for name in ("New pose", "Edit", "Compare", "Folder"):
        panel(tab, name)
        tab.wait_for_timeout(700)
        wide = tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        shot = f"{name.lower().replace(' ', '-')}-{scheme}-{'phone' if size else 'wide'}.png"
        tab.screenshot(path=shots / shot, full_page=True)
        assert wide <= 0, f"{name} scrolls sideways"
