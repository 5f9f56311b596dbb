"""``pgpis predict``: pictures from folders of sources and poses, as a recipe laid over that of the model."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pgpis.cli.drawing import DrawingSettings
from pgpis.cli.models import names_model, pipeline_in, recipe_of_pipeline
from pgpis.cli.options import given
from pgpis.cli.recipes import Recipes, find_recipes, without_none
from pgpis.data.names import DATABASE
from pgpis.errors import PgpisError, check_range
from pgpis.files import LONGEST_NAME, printable, require
from pgpis.pictures.containers import is_video
from pgpis.pipelines.limits import LARGEST_SEED, MOST_IMAGES, MOST_STEPS
from pgpis.pipelines.shipped import SHIPPED, refuse_unknown
from pgpis.preprocess.settings import PrepareSettings

MCLD_OPTIONS = ("textures", "faces", "missing_face", "identity", "clothes")
FOLDER_OPTIONS: tuple[str, ...] = ("sources_by", "pairs", "pairing", *MCLD_OPTIONS)
FOLDER_OPTIONS += ("prepare", "retarget", "save_conditions", "every", "noise_name")
TOOLS = {"prefix": "prepare-", "group": "tools of --prepare and --driving, as in 'pgpis prepare'"}

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PredictSettings:
    """Which pictures are made, and how."""

    config: Recipes = ()
    """Recipe; may be given again [as the pipeline was exported]."""
    pipeline: str | None = None
    """Pipeline folder, hub id or bundle, or a model that ships with pgpis: synth-fpdm, synth-mcld; without it and
    --config, one of these."""
    sources: Path | None = None
    """Folder of source pictures, or one picture."""
    sources_by: Literal["picture", "person"] | None = None
    """Whether --sources holds pictures, or a folder of up to four pictures for each person, all of which are sources of
    the person's results [picture]."""
    poses: Path | None = None
    """Folder of poses, or one: 18-point txt, OpenPose JSON, 133-point txt or npy, drawn skeleton; for MCLD DensePose's
    maps as png, or key points with --prepare."""
    driving: Path | None = None
    """For --poses: photographs to take the poses from, a folder, a file or a video."""
    every: Annotated[int | None, {"metavar": "N"}] = None
    """Of a driving video take each Nth frame [1]."""
    out: Path
    """Folder to write to; a second run continues there."""
    pairs: Path | None = None
    """CSV with the columns source, pose and, if you like, source_2 to source_4, target, identity, clothes."""
    pairing: Literal["stem", "product"] | None = None
    """Files of the same stem, or every source with every pose [product]."""
    textures: Path | None = None
    """MCLD: folder of texture maps, or one [SOURCES_texture]."""
    faces: Path | None = None
    """MCLD: folder of face embeddings, or one [SOURCES_face]."""
    missing_face: Literal["error", "drop", "skip"] | None = None
    """MCLD: what happens without a face embedding: error, drop (no face) or skip [error; synth-mcld, which knows the
    faces of pgpis synth alone, drops those of photographs]."""
    identity: Annotated[Path | None, {"metavar": "PICTURE"}] = None
    """MCLD: whose face and head all results take."""
    clothes: Annotated[tuple[str, ...], {"metavar": "GROUP=PICTURE"}] = ()
    """MCLD: take upper, lower, feet, head and so on from another picture; may be given again."""
    prepare: bool = False
    """Make missing textures and faces of the sources, and MCLD's maps of poses that are key points, estimates; for
    photographs --driving does both."""
    retarget: bool = False
    """Give driving poses the limb lengths of the source."""
    save_conditions: Annotated[Path | None, {"metavar": "FOLDER"}] = None
    """Keep what is made of photographs, and use it again [a temporary folder]."""
    images_per_pair: int | None = None
    """Pictures for each pair [1]."""
    steps: int | None = None
    """Denoising steps [as exported, or in the recipe]."""
    guidance_scale: float | None = None
    """Classifier-free guidance; leaves FPDM's pose_guidance_scale as it is [as exported, or in the recipe]."""
    seed: int | None = None
    """Seed of all noise [0]."""
    noise_name: Annotated[str | None, {"metavar": "NAME"}] = None
    """What the noise depends on beside the seed [the name of the source]."""
    like: Annotated[Path | None, {"metavar": "PICTURE"}] = None
    """Make this picture of an earlier prediction again: settings, noise and, of key points, the pose are those that
    its mark holds; needs --sources. Options that are given win."""
    no_mark: bool = False
    """Leave out of the pictures what marks them as generated and makes them again."""
    drawing: Annotated[DrawingSettings, {"group": "memory and time"}] = field(default_factory=DrawingSettings)
    """How much memory and time pictures take."""
    runner: Literal["local", "ray"] = "local"
    """This machine, or a Ray cluster [local]."""
    workers: int | None = None
    """Processes that draw on the cluster, each a batch at a time [one for each GPU or, without GPUs, core]."""
    tools: Annotated[PrepareSettings, TOOLS] = field(default_factory=PrepareSettings)
    """What makes the conditions of photographs."""

    @property
    def makes_conditions(self) -> bool:
        """Whether conditions are made of photographs."""
        return bool(self.driving or self.prepare)

    def check(self) -> None:
        """Refuse what no prediction can have, before anything is loaded.

        Raises:
            PgpisError: Names the option, or those that do not fit together.
        """
        check_range("--images-per-pair", self.images_per_pair, 1, MOST_IMAGES, whole=True, optional=True)
        check_range("--steps", self.steps, 1, MOST_STEPS, whole=True, optional=True)
        check_range("--guidance-scale", self.guidance_scale, 0, optional=True)
        check_range("--seed", self.seed, 0, LARGEST_SEED, whole=True, optional=True)
        self.drawing.check()
        self._check_texts()
        if self.poses and self.driving:
            raise PgpisError("--poses and --driving exclude each other", hint="--driving is for photographs")
        if self.like and not self.sources:
            raise PgpisError("--like needs --sources: a picture holds nothing of its source", hint="--sources PICTURE")
        if bool(self.sources) != bool(self.poses or self.driving or self.like):
            raise PgpisError("--sources and --poses go together", hint="--sources FOLDER --poses FOLDER")
        if not self.sources and (idle := [name for name in FOLDER_OPTIONS if getattr(self, name)]):
            raise PgpisError(f"--{idle[0].replace('_', '-')} needs --sources and --poses")
        if self.pairs and (self.sources_by == "person" or self.pairing == "stem"):
            option = "--sources-by person" if self.sources_by == "person" else "--pairing stem"
            hint = "columns source, source_2, ... hold several pictures of a person"
            raise PgpisError(f"{option} would do nothing: the table of --pairs says what goes together", hint=hint)
        if (self.retarget or self.save_conditions) and not self.makes_conditions:
            raise PgpisError("--retarget and --save-conditions go with --driving or --prepare")
        check_range("--workers", self.workers, 1, whole=True, optional=True)
        if self.workers and self.runner == "local":
            raise PgpisError("--workers goes with --runner ray", hint="--trainer.devices 2 draws in two processes here")
        if self.runner == "ray" and self.like:
            raise PgpisError("--like makes one picture again: leave --runner ray out")
        if self.runner == "ray" and self.makes_conditions and not self.save_conditions:
            hint = "--save-conditions FOLDER, one that they share"
            raise PgpisError("--runner ray: all machines must see what is made of photographs", hint=hint)
        check_range("--every", self.every, 1, whole=True, optional=True)
        if self.every is not None and not (self.driving and is_video(self.driving)):
            raise PgpisError("--every goes with a video", hint="--driving clip.mp4")
        if not self.like:
            self.check_tools()
        find_recipes(self.config)

    def _check_texts(self) -> None:
        if self.noise_name is not None and not 0 < len(self.noise_name) <= LONGEST_NAME:
            raise PgpisError(f"--noise-name: expected 1 to {LONGEST_NAME} characters, got {len(self.noise_name)}")
        for name, value in vars(self).items():
            for text in map(str, value if isinstance(value, tuple) else (value,)):
                if (shown := printable(text)) != text:  # no recipe can hold it
                    message = f"--{name.replace('_', '-')} {shown}: its name is not UTF-8"
                    raise PgpisError(message, hint="rename it; files in a folder that is named may be called anything")

    def check_files(self) -> None:
        """Refuse what is not there; pictures of edits are looked for in the folder of sources too."""
        if self.runner == "local":
            self.drawing.check_gpu()
        for name in ("sources", "poses", "driving", "pairs", "like"):
            if (path := getattr(self, name)) is not None and DATABASE not in path.parts:
                require(path, f"--{name}: file or folder")

    def check_tools(self) -> None:
        """Refuse tools that have nothing to make.

        Raises:
            PgpisError: Names them.
        """
        if not self.makes_conditions and (tools := sorted(given(self.tools))):
            flags = ", ".join("--prepare-" + name.replace("_", "-") for name in tools)
            raise PgpisError(f"{flags} would do nothing: nothing is made of photographs", hint="--prepare or --driving")

    def recipe(self) -> dict[str, Any]:
        """Return the settings but for :attr:`drawing` as a recipe, which is laid over that of the model."""
        out = str(self.out)
        sampling = {
            "images_per_pair": self.images_per_pair,
            "num_inference_steps": self.steps,
            "guidance_scale": self.guidance_scale,
        }
        model = {"pipeline": self.pipeline, "sampling": sampling}
        recipe = {
            "model": {"init_args": model},
            "data": {"predict": self._pairs() if self.sources else None},
            "trainer": {
                # the shell has read its own ~ already; Lightning and jsonargparse would read another
                "default_root_dir": str(Path(out).absolute()) if out.startswith("~") else out,
                "logger": False,
            },
            "seed_everything": self.seed,
            "return_predictions": False,
            "like": self.like,
            "no_mark": self.no_mark or None,
            "runner": None if self.runner == "local" else self.runner,
            "workers": self.workers,
        }
        return without_none(recipe)

    def _pairs(self) -> dict[str, Any]:
        """Return the pairs of sources and poses as a recipe has them."""
        without_faces = self.face_space == "synth" and self.makes_conditions  # no tool makes those
        missing_face = self.missing_face or ("drop" if without_faces else None)
        same = ("sources", "sources_by", "textures", "faces", "identity", "pairing", "noise_name")
        arguments: dict[str, Any] = {name: getattr(self, name) for name in same} | {
            "poses": self.poses or self.driving,
            "pairs_csv": self.pairs,
            "clothes": list(self.clothes) or None,
            "on_missing": {"face": missing_face, "face_space": self.face_space},
        }
        if not self.makes_conditions:
            return {"class_path": "FolderPairs", "init_args": arguments}
        arguments |= {name: getattr(self, name) for name in ("retarget", "every", "save_conditions")} | {
            "driving": bool(self.driving),
            "settings": {name: getattr(self.tools, name) for name in sorted(given(self.tools))},
            "chosen": [] if self.like else sorted(given(self.tools)),  # those of a mark are nobody's choice
        }
        return {"class_path": "pgpis.preprocess.photos.PhotoPairs", "init_args": arguments}

    @property
    def face_space(self) -> str | None:
        """Whose face embeddings a shipped model reads, or one that was trained by its recipe; None: any model's."""
        for name, shipped in SHIPPED.items():
            if self.pipeline == name or shipped.recipe in self.config:
                return shipped.face_space
        return None

    @property
    def shipped_model(self) -> str:
        """The shipped model that the settings ask for: MCLD's are MCLD's."""
        return "synth-mcld" if any(getattr(self, name) for name in MCLD_OPTIONS) else "synth-fpdm"


