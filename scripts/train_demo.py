"""Train the models that ship with pgpis, from nothing: draws the data, then runs each recipe of ``configs/synth``.

    python scripts/train_demo.py --data data/synth --out outputs/synth [--only STAGE ...] [--ablations] [--jobs 2]

Every stage is a command of pgpis or a function below, is seeded, and is skipped where it is done; a stage that was
stopped goes on from its last checkpoint. ``--out/log.txt`` keeps the commands and how long they took; each stage's
own output is beside it. With ``--jobs 2`` stages that do not need each other run side by side, a core each.

``--ablations`` trains those of ``docs/benchmark.md`` as well: the recipes of the shipped models with the overlays of
``configs/ablation``, an equal and small number of steps each.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pgpis.cli.recipes import find_recipe
from pgpis.errors import PgpisError
from pgpis.jobs import meter
from pgpis.pictures.images import read_image
from pgpis.pictures.iuv import read_part_u_v
from pgpis.pictures.uv_texture import TextureMapper
from pgpis.pipelines.bundle import SHIPPED, pack
from pgpis.synth.files.formats import write_image

PEOPLE, VIEWS, SEED = 1600, 5, 7
EPOCHS, FPDM_STEPS, MCLD_STEPS = 5, 150, 100
"""Budget of an ablation, and steps of an epoch."""


@dataclass(frozen=True)
class Stage:
    """One step of the training.

    ``words`` are those of a pgpis command; ``recipe``, with ``overlay``, is fitted with them where it is given.
    ``done`` is a file that says that it is.
    """

    name: str
    needs: tuple[str, ...]
    done: Path
    words: tuple[object, ...] = ()
    recipe: str | None = None
    overlay: str | None = None


def stages(data: Path, out: Path) -> list[Stage]:
    """Return all stages, in an order in which they can run."""
    vae = out / "autoencoder/vae"
    fpdm = (
        f"--model.init_args.vae={vae}",
        f"--model.init_args.source_encoder={out}/source_encoder/encoder",
    )
    prior = f"--model.init_args.fusion_embedder={out}/fusion/fusion_embedder"
    mcld = (
        f"--model.init_args.vae={vae}",
        f"--model.init_args.image_encoder={out}/clip/encoder",
    )
    trained = (*mcld, f"--data.cache={out}/cache_mcld")
    fusion = (f"--model.init_args.fusion_embedder.encoder={out}/clip/encoder",)
    drawn = ("--people", PEOPLE, "--views", VIEWS, "--seed", SEED, "--test-share", 0.02, "--textures", "none")

    def fit(
        name: str, needs: tuple[str, ...] = (), words: Sequence[str] = (), recipe: str = "", overlay: str | None = None
    ) -> Stage:
        return Stage(name, ("data", *needs), out / name / ".done", (*words,), recipe or name, overlay)

    return [
        Stage("data", (), data / ".done", ("synth", "--out", data, *drawn)),
        fit("autoencoder"),
        fit("source_encoder"),
        fit("clip"),
        Stage("textures", ("data",), data / ".textures"),
        fit("fusion", ("clip",), fusion),
        # the prior sees another pose in each step, so nothing of it is kept
        _cache("fpdm", "fpdm", ("autoencoder", "source_encoder"), (*fpdm, NO_PRIOR), data, out),
        fit("fpdm", ("cache_fpdm", "fusion"), (*fpdm, prior, f"--data.cache={out}/cache_fpdm")),
        _cache("mcld", "mcld", ("autoencoder", "clip", "textures"), (*mcld, NO_START), data, out),
        fit("mcld_base", ("cache_mcld",), trained, "mcld", "synth/mcld_base.yaml"),
        fit("mcld", ("mcld_base",), (*trained, f"--model.init_args.start_from={out}/mcld_base/pipeline", *TWO)),
        Stage("bundles", ("fpdm", "mcld"), out / "bundles/.done"),
    ]


def ablations(data: Path, out: Path) -> list[Stage]:
    """Return the ablations of both papers, of one budget; they need stages of :func:`stages`."""
    vae = f"--model.init_args.vae={out}/autoencoder/vae"
    clip, dino, prior = out / "clip/encoder", out / "source_encoder/encoder", "--model.init_args.fusion_embedder"

    def short(name: str, recipe: str, cache: str, words: Sequence[str], needs: tuple[str, ...] = ()) -> Stage:
        steps = FPDM_STEPS if recipe == "fpdm" else MCLD_STEPS
        budget = (
            f"--trainer.max_steps={EPOCHS * steps}",
            f"--trainer.limit_train_batches={steps}",
            f"--trainer.check_val_every_n_epoch={EPOCHS}",
            "--model.init_args.schedule.warmup_epochs=0.5",
            f"--model.init_args.schedule.decay_epochs=[{EPOCHS - 2}, {EPOCHS - 1}]",
        )
        options = (vae, *words, f"--data.cache={out}/{cache}", *budget)
        overlay = None if name in ("b6", "mcld_short") else f"ablation/{name}.yaml"  # these are the recipes themselves
        return Stage(name, (cache, *needs), out / name / ".done", options, recipe, overlay)

    a2 = (f"{prior}.encoder={clip}",)
    ablation_stages = [Stage("a2", ("data", "clip"), out / "a2/.done", a2, "fusion", "ablation/a2.yaml")]
    for name, needed, encoder in (("b1", "clip", clip), ("b2", "source_encoder", dino)):
        # both at CLIP's own size, so that they read as many tokens
        read = (f"--model.init_args.source_encoder={encoder}", "--model.init_args.conditioner.source_size=128")
        ablation_stages.append(_cache(name, "fpdm", ("autoencoder", needed), (vae, *read, NO_PRIOR), data, out))
        ablation_stages.append(short(name, "fpdm", f"cache_{name}", read))
    read = (f"--model.init_args.source_encoder={dino}",)
    ablation_stages += [
        short("b3", "fpdm", "cache_fpdm", read),
        short("b4", "fpdm", "cache_fpdm", (*read, f"{prior}.encoder={clip}"), ("clip",)),
        short("b5", "fpdm", "cache_fpdm", (*read, f"{prior}={out}/a2/fusion_embedder"), ("a2",)),
        short("b6", "fpdm", "cache_fpdm", (*read, f"{prior}={out}/fusion/fusion_embedder"), ("fusion",)),
    ]
    clip_and_nothing = (f"--model.init_args.image_encoder={clip}", NO_START)
    variants = ("short", "no_correspondence", "no_texture", "no_face", "all_stages", "ip_attention")
    return ablation_stages + [short(f"mcld_{name}", "mcld", "cache_mcld", clip_and_nothing) for name in variants]


TWO = ("--trainer.devices=2", "--trainer.strategy=ddp", "--data.batch_size=4")
"""A process on each of two cores, half of the recipe's pairs in each."""
NO_START = "--model.init_args.start_from=null"
NO_PRIOR = "--model.init_args.fusion_embedder=null"


