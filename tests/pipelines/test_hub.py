"""Hub ids of pipelines and single parts, over the hub's own client with a network that is none."""

import hashlib
import json
import re
import shutil
import sys

import huggingface_hub
import pytest
import torch
from diffusers import UNet2DConditionModel

from pgpis.denoiser import build_unet
from pgpis.errors import PgpisError
from pgpis.methods.fpdm import FPDMPipeline
from pgpis.methods.fpdm.prior import load_fusion_embedder
from pgpis.models import build_scheduler, build_vae, build_vision_encoder
from pgpis.pipelines.bundle import read_pipeline_index
from pgpis.tasks import load_pipeline
from tiny_fpdm import tiny_pipeline

COMMIT = "c0ffee" + "0" * 34
ADDRESS = re.compile(r"/(?:api/models/)?me/(?P<name>\w+)/(?P<what>revision|tree|resolve)/(?P<commit>\w+)/?(?P<file>.*)")


class Hub:
    """Repositories ``me/NAME`` of the folders in one; what is fetched is noted."""

    def __init__(self, folder, library):
        self.folder, self.library, self.fetched = folder, library, []

    def __call__(self, request):
        asked = ADDRESS.fullmatch(request.url.path)
        root = self.folder / asked["name"]
        if not root.is_dir():
            return self.library.Response(404, headers={"x-error-code": "RepoNotFound"})
        files = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        if asked["what"] == "revision":
            return self.library.Response(200, json={"id": "me/name", "sha": COMMIT, "siblings": []})
        tags = {file: hashlib.sha1(content).hexdigest() for file, content in files.items()}
        if asked["what"] == "tree":
            listed = [{"type": "file", "path": file, "size": len(files[file]), "oid": tags[file]} for file in files]
            return self.library.Response(200, json=listed)
        if (file := asked["file"]) not in files:
            return self.library.Response(404, headers={"x-error-code": "EntryNotFound", "x-repo-commit": COMMIT})
        headers = {"etag": f'"{tags[file]}"', "x-repo-commit": COMMIT, "content-length": str(len(files[file]))}
        if request.method == "GET":
            self.fetched.append(file)
        return self.library.Response(200, headers=headers, content=files[file] if request.method == "GET" else b"")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A pipeline with weights of two kinds and in several files, with code and pickles; and its parts alone."""
    folder = tmp_path_factory.mktemp("hub")
    pipeline = tiny_pipeline()
    pipeline.save_pretrained(folder / "whole")
    for part in ("unet", "vae", "source_encoder", "fusion_embedder", "scheduler"):
        shutil.copytree(folder / "whole" / part, folder / part)
    stock = UNet2DConditionModel.from_config(pipeline.unet.config)
    stock.save_pretrained(folder / "stable" / "unet")
    (folder / "stable/model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    for file in ("pipeline.py", "scheduler/scheduler.py", "unet/diffusion_pytorch_model.bin", "large.ckpt"):
        (folder / "whole" / file).write_text("raise SystemExit")
    pipeline.to(torch.float16)
    for part in ("unet", "source_encoder"):
        getattr(pipeline, part).save_pretrained(folder / "whole" / part, variant="fp16", max_shard_size="20KB")
    return folder


@pytest.fixture
def hub(saved, tmp_path, monkeypatch):
    library = sys.modules[type(huggingface_hub.get_session()).__module__.partition(".")[0]]
    hub = Hub(saved, library)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    huggingface_hub.set_client_factory(lambda: library.Client(transport=library.MockTransport(hub)))
    yield hub
    monkeypatch.undo()
    huggingface_hub.set_client_factory(huggingface_hub.utils._http.default_client_factory)


def test_a_pipeline_is_fetched_whole_and_nothing_else(hub, monkeypatch):
    loaded = FPDMPipeline.from_pretrained("me/whole")
    expected = {path for path in hub.fetched if path.endswith((".json", ".safetensors")) and "fp16" not in path}
    assert sorted(hub.fetched) == sorted(expected)
    again = FPDMPipeline.from_pretrained(hub.folder / "whole")
    for part in ("unet", "vae", "source_encoder", "fusion_embedder", "conditioner"):
        stored = getattr(again, part).state_dict()
        assert all(torch.equal(value, stored[name]) for name, value in getattr(loaded, part).state_dict().items())
    hub.fetched.clear()
    assert type(load_pipeline(FPDMPipeline, "me/whole")) is FPDMPipeline
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert type(load_pipeline(FPDMPipeline, "me/whole")) is FPDMPipeline
    assert type(FPDMPipeline.from_pretrained("me/whole", local_files_only=True)) is FPDMPipeline
    assert read_pipeline_index("me/whole")["_class_name"] == "FPDMPipeline"
    assert hub.fetched == []


def test_parts_that_are_passed_are_not_fetched(hub):
    unet = tiny_pipeline().unet
    loaded = FPDMPipeline.from_pretrained("me/whole", unet=unet, refiner=None)
    assert loaded.unet is unet
    assert not [file for file in hub.fetched if file.startswith("unet")]


def test_a_variant_is_fetched_where_there_is_one(hub, tmp_path):
    FPDMPipeline.from_pretrained("me/whole", variant="fp16", cache_dir=tmp_path / "own", revision="main")
    weights = [file for file in hub.fetched if file.endswith(".safetensors")]
    assert len([file for file in weights if re.search(r"fp16-0000\d-of-0000\d", file)]) > 2, "in several files"
    plain = sorted(file.partition("/")[0] for file in weights if "fp16" not in file)
    assert plain == ["conditioner", "fusion_embedder", "vae"]
    assert (tmp_path / "own/models--me--whole").is_dir()


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (build_unet, "unet"),
        (build_unet, "whole"),
        (build_unet, "stable"),
        (build_vae, "vae"),
        (build_vae, "whole"),
        (build_vision_encoder, "source_encoder"),
        (load_fusion_embedder, "fusion_embedder"),
        (build_scheduler, "scheduler"),
        (build_scheduler, "whole"),
    ],
)
def test_single_parts(build, name, hub):
    loaded = build(f"me/{name}")
    assert all(file.endswith((".json", ".safetensors")) and "fp16" not in file for file in hub.fetched)
    if name != "scheduler" and hasattr(loaded, "state_dict"):
        stored = build(str(hub.folder / name)).state_dict()
        assert all(torch.equal(value, stored[key]) for key, value in loaded.state_dict().items())


def test_what_is_not_there_is_named(hub):
    with pytest.raises(PgpisError, match=r"^pipeline: cannot load 'me/nobody'"):
        load_pipeline(FPDMPipeline, "me/nobody")
    with pytest.raises(PgpisError, match="unet: cannot load 'me/nobody'"):
        build_unet("me/nobody")
    with pytest.raises(PgpisError, match="me/stable"):
        load_pipeline(FPDMPipeline, "me/stable")


def test_parts_of_a_hub_id_are_checked_as_those_of_a_folder(hub, tmp_path):
    shutil.copytree(hub.folder / "unet", tmp_path / "unet")
    hub.folder = tmp_path
    config = tmp_path / "unet/config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "block_out_channels": [2**20, 2**20]}))
    with pytest.raises(PgpisError, match=r"describes [0-9]+ numbers, its files hold"):
        build_unet("me/unet")
