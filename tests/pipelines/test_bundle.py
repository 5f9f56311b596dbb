"""A pipeline in one file: the same pictures as from its folder, and no way out of the folder it is unpacked to."""

import json

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pgpis.cli.recipes import PACKAGED
from pgpis.errors import PgpisError
from pgpis.methods.fpdm import FPDMPipeline
from pgpis.methods.mcld import MCLDPipeline
from pgpis.models.factory import build_vae, build_vision_encoder
from pgpis.pipelines.bundle import MARK, SHIPPED, VERSION, build_part, load_bundle, pack, read_card, read_index
from tiny_fpdm import tiny_pipeline


@pytest.fixture
def folder(tmp_path):
    pipeline = tiny_pipeline()
    with torch.no_grad():  # what half precision can hold
        for part in pipeline.components.values():
            if isinstance(part, torch.nn.Module):
                for value in part.parameters():
                    value.copy_(value.half().float())
    pipeline.save_pretrained(tmp_path / "pipeline")
    config = tmp_path / "pipeline/vae/config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "_name_or_path": "/home/somebody/vae"}))
    return tmp_path / "pipeline"


def test_a_bundle_is_its_folder(folder, tmp_path):
    file = tmp_path / "model.safetensors"
    pack(folder, file, {"seed": 7})
    assert file.stat().st_size < 0.65 * sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    assert read_card(file) == {"seed": 7}
    assert b"somebody" not in file.read_bytes()
    assert read_index(file)["_class_name"] == "FPDMPipeline"
    ours, theirs = load_bundle(FPDMPipeline, file), FPDMPipeline.from_pretrained(folder)
    for name, part in theirs.components.items():
        loaded = ours.components[name]
        if isinstance(part, torch.nn.Module):
            expected, found = part.state_dict(), loaded.state_dict()
            assert expected.keys() == found.keys()
            assert all(torch.equal(expected[key], found[key]) for key in expected)
            assert all(value.dtype == torch.float32 for value in found.values() if value.is_floating_point())
        elif part is not None:
            assert loaded.config == part.config


def test_a_bundle_holds_parts_whose_folders_are_links(folder, tmp_path):
    pack(folder, tmp_path / "model.safetensors", {})
    (folder / "unet").rename(tmp_path / "elsewhere")
    (folder / "unet").symlink_to(tmp_path / "elsewhere")
    pack(folder, tmp_path / "linked.safetensors", {})
    contents = []
    for name in ("model", "linked"):  # not the bytes: safetensors writes its texts in any order
        with safe_open(tmp_path / f"{name}.safetensors", "pt") as file:
            contents.append((file.metadata(), {key: file.get_tensor(key) for key in file.keys()}))  # noqa: SIM118
    torch.testing.assert_close(*(tensors for _, tensors in contents), rtol=0, atol=0)
    assert contents[0][0] == contents[1][0]


def test_what_another_bundle_holds_is_read_from_there(folder, tmp_path):
    other, file = tmp_path / "other.safetensors", tmp_path / "model.safetensors"
    changed = FPDMPipeline.from_pretrained(folder)
    with torch.no_grad():
        next(changed.unet.parameters()).add_(1)
    changed.save_pretrained(tmp_path / "changed")
    pack(tmp_path / "changed", other, {})
    pack(folder, tmp_path / "whole.safetensors", {})
    pack(folder, file, {}, beside=other)

    assert {key.partition("/")[0] for key in load_file(file)} == {"unet"}  # all else is the same in both
    whole, ours = load_bundle(FPDMPipeline, tmp_path / "whole.safetensors"), load_bundle(FPDMPipeline, file)
    for name, part in whole.components.items():
        if isinstance(part, torch.nn.Module):
            expected, found = part.state_dict(), ours.components[name].state_dict()
            assert all(torch.equal(expected[key], found[key]) for key in expected)
    weights = load_file(other)
    next(value for key, value in weights.items() if key.startswith("vae/")).add_(1)
    with safe_open(other, "pt") as opened:
        save_file(weights, tmp_path / "newer.safetensors", metadata=opened.metadata())
    (tmp_path / "newer.safetensors").replace(other)
    with pytest.raises(PgpisError, match=r"needs another other\.safetensors: of this one vae/.* differs"):
        load_bundle(FPDMPipeline, file)
    other.rename(tmp_path / "elsewhere.safetensors")
    with pytest.raises(PgpisError, match=r"a part of its weights in other\.safetensors, which is not beside it"):
        load_bundle(FPDMPipeline, file)


