"""Folders of earlier versions: other modules, other classes, other names of the face resampler's weights."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from pgpis.denoiser import ConditionedUNet
from pgpis.methods.fpdm import FPDMPipeline
from pgpis.methods.mcld import MCLDPipeline
from pgpis.methods.mcld.resampler import renamed_resampler
from tiny_fpdm import tiny_pipeline
from tiny_mcld import tiny_mcld

EARLIER = {
    "fpdm": {
        "unet": ["pgpis.models.unet", "PoseUNet"],
        "conditioner": ["pgpis.models.fpdm", "FPDMConditioner"],
        "fusion_embedder": ["pgpis.models.fusion", "FusionEmbedder"],
    },
    "mcld": {
        "unet": ["pgpis.models.multifocal", "MultiFocalUNet"],
        "conditioner": ["pgpis.models.mcld", "MCLDConditioner"],
        "reference_net": ["pgpis.models.reference", "ReferenceNet"],
    },
    "mcld after the first move": {"unet": ["pgpis.denoiser.multifocal", "MultiFocalUNet"]},
}


FORMER = {
    ".ln0.": ".0.norm1.",
    ".ln1.": ".0.norm2.",
    ".attn.to_q.": ".0.to_q.",
    ".attn.to_out.0.": ".0.to_out.",
    ".ff.0.": ".1.0.",
    ".ff.1.net.0.proj.": ".1.1.",
    ".ff.1.net.2.": ".1.3.",
}


def with_earlier_names(weights):
    """The inverse of what loading does, written out: keys and values in one matrix, layers as lists."""
    earlier = {}
    for name, value in weights.items():
        head, _, tail = name.partition(".attn.to_k.")
        former = next((part for part in FORMER if part in name and name.startswith("face_resampler.layers.")), None)
        if tail:
            earlier[f"{head}.0.to_kv.{tail}"] = torch.cat([value, weights[f"{head}.attn.to_v.{tail}"]])
        elif ".attn.to_v." not in name:
            earlier[name.replace(former, FORMER[former]) if former else name] = value
    return earlier


@pytest.mark.parametrize("form", EARLIER)
def test_an_earlier_folder_loads(form, tmp_path):
    kind, pipeline = (FPDMPipeline, tiny_pipeline()) if form == "fpdm" else (MCLDPipeline, tiny_mcld())
    pipeline.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    (tmp_path / "model_index.json").write_text(json.dumps({**index, **EARLIER[form]}))
    config = json.loads((tmp_path / "unet/config.json").read_text())
    assert config.pop("extra_tokens") == (form != "fpdm")
    config["_class_name"] = EARLIER[form]["unet"][1]
    (tmp_path / "unet/config.json").write_text(json.dumps(config))
    file = next((tmp_path / "conditioner").glob("*.safetensors"))
    weights = load_file(file)
    earlier = with_earlier_names(weights)
    assert (earlier.keys() != weights.keys()) == (form != "fpdm")
    save_file(earlier, file, metadata={"format": "pt"})
    loaded = kind.from_pretrained(tmp_path)
    assert isinstance(loaded.unet, ConditionedUNet)
    for part in ("unet", "conditioner"):
        own, other = getattr(pipeline, part).state_dict(), getattr(loaded, part).state_dict()
        assert own.keys() == other.keys()
        assert all(torch.equal(value, other[name]) for name, value in own.items())


def test_todays_names_stay():
    weights = tiny_mcld().conditioner.state_dict()
    assert renamed_resampler(weights, "face_resampler.").keys() == weights.keys()
    assert renamed_resampler(with_earlier_names(weights), "face_resampler.").keys() == weights.keys()
