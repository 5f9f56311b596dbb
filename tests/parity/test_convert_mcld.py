"""The official MCLD files through ``pgpis convert mcld``."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from official_mcld import last_attention, load_official_pipeline

from parity_files import Recorded
from pgpis.cli import main
from pgpis.methods.mcld import MCLDPipeline
from pgpis.methods.mcld.convert import SCHEDULER, TAIL

pytestmark = pytest.mark.parity

FILES = {
    "--denoising": "denoising_unet.pth",
    "--reference": "reference_unet.pth",
    "--pose-guider": "pose_guider.pth",
    "--image-proj": "image_proj_model.pth",
}


@pytest.fixture(scope="module")
def meta(parity_root):
    return Recorded(parity_root / "mcld_forward/meta.json")


@pytest.fixture(scope="module")
def original(parity_root):
    scheduler = {key: value for key, value in SCHEDULER.items() if key != "_class_name"}
    return load_official_pipeline(parity_root, {"beta_start": 0.00085, "beta_end": 0.012, **scheduler})


@pytest.fixture
def words(parity_root, original, meta, tmp_path):
    unet = meta["unet_config"]
    sizes = {
        "--heads": unet["attention_head_dim"],
        "--resampler-head-dim": meta["resampler"]["dim_head"],
        "--norm-groups": unet["norm_num_groups"],
    }
    original.vae.save_pretrained(tmp_path / "base/vae")
    original.image_encoder.save_pretrained(tmp_path / "clip")
    words = ["convert", "mcld", "--base", str(tmp_path / "base"), "--image-encoder", str(tmp_path / "clip")]
    for option, size in sizes.items():
        words += [option, str(size)]
    for option, name in FILES.items():
        words += [option, str(parity_root / "official_checkpoints" / name)]
    return words


def test_converted_weights_are_the_official_ones(original, words, meta, tmp_path, capsys):
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert TAIL in said
    converted = MCLDPipeline.from_pretrained(tmp_path / "out")
    for part in ("unet", "reference_net", "vae", "image_encoder"):
        ours, official = getattr(converted, part).state_dict(), getattr(original, part).state_dict()
        assert ours.keys() == official.keys()
        assert all(torch.equal(ours[name], official[name]) for name in ours), part
    widths = converted.conditioner.config.pose_hidden_channels
    assert tuple(widths) == tuple(original.conditioner.config.pose_hidden_channels)
    for name, value in original.conditioner.state_dict().items():
        assert torch.equal(converted.conditioner.state_dict()[name], value)
    report = json.loads((tmp_path / "out/conversion.json").read_text())
    assert len(report["files"]) == len(FILES)
    told = {
        name for file in report["files"].values() for own in file["renamed"].values() for name in own.split(" and ")
    }
    written = {
        f"{part}/{name}"
        for part in ("unet", "reference_net", "conditioner")
        for name in getattr(converted, part).state_dict()
    }
    assert told == written
    dropped = [name for file in report["files"].values() for name in file["dropped"]]
    assert dropped
    assert all(name.startswith(last_attention(meta)) for name in dropped)


def test_the_readmes_name_of_the_fourth_file_serves_too(words, tmp_path, parity_root):
    shutil.copy(parity_root / "official_checkpoints/image_proj_model.pth", tmp_path / "image_projector.pth")
    words[words.index("--image-proj") + 1] = str(tmp_path / "image_projector.pth")
    assert main([*words, "--out", str(tmp_path / "out")]) == 0


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--denoising", "reference_unet.pth", "conv_out.weight"),
        ("--image-proj", "pose_guider.pth", "proj_in.weight"),
        ("--pose-guider", "absent.pth", "not found"),
        ("--heads", None, "error"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_written(
    words, meta, tmp_path, parity_root, capsys, option, value, message
):
    widths = meta["unet_config"]["block_out_channels"]
    no_divisor = next(number for number in range(2, 99) if any(width % number for width in widths))
    words[words.index(option) + 1] = str(parity_root / "official_checkpoints" / value if value else no_divisor)
    assert main([*words, "--out", str(tmp_path / "out")]) != 0
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()
