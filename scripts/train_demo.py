"""Train the models that ship with pgpis, from nothing: draws the data, then runs each recipe of ``configs/synth``.

    python scripts/train_demo.py --data data/synth --out outputs/synth [--only STAGE ...] [--jobs 2]
    python scripts/train_demo.py --data data/synth --out outputs/synth --ablations [--seeds 0 1 2] [--epochs 5]
    python scripts/train_demo.py --data data/synth --out outputs/synth --minutes 12 --jobs 6

The first takes most of a day on two cores. The third is for a GPU, and takes the minutes that it is told and those of
reading: stages side by side, with ``configs/parts/timed.yaml``; the pictures lie in the GPU's memory, and the learning
rates come to zero when the time is up.

Every stage is a command of pgpis or a function below, is seeded, and is skipped where it is done, unless it was told
something else, which is refused; a stage that was stopped goes on from its last checkpoint. ``--out/log.txt`` keeps the
commands and how long they took; each stage's own output is beside it. With ``--jobs 2`` stages that do not need each
other run side by side, a core each.

``--ablations`` trains those of ``docs/benchmark.md`` as well: the recipes of the shipped models with the overlays of
``configs/ablation``, an equal and small number of steps each, of 150 (FPDM) or 100 (MCLD) an epoch. With several seeds,
``pgpis bench synth --models B6=out/b6/pipeline B6=out/b6_seed1/pipeline ...`` takes the runs of a method as one row.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from pgpis.cli.recipes import find_recipe
from pgpis.errors import PgpisError, check_range
from pgpis.jobs import meter
from pgpis.models.lifter import SurfaceLifter, lift
from pgpis.pictures.images import read_image, tensor_to_images
from pgpis.pictures.iuv import part_u_v
from pgpis.pictures.keypoints import FEET_AND_HANDS
from pgpis.pictures.surface import surface_of
from pgpis.pictures.uv_texture import TextureMapper
from pgpis.pipelines.bundle import SHIPPED, pack
from pgpis.pipelines.limits import LARGEST_SEED
from pgpis.preprocess.lifter import FOLDER as LIFTER
from pgpis.synth.files.deepfashion import SPLITS, Names
from pgpis.synth.files.formats import write_image
from pgpis.tasks.lifter import disturbed

PEOPLE, VIEWS, SEED = 1600, 5, 7
UNSEEN_PEOPLE, UNSEEN_SEED = 320, 77
"""People whom the models have not seen, on whose pictures the refiner is trained."""
FIRST_PEOPLE = 300
"""The autoencoder starts on these where time is short."""
LIFTER_PEOPLE = 700
"""People on whom the lifter is trained where time is short: they are drawn anew, by its own processes."""
LIFTED = 0.4
"""Share of people whose maps are the lifter's: what photographs come with."""
EPOCHS, FPDM_STEPS, MCLD_STEPS = 5, 150, 100
"""Budget of an ablation, and steps of an epoch."""
SHARES = {
    "autoencoder": 0.2,
    "source_encoder": 0.1,
    "clip": 0.08,
    "fusion": 0.05,
    "lifter": 0.25,
    "mcld_base": 0.2,
    "mcld": 0.5,
    "fpdm": 0.5,
}
"""Of the minutes, without the reading of pictures; the refiners take what is left."""
RATES = {
    "autoencoder": 1.5e-3,
    "source_encoder": 1e-3,
    "clip": 1e-3,
    "fusion": 5e-4,
    "lifter": 2e-3,
    "refiner": 2e-3,
    "fpdm_refiner": 2e-3,
}
DIFFUSION_RATE = 8e-4
"""Learning rates for the batches of ``configs/parts/timed.yaml``."""