def _cache(name: str, recipe: str, needs: tuple[str, ...], words: Sequence[str], data: Path, out: Path) -> Stage:
    folder = out / f"cache_{name}"
    command = ("cache", "--config", f"synth/{recipe}.yaml", "--out", folder, "--dtype", "bfloat16")
    root = f"--data.train.init_args.root={data}"
    return Stage(f"cache_{name}", ("data", *needs), folder / ".done", (*command, root, *words))


def run(stage: Stage, data: Path, out: Path, threads: int) -> None:
    """Run one stage, and mark it as done.

    Raises:
        PgpisError: It failed; names the file with its output.
    """
    start = time.monotonic()
    if stage.name == "textures":
        seen_textures(data)
    elif stage.name == "bundles":
        write_bundles(out)
    else:
        words = [str(word) for word in (stage.words if stage.recipe is None else fit_words(stage, data, out))]
        line = f"pgpis {' '.join(words)}"
        note(out, line)
        report = out / f"{stage.name}.txt"
        with report.open("a", encoding="utf-8") as file:
            environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
            command = [sys.executable, "-m", "pgpis", *words]
            code = subprocess.run(command, stdout=file, stderr=file, env=environment, check=False).returncode
        if code:
            raise PgpisError(f"stage '{stage.name}' failed with exit code {code}: see {report}")
    stage.done.touch()
    note(out, f"# {stage.name}: {time.monotonic() - start:.0f} s")


