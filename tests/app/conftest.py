"""One page for all tests of it, with drawn people for examples."""

import socket

import pytest

LOOPBACK = ["127.0.0.1", "localhost"]


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

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    offers = offers_of(())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", "")  # is set, and shall be as before in the end
        patch.setattr(server, "example_pictures", lambda: people)
        with server.serving(lambda: studio_of(offers), offers, server.Address(port=port, most_upload=8)) as local:
            yield local
