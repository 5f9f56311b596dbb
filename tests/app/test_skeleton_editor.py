"""The skeleton editor in a real browser: its joints dragged by mouse, finger and keys."""

from urllib.parse import urlsplit

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from pgpis.app.poses import named_poses
from pgpis.app.skeleton import JOINTS, read_value, save_pose, skeleton_editor, value_of
from pgpis.pictures.keypoint_files import read_keypoints
from pgpis.pictures.keypoints import SWAPS

STANDING, WAVING = (named_poses()[name] for name in ("Standing", "Waving"))
LEFT_WRIST = JOINTS.index("left wrist")


class Editor:
    """The editor on a page, as its visitor sees it and as Python does."""

    def __init__(self, page, arrived):
        self.page = page
        self.arrived = arrived

    def joint(self, name):
        return self.page.locator(f'#editor .joint[aria-label^="{name},"]')

    def press(self, name):
        self.page.locator("#editor").get_by_role("button", name=name, exact=True).click()

    def centre(self, name):
        box = self.joint(name).locator(".dot").bounding_box()
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def zoom(self):
        """Pixels of the screen in one of the picture."""
        return self.page.evaluate("document.querySelector('#editor svg').getScreenCTM().a")

    def value(self, act):
        """Do something, and return what then arrives in Python."""
        before = len(self.arrived)
        act()
        for _ in range(100):
            if len(self.arrived) > before:
                return np.array(self.arrived[-1]["points"])
            self.page.wait_for_timeout(50)
        raise AssertionError("nothing arrived in Python")


@pytest.fixture(scope="module")
def site():
    arrived, photo = [], Image.new("RGB", (176, 256), "grey")
    poses = {"wave": value_of(WAVING, photo), "foreign": value_of(WAVING, "https://example.com/photo.png")}
    with gr.Blocks(analytics_enabled=False) as blocks:
        editor = skeleton_editor(value_of(STANDING, photo), elem_id="editor")
        editor.input(arrived.append, editor, trigger_mode="multiple", show_progress="hidden")
        for name, value in poses.items():
            gr.Button(name).click(lambda value=value: value, None, editor, show_progress="hidden")
    theme = gr.themes.Base(font=["sans-serif"], font_mono=["monospace"])
    _, address, _ = blocks.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, theme=theme)
    yield address, arrived
    blocks.close()


@pytest.fixture
def editor(request, site, chromium):
    address, arrived = site
    options = getattr(request, "param", {"viewport": {"width": 1000, "height": 1000}})
    context = chromium.new_context(**options)
    page = context.new_page()
    asked, complaints = [], []
    page.on("request", lambda sent: asked.append(sent.url))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(address)
    page.wait_for_selector("#editor .joint")
    page.wait_for_timeout(300)
    yield Editor(page, arrived)
    context.close()
    assert not complaints
    hosts = {urlsplit(url).hostname for url in asked if urlsplit(url).scheme not in {"data", "blob"}}
    assert hosts == {"127.0.0.1"}


def browsing(test):
    """Mark a test that needs the server and a browser, and no other host."""
    for mark in (pytest.mark.slow, pytest.mark.enable_socket, pytest.mark.allow_hosts(["127.0.0.1"])):
        test = mark(test)
    return test


def drag(editor, start, by):
    mouse = editor.page.mouse
    mouse.move(*start)
    mouse.down()
    mouse.move(start[0] + by[0] / 2, start[1] + by[1] / 2)
    mouse.move(start[0] + by[0], start[1] + by[1])
    mouse.up()


@browsing
def test_mouse_moves_a_joint_or_all_and_is_undone(editor):
    zoom = editor.zoom()
    points = editor.value(lambda: drag(editor, editor.centre("left wrist"), (20 * zoom, -30 * zoom)))
    expected = STANDING.points.copy()
    expected[LEFT_WRIST] += [20, -30]
    assert np.allclose(points[:, :2], expected, atol=0.6)
    beside = (editor.centre("neck")[0], editor.centre("left knee")[1])
    moved = editor.value(lambda: drag(editor, beside, (5 * zoom, 3 * zoom)))
    assert np.allclose(moved[:, :2], expected + np.array([5, 3]), atol=0.6)
    assert np.array_equal(editor.value(lambda: editor.press("Undo")), points)
    assert np.array_equal(editor.value(lambda: editor.press("Undo"))[:, :2], STANDING.points)
    assert np.array_equal(editor.value(lambda: editor.press("Redo")), points)
    assert editor.joint("left wrist").get_attribute("aria-label") == "left wrist, x 139, y 92"


@browsing
def test_what_is_zoomed_is_dragged_by_less(editor):
    zoom = editor.zoom()
    editor.joint("nose").focus()
    editor.press("Zoom")
    assert editor.zoom() == pytest.approx(2.5 * zoom)
    points = editor.value(lambda: drag(editor, editor.centre("left eye"), (5 * zoom, -5 * zoom)))
    eye = JOINTS.index("left eye")
    assert np.allclose(points[eye, :2], STANDING.points[eye] + [2, -2], atol=0.3)
    assert np.array_equal(np.delete(points[:, :2], eye, 0), np.delete(STANDING.points, eye, 0))


PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}