def fit_words(stage: Stage, data: Path, out: Path) -> Iterator[object]:
    """Spell a recipe's command; one that was stopped goes on."""
    yield from ("fit", "--config", f"synth/{stage.recipe}.yaml")
    if stage.overlay is not None:
        yield from ("--config", stage.overlay)
    yield f"--trainer.default_root_dir={out / stage.name}"
    yield from (f"--data.{split}.init_args.root={data}" for split in ("train", "val"))
    yield from stage.words
    if (out / stage.name / "checkpoints/last.ckpt").is_file():
        yield from ("--ckpt_path", "last")


def note(out: Path, line: str) -> None:
    """Add a line to the log."""
    stamp = time.strftime("%H:%M:%S", time.gmtime())
    print(line, flush=True)
    with (out / "log.txt").open("a", encoding="utf-8") as file:
        file.write(f"{stamp} {line}\n")


def seen_textures(data: Path) -> None:
    """Make the texture of one picture of each person, another view with each: the sources that MCLD trains on.

    The published procedure takes half a second a picture; all pictures would take longer than the training.
    """
    with ProcessPoolExecutor(1) as pool:  # one core, as every stage has
        for split in ("train", "test"):
            pictures = sorted((data / split).glob("*.jpg"))
            people: dict[str, list[Path]] = {}
            for path in pictures:
                people.setdefault(path.name.rsplit("_", 1)[0], []).append(path)
            pictures_of_people = [paths[number % len(paths)] for number, paths in enumerate(people.values())]
            with meter(f"textures ({split})", len(pictures_of_people)) as advance:
                for _ in pool.map(_texture, pictures_of_people, chunksize=8):
                    advance(1)


def _texture(picture: Path) -> None:
    global _mapper  # noqa: PLW0603  made once per process
    folder = picture.parent
    target = folder.with_name(f"{folder.name}_texture") / f"{picture.stem}.png"
    if target.is_file():
        return
    _mapper = _mapper or TextureMapper()
    iuv = read_part_u_v(folder.with_name(f"{folder.name}_densepose") / f"{picture.stem}.png")
    write_image(target, _mapper(np.asarray(read_image(picture)), iuv))


_mapper: TextureMapper | None = None


def write_bundles(out: Path) -> None:
    """Pack both pipelines into the files that ship; copy them to ``src/pgpis/bundles`` to ship them."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()  # noqa: S607
    for shipped in SHIPPED.values():
        name = Path(shipped.recipe).stem
        card = {
            "recipe": shipped.recipe,
            "settings": find_recipe(shipped.recipe).read_text(encoding="utf-8"),
            "data": f"pgpis synth --people {PEOPLE} --views {VIEWS} --seed {SEED} --test-share 0.02",
            "commit": commit,
            "torch": torch.__version__,
        }
        pack(out / name / "pipeline", out / "bundles" / shipped.file, card)
        note(out, f"# {shipped.file}: {(out / 'bundles' / shipped.file).stat().st_size / 1e6:.1f} MB")


def main() -> int:
    """Run all stages that are not done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data/synth"))
    parser.add_argument("--out", type=Path, default=Path("outputs/synth"))
    parser.add_argument("--only", nargs="+", metavar="STAGE", help="these stages alone")
    parser.add_argument("--ablations", action="store_true", help="train the ablations as well")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="stages side by side")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    selection = stages(options.data, options.out)
    if options.ablations:
        selection += ablations(options.data, options.out)
    left = [stage for stage in selection if not stage.done.is_file()]
    known = {stage.name for stage in selection}
    if options.only is not None:
        if unknown := set(options.only) - known:
            parser.error(f"no such stage: {', '.join(sorted(unknown))}; one of {', '.join(sorted(known))}")
        left = [stage for stage in left if stage.name in options.only]
    threads = max(1, (os.cpu_count() or 1) // options.jobs)
    done = known - {stage.name for stage in left}
    running: dict[Future[None], Stage] = {}
    with ThreadPoolExecutor(options.jobs) as pool:
        while left or running:
            ready = [stage for stage in left if set(stage.needs) <= done][: options.jobs - len(running)]
            for stage in ready:
                left.remove(stage)
                running[pool.submit(run, stage, options.data, options.out, threads)] = stage
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                stage = running.pop(future)
                future.result()
                done.add(stage.name)
    print(json.dumps({"done": sorted(done)}))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except PgpisError as error:
        sys.exit(f"train_demo: {error}")
