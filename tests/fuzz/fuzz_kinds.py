"""The kinds of input that ``fuzz.py`` feeds, and who reads them."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
import yaml
from PIL import Image

from mutation import mutate
from pgpis.batch import ImageSpec

SPECS = {
    "source_image": ImageSpec("source", 64, 44),
    "source_clip": ImageSpec("source", 32, 32, fit="crop"),
    "pose_image": ImageSpec("pose", 64, 44),
}


class Kind(NamedTuple):
    """One kind of input."""

    inputs: int
    """How many a whole run feeds."""
    prepare: Callable[[Path], Any]
    """Makes in an empty folder what all inputs need."""
    make: Callable[[Random, Any], Callable[[], str | None]]
    """Writes one input and returns what reads it."""


def odd_value(rng: Random) -> Any:
    """Return a value of JSON that hardly anybody expects."""
    deep: Any = 0
    for _ in range(rng.choice([3, 500])):
        deep = [deep]
    return rng.choice(
        [None, True, -1, 0, 1e308, 2**70, "", "../x", "/etc/passwd", "os", "a" * 5000, [], {}, [[]], {"a": {}}, deep,
         ["os", "system"], ["subprocess", "Popen"], ["pgpis.cli", "main"], ["diffusers", "DiffusionPipeline"],
         ["torch.hub", "load"], float("inf"), [1, "x", None], {"_class_name": "UNet2DModel"}]
    )  # fmt: skip


def change_json(value: Any, rng: Random) -> Any:
    """Return a JSON value with one place of it changed."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        changed = dict(value)
        match rng.randrange(5):
            case 0:
                del changed[key]
            case 1:
                changed[rng.choice(["../x", "_class_name", "os", "auto_map", "scheduler", ""])] = odd_value(rng)
            case _:
                changed[key] = change_json(value[key], rng)
        return changed
    if isinstance(value, list) and value and rng.random() < 0.8:
        place = rng.randrange(len(value))
        return [*value[:place], change_json(value[place], rng), *value[place + 1 :]]
    return odd_value(rng)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(width: int, height: int, bits: int = 8, colour: int = 2, rows: int | None = None, extra: bytes = b"") -> bytes:
    """Return a black PNG of any size in a few bytes; ``rows`` of it are there."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    line = 1 + (width * bits * {0: 1, 2: 3, 4: 2, 6: 4}[colour] + 7) // 8
    packer, packed = zlib.compressobj(9), b""
    for _ in range(height if rows is None else rows):
        packed += packer.compress(bytes(line))
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", packed + packer.flush()) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def exif_of(rng: Random) -> bytes:
    """Return a block of EXIF whose entries have any type and count."""
    entries = b""
    for _ in range(rng.randint(1, 5)):
        tag, kind = rng.choice([0x0112, 0x8825, 0x8769, 0x010F, 0x9286]), rng.randint(0, 13)
        entries += struct.pack("<HHII", tag, kind, rng.choice([0, 1, 2, 3, 70000]), rng.choice([0, 6, 8, 2**31, 26]))
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries) // 12) + entries + bytes(rng.randint(0, 40))


def _pictures(folder: Path) -> dict[str, Any]:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8))
    wide = Image.fromarray(np.full((20, 40), 30000, np.uint16))
    files = [encoded(noise, kind) for kind in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "ICO", "AVIF", "PPM")]
    files += [encoded(noise.convert(mode), "PNG") for mode in ("P", "LA", "RGBA", "1")]
    files += [
        encoded(wide, "PNG"),
        encoded(noise.convert("CMYK"), "JPEG"),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    ]
    bombs = [
        png(1, 60000), png(60000, 1), png(3, 200000), png(30000, 30000, rows=20), png(2**31 - 1, 1, rows=0),
        png(9000, 9000, bits=16, colour=0), png(12000, 9000, colour=0), png(1, 2**31 - 1, rows=9),
        png(20000, 20000, 1, 0),
        png(8, 8, extra=b"".join([b"\0\0\0\x09tEXtx\0aaaaaaa\0\0\0\0"] * 50)),
    ]  # fmt: skip
    (folder / "poses").mkdir()
    (folder / "poses/a.txt").write_text("".join(f"{60 + i} {20 + 9 * i}\n" for i in range(18)))
    (folder / "sources").mkdir()
    noise.save(folder / "sources/a.png")
    return {"folder": folder, "files": files, "bombs": bombs}


def _picture(rng: Random, state: dict[str, Any]) -> Callable[[], None]:
    from pgpis.pictures.images import read_image, save_image
    from pgpis.pictures.iuv import read_iuv

    folder: Path = state["folder"]
    content = rng.choice(state["bombs"]) if rng.random() < 0.1 else rng.choice(state["files"])
    if content[:2] == b"\xff\xd8" and rng.random() < 0.5:
        exif = exif_of(rng)
        content = content[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + content[2:]
    elif rng.random() < 0.75:
        content = mutate(content, rng)
    name = f"a.{rng.choice(['jpg', 'png', 'webp', 'bmp'])}"
    which = rng.randrange(4)
    place = folder / ("hostile_poses" if which == 0 else "hostile") / name
    shutil.rmtree(place.parent, ignore_errors=True)
    place.parent.mkdir()
    place.write_bytes(content)

    def feed() -> None:
        if which == 0:
            feed_pairs(folder / "sources", place.parent)
        elif which == 1:
            feed_pairs(place.parent, folder / "poses")
        elif which == 2:
            read_iuv(place)
        else:
            save_image(read_image(place), folder / "saved.png")

    return feed


def feed_pairs(sources: Path, poses: Path, **rest: Any) -> None:
    """Load all pairs of two folders as ``predict`` does; a pair may fail, nothing else."""
    from pgpis.data import FolderPairs, PoseTransferDataModule

    pairs = FolderPairs(sources, poses, **rest)
    data = PoseTransferDataModule(predict=pairs, input_specs=SPECS, num_workers=0)
    data.setup("predict")
    for batch in data.predict_dataloader():
        assert all(failure.reason.strip() for failure in batch["failures"])
        for key in SPECS:
            assert batch[key].isfinite().all()


def _poses(folder: Path) -> dict[str, Any]:
    _pictures(folder)
    body = [v for i in range(18) for v in (60 + i, 20 + 9 * i, 0.9)]
    whole = np.random.default_rng(0).uniform(20, 150, (133, 3))
    file = io.BytesIO()
    np.save(file, whole)
    one = {"people": [{"pose_keypoints_2d": body}], "canvas_width": 176, "canvas_height": 256}
    parts = {"pose_keypoints_2d": body, "hand_left_keypoints_2d": body[:54] + [5, 5, 1] * 3, "face_keypoints_2d": body}
    contents = {
        "txt": [(folder / "poses/a.txt").read_bytes(), "\n".join(f"{x} {y}" for x, y, _ in whole).encode()],
        "json": [json.dumps(one).encode(), json.dumps({**one, "people": [parts] * 2}).encode()],
        "npy": [file.getvalue()],
    }
    return {"folder": folder, "contents": contents, "openpose": one}


def _pose(rng: Random, state: dict[str, Any]) -> Callable[[], None]:
    folder: Path = state["folder"]
    suffix = rng.choice(["txt", "json", "json", "npy"])
    content = mutate(rng.choice(state["contents"][suffix]), rng)
    if suffix == "json" and rng.random() < 0.5:
        content = json.dumps(change_json(state["openpose"], rng)).encode()
    elif suffix == "txt" and rng.random() < 0.3:
        scale = rng.choice([1e-9, 1e-3, 1, 1e5, 1e18, 1e300, float("nan"), -1])
        content = "".join(f"{rng.uniform(-1, 2) * scale} {rng.uniform(-1, 2) * scale}\n" for _ in range(18)).encode()
    poses = folder / "hostile_poses"
    shutil.rmtree(poses, ignore_errors=True)
    poses.mkdir()
    (poses / f"a.{suffix}").write_bytes(content)
    size = rng.choice([None, (256, 176), (1, 1)])
    return lambda: feed_pairs(folder / "sources", poses, pose_size=size)


def _tables(folder: Path) -> dict[str, Any]:
    from pgpis.data.link import link_layout
    from pgpis.synth.files.dataset import make_dataset
    from pgpis.synth.files.options import DatasetOptions

    _pictures(folder)
    layouts = {"fpdm": folder / "fpdm"}
    make_dataset(layouts["fpdm"], DatasetOptions(2, 2, (64, 44), seed=1, test_share=0.5, textures="none"))
    for name in ("mcld", "patn", "nted", "pcdm"):
        layouts[name] = folder / name
        link_layout(layouts["fpdm"], layouts[name], name)
    lists = {
        "fpdm": "train_pairs_data.json", "mcld": "train.csv", "patn": "fasion-resize-pairs-train.csv",
        "nted": "train_pairs.txt", "pcdm": "train_data.json",
    }  # fmt: skip
    contents = {name: (root / lists[name]).read_bytes() for name, root in layouts.items()}
    points = next(layouts["patn"].glob("fasion-resize-annotation-train.csv"))
    table = (points, points.read_bytes())
    return {"folder": folder, "layouts": layouts, "lists": lists, "contents": contents, "points": table}


def _table(rng: Random, state: dict[str, Any]) -> Callable[[], None]:
    from pgpis.data import DeepFashion

    folder: Path = state["folder"]
    if rng.random() < 0.35:
        table = folder / "pairs.csv"
        text = b"source,pose,target,identity,clothes\na.png,a.txt,,,\na.png,a.txt,a.png,a.png,upper=a.png\n"
        table.write_bytes(mutate(text, rng))
        return lambda: feed_pairs(folder / "sources", folder / "poses", pairs_csv=table)
    layout = rng.choice(list(state["layouts"]))
    root = state["layouts"][layout]
    (root / state["lists"][layout]).write_bytes(mutate(state["contents"][layout], rng))
    path, content = state["points"]
    path.write_bytes(mutate(content, rng) if layout == "patn" and rng.random() < 0.5 else content)

    def feed() -> None:
        from pgpis.data import PoseTransferDataModule

        dataset = DeepFashion(root, "train", layout=layout)
        data = PoseTransferDataModule(test=dataset, input_specs=SPECS, num_workers=0)
        data.setup("test")
        for batch in data.test_dataloader():
            for file in batch["source_path"]:
                assert ".." not in Path(file).relative_to(root).parts

    return feed


def _pipeline(folder: Path) -> dict[str, Any]:
    from pgpis.pipelines.bundle import pack
    from tiny_fpdm import tiny_pipeline

    tiny_pipeline().save_pretrained(folder / "pipeline")
    pack(folder / "pipeline", folder / "whole.safetensors", {"seed": 1})
    return {"folder": folder, "bundle": (folder / "whole.safetensors").read_bytes()}


def load(path: Path) -> None:
    from pgpis.methods.fpdm import FPDMPipeline
    from pgpis.tasks.diffusion import load_pipeline

    load_pipeline(FPDMPipeline, str(path), "pgpis convert fpdm")
    assert not Path("harm").exists()


def _bundle(rng: Random, state: dict[str, Any]) -> Callable[[], None]:
    content, path = state["bundle"], state["folder"] / "hostile.safetensors"
    length = struct.unpack("<Q", content[:8])[0]
    if rng.random() < 0.5:
        header = json.loads(content[8 : 8 + length])
        if rng.random() < 0.7:
            texts = json.loads(header["__metadata__"]["files"])
            name = rng.choice([*texts, "..\\x.json", "C:x.json", "a\0b.json", "x.py"])
            changed = texts.get(name, "{}")
            changed = json.dumps(change_json(json.loads(changed), rng)) if rng.random() < 0.7 else "[" * 5000
            header["__metadata__"]["files"] = json.dumps({**texts, name: changed})
        else:
            header = change_json(header, rng)
        packed = json.dumps(header).encode()
        content = struct.pack("<Q", len(packed)) + packed + content[8 + length :]
    else:
        content = mutate(content[: 8 + length], rng) + content[8 + length :]
    path.write_bytes(content)
    return lambda: load(path)


def _pipeline_folder(rng: Random, state: dict[str, Any]) -> Callable[[], None]:
    root = state["folder"] / "hostile"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(state["folder"] / "pipeline", root)
    (root / "scheduler/evil.py").write_text("open('harm', 'w')\nclass Evil: pass\n")
    path = rng.choice(sorted(file for file in root.rglob("*") if file.is_file() and file.suffix != ".py"))
    if rng.random() < 0.5:
        path = root / "model_index.json"
    match rng.randrange(4):
        case 0:
            path.unlink()
        case 1 if path.suffix == ".json":
            path.write_text(json.dumps(change_json(json.loads(path.read_text()), rng)))
        case 2:
            index = json.loads((root / "model_index.json").read_text())
            part = rng.choice([key for key in index if not key.startswith("_")])
            index[part] = rng.choice(
                [["evil", "Evil"], ["scheduler.evil", "Evil"], ["os", "system"], ["__main__", "x"]]
            )
            (root / "model_index.json").write_text(json.dumps(index))
        case _:
            path.write_bytes(mutate(path.read_bytes(), rng))
    return lambda: load(root)


class Reduce:
    """Asks a reader to call ``os.system``."""

    def __reduce__(self) -> Any:
        return (os.system, ("touch harm",))


def _checkpoints(folder: Path) -> dict[str, Any]:
    import torch

    state = {"state_dict": {f"unet.{i}": torch.zeros(3, 3) for i in range(4)}, "epoch": 1, "global_step": 2}
    state |= {"loops": {}, "callbacks": {}, "frozen": {}, "pytorch-lightning_version": "2.6.0", "optimizer_states": []}
    nested: Any = ()
    for _ in range(60):
        nested = (nested, nested)
    torch.save(state, folder / "good.ckpt")
    torch.save({**state, "x": Reduce()}, folder / "evil.ckpt")
    torch.save({**state, "x": [nested]}, folder / "nested.ckpt")
    big = torch.zeros(1).expand(10**6, 10**3)
    torch.save({"state_dict": {str(i): big for i in range(50)}}, folder / "expanded.ckpt")
    return {"folder": folder, "contents": [path.read_bytes() for path in sorted(folder.glob("*.ckpt"))]}


def rezip(content: bytes, rng: Random) -> bytes:
    """Mutate the pickle inside a checkpoint, so that the archive around it is whole."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        for info in old.infolist():
            data = old.read(info)
            new.writestr(info.filename, mutate(data, rng) if info.filename.endswith("data.pkl") else data)
    return out.getvalue()


