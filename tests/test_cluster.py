"""Work on machines that are lost: raylets of a Ray cluster here. What comes out is that of a run on this machine."""

import csv
import gc
import os
import shutil
import threading
import time
from concurrent.futures import BrokenExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch
from PIL import Image

import tiny_models
from pgpis.cli import main
from pgpis.cluster import ActorPool, Shared
from pgpis.data import cache as cache_module
from pgpis.errors import PgpisError, check_range
from pgpis.evaluate import features as features_module
from pgpis.evaluate.reference import Reference
from pgpis.files import TEMPORARY
from pgpis.preprocess.listing import find_pictures
from pgpis.preprocess.record import NAME, Record
from pgpis.preprocess.run import prepare, run_here, run_ray
from pgpis.preprocess.settings import PrepareSettings

pytest.importorskip("ray")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.enable_socket,
    pytest.mark.allow_hosts(["127.0.0.1", "localhost"]),
    pytest.mark.timeout(900),
]

TINY = Path(__file__).parent / "configs" / "tiny.yaml"
PATIENCE = 300.0
"""Seconds for whatever is waited for."""


@pytest.fixture(autouse=True)
def one_thread():
    """As actors have it: sums in another order have other last bits."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def cluster():
    """A machine without cores, to which this process is connected."""
    import ray
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        head = {"num_cpus": 0, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, shutdown_at_exit=False, head_node_args=head)
        ray.init(cluster.address, logging_level="warning")
        try:
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()


@pytest.fixture(scope="module")
def second(cluster):
    """The machine that works, of one core; the last test that has it takes it away."""
    return cluster.add_node(num_cpus=1)


def once(is_time, act):
    """Act beside the test as soon as it is time."""

    def wait():
        end = time.monotonic() + PATIENCE
        while not is_time() and time.monotonic() < end:
            time.sleep(0.01)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def kill_actors():
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if "ray::_Actor" in " ".join(child.cmdline()):
                child.kill()


def test_what_actors_do_comes_back(second):
    with ActorPool(3, cpus=0.5) as pool:  # there is room for two
        assert pool.submit(os.getcwd).result(PATIENCE) == str(Path.cwd())
        assert pool.submit(os.environ.get, "OMP_NUM_THREADS").result(PATIENCE) == "1"
        assert pool.submit(gc.get_threshold).result(PATIENCE)[0] > gc.get_threshold()[0]  # before they import torch
        with pytest.raises(PgpisError, match="--steps"):
            pool.submit(check_range, "--steps", 0, 1).result(PATIENCE)
        assert pool.submit(Shared.get, Shared([1, 2])).result(PATIENCE) == [1, 2]


def test_what_ends_every_actor_is_given_up(second):
    with ActorPool(1, cpus=0.5) as pool:
        deadly, harmless = pool.submit(os._exit, 1), pool.submit(os.getpid)
        assert harmless.result(PATIENCE) != os.getpid()
        with pytest.raises(BrokenExecutor, match="3 workers ended while doing it"):
            deadly.result(PATIENCE)
        assert pool.submit(os.getpid).result(PATIENCE)


def test_prepare_makes_the_same_files_though_all_workers_are_killed(second, toy_root, tmp_path):
    conditions = ("densepose", "texture")
    settings = PrepareSettings(pose="blazepose", densepose="lifter")

    def run(name, runner):
        (tmp_path / name / "photos").mkdir(parents=True)
        for number, path in enumerate(sorted(toy_root.glob("img/**/*.jpg"))[:6]):
            shutil.copy(path, tmp_path / name / f"photos/{number}.jpg")
        root = tmp_path / name / "photos"
        files = find_pictures(root, conditions)
        result = prepare(files, conditions, settings, Record(root / NAME), runner, 4)  # there is never room for two
        # what was being written when a worker was killed stays under a name of its own, until the next run removes it
        whole = (path for path in (tmp_path / name).rglob("*.*") if not path.name.startswith(TEMPORARY))
        files = {path.relative_to(tmp_path / name): path for path in whole}
        assert result.made["texture"] > 3
        return {str(path): file.read_bytes() for path, file in files.items()}

    expected = run("here", run_here)
    killer = once(lambda: list((tmp_path / "ray").glob("photos_densepose/*.png")), kill_actors)
    assert run("ray", run_ray) == expected
    killer.join()


def test_cache_holds_the_same_bytes_though_its_worker_is_killed(
    second, tiny_mcld_words, textured_root, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(cache_module, "SHARD", 2)
    data = shutil.copytree(textured_root, tmp_path / "data")
    broken = min((data / "train_texture").glob("*.png"))
    broken.write_bytes(b"no picture")

    def cache(out, *more):
        recipe = tiny_mcld_words("fit", f"--data.train.init_args.root={data}")[1:]
        return main(["cache", f"--out={tmp_path / out}", "--device=cpu", *recipe, *more])

    def content(out):
        files = {path.relative_to(tmp_path / out): path for path in (tmp_path / out).rglob("[!.]*.*")}
        return {str(name): path.read_bytes() for name, path in files.items()}

    assert cache("here") == 1  # a texture is listed
    shutil.copytree(tmp_path / "here", tmp_path / "ray")
    shards = sorted((tmp_path / "ray").rglob("*.safetensors"))
    for path in shards[2:]:  # a run that was interrupted after two shards
        path.unlink()
    times = [path.stat().st_mtime_ns for path in shards[:2]]
    killer = once(lambda: sum(path.exists() for path in shards) > 3, kill_actors)
    assert cache("ray", "--runner=ray", "--workers=2") == 1  # there is never room for two
    killer.join()
    said = capsys.readouterr().err
    assert "another one does its work" in said
    assert broken.name in said
    assert content("ray") == content("here")
    assert len(shards) > 8
    assert [path.stat().st_mtime_ns for path in shards[:2]] == times


def test_evaluate_gives_the_same_numbers_though_its_worker_is_killed(
    second, toy_root, made_once, tmp_path, monkeypatch, capsys
):
    judges = made_once("judges", tiny_models.write_judges)
    (tmp_path / "made").mkdir()
    pairs = Reference(toy_root).dataset().pairs
    for pair in pairs:
        Image.open(pair.target).convert("RGB").rotate(3).save(tmp_path / f"made/{pair.pair_id}.png")
    (tmp_path / f"made/{pairs[2].pair_id}.png").write_bytes(b"no picture")
    # eigenvalues of 2,048 features take ten seconds
    monkeypatch.setattr(features_module, "frechet_distance", lambda a, b, c, d: float((a - c).norm() + (b - d).norm()))
    scored, add = [], features_module.SetDistances.add
    monkeypatch.setattr(features_module.SetDistances, "add", lambda self, x: scored.append(x) or add(self, x))

    def evaluate(out, *more):
        words = ["evaluate", "--generated", tmp_path / "made", "--reference", toy_root, "--weights", judges]
        words += ["--size=64x56", "--batch-size=2", "--device=cpu", "--cache", tmp_path / out / "features"]
        return main([*map(str, words), f"--out={tmp_path / out}", *more])

    def written(out):
        files = [*(tmp_path / out).glob("*.[jct]*"), *(tmp_path / out).rglob("*.safetensors")]
        return {str(path.relative_to(tmp_path / out)): path.read_bytes() for path in files}

    assert evaluate("here", "--workers=0") == 1  # a picture is listed
    scored.clear()
    killer = once(lambda: scored, kill_actors)
    assert evaluate("ray", "--runner=ray") == 1
    killer.join()
    said = capsys.readouterr().err
    assert "another one does its work" in said
    assert f"left out: {pairs[2].pair_id}" in said
    assert written("ray") == written("here")
    assert {"metrics.json", "pairs.csv", "metrics.tex"} < written("ray").keys()
    assert len(list((tmp_path / "ray/features").rglob("*.safetensors"))) == 2


def test_predict_draws_the_same_pictures_though_its_machine_is_lost(
    cluster, second, toy_root, trained_fpdm, tmp_path, capsys
):
    (tmp_path / "sources").mkdir()
    (tmp_path / "poses").mkdir()
    for name, path in zip(("anna", "cleo", "dora", "emil", "fine"), toy_root.glob("img/**/*.jpg"), strict=False):
        shutil.copy(path, tmp_path / f"sources/{name}.jpg")
    for name, path in zip(("sit", "walk"), toy_root.glob("pose/**/*.txt"), strict=False):
        shutil.copy(path, tmp_path / f"poses/{name}.txt")
    (tmp_path / "sources/bert.png").write_bytes(b"not a picture")

    def predict(out, *more):
        recipe = ["--config=smoke/fpdm.yaml", f"--config={TINY}", f"--pipeline={trained_fpdm / 'pipeline'}"]
        folders = [f"--{name}={tmp_path / name}" for name in ("sources", "poses")]
        return main(["predict", *recipe, *folders, f"--out={tmp_path / out}", "--batch-size=2", "--steps=10", *more])

    def table(out):
        with (tmp_path / out / "predictions.csv").open(newline="") as file:
            return [{**row, "seconds": ""} for row in csv.DictReader(file)]

    def pictures(out):
        folder = tmp_path / out
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.png")}

    assert predict("here") == 1  # bert is listed
    shutil.copytree(tmp_path / "here", tmp_path / "ray")
    for path in (tmp_path / "ray").glob("[!a]*_2_*.png"):  # a run that was interrupted after anna
        path.unlink()
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "ray").glob("anna_2_*.png")}
    parts = tmp_path / "ray/.parts/rank0.csv"

    def exchange_machines():
        cluster.remove_node(second, allow_graceful=False)
        cluster.add_node(num_cpus=1)

    killer = once(lambda: parts.exists() and "cleo" in parts.read_text(), exchange_machines)
    assert predict("ray", "--runner=ray", "--workers=2") == 1  # there is never room for two
    killer.join()
    assert "another one does its work" in capsys.readouterr().err
    assert pictures("ray") == pictures("here")
    assert len(pictures("ray")) == 20  # with the drawn poses
    assert table("ray") == table("here")
    assert {path: path.stat().st_mtime_ns for path in times} == times