@dataclass(frozen=True)
class Stage:
    """One step of the training.

    ``words`` are those of a pgpis command; ``recipe``, with ``overlay``, is fitted with them where it is given;
    ``function`` is called in place of a command, and ``words`` then are what its result depends on beside its
    arguments. ``done`` is a file that says that it is, and of which words.
    """

    name: str
    needs: tuple[str, ...]
    done: Path
    words: tuple[object, ...] = ()
    recipe: str | None = None
    overlay: str | None = None
    function: functools.partial[None] | None = None

    def told(self, out: Path, clock: Clock | None) -> list[str]:
        """Return what the stage was told, wherever ``out`` lies: what its ``done`` keeps."""
        words: list[object] = [*self.words]
        if self.function is not None:
            words = [self.function.func.__name__, *self.function.args, *words]
        elif self.recipe is not None:
            words = [self.recipe, self.overlay, *words, *(() if clock is None else (f"{clock.seconds:g} s",))]
        return [str(word).replace(str(out), "OUT") for word in words]


def drawn(data: Path, people: int, seed: int = SEED) -> tuple[object, ...]:
    """Spell the command that draws people; more of them extend a data set."""
    kept = f"--views {VIEWS} --seed {seed} --test-share 0.02 --look mixed --textures seen --inpaint fast"
    return ("synth", "--out", data, "--people", people, *kept.split())


def stages(data: Path, out: Path, people: int = PEOPLE, *, timed: bool = False) -> list[Stage]:
    """Return all stages, in an order in which they can run; with a time limit, pictures are in no cache."""
    vae = f"--model.init_args.vae={out / 'autoencoder/vae'}"
    fpdm = (vae, f"--model.init_args.source_encoder={out}/source_encoder/encoder")
    prior = f"--model.init_args.fusion_embedder={out}/fusion/fusion_embedder"
    mcld = (vae, f"--model.init_args.image_encoder={out}/clip/encoder")
    fusion = (f"--model.init_args.fusion_embedder.encoder={out}/clip/encoder",)
    cached = (*mcld, f"--data.cache={out}/cache_mcld")
    base = f"--model.init_args.start_from={out}/mcld_base/pipeline"

    def fit(
        name: str, needs: tuple[str, ...] = (), words: Sequence[str] = (), recipe: str = "", overlay: str | None = None
    ) -> Stage:
        return Stage(name, ("data", *needs), out / name / ".done", (*words,), recipe or name, overlay)

    encoders = [fit("source_encoder"), fit("clip"), fit("fusion", ("clip",), fusion)]
    # the encoders learn of exact maps
    lift = functools.partial(lift_maps, data)
    lifted = Stage("lifted", ("data", "source_encoder", "clip"), data / ".lifted", (people,), function=lift)
    unseen = data.with_name(f"{data.name}_unseen")
    lift_unseen = functools.partial(lift_maps, unseen)
    roots = [f"--data.{split}.init_args.root={unseen}" for split in ("train", "val")]

    def refiner(name: str, method: str, needed: str) -> Stage:
        words = (
            f"--model.init_args.pipeline={out}/{method}/pipeline",
            f"--model.init_args.drafts={out}/{name}/drafts",
            *roots,
        )
        return fit(name, (method, needed), words)

    refined = (
        Stage("unseen", (), unseen / ".done", drawn(unseen, UNSEEN_PEOPLE, UNSEEN_SEED)),
        Stage("unseen_lifted", ("unseen",), unseen / ".lifted", (UNSEEN_PEOPLE,), function=lift_unseen),
        refiner("refiner", "mcld", "unseen_lifted"),
        refiner("fpdm_refiner", "fpdm", "unseen"),
    )
    write = functools.partial(write_bundles, data, out)
    bundles = Stage("bundles", ("fpdm_refiner", "refiner"), out / "bundles/.done", function=write)
    if timed:
        first = Stage("first", (), data / ".first", drawn(data, min(people, FIRST_PEOPLE)))
        autoencoder = Stage("autoencoder", ("first",), out / "autoencoder/.done", (), "autoencoder")
        return [
            first,
            autoencoder,
            Stage("data", ("first",), data / ".done", drawn(data, people)),
            *encoders,
            lifted,
            fit("mcld_base", ("autoencoder", "clip", "lifted"), mcld, "mcld", "synth/mcld_base.yaml"),
            fit("mcld", ("mcld_base",), (*mcld, base)),
            fit("fpdm", ("autoencoder", "source_encoder", "fusion"), (*fpdm, prior)),
            fit("lifter", (), (f"--data.train.init_args.people={LIFTER_PEOPLE}",)),
            *refined,
            bundles,
        ]
    return [
        Stage("data", (), data / ".done", drawn(data, people)),
        fit("autoencoder"),
        *encoders,
        lifted,
        # the prior sees another pose in each step, so nothing of it is kept
        _cache("fpdm", "fpdm", ("autoencoder", "source_encoder"), (*fpdm, NO_PRIOR), data, out),
        fit("fpdm", ("cache_fpdm", "fusion"), (*fpdm, prior, f"--data.cache={out}/cache_fpdm")),
        _cache("mcld", "mcld", ("autoencoder", "clip", "lifted"), (*mcld, NO_START), data, out),
        fit("mcld_base", ("cache_mcld",), cached, "mcld", "synth/mcld_base.yaml"),
        fit("mcld", ("mcld_base",), (*cached, base, *TWO)),
        fit("lifter"),
        *refined,
        bundles,
    ]


