"""Several nodes train as one does: two of them, of a process each, on this machine."""

import subprocess
import sys
from pathlib import Path

import pytest

from fits import fit
from ports import free_port

BIN = Path(sys.executable).parent


def started(*command):
    command = [str(BIN / command[0]), *map(str, command[1:])]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def ended(process):
    _, said = process.communicate(timeout=400)
    assert process.returncode == 0, said[-2000:]


@pytest.mark.slow
@pytest.mark.enable_socket
def test_two_nodes_train_as_one_with_two_processes(toy_root, tmp_path):
    """The prior, whose loss takes the negatives of all processes."""
    words = ["fit", "--config=smoke/fusion.yaml", f"--data.train.init_args.root={toy_root}", "--data.val=null"]
    words += ["--data.batch_size=2", "--trainer.max_steps=2", "--trainer.accelerator=cpu", "--trainer.strategy=ddp"]
    port = free_port()
    torchrun = ("torchrun", "--nnodes=2", "--nproc-per-node=1", "--master-addr=127.0.0.1", f"--master-port={port}")
    nodes = [
        started(*torchrun, f"--node-rank={rank}", "--no-python", BIN / "pgpis", *words, "--trainer.num_nodes=2",
                "--trainer.devices=1", f"--trainer.default_root_dir={tmp_path}/two")
        for rank in range(2)
    ]  # fmt: skip
    for node in nodes:
        ended(node)
    fit([*words, f"--trainer.default_root_dir={tmp_path}/one"], tmp_path / "one", ranks=2)
    one, two = (tmp_path / f"{run}/fusion_embedder/diffusion_pytorch_model.safetensors" for run in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