@browsing
@pytest.mark.parametrize("editor", [PHONE], indirect=True)
def test_a_finger_drags_the_nearest_joint(editor):
    touch = editor.page.context.new_cdp_session(editor.page)

    def swipe():
        x, y = editor.centre("right elbow")
        x, y = x - 8, y + 6  # a finger is not exact
        for kind, shift in (("touchStart", 0), ("touchMove", 10), ("touchMove", 25), ("touchEnd", 25)):
            at = [] if kind == "touchEnd" else [{"x": x - shift, "y": y}]
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})

    zoom, scrolled = editor.zoom(), "window.scrollY"
    points = editor.value(swipe)
    expected = STANDING.points.copy()
    expected[JOINTS.index("right elbow")] -= [25 / zoom, 0]
    assert np.allclose(points[:, :2], expected, atol=0.6)
    assert editor.page.evaluate(scrolled) == 0
    assert editor.joint("right elbow").locator(".hit").bounding_box()["width"] >= 24
    assert editor.page.evaluate("document.documentElement.scrollWidth") <= 390
    hidden = editor.value(lambda: editor.press("Hide right elbow"))
    assert hidden[JOINTS.index("right elbow"), 2] == 0


@browsing
def test_keys_move_hide_and_bring_back(editor):
    keys = editor.page.keyboard
    editor.joint("nose").focus()
    keys.press("Tab")
    editor.page.wait_for_selector('.joint[aria-label^="neck"]:focus')
    assert "rgb(255, 122, 26)" in editor.joint("neck").locator(".ring").evaluate(
        "node => getComputedStyle(node).stroke"
    )
    x, y = STANDING.points[1]
    assert np.allclose(editor.value(lambda: keys.press("ArrowRight"))[1], [x + 1, y, 1])
    assert np.allclose(editor.value(lambda: keys.press("Shift+ArrowUp"))[1], [x + 1, y - 10, 1])
    assert editor.joint("neck").get_attribute("aria-label") == f"neck, x {x + 1:.0f}, y {y - 10:.0f}"
    assert np.allclose(editor.value(lambda: keys.press("Delete"))[1], [x + 1, y - 10, 0])
    assert editor.joint("neck").get_attribute("aria-label") == "neck, hidden"
    assert np.allclose(editor.value(lambda: keys.press("h"))[1], [x + 1, y - 10, 1])
    editor.value(lambda: keys.press("Delete"))
    editor.value(lambda: editor.press("Bring back neck"))
    assert np.array_equal(editor.value(lambda: keys.press("Control+z"))[1], [x + 1, y - 10, 0])
    assert np.array_equal(editor.value(lambda: keys.press("Control+y"))[1], [x + 1, y - 10, 1])


@browsing
def test_limbs_go_and_come_back(editor):
    points = editor.value(lambda: editor.press("left arm"))
    assert np.flatnonzero(points[:, 2] == 0).tolist() == [6, 7]
    assert editor.page.get_by_role("button", name="left arm", exact=True).get_attribute("aria-pressed") == "false"
    assert not read_value(value_of(STANDING) | {"points": points.tolist()}).seen[[6, 7]].any()
    assert np.array_equal(editor.value(lambda: editor.press("left arm"))[:, :2], STANDING.points)


@browsing
def test_the_whole_is_mirrored_scaled_and_moved(editor):
    order = np.arange(18)
    for left, right in SWAPS["body18"]:
        order[[left, right]] = right, left
    mirrored = STANDING.points[order] * [-1, 1] + [175, 0]
    assert np.allclose(editor.value(lambda: editor.press("Mirror"))[:, :2], mirrored)
    middle = (mirrored.min(axis=0) + mirrored.max(axis=0)) / 2
    larger = editor.value(lambda: editor.press("Larger"))[:, :2]
    assert np.allclose(larger, middle + (mirrored - middle) * 1.05, atol=0.02)
    assert np.allclose(editor.value(lambda: editor.press("Smaller"))[:, :2], mirrored, atol=0.02)
    assert np.allclose(editor.value(lambda: editor.press("Move up"))[:, :2], mirrored - [0, 4], atol=0.02)


@browsing
def test_openpose_files_are_loaded_and_saved(editor, tmp_path):
    file = tmp_path / "theirs.json"
    file.write_text(save_pose(value_of(WAVING))["text"])
    points = editor.value(lambda: editor.page.locator("#editor input[type=file]").set_input_files(file))
    assert np.allclose(points[:, :2], WAVING.points)
    editor.value(lambda: editor.press("left arm"))
    with editor.page.expect_download() as download:
        editor.press("Save")
    download.value.save_as(tmp_path / "ours.json")
    saved = read_keypoints(tmp_path / "ours.json")
    assert saved.frame.size == "176 x 256"
    assert np.flatnonzero(~saved.seen).tolist() == [6, 7]
    assert np.allclose(saved.points[saved.seen], WAVING.points[saved.seen])
    for name, text in (("broken.json", "{"), ("large.json", " " * (2**22 + 1))):
        (tmp_path / name).write_text(text)
        editor.page.locator("#editor input[type=file]").set_input_files(tmp_path / name)
        editor.page.wait_for_selector(f'#editor .status.error:has-text("{name}")')
    assert len(editor.arrived[-1]["points"]) == 18


@browsing
def test_python_sets_another_pose(editor):
    editor.page.get_by_role("button", name="wave").click()
    x, y = WAVING.points[4]
    editor.page.wait_for_selector(f'.joint[aria-label="right wrist, x {x:.0f}, y {y:.0f}"]')
    assert np.allclose(editor.value(lambda: editor.press("Undo"))[:, :2], STANDING.points)
    editor.page.get_by_role("button", name="foreign").click()  # that nothing asks example.com for it is seen at the end
    editor.page.wait_for_function("!document.querySelector('#editor image').hasAttribute('href')")