def _checkpoint(rng: Random, state: dict[str, Any]) -> Callable[[], None]:
    from pgpis.cli import main

    content = rng.choice(state["contents"])
    content = rezip(content, rng) if rng.random() < 0.6 else mutate(content, rng) if rng.random() < 0.8 else content
    path = state["folder"] / "hostile.ckpt"
    path.write_bytes(content)
    if rng.random() < 0.5:
        from pgpis.tasks.checkpoints import read_checkpoint

        def feed() -> None:
            read_checkpoint(path)
            assert not Path("harm").exists()

        return feed
    return lambda: quietly(main, ["convert", "fpdm", f"--diffusion={path}", f"--out={state['folder'] / 'out'}"])


def _pickles(folder: Path) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    points = {"train/a": {"name": "train/a", "num_frames": 3, "keypoint": rng.uniform(0, 200, (3, 133, 3))}}
    weights = {"model": {f"backbone.{i}": rng.normal(size=(3, 2)).astype(np.float32) for i in range(5)}}
    nested: Any = ()
    for _ in range(60):
        nested = (nested, nested)
    wide = np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), (2**15, 2**16), (0, 0))
    contents = [pickle.dumps(value, protocol) for value in (points, weights) for protocol in (2, 4)]
    contents += [pickle.dumps({"model": {"x": Reduce()}}), pickle.dumps([nested])]
    hashed = pickle.dumps(nested)[:-1]  # ... as the key of a dictionary
    contents += [hashed + b"}q\x00h\x00" + b".", b"\x80\x02}" + hashed[2:] + b"K\x01s."]
    contents += [
        b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b".",
        b"\x80\x02\x8a\xff" + b"\xff" * 255 + b".",
        pickle.dumps(wide[:1, :1]),
    ]
    return {"folder": folder, "contents": contents}


