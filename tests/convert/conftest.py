"""Fixtures of the converter's tests."""

from __future__ import annotations

import json

import pytest
import torch
from official_files import CONFIG, OfficialFiles, official_state, save_lightning, with_duplicates

from tiny_fpdm import tiny_pipeline


@pytest.fixture(scope="session")
def official(tmp_path_factory: pytest.TempPathFactory) -> OfficialFiles:
    folder = tmp_path_factory.mktemp("official")
    pipeline = tiny_pipeline()
    state = with_duplicates(official_state(pipeline, folder / "pipeline"))
    prefix = "fusion_model."
    prior = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return OfficialFiles(
        save_lightning(folder / "fusion.ckpt", prior),
        save_lightning(folder / "diffusion.ckpt", state, optimizer_states=[{"state": {0: torch.ones(3)}}]),
        folder / "config.json",
        pipeline,
        prior,
        state,
    )