def ablations(data: Path, out: Path, seeds: Sequence[int] = (0,), epochs: int = EPOCHS) -> list[Stage]:
    """Return the ablations of both papers, of one budget; they need stages of :func:`stages`.

    Those of seed 0 have no mark. What is frozen is cached once for all seeds.
    """
    vae = f"--model.init_args.vae={out}/autoencoder/vae"
    clip, prior = out / "clip/encoder", "--model.init_args.fusion_embedder"
    fpdm = f"--model.init_args.source_encoder={out / 'source_encoder/encoder'}"
    mcld = (f"--model.init_args.image_encoder={clip}", NO_START)
    # both at CLIP's own size, so that they read as many tokens
    size = "--model.init_args.conditioner.source_size=128"
    small = {"b1": ("clip", f"--model.init_args.source_encoder={clip}", size), "b2": ("source_encoder", fpdm, size)}

    def of_seed(seed: int) -> Iterator[Stage]:
        mark = f"_seed{seed}" if seed else ""
        chosen = (f"--seed_everything={seed}", f"--model.init_args.seed={seed}")

        def short(name: str, recipe: str, cache: str, words: Sequence[str], needs: tuple[str, ...] = ()) -> Stage:
            options = (vae, f"--data.cache={out}/{cache}", *words, *_budget(recipe, epochs), *chosen)
            folder, overlay = f"{name}{mark}", OVERLAYS.get(name, f"ablation/{name}.yaml")
            return Stage(folder, (cache, *needs), out / folder / ".done", options, recipe, overlay)

        a2, a3, encoder = f"a2{mark}", f"fusion{mark}", f"{prior}.encoder={clip}"
        yield Stage(a2, ("data", "clip"), out / a2 / ".done", (encoder, *chosen), "fusion", "ablation/a2.yaml")
        if mark:  # the other is a stage of the shipped models
            yield Stage(a3, ("data", "clip"), out / a3 / ".done", (encoder, *chosen), "fusion")
        # a cache keeps what belongs to one source, so these have none
        several = ("--data.cache=null", "--data.train.init_args.most_sources=3")
        for name, (_, *words) in small.items():
            yield short(name, "fpdm", f"cache_{name}", words)
        yield short("b3", "fpdm", "cache_fpdm", (fpdm,))
        yield short("b4", "fpdm", "cache_fpdm", (fpdm, encoder), ("clip",))
        for name, trained, *words in (("b5", a2), ("b6", a3), ("b6_flow_loss", a3), ("b6_sources", a3, *several)):
            given = (fpdm, f"{prior}={out}/{trained}/fusion_embedder", *words)
            yield short(name, "fpdm", "cache_fpdm", given, (trained,))
        plain = ("no_correspondence", "no_texture", "no_face", "all_stages", "ip_attention", "flow_loss")
        for name in ("short", "no_rendered_texture", *plain):
            yield short(f"mcld_{name}", "mcld", "cache_mcld", mcld)
        yield short("mcld_sources", "mcld", "cache_mcld", (*mcld, *several))

    caches = [
        _cache(name, "fpdm", ("autoencoder", needed), (vae, *words, NO_PRIOR), data, out)
        for name, (needed, *words) in small.items()
    ]
    return [*caches, *(stage for seed in seeds for stage in of_seed(seed))]