def _pickle(rng: Random, state: dict[str, Any]) -> Callable[[], None]:
    from pgpis.data.mska import read_mska
    from pgpis.preprocess.densepose.checkpoint import read_arrays

    content = rng.choice(state["contents"])
    path = state["folder"] / f"hostile{rng.choice(['.pkl', '.train'])}"
    path.write_bytes(mutate(content, rng) if rng.random() < 0.85 else content)
    readers: list[Callable[[Path], Any]] = [read_mska, read_arrays]
    reader = rng.choice(readers)

    def feed() -> None:
        reader(path)
        assert not Path("harm").exists()

    return feed


def _arrays(folder: Path) -> dict[str, Any]:
    contents = []
    for array in (np.zeros(512, np.float32), np.zeros((133, 3)), np.array(["x"])):
        file = io.BytesIO()
        np.save(file, array)
        contents.append(file.getvalue())
    big = contents[0].replace(b"(512,)", b"(99999999999,)")
    return {"folder": folder, "contents": [*contents, big, contents[0].replace(b"(512,)", b"(5000000000,)")]}


def _array(rng: Random, state: dict[str, Any]) -> Callable[[], None]:
    from pgpis.pictures.arrays import read_face

    path = state["folder"] / "hostile.npy"
    content = rng.choice(state["contents"])
    path.write_bytes(mutate(content, rng) if rng.random() < 0.85 else content)

    def feed() -> None:
        read_face(path)

    return feed


