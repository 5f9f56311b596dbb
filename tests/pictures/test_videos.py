"""H.264 that browsers play, frames of it as pictures, and files that are none."""

import io
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace
from PIL import Image

from pgpis import files
from pgpis.data.user_files import list_files
from pgpis.errors import PgpisError
from pgpis.pictures import videos
from pgpis.pictures.videos import FrameFiles, extract_frames, read_frames, write_video


@pytest.fixture
def clip(tmp_path):
    """Six frames of 33 x 41 pixels beside themselves, grey from dark to bright, at 12.5 a second."""
    frames = []
    for number in range(6):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (33, 41), (30 + 40 * number,) * 3).save(path)
        frames.append(FrameFiles((path, path)))
    write_video(tmp_path / "clip.mp4", frames, 12.5)
    return tmp_path / "clip.mp4"


def test_browsers_play_it(clip):
    with av.open(clip) as container:
        stream = container.streams.video[0]
        codec = stream.codec_context
        assert (codec.name, codec.pix_fmt, codec.width, codec.height) == ("h264", "yuv420p", 66, 42)
        assert (stream.frames, float(stream.average_rate)) == (6, 12.5)
    content = clip.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


COLOURS = np.uint8([(200, 60, 40), (40, 200, 60), (40, 60, 200), (220, 180, 150)])


def mean_colours(picture):
    return np.stack([part.mean((0, 1)) for part in np.array_split(np.asarray(picture), len(COLOURS), axis=1)])


def test_films_name_the_colours_that_they_hold(tmp_path):
    """No player has to guess; a decoder that goes by the names finds the colours of the pictures."""
    Image.fromarray(np.repeat(COLOURS[None], 32, axis=1).repeat(64, axis=0)).save(tmp_path / "colours.png")
    write_video(tmp_path / "film.mp4", [FrameFiles((tmp_path / "colours.png",))])
    with av.open(tmp_path / "film.mp4") as container:
        codec = container.streams.video[0].codec_context
        assert (codec.colorspace, codec.color_primaries, codec.color_trc, codec.color_range) == (1, 1, 1, 1)
        frame = next(container.decode(video=0))
    matrices = {"src_colorspace": Colorspace.ITU709, "dst_colorspace": Colorspace.ITU601}
    bt709 = frame.reformat(format="rgb24", src_color_range=ColorRange.MPEG, **matrices)
    [(_, read)] = read_frames(tmp_path / "film.mp4")
    for picture in (bt709.to_ndarray(), read):
        np.testing.assert_allclose(mean_colours(picture), COLOURS, atol=4)


