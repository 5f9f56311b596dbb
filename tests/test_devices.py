"""The option ``--device``."""

from types import SimpleNamespace

import pytest
import torch

from pgpis.cli import main
from pgpis.devices import check_device_name, device_here, gpu_to_lend_to, usual_device
from pgpis.errors import PgpisError


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: SimpleNamespace(type="cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: None)


@pytest.mark.parametrize("name", ["gpu", "", "cuda:", "cuda:-1", "cuda:x", "CUDA", " cpu", "cuda:\u0661", "cpu:0"])
def test_other_names_are_refused(name):
    with pytest.raises(PgpisError, match="expected cpu, cuda"):
        check_device_name(name)


@pytest.mark.usefixtures("no_gpu")
def test_a_machine_without_gpus():
    assert (usual_device(), device_here(None), device_here("cpu")) == ("cpu", "cpu", "cpu")
    for name in ("cuda", "cuda:0", "mps"):
        with pytest.raises(PgpisError, match=f"--device {name}: PyTorch finds none"):
            device_here(name)
    with pytest.raises(PgpisError, match="--offload"):
        gpu_to_lend_to()


@pytest.mark.usefixtures("two_gpus")
def test_a_machine_with_gpus(monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert [device_here(name) for name in (None, "cuda", "cuda:1", "cpu")] == ["cuda", "cuda", "cuda:1", "cpu"]
    for name in ("cuda:2", "xpu"):
        with pytest.raises(PgpisError, match=f"--device {name}: PyTorch finds"):
            device_here(name)


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(("rank", "gpu"), [("0", "cuda:0"), ("1", "cuda:1"), ("3", "cuda:1")])
def test_each_of_several_processes_has_a_gpu_of_its_own(rank, gpu, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", rank)
    assert [device_here(name) for name in (None, "cuda", "cuda:0", "cpu")] == [gpu, gpu, "cuda:0", "cpu"]
    assert gpu_to_lend_to() == gpu


@pytest.mark.parametrize(
    "command",
    [
        "prepare people --device gpu",
        "evaluate --generated people --reference people --device gpu",
        "cache --config smoke/fpdm.yaml --out out --device gpu",
        "bench model --config smoke/fpdm.yaml --device gpu",
        "predict --pipeline synth-fpdm --sources people --driving people --out out --prepare-device gpu",
    ],
)
def test_every_command_refuses_other_names_at_once(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "people").mkdir()
    assert main(command.split()) == 2
    assert "expected cpu, cuda" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