@pytest.mark.parametrize(
    "beside",
    ["[]", "no", "{}", '{"bundle": "x.safetensors"}', '{"bundle": 1, "files": {}}',
     '{"bundle": "../x.safetensors", "files": {}}', '{"bundle": "a/x.safetensors", "files": {}}'],
)  # fmt: skip
def test_weights_are_looked_for_nowhere_else(folder, tmp_path, beside):
    file = tmp_path / "model.safetensors"
    pack(folder, file, {})
    (tmp_path / "a").mkdir()
    for other in (tmp_path / "a/x.safetensors", tmp_path.parent / "x.safetensors"):
        save_file({}, other)
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    save_file(load_file(file), file, metadata=metadata | {"beside": beside})

    with pytest.raises(PgpisError, match=r"beside it|expected a bundle and hashes|holds a file with the name"):
        load_bundle(FPDMPipeline, file)


def test_other_files_are_refused(folder, tmp_path):
    (tmp_path / "text.safetensors").write_text("no")
    with pytest.raises(PgpisError, match=r"text\.safetensors cannot be read"):
        load_bundle(FPDMPipeline, tmp_path / "text.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "plain.safetensors")
    with pytest.raises(PgpisError, match="is not a bundle of pgpis"):
        read_card(tmp_path / "plain.safetensors")
    with pytest.raises(PgpisError, match=r"no model_index\.json"):
        pack(tmp_path, tmp_path / "x.safetensors", {})
    (folder / "run.py").write_text("raise SystemExit")
    with pytest.raises(PgpisError, match=r"run\.py: a bundle holds JSON and safetensors only"):
        pack(folder, tmp_path / "x.safetensors", {})
    assert not (tmp_path / "x.safetensors").exists()


def test_a_part_may_be_that_of_a_shipped_model():
    whole = load_bundle(MCLDPipeline, SHIPPED["synth-mcld"].path)
    for model in SHIPPED:  # one of them holds the autoencoder of both
        own, taken = whole.vae.state_dict(), build_part("vae", model, build_vae).state_dict()
        assert own.keys() == taken.keys()
        assert all(torch.equal(value, taken[name]) for name, value in own.items())
    with pytest.raises(PgpisError, match="image_encoder: 'synth-fpdm' has no such part") as refusal:
        build_part("image_encoder", "synth-fpdm", build_vision_encoder)
    assert refusal.value.hint == "synth-mcld"
    assert build_part("vae", "elsewhere", str.upper) == "ELSEWHERE"


def test_a_shipped_bundle_says_how_it_samples():
    """As the recipe that it was trained with."""
    for shipped in SHIPPED.values():
        recipe = yaml.safe_load((PACKAGED / shipped.recipe).read_text())["model"]["init_args"]["sampling"]
        index = read_index(shipped.path)
        for name in ("height", "width", "num_inference_steps", "guidance_scale"):
            assert index[name] == recipe[name]


@pytest.mark.parametrize(
    "name",
    [
        "../x.json", "/tmp/x.json", "a/b/c.json", "unet/x.py", "..\\x.json", "unet\\..\\..\\x.json", "C:x.json",
        "c:/x.json", "\\\\host\\x.json", "unet/../x.json", "./x.json", "unet/x\0.json", "unet/x.json\n", "nul.json",
        "COM1/x.json", "", ".json", "unet/.json", "a:b.json", "~/x.json", "x.json/", "\u202ex.json",
    ],
)  # fmt: skip
def test_a_hostile_bundle_writes_nowhere_else(tmp_path, name):
    metadata = {MARK: VERSION, "files": json.dumps({name: "{}"}), "card": "{}"}
    save_file({}, tmp_path / "bad.safetensors", metadata=metadata)
    with pytest.raises(PgpisError, match="holds a file with the name"):
        load_bundle(FPDMPipeline, tmp_path / "bad.safetensors")
    index = {"model_index.json": json.dumps({"_class_name": "FPDMPipeline"})}
    weights = name.replace("json", "safetensors") + "::a"
    metadata = {MARK: VERSION, "files": json.dumps(index), "card": "{}"}
    save_file({weights: torch.zeros(1)}, tmp_path / "bad.safetensors", metadata=metadata)
    with pytest.raises(PgpisError, match="holds a file with the name"):
        load_bundle(FPDMPipeline, tmp_path / "bad.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.safetensors"]