def quietly(main: Callable[[list[str]], int], words: list[str]) -> str:
    """Run the command; an internal error is harm."""
    import contextlib

    err = io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
        try:
            code = main(words)
        except SystemExit as error:  # --help
            code = int(error.code or 0)
    message = err.getvalue()
    assert code in (0, 1, 2), f"exit {code}: {words}"
    assert "--debug for the traceback" not in message, f"{message[-300:]}: {words}"
    assert code == 0 or message.strip(), f"exit {code} without a word: {words}"
    return "read" if code == 0 else "refused"


def _recipes(folder: Path) -> dict[str, Any]:
    import pgpis.cli.lightning  # noqa: F401  what it takes to import is no time of an input

    configs = Path(__file__).parents[2] / "configs"
    return {
        "folder": folder,
        "texts": [(configs / f"smoke/{name}.yaml").read_text() for name in ("fpdm", "fusion", "mcld")],
    }


def _recipe(rng: Random, state: dict[str, Any]) -> Callable[[], str]:
    from pgpis.cli import main

    text = rng.choice(state["texts"])
    if rng.random() < 0.6:
        content = yaml.safe_dump(json.loads(json.dumps(change_json(yaml.safe_load(text), rng)))).encode()
    else:
        content = mutate(text.encode(), rng)
    path = state["folder"] / "hostile.yaml"
    path.write_bytes(content)

    def feed() -> str:
        outcome = quietly(main, ["fit", f"--config={path}", "--print_config"])
        assert not Path("harm").exists()
        return outcome

    return feed


