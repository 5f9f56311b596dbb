"""Several nodes train as one does: two of them, of a process each, on this machine."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from fits import fit, seen
from ports import free_port

BIN = Path(sys.executable).parent
TESTS = str(Path(__file__).parents[1])


def started(*command, **environment):
    command = [str(BIN / command[0]), *map(str, command[1:])]
    variables = os.environ | environment
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=variables)


def ended(process, code=0):
    _, said = process.communicate(timeout=400)
    assert process.returncode == code, said[-2000:]


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


@pytest.mark.slow
@pytest.mark.enable_socket
def test_a_slurm_job_stops_at_its_signal_and_goes_on_after_a_requeue(toy_root, tmp_path):
    """As ``srun`` starts its tasks; SLURM's own part is to send SIGTERM, and to start them again."""
    words = ["fit", "--config=smoke/fusion.yaml", f"--data.train.init_args.root={toy_root}", "--data.val=null"]
    words += ["--data.batch_size=2", "--trainer.accelerator=cpu", "--trainer.strategy=ddp", "--trainer.max_epochs=-1"]
    words += ["--trainer.callbacks+=fits.Seen"]
    both = [*words, "--trainer.num_nodes=2", "--trainer.devices=1", f"--trainer.default_root_dir={tmp_path}/two"]

    def submitted(*more):
        port = free_port()
        variables = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "2", "SLURM_NNODES": "2"}
        variables |= {"SLURM_NTASKS_PER_NODE": "1", "SLURM_JOB_NODELIST": "127.0.0.1", "SLURM_LOCALID": "0"}
        variables |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "PYTHONPATH": TESTS}
        return [
            started("pgpis", *both, *more, **variables, SLURM_PROCID=str(rank), SLURM_NODEID=str(rank))
            for rank in range(2)
        ]

    (tmp_path / "two").mkdir()
    tasks = submitted("--trainer.max_steps=100000")
    while not seen(tmp_path / "two", epoch=0, last=2):
        assert all(task.poll() is None for task in tasks), [task.communicate() for task in tasks]
        time.sleep(0.1)
    for task in tasks:
        task.send_signal(signal.SIGTERM)
    for task in tasks:
        ended(task, code=128 + signal.SIGTERM)
    steps = torch.load(tmp_path / "two/checkpoints/last.ckpt", weights_only=True)["global_step"]
    for task in submitted(f"--trainer.max_steps={steps + 2}", "--ckpt_path=last"):
        ended(task)
    one = [*words, f"--trainer.max_steps={steps + 2}", f"--trainer.default_root_dir={tmp_path}/one"]
    fit(one, tmp_path / "one", ranks=2)
    first, second = (tmp_path / f"{run}/fusion_embedder/diffusion_pytorch_model.safetensors" for run in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()
