"""The page in a real browser: Debian's chromium, driven by Playwright."""

import shutil
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("playwright.sync_api", reason="the page's tests in a browser need playwright (extra dev)")
from playwright.sync_api import expect, sync_playwright  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
QUIET_FLAGS = ("--disable-background-networking", "--disable-component-update")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.enable_socket,
    pytest.mark.allow_hosts(["127.0.0.1", "localhost"]),
    pytest.mark.skipif(CHROMIUM is None, reason="NOT TESTED: the page in a browser; apt-get install chromium"),
]
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *QUIET_FLAGS])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, page):
    """Opens the page as another visitor; ends with an error where anything was asked of another host, or failed."""
    contexts, strangers, errors = [], [], []

    def route(route):
        if urlsplit(route.request.url).hostname in ("127.0.0.1", None):
            route.continue_()
        else:
            strangers.append(route.request.url)
            route.abort()

    def open_page(**options):
        context = chromium.new_context(**{"accept_downloads": True, "viewport": {"width": 1280, "height": 900}} | options)
        contexts.append(context)
        context.route("**/*", route)
        tab = context.new_page()
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.set_default_timeout(60_000)
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
    """Open a tab of the page, and return what it holds."""
    tab.get_by_role("tab", name=name, exact=True).click()
    return tab.get_by_role("tabpanel", name=name, exact=True)


def upload(place, label, path):
    place.locator(".block", has=place.page.get_by_text(label, exact=True)).locator("input[type=file]").first.set_input_files(path)


def few_steps(place):
    place.get_by_role("button", name="More").click()
    place.get_by_label("Steps").fill("1")
    place.get_by_label("Height in pixels").fill("128")
    place.get_by_label("Width in pixels").fill("96")


def test_upload_pose_make_download(visit, people, shots, tmp_path):
    tab = visit()
    place = tab.get_by_role("tabpanel", name="New pose", exact=True)
    upload(place, "Photo of the person", people[0])
    place.get_by_role("button", name="Make the picture").click()
    expect(place.get_by_text("Done", exact=True)).to_be_visible()
    with tab.expect_download() as waiting:
        place.get_by_role("link", name="Download PNG").or_(place.get_by_role("button", name="Download PNG")).click()
    waiting.value.save_as(tmp_path / "made.png")
    assert Image.open(tmp_path / "made.png").size == (176, 256)
    tab.wait_for_timeout(500)
    tab.screenshot(path=shots / "new-pose.png", full_page=True)
    assert not tab.locator("img:not([alt])").count()


@pytest.mark.parametrize(("scheme", "size"), [("light", PHONE), ("dark", PHONE), ("dark", None)])
def test_nothing_is_wider_than_the_screen(visit, shots, scheme, size):
    tab = visit(color_scheme=scheme, **({"viewport": size, "has_touch": True, "is_mobile": True} if size else {}))
    for name in ("New pose", "Edit", "Compare", "Folder"):
        panel(tab, name)
        tab.wait_for_timeout(700)
        wide = tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        tab.screenshot(path=shots / f"{name.lower().replace(' ', '-')}-{scheme}-{'phone' if size else 'wide'}.png", full_page=True)
        assert wide <= 0, f"{name} scrolls sideways"