@pytest.mark.parametrize("rows", [718, 720])
@pytest.mark.parametrize(("codec", "pixels"), [("libx264", "yuv420p"), ("ffv1", "bgr0")])
def test_colours_without_a_name_are_those_that_players_show(rows, codec, pixels, tmp_path):
    matrix = Colorspace.ITU709 if rows >= 720 else Colorspace.ITU601
    with av.open(str(tmp_path / "film.mkv"), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.pix_fmt, stream.width, stream.height = pixels, 128, rows
        frame = av.VideoFrame.from_ndarray(np.repeat(COLOURS[None], 32, axis=1).repeat(rows, axis=0), format="rgb24")
        frame = frame.reformat(format=pixels, dst_colorspace=matrix if codec == "libx264" else None)
        frame.colorspace = 2
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    [(_, picture)] = read_frames(tmp_path / "film.mkv")
    np.testing.assert_allclose(mean_colours(picture), COLOURS, atol=4)


@pytest.mark.parametrize(("every", "numbers"), [(1, [1, 2, 3, 4, 5, 6]), (4, [1, 5])])
def test_frames_are_pictures(clip, tmp_path, every, numbers):
    frames = extract_frames(clip, tmp_path / "frames", every)
    files = sorted(frames.folder.iterdir())
    assert [file.name for file in files] == [f"clip_{number:06d}.png" for number in numbers]
    assert frames.frames_per_second == 12.5 / every
    for number, file in zip(numbers, files, strict=True):
        picture = np.asarray(Image.open(file))
        assert picture.shape == (42, 66, 3)
        assert abs(picture[:40, :64].mean() - (30 + 40 * (number - 1))) < 3
    stamp = files[0].stat().st_mtime_ns
    extract_frames(clip, tmp_path / "frames", every)
    assert files[0].stat().st_mtime_ns == stamp


def film(path, size=(64, 48), times=range(6), ratio=None, rate=25):
    """A film that says 25 frames a second, with frames at given times of 1/25 s, and pixels of a given shape."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "18"})
        stream.pix_fmt, (stream.width, stream.height) = "yuv420p", size
        if ratio is not None:
            stream.codec_context.sample_aspect_ratio = ratio
        for number, time in enumerate(times):
            pixels = np.full((size[1], size[0], 3), 30 + 40 * number % 200, np.uint8)
            pixels[:, : size[0] // 2, 0] = 255
            pixels[: size[1] // 2, :, 2] = 255
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("ratio", "shown"),
    [(None, (64, 48)), ("1/1", (64, 48)), ("2/1", (128, 48)), ("1/2", (64, 96)), ("12/11", (70, 48))],
)
def test_pixels_that_are_not_square_are_shown_as_players_do(ratio, shown, tmp_path):
    path = film(tmp_path / "film.mp4", ratio=ratio and Fraction(ratio))
    (_, picture), *_ = read_frames(path)
    assert picture.size == shown
    red = np.asarray(picture)[..., 0] > 200
    assert abs(red[:, : shown[0] // 2].mean() - 1) < 0.03
    assert red[:, shown[0] // 2 :].mean() < 0.03


def shown_by(path, *matrix):
    """Write a display matrix into a film, as cameras do, and return its first frame."""
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 44
    a, b, c, d = (round(value * 2**16) for value in matrix)
    content[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    (_, picture), *_ = read_frames(path)
    return np.asarray(picture).astype(int)


@pytest.mark.parametrize("ratio", [None, 2])
@pytest.mark.parametrize("rows", [((x, 0), (0, y)) for x in (1, -1) for y in (1, -1)])
@pytest.mark.parametrize("is_sideways", [False, True])
def test_frames_are_turned_and_flipped_as_players_do(rows, is_sideways, ratio, tmp_path):
    path = film(tmp_path / "film.mp4", ratio=ratio and Fraction(ratio))
    before = shown_by(path, 1, 0, 0, 1)
    (a, b), (c, d) = rows[::-1] if is_sideways else rows
    y, x = np.indices(before.shape[:2])
    to_x, to_y = a * x + c * y, b * x + d * y  # from the corner at which they begin to be seen
    to_x, to_y = to_x - to_x.min(), to_y - to_y.min()
    expected = np.zeros((to_y.max() + 1, to_x.max() + 1, 3), int)
    expected[to_y, to_x] = before
    np.testing.assert_array_equal(shown_by(path, a, b, c, d), expected)


def test_odd_display_matrices(tmp_path):
    """No angle, one that is a right one but for rounding, and one that is none."""
    path = film(tmp_path / "film.mp4")
    before = shown_by(path, 1, 0, 0, 1)
    np.testing.assert_array_equal(shown_by(path, 0, 0, 0, 0), before)
    np.testing.assert_array_equal(shown_by(path, 1e-4, 1, -1, 1e-4), np.rot90(before, -1))
    np.testing.assert_array_equal(shown_by(path, -1, 1e-4, 1e-4, 1), before[:, ::-1])
    assert shown_by(path, 0.866, 0.5, -0.5, 0.866).shape == (74, 80, 3)


def motion_jpeg(path, packets):
    """A film of which each packet is given: JPEG pictures, or what is none."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.pix_fmt, stream.width, stream.height = "yuvj420p", 64, 48
        for time_of, content in enumerate(packets):
            packet = av.Packet(content)
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, time_of, time_of, Fraction(1, 25)
            container.mux(packet)
    return path


def jpeg(grey=0, **options):
    picture = io.BytesIO()
    Image.new("RGB", (64, 48), (grey,) * 3).save(picture, "JPEG", **options)
    return picture.getvalue()


def test_side_data_without_a_name_costs_no_frame(tmp_path):
    """EXIF, of which PyAV does not know the name."""
    exif = Image.Exif()
    exif[0x0112] = 6
    ((_, frame),) = read_frames(motion_jpeg(tmp_path / "film.avi", [jpeg(exif=exif)]))
    assert frame.size in ((48, 64), (64, 48))  # ffmpeg reads it from version 8 on


@pytest.mark.parametrize(("every", "numbers"), [(1, [1, 2, 4, 5, 6, 7]), (2, [1, 4, 5, 7])])
def test_a_damaged_packet_costs_its_frame_alone(tmp_path, caplog, every, numbers):
    packets = [jpeg(30 * number) for number in range(8)]
    packets[2], packets[7] = bytes(99), packets[7][:20]
    path = motion_jpeg(tmp_path / "film.avi", packets)
    frames = [(number, round(np.asarray(frame).mean() / 30) + 1) for number, frame in read_frames(path, every)]
    assert frames == [(number, number) for number in numbers]
    assert "6 of the 8 frames can be read (damaged packets: 2)" in caplog.text
    assert videos.frame_count(path) == 8
    assert extract_frames(path, tmp_path / "frames", every).frames_per_second == 25 / every


def test_nothing_but_damaged_packets_is_refused(tmp_path, monkeypatch):
    path = motion_jpeg(tmp_path / "film.avi", [bytes(99)] * 8)
    with pytest.raises(PgpisError, match=r"cannot read the video .*film\.avi: InvalidData"):
        list(read_frames(path))
    monkeypatch.setattr(videos, "MOST_FRAMES", 3)
    with pytest.raises(PgpisError, match="more than 3 frames"):
        list(read_frames(path))


def test_the_most_pixels_are_those_that_are_shown(tmp_path, monkeypatch):
    path = film(tmp_path / "film.mp4", ratio=Fraction(2))
    monkeypatch.setattr(videos, "MOST_PIXELS", 64 * 48)
    with pytest.raises(PgpisError, match=r"film\.mp4: its frames are shown at 128x48 pixels"):
        next(read_frames(path))


def test_a_row_that_is_too_wide_for_a_video_is_made_smaller(tmp_path):
    picture = tmp_path / "wide.png"
    Image.new("RGB", (2048, 64), "red").save(picture)
    write_video(tmp_path / "wide.mp4", [FrameFiles((picture,) * 17)])
    [(_, frame)] = read_frames(tmp_path / "wide.mp4")
    assert frame.size == (963 * 17 + 1, 30)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
@pytest.mark.parametrize(
    ("times", "expected"),
    [(range(6), 25), (range(0, 24, 4), 6.25), ([0, 1, 2, 3, 60], 4 / 2.4), ([7, 9, 11, 13], 12.5), ([0], 25)],
)
def test_the_rate_is_that_at_which_frames_are_shown(suffix, times, expected, tmp_path):
    path = film(tmp_path / f"film{suffix}", times=times)
    for every in (1, 1, 2):  # the frames are taken again, and so is the rate
        frames = extract_frames(path, tmp_path / f"frames{every}", every)
        assert frames.frames_per_second == pytest.approx(expected / every, rel=0.01)
        assert len(list(frames.folder.iterdir())) == -(-len(times) // every)


def test_a_hidden_or_long_name_gives_pictures_that_are_seen(tmp_path):
    for number, name in enumerate((".hid.mp4", f"{'x' * 251}.mp4")):
        film(tmp_path / name)
        files = list_files(extract_frames(tmp_path / name, tmp_path / str(number)).folder, [".png"], "frames")
        assert len(files) == 6
    assert [file.name for file in list_files(tmp_path / "0", [".png"], "frames")][:2] == [
        "hid_000001.png",
        "hid_000002.png",
    ]


def test_what_a_killed_job_has_left_is_removed(clip, tmp_path, monkeypatch):
    place = tmp_path / "made/frames"

    def killed(path, every):
        yield from list(read_frames(path, every))[:2]
        raise KeyboardInterrupt

    monkeypatch.setattr(videos, "read_frames", killed)
    monkeypatch.setattr(files.shutil, "rmtree", lambda *_, **__: None)  # as if it had been killed
    with pytest.raises(KeyboardInterrupt):
        extract_frames(clip, place)
    (left,) = [path for path in place.parent.iterdir() if path.name.startswith(files.TEMPORARY)]
    assert len(list(left.iterdir())) == 2
    monkeypatch.undo()
    (left / "other.png").write_bytes(b"left")
    assert len(list(extract_frames(clip, place).folder.iterdir())) == 6
    assert not left.exists()


def test_jobs_that_ask_for_the_same_frames_at_once_all_get_them(clip, tmp_path, monkeypatch):
    decoded = []

    def slowly(path, every):
        decoded.append(path)
        time.sleep(0.3)  # until all have begun
        return read_frames(path, every)

    monkeypatch.setattr(videos, "read_frames", slowly)
    with ThreadPoolExecutor(4) as jobs:
        asked = [jobs.submit(extract_frames, clip, tmp_path / "new/frames") for _ in range(4)]
        taken = [job.result() for job in asked]
    assert len(decoded) == 1
    assert {frames.folder for frames in taken} == {tmp_path / "new/frames"}
    assert len(list((tmp_path / "new/frames").glob("*.png"))) == 6


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"", "clip.mp4", "is empty, expected a video"),
        (b"#EXTM3U\nfile:///etc/passwd\n", "clip.mp4", "cannot read the video"),
        (b"ffconcat version 1.0\nfile other.mp4\n", "clip.avi", "cannot read the video"),
        (None, "clip.gif", "expected a video"),
        (200, "clip.mp4", "cannot read the video|holds no pictures"),
    ],
)
def test_what_is_no_video_is_named(clip, tmp_path, content, name, message):
    whole = clip.read_bytes()
    file = tmp_path / "other" / name
    file.parent.mkdir()
    file.write_bytes(whole if content is None else whole[:content] if isinstance(content, int) else content)
    with pytest.raises(PgpisError, match=message) as error:
        extract_frames(file, tmp_path / "frames")
    assert str(file) in error.value.message
    assert not (tmp_path / "frames").exists()