def _budget(recipe: str, epochs: int) -> tuple[str, ...]:
    """Spell how long an ablation is trained, and how its learning rate changes: not before the second epoch."""
    steps = FPDM_STEPS if recipe == "fpdm" else MCLD_STEPS
    decay = [epoch for epoch in (epochs - 2, epochs - 1) if epoch > 0]
    return (
        f"--trainer.max_steps={epochs * steps}",
        f"--trainer.limit_train_batches={steps}",
        f"--trainer.check_val_every_n_epoch={epochs}",
        "--model.init_args.schedule.warmup_epochs=0.5",
        f"--model.init_args.schedule.decay_epochs={decay}",
    )


OVERLAYS = {
    **dict.fromkeys(("b6", "b6_sources", "mcld_short", "mcld_sources"), None),
    **dict.fromkeys(("b6_flow_loss", "mcld_flow_loss"), "flow_loss.yaml"),
}
"""Of ablations whose overlay has another name; None: they are the recipes themselves."""
TWO = ("--trainer.devices=2", "--trainer.strategy=ddp", "--data.batch_size=4")
"""A process on each of two cores, half of the recipe's pairs in each."""
NO_START = "--model.init_args.start_from=null"
NO_PRIOR = "--model.init_args.fusion_embedder=null"


def _cache(name: str, recipe: str, needs: tuple[str, ...], words: Sequence[str], data: Path, out: Path) -> Stage:
    folder = out / f"cache_{name}"
    command = ("cache", "--config", f"synth/{recipe}.yaml", "--out", folder, "--dtype", "bfloat16")
    root = f"--data.train.init_args.root={data}"
    return Stage(f"cache_{name}", ("data", *needs), folder / ".done", (*command, root, *words))


def run(stage: Stage, data: Path, out: Path, threads: int, clock: Clock | None = None) -> None:
    """Run one stage, and mark it as done.

    Raises:
        PgpisError: It failed; names the file with its output.
    """
    start = time.monotonic()
    if stage.function is not None:
        stage.function()
    else:
        words = [str(word) for word in (stage.words if stage.recipe is None else fit_words(stage, data, out, clock))]
        line = f"pgpis {' '.join(words)}"
        note(out, line)
        report = out / f"{stage.name}.txt"
        with report.open("a", encoding="utf-8") as file:
            environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
            command = [sys.executable, "-m", "pgpis", *words]
            code = subprocess.run(command, stdout=file, stderr=file, env=environment, check=False).returncode
        if code:
            raise PgpisError(f"stage '{stage.name}' failed with exit code {code}: see {report}")
    stage.done.write_text("\n".join(stage.told(out, clock)), encoding="utf-8")
    note(out, f"# {stage.name}: {time.monotonic() - start:.0f} s")


class Clock(NamedTuple):
    """When all is to be done, and how long that is from the start, in seconds."""

    end: float
    seconds: float

    def left(self, stage: str) -> int:
        """Return the seconds that a stage gets."""
        share = SHARES.get(stage)
        left = self.end - time.monotonic()
        return max(1, round(left if share is None else min(left, share * self.seconds)))


def fit_words(stage: Stage, data: Path, out: Path, clock: Clock | None = None) -> Iterator[object]:
    """Spell a recipe's command; one that was stopped goes on."""
    yield from ("fit", "--config", f"synth/{stage.recipe}.yaml")
    if stage.overlay is not None:
        yield from ("--config", stage.overlay)
    if clock is not None:
        yield from ("--config", "parts/timed.yaml")
        seconds = clock.left(stage.name)
        schedule = {"class_path": "pgpis.tasks.timed.CosineUntil", "init_args": {"seconds": seconds}}
        yield f"--model.init_args.schedule.lr_scheduler={json.dumps(schedule)}"
        yield f"--model.init_args.optimizer.init_args.lr={RATES.get(str(stage.recipe), DIFFUSION_RATE)}"
        yield f"--trainer.max_time={json.dumps({'seconds': seconds})}"
    yield f"--trainer.default_root_dir={out / stage.name}"
    if stage.recipe != "lifter":  # its people are never written
        yield from (f"--data.{split}.init_args.root={data}" for split in ("train", "val"))
    yield from stage.words
    if (out / stage.name / "checkpoints/last.ckpt").is_file():
        yield from ("--ckpt_path", "last")


