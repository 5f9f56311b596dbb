"""One page for all tests of it, with drawn people for examples, and one browser: Debian's chromium."""

import contextlib
import shutil

import pytest

from ports import free_port

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)


@pytest.fixture(scope="package")
def chromium():
    """It ends with the tests of this folder: Playwright's event loop would be in the way of others."""
    if CHROMIUM is None:
        pytest.skip("NOT TESTED: the page in a browser; apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="tests in a browser need playwright (extra dev)")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def people(draw_people, made_once):
    """Two drawn people in two views each, as JPEG files."""
    root = made_once("page", lambda folder: draw_people(folder, people=2, views=2, seed=3, share=0.5))
    return sorted((root / "img").rglob("*.jpg"))


@pytest.fixture(scope="session")
def page(people):
    """Address of a page that runs in this process."""
    from pgpis.app import server
    from pgpis.cli.app import offers_of, studio_of

    offers = offers_of(())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", "")  # is set, and shall be as before in the end
        patch.setattr(server, "example_pictures", lambda _home: people)
        with server.serving(
            lambda: studio_of(offers), offers, server.Address(port=free_port(), most_upload=8)
        ) as local:
            yield local


@pytest.fixture
def predicting_here(monkeypatch):
    """``pgpis predict`` runs in the process of the page; of test_page_api.py one test has it start one, as users do."""
    from pgpis.app import predicting
    from pgpis.cli import main

    def predict(words, folder, _total, _tell):
        (folder / predicting.LOG).touch()
        with contextlib.chdir(folder):
            return main(["predict", *words, "--out", predicting.OUT])

    monkeypatch.setattr(predicting, "_watched", predict)
