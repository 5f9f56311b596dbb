"""The toy model of docs/adding-a-model.md: under 80 lines, no other file, and every verb works with it."""

import json
import re
import sys
from pathlib import Path

import pytest
import yaml

from pgpis.cli import main
from tiny_fpdm import UNET, VAE

PAGE = Path(__file__).parents[1] / "docs/adding-a-model.md"


@pytest.fixture
def toy(tmp_path, toy_root, monkeypatch):
    """A folder with the page's module and a recipe for it."""
    code = re.search(r'```python title="toy_model.py"\n(.*?)```', PAGE.read_text(), re.DOTALL).group(1)
    assert len(code.splitlines()) < 80
    (tmp_path / "toy_model.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "toy_model", raising=False)
    clip = {"model_type": "clip_vision_model", "hidden_size": 16, "intermediate_size": 16, "projection_dim": 8,
            "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32, "patch_size": 16}  # fmt: skip
    unet = UNET | {"cross_attention_dim": 16, "class_embed_type": None}
    vae = VAE | {"block_out_channels": [4, 8, 8], "down_block_types": ["DownEncoderBlock2D"] * 3,
                 "up_block_types": ["UpDecoderBlock2D"] * 3}  # fmt: skip
    split = {"class_path": "DeepFashion", "init_args": {"root": str(toy_root)}}
    recipe = {
        "model": {
            "class_path": "toy_model.ToyTask",
            "init_args": {"unet": unet, "vae": vae, "source_encoder": clip, "num_inference_steps": 2},
        },
        "data": {"train": split, "test": {**split, "init_args": {**split["init_args"], "split": "test"}},
                 "batch_size": 2, "num_workers": 0},
        "trainer": {"max_steps": 2, "accelerator": "cpu", "enable_progress_bar": False, "logger": False,
                    "callbacks": [{"class_path": "ModelCheckpoint", "init_args": {"save_last": True}},
                                  {"class_path": "ExportModel"}]},
    }  # fmt: skip
    plain = json.loads(json.dumps(recipe))  # tuples are no YAML
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(plain))
    return tmp_path


def test_a_third_model_needs_no_other_file(toy, toy_root):
    recipe = f"--config={toy / 'toy.yaml'}"
    out = f"--trainer.default_root_dir={toy / 'run'}"
    assert main(["fit", recipe, out]) == 0
    assert (toy / "run/pipeline/model_index.json").is_file()
    trained = f"--ckpt_path={toy / 'run/checkpoints/last.ckpt'}"
    assert main(["test", recipe, out, trained]) == 0
    assert json.loads((toy / "run/test/metrics.json").read_text())["samples"] == 6
    picture = min(toy_root.glob("img/**/*.jpg"))
    pose = min(toy_root.glob("pose/**/*.txt"))
    words = [f"--sources={picture}", f"--poses={pose}", f"--out={toy / 'predicted'}"]
    assert main(["predict", recipe, trained, *words]) == 0
    assert len(list((toy / "predicted").glob("*_2_*.png"))) == 1