NUMBERS = (
    "0",
    "-1",
    "nan",
    "inf",
    "-inf",
    "1e999",
    "9" * 30,
    "",
    " ",
    "x",
    "1.5",
    "null",
    "[1]",
    "{}",
    "٣",
    "0x10",
    "--",
    "2**3",
)


def _commands(folder: Path) -> Path:
    import pgpis.cli.lightning  # noqa: F401  as above

    return folder


def _command(rng: Random, state: Path) -> Callable[[], str]:
    from pgpis.cli import VERBS, main

    options = {
        "predict": ["--steps", "--seed", "--batch-size", "--images-per-pair", "--guidance-scale", "--prepare-person",
                    "--pairing", "--data.stick_width", "--data.pose_canvas", "--data.num_workers",
                    "--model.init_args.sampling.height"],
        "fit": ["--seed_everything", "--trainer.max_steps", "--data.batch_size", "--ckpt_path",
                "--model.init_args.sampling.width"],
        "synth": ["--people", "--views", "--seed", "--workers", "--frames", "--test-share", "--size"],
        "prepare": ["--workers", "--preview", "--batch-size", "--person", "--pose-threshold", "--upscale-faces"],
        "evaluate": ["--size", "--batch-size", "--protocol", "--workers"],
        "cache": ["--batch-size", "--dtype"],
        "convert": ["--heads", "--norm-groups"],
        "weights": ["--folder"], "data": ["--report", "--to"], "compare": ["--size"], "configs": ["show"],
    }  # fmt: skip
    verb = rng.choice(list(options))
    missing = str(state / "missing")
    words = {
        "predict": ["predict", "--sources", missing, "--poses", missing, "--out", str(state / "out")],
        "fit": ["fit", "--config=smoke/fpdm.yaml", "--print_config"],
        "synth": ["synth", rng.choice(["--out", "edit", "sheet"]), str(state / "synth")],
        "prepare": ["prepare", missing], "evaluate": ["evaluate", "--generated", missing, "--reference", missing],
        "cache": ["cache", "--config=smoke/fpdm.yaml", "--out", missing], "convert": ["convert", "fpdm"],
        "weights": ["weights", rng.choice(["list", "verify", "x"])], "data": ["data", "check", missing],
        "compare": ["compare", missing, missing], "configs": ["configs"],
    }[verb]  # fmt: skip
    for option in rng.sample(options[verb], rng.randint(1, min(2, len(options[verb])))):
        words = (
            [*words, f"{option}={rng.choice(NUMBERS)}"] if rng.random() < 0.8 else [*words, option, rng.choice(NUMBERS)]
        )
    if verb == "synth" and not any(word.startswith("--people") for word in words):
        words.append("--people=0")
    if verb == "synth":
        words = [word.replace("9" * 30, "1") for word in words]
    if rng.random() < 0.05:
        words = [rng.choice([*VERBS, "train", "", "--x"]), *rng.sample(NUMBERS, 2)]
    return lambda: quietly(main, words)