def test_a_video_that_is_cut_short_gives_what_it_has_and_says_so(clip, tmp_path, caplog):
    rng = np.random.default_rng(0)
    noise = []
    for number in range(30):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / f"noise{number}.png")
        noise.append(FrameFiles((tmp_path / f"noise{number}.png",)))
    write_video(clip, noise)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    count = len(list(read_frames(cut)))
    assert 5 < count < 30
    assert f"{count} of the 30 frames" in caplog.text


def test_limits_hold_before_and_while_it_is_decoded(clip, monkeypatch):
    monkeypatch.setattr(videos, "MOST_FRAMES", 3)
    with pytest.raises(PgpisError, match="more than 3 frames"):
        list(read_frames(clip))
    assert len(list(read_frames(clip, 2))) == 3
    monkeypatch.setattr(videos, "MOST_PIXELS", 1000)
    with pytest.raises(PgpisError, match="66x42 pixels"):
        next(read_frames(clip))
    monkeypatch.setattr(videos, "CODECS", ("av1",))
    with pytest.raises(PgpisError, match="its codec is h264"):
        next(read_frames(clip))
    with pytest.raises(PgpisError, match="expected a number of at least 1"):
        extract_frames(clip, clip.parent / "frames", 0)
    with pytest.raises(PgpisError, match=r"nowhere\.mp4"):
        extract_frames(clip.parent / "nowhere.mp4", clip.parent / "frames")
