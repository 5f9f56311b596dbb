"""The page: its tabs and how it looks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from pgpis.app.desk import Desk
from pgpis.app.edit import edit_tab
from pgpis.app.folder import folder_tab
from pgpis.app.new_pose import compare_tab, new_pose_tab

TITLE = "pgpis: people in new poses"
ABOUT = """# People in new poses
A photo of a person and a pose go in, and the same person in that pose comes out."""
FOOT = """The models that ship with pgpis know drawn people; photographs come out rough. Pictures stay on this machine,
and are deleted when you close the page; those that you made nothing of, after an hour. Show and change only people who
agree to it."""
SECONDS_BETWEEN_CLEANINGS, SECONDS_KEPT = 300, 3600
"""How often uploaded files are looked through that no visitor has any more, and how long they stay at most."""
FONTS, MONOSPACE = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]
"""Of the visitor's own system: none is fetched."""
STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
SCRIPT = Path(__file__).with_name("page.js").read_text(encoding="utf-8")


def build(desk: Desk) -> gr.Blocks:
    """Lay out the page."""
    cleaning = (SECONDS_BETWEEN_CLEANINGS, SECONDS_KEPT)
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=cleaning) as page:
        gr.Markdown(ABOUT)
        with gr.Tabs():
            with gr.Tab("New pose"):
                new_pose_tab(desk, page)
            with gr.Tab("Edit"):
                edit_tab(desk, page)
            with gr.Tab("Compare"):
                compare_tab(desk, page)
            with gr.Tab("Folder"):
                folder_tab(desk)
        gr.Markdown(FOOT)

        def leave(request: gr.Request) -> None:
            desk.visitors.leave(request.session_hash)

        page.unload(leave)
    return page.queue(max_size=64)


def looks() -> dict[str, Any]:
    """Return what Gradio is told of the looks of the page when it starts to serve it."""
    theme = gr.themes.Default(primary_hue="indigo", font=FONTS, font_mono=MONOSPACE)
    return {"theme": theme, "css": STYLE, "head": f"<script>{SCRIPT}</script>"}