def _outputs(folder: Path) -> dict[str, Any]:
    _pictures(folder)
    pipe = _pipeline(folder)
    tiny = Path(__file__).parents[1] / "configs/tiny.yaml"
    words = [
        "predict",
        f"--pipeline={folder / 'pipeline'}",
        "--config=smoke/fpdm.yaml",
        f"--config={tiny}",
        "--steps=1",
    ]
    words += [f"--sources={folder / 'sources'}", f"--poses={folder / 'poses'}", f"--out={folder / 'out'}"]
    words += ["--data.num_workers=0", "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]
    from pgpis.cli import main

    assert quietly(main, words) == "read"
    shutil.copytree(folder / "out", folder / "whole")
    return {**pipe, "words": words}


def _output(rng: Random, state: dict[str, Any]) -> Callable[[], str]:
    from pgpis.cli import main

    out, whole = state["folder"] / "out", state["folder"] / "whole"
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(whole, out)
    files = sorted(path for path in out.rglob("*") if path.is_file() and not path.name.startswith(".pgpis"))
    for path in rng.sample(files, rng.randint(1, 2)):
        match rng.randrange(5):
            case 0:
                path.unlink()
            case 1:
                path.unlink()
                path.mkdir()
            case 2 if path.suffix == ".json":
                path.write_text(json.dumps(change_json(json.loads(path.read_text()), rng)))
            case _:
                path.write_bytes(mutate(path.read_bytes(), rng))
    if rng.random() < 0.3:
        (out / ".parts").mkdir(exist_ok=True)
        (out / ".parts/rank0.csv").write_bytes(mutate((whole / "predictions.csv").read_bytes(), rng))
    return lambda: quietly(main, state["words"])


def _marks(folder: Path) -> dict[str, Any]:
    from pgpis.predictions import Mark, png_bytes

    body = [value for number in range(18) for value in (60.5 + number, 20.0 + 9 * number, 1.0)]
    pose = {"people": [{"pose_keypoints_2d": body}], "canvas_width": 176.0, "canvas_height": 256.0}
    tools = {"made": ["texture"], "inpaint": "fast", "person": 0, "pose": "blazepose", "retarget": True}
    provenance = {"files": {"source": "ab"}, "pose": pose, "dropped": ["face"], "edit": [[[1], {"texture": "a"}]]}
    settings = {"seed": 1, "height": 64, "width": 48, "steps": 2, "images_per_pair": 2, "guidance_band": [0.2, 0.8]}
    settings |= {"scheduler_config": {"beta_start": 0.1}, "precision": "32-true", "weights of unet": "01"}
    mark = Mark("anna", 1, (0, 2), {**provenance, "tools": tools}, {"_class_name": "DDIMScheduler"})
    mark = mark.filled({**settings, "pipeline": "synth-fpdm"})
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8))
    return {"folder": folder, "text": mark.text(), "content": png_bytes(noise, mark)}