def predict(settings: PredictSettings, *words: str) -> int:
    """Make a picture for every pair of a source picture and a target pose.

    All other options are keys of the recipe: ``pgpis predict --out . --print_config`` shows them.

    Args:
        settings: Which pictures, and how.
        words: Keys of the recipe, as on the command line; they win.

    Returns:
        0, or 1 if a pair failed; ``predictions.csv`` in ``settings.out`` says which, and why.

    Raises:
        PgpisError: An option is wrong, or nothing could be made at all.
    """
    settings.check()
    if not any(word.startswith("--print_config") for word in words):  # which needs none
        settings.check_files()
    named = pipeline_in(words)
    if settings.pipeline is not None and named not in (None, settings.pipeline):
        message = f"--pipeline {settings.pipeline} and --model.init_args.pipeline {named} name two models"
        raise PgpisError(message, hint="leave one of them out")
    refuse_unknown(settings.pipeline or named or settings.shipped_model)
    again: list[str | dict[str, Any]] = []
    if settings.like is not None:
        from pgpis.cli.like import laid_under  # loads torch

        settings, recipe = laid_under(settings, settings.like, words)
        again = [recipe]
    if settings.pipeline is None and not settings.config:
        pipeline = named
        if pipeline is None and not names_model(words):
            pipeline = settings.shipped_model
            log.info("no --config: %s, which ships with pgpis and knows drawn people only", pipeline)
        settings = replace(settings, pipeline=pipeline)
    recipes: list[str | dict[str, Any]] = [*settings.config]
    if not recipes:
        recipes = ["fpdm.yaml" if settings.pipeline is None else recipe_of_pipeline(settings.pipeline)]
    from pgpis.cli import lightning  # loads torch

    return lightning.run("predict", words, [*recipes, *again, settings.drawing.recipe(), settings.recipe()]).exit_code