def refuse_other_words(done: Sequence[Stage], out: Path, clock: Clock | None) -> None:
    """Take no stage for done that was told something else; those of earlier versions do not say what they were told.

    Raises:
        PgpisError: One was.
    """
    others = {stage.name: stage for stage in done if _differing(stage, out, clock)}
    if others:
        first = next(iter(others.values()))
        folders = " ".join(dict.fromkeys(str(stage.done.parent) for stage in others.values()))
        raise PgpisError(
            f"done with other words (--people, --epochs, --minutes, --data): {', '.join(others)} "
            f"({first.name}: {_differing(first, out, clock)})",
            hint=f"rm -r {folders} does them anew; --only STAGE ... takes all others as they are",
        )


def _differing(stage: Stage, out: Path, clock: Clock | None) -> str:
    """Say in what the words of a stage that is done differ from those of now; nothing where they do not."""
    before, now = stage.done.read_text(encoding="utf-8").splitlines(), stage.told(out, clock)
    if not before or before == now:
        return ""
    then, here = ([word for word in one if word not in other] for one, other in ((before, now), (now, before)))
    return f"{' '.join(then) or 'nothing'} there, {' '.join(here) or 'nothing'} here"


def note(out: Path, line: str) -> None:
    """Add a line to the log."""
    stamp = time.strftime("%H:%M:%S", time.gmtime())
    print(line, flush=True)
    with (out / "log.txt").open("a", encoding="utf-8") as file:
        file.write(f"{stamp} {line}\n")


def lift_maps(data: Path) -> None:
    """Give a share of people the maps that photographs have: by the lifter that ships, of inputs with errors."""
    trees = sorted((data / "labels").rglob("*_*.json"))
    people = sorted({path.parent for path in trees})
    chosen = {folder for number, folder in enumerate(people) if number * LIFTED % 1 < LIFTED}
    pictures = [path for path in trees if path.parent in chosen]
    with (
        ProcessPoolExecutor(mp_context=get_context("spawn")) as pool,
        meter("maps by the lifter", len(pictures)) as advance,
    ):
        for _ in pool.map(_lift, pictures, chunksize=8):
            advance(1)


def _lift(labels: Path) -> None:
    """Exchange map, texture and surface of one picture; its other files stay as exact as they are."""
    torch.set_num_threads(1)
    root = labels.parents[4]
    name = Names.of(f"img/{labels.relative_to(root / 'labels').with_suffix('.jpg').as_posix()}")
    split = next(split for split in SPLITS if (root / split / f"{name.flat}.jpg").exists())
    picture = np.asarray(read_image(root / split / f"{name.flat}.jpg"))
    person = np.asarray(Image.open(labels.with_suffix(".png"))) > 0
    content = json.loads(labels.read_text(encoding="utf-8"))
    height, width = person.shape
    points = np.concatenate([np.array(content["body18"]), np.array(content["whole133"])[list(FEET_AND_HANDS)]])
    points = torch.from_numpy((points / [width, height, 1]).astype(np.float32))[None]
    lifter = _lifter()
    size = (lifter.config.height, lifter.config.width)
    silhouette = F.adaptive_avg_pool2d(torch.from_numpy(person).float()[None, None], size).gt(0.5).float()
    generator = torch.Generator().manual_seed(zlib.crc32(name.flat.encode()))
    seen = disturbed(points, silhouette, silhouette.expand(-1, 3, -1, -1), generator, reframe=False)
    with torch.no_grad():
        lifted = F.interpolate(lift(lifter, *seen[:2]), (height, width), mode="nearest-exact")
    image = tensor_to_images(lifted)[0]
    write_image(root / f"{split}_densepose/{name.flat}.png", np.asarray(image))
    iuv = part_u_v(np.asarray(image))
    write_image(root / f"{split}_surface/{name.flat}.png", surface_of(picture, iuv))
    write_image(root / f"{split}_texture/{name.flat}.png", _mapper()(picture, iuv))