def _mark(rng: Random, state: dict[str, Any]) -> Callable[[], None]:
    from pgpis.cli.like import laid_under
    from pgpis.cli.predict import PredictSettings

    text, content, path = state["text"], state["content"], state["folder"] / "hostile.png"
    changed = mutate(text.encode(), rng)
    if rng.random() < 0.6:
        changed = json.dumps(change_json(json.loads(text), rng)).encode()
    if rng.random() < 0.8:
        chunk = b"tEXtpgpis\0" + changed
        before, _, after = content.partition(b"tEXtpgpis\0" + text.encode())
        content = (
            before[:-4] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + after[4:]
        )
    else:
        content = mutate(content, rng)
    path.write_bytes(content)

    def feed() -> None:
        settings, _ = laid_under(PredictSettings(out=state["folder"] / "out"), path, [])
        settings.recipe()

    return feed


def _databases(folder: Path) -> dict[str, Any]:
    import lmdb

    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8))
    with lmdb.open(str(folder / "good"), map_size=1 << 22) as opened, opened.begin(write=True) as transaction:
        for number in range(40):
            transaction.put(f"{number}.png".encode(), encoded(noise, "PNG"))
    return {"folder": folder, "content": (folder / "good/data.mdb").read_bytes()}


def _database(rng: Random, state: dict[str, Any]) -> Callable[[], None]:
    from pgpis.data.picture_store import picture_exists, read_picture

    # a new folder each time: a process opens a database once
    root = state["folder"] / f"{rng.getrandbits(64):x}"
    root.mkdir()
    content = state["content"]
    if rng.random() < 0.4:
        content = content[: rng.randrange(len(content))]
    else:
        damaged = bytearray(content)
        for _ in range(rng.randint(1, 8)):
            place = rng.randrange(min(len(damaged), rng.choice([200, 9000, 10**9])))
            damaged[place : place + 2] = struct.pack("<H", rng.choice([0, 1, 4096, 65535, rng.getrandbits(16)]))
        content = bytes(damaged)
    (root / "data.mdb").write_bytes(content)
    key = rng.choice(["1.png", "39.png", "none.png", "x" * 600 + ".png"])

    def feed() -> None:
        picture_exists(root / "data.mdb" / key)
        read_picture(root / "data.mdb" / key)

    return feed


KINDS = {
    "pictures": Kind(900, _pictures, _picture),
    "poses": Kind(700, _poses, _pose),
    "tables": Kind(350, _tables, _table),
    "arrays": Kind(200, _arrays, _array),
    "pickles": Kind(300, _pickles, _pickle),
    "checkpoints": Kind(150, _checkpoints, _checkpoint),
    "bundles": Kind(150, _pipeline, _bundle),
    "pipelines": Kind(150, _pipeline, _pipeline_folder),
    "recipes": Kind(80, _recipes, _recipe),
    "commands": Kind(120, _commands, _command),
    "outputs": Kind(50, _outputs, _output),
    "marks": Kind(400, _marks, _mark),
    "databases": Kind(150, _databases, _database),
}