@functools.cache
def _lifter() -> SurfaceLifter:
    return SurfaceLifter.from_pretrained(LIFTER).eval()


@functools.cache
def _mapper() -> TextureMapper:
    return TextureMapper(inpaint="fast")


def write_bundles(data: Path, out: Path) -> None:
    """Pack both pipelines into the files that ship; copy them to ``src/pgpis/bundles`` to ship them."""
    git = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)  # noqa: S607
    mcld, fpdm = SHIPPED["synth-mcld"], SHIPPED["synth-fpdm"]
    for shipped, last, beside in ((mcld, "refiner", None), (fpdm, "fpdm_refiner", mcld.file)):
        card = {
            "recipe": shipped.recipe,
            "settings": find_recipe(shipped.recipe).read_text(encoding="utf-8"),
            "refiner": find_recipe(f"synth/{last}.yaml").read_text(encoding="utf-8"),
            "data": json.loads((data / "job.json").read_text(encoding="utf-8")),
            "commit": git.stdout.strip() or "unknown: not a clone",
            "torch": torch.__version__,
        }
        folder = out / "bundles"
        pack(out / last / "pipeline", folder / shipped.file, card, None if beside is None else folder / beside)
        note(out, f"# {shipped.file}: {(folder / shipped.file).stat().st_size / 1e6:.1f} MB")


def main() -> int:
    """Run all stages that are not done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data/synth"))
    parser.add_argument("--out", type=Path, default=Path("outputs/synth"))
    parser.add_argument("--only", nargs="+", metavar="STAGE", help="these stages alone")
    parser.add_argument("--ablations", action="store_true", help="train the ablations as well")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the ablations")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of the ablations")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="stages side by side")
    parser.add_argument("--minutes", type=float, help="for all stages, on a GPU [the recipes' steps]")
    parser.add_argument("--people", type=int, default=PEOPLE, help="people to draw")
    options = parser.parse_args()
    for seed in options.seeds:
        check_range("--seeds", seed, 0, LARGEST_SEED, whole=True)
    for name in ("epochs", "jobs", "people"):
        check_range(f"--{name}", getattr(options, name), 1, whole=True)
    check_range("--minutes", options.minutes, 0, optional=True)
    timed = options.minutes is not None
    clock = Clock(time.monotonic() + 60 * options.minutes, 60 * options.minutes) if timed else None
    options.data, options.out = options.data.resolve(), options.out.resolve()  # however they are spelled
    options.out.mkdir(parents=True, exist_ok=True)
    selection = stages(options.data, options.out, options.people, timed=timed)
    if options.ablations:
        selection += ablations(options.data, options.out, list(dict.fromkeys(options.seeds)), options.epochs)
    left = [stage for stage in selection if not stage.done.is_file()]
    known = {stage.name for stage in selection}
    if options.only is not None:
        if unknown := set(options.only) - known:
            parser.error(f"no such stage: {', '.join(sorted(unknown))}; one of {', '.join(sorted(known))}")
        left = [stage for stage in left if stage.name in options.only]
    chosen = known if options.only is None else set(options.only)
    done_before = [stage for stage in selection if stage.name in chosen and stage.done.is_file()]
    refuse_other_words(done_before, options.out, clock)
    threads = max(1, (os.cpu_count() or 1) // options.jobs)
    done = known - {stage.name for stage in left}
    running: dict[Future[None], Stage] = {}
    with ThreadPoolExecutor(options.jobs) as pool:
        while True:
            ready = [stage for stage in left if set(stage.needs) <= done][: options.jobs - len(running)]
            if not ready and not running:  # what is left needs what has failed
                break
            for stage in ready:
                left.remove(stage)
                running[pool.submit(run, stage, options.data, options.out, threads, clock)] = stage
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                stage = running.pop(future)
                try:
                    future.result()
                except PgpisError as error:
                    note(options.out, f"# {error}")
                else:
                    done.add(stage.name)
    print(json.dumps({"done": sorted(done), "not done": sorted(known - done)}))
    return int(known != done)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except PgpisError as error:
        sys.exit(f"train_demo: {error}")
