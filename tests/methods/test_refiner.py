"""The nets that put details of the source back into pictures: their training, and both pipelines with them."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from PIL import Image, ImageOps

from pgpis.cli import main
from pgpis.errors import PgpisError
from pgpis.methods.fpdm import FPDMPipeline, FPDMTask, SourceRefiner, SourceRefinerTask
from pgpis.methods.fpdm.options import FPDMSampling
from pgpis.methods.fpdm.refiner import _patchwork
from pgpis.methods.mcld import MCLDPipeline, MCLDTask, Refiner, RefinerTask
from pgpis.methods.mcld.options import MCLDSampling
from pgpis.pictures.backdrop import backdrop_of
from pgpis.pictures.surface import surface_of
from pgpis.pictures.uv_texture import TextureMapper
from pgpis.pipelines.bundle import SHIPPED, load_bundle, pack
from pgpis.speed.batches import random_batch
from pgpis.synth.figure.identity import face_code
from pgpis.synth.scene.render import draw
from pgpis.synth.scene.sampling import views_of
from pgpis.tasks.options import Video
from tiny_fpdm import tiny_pipeline
from tiny_mcld import HEIGHT, WIDTH, tiny_mcld

CHANNELS = (8, 16, 16)
SIZE = {"height": HEIGHT, "width": WIDTH}
NETS = {"fpdm": SourceRefiner, "mcld": Refiner}
PIPELINES = {"fpdm": FPDMPipeline, "mcld": MCLDPipeline}
SAMPLING = {"fpdm": FPDMSampling, "mcld": MCLDSampling}
TASKS = {"fpdm": FPDMTask, "mcld": MCLDTask}
TRAINING = {"fpdm": SourceRefinerTask, "mcld": RefinerTask}
RECIPES = {"fpdm": "synth/fpdm_refiner.yaml", "mcld": "synth/refiner.yaml"}


@pytest.fixture(scope="module", params=["fpdm", "mcld"])
def method(request):
    return request.param


@pytest.fixture(scope="module")
def folder(tmp_path_factory, method):
    """A pipeline without a refiner; MCLD's reads the texture seen through the map."""
    path = tmp_path_factory.mktemp(method)
    if method == "mcld":
        tiny_mcld(rendered_texture=True, backdrop=True, latent_channels=4).save_pretrained(path)
    else:
        tiny_pipeline().save_pretrained(path)
    return path


def net_of(method):
    """A refiner that changes something."""
    torch.manual_seed(1)
    refiner = NETS[method](CHANNELS)
    torch.nn.init.normal_(refiner.last.weight, std=0.1)
    return refiner.eval()


@pytest.fixture(scope="module")
def with_refiner(folder, method):
    pipeline = PIPELINES[method].from_pretrained(folder, refiner=net_of(method))
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)  # no noise but the first
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def inputs(method, count, height=HEIGHT, width=WIDTH):
    """A draft, and what a refiner looks at beside it."""
    generator = torch.Generator().manual_seed(0)
    draft, rendered, iuv = torch.rand(3, count, 3, height, width, generator=generator) * 2 - 1
    return (draft, iuv, rendered[:, None]) if method == "fpdm" else (draft, rendered, (rendered > 0).float(), iuv)


def pictures(pipeline, count=2, **options):
    random = np.random.default_rng(0)

    def draw(most, *size):
        return [Image.fromarray(random.integers(0, most, (*size, 3), dtype=np.uint8)) for _ in range(count)]

    inputs = [draw(256, 30, 26), draw(256, 64, 64)]
    others = {}
    if isinstance(pipeline, MCLDPipeline):
        inputs += [draw(25, 30, 26), list(random.normal(size=(count, 512)))]
        others = {"surface": draw(256, 512, 1024), "backdrop": draw(256, 30, 26)}
    return pipeline(
        *inputs,
        **others,
        **SIZE,
        num_inference_steps=2,
        generator=torch.Generator().manual_seed(0),
        **{"output_type": "pt", **options},
    ).images


def test_it_starts_as_the_identity(method):
    draft, *others = inputs(method, 2)

    assert torch.equal(NETS[method](CHANNELS)(draft, *others), draft)


@pytest.mark.parametrize("size", [(2, 6), (30, 22), (64, 48), (34, 50)])
def test_any_even_size(method, size):
    assert net_of(method)(*inputs(method, 1, *size)).shape == (1, 3, *size)


@pytest.mark.parametrize("channels", [(), (8, 12), (-8,)])
def test_other_widths_are_refused(method, channels):
    with pytest.raises(PgpisError, match="expected multiples of 8"):
        NETS[method](channels)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": (8, 8)}, "at least 3"),
        ({"source_channels": (8, 8)}, "exactly 3"),
        ({"source_channels": (8, 8, 4)}, "source_channels are .* multiples of 8"),
        ({"heads": 0}, "heads is 0"),
        ({"head_dim": 0}, "head_dim is 0"),
    ],
)
def test_other_shapes_of_the_attention_are_refused(options, message):
    with pytest.raises(PgpisError, match=message):
        SourceRefiner(**{"channels": CHANNELS, **options})


def test_pictures_do_not_see_each_other(method):
    refiner, both = net_of(method), inputs(method, 2)

    assert torch.allclose(refiner(*both)[:1], refiner(*(value[:1] for value in both)), atol=1e-5)


def test_a_source_that_is_shown_twice_says_nothing_new():
    refiner = net_of("fpdm")
    draft, pose, sources = inputs("fpdm", 2)

    once = refiner(draft, pose, sources)
    assert torch.allclose(refiner(draft, pose, sources.repeat(1, 2, 1, 1, 1)), once, atol=1e-5)
    assert not torch.allclose(refiner(draft, pose, torch.cat([sources, -sources], dim=1)), once, atol=1e-3)


def test_what_is_found_is_of_the_sources():
    draft, pose, sources = inputs("fpdm", 2, 20, 36)
    _, found = net_of("fpdm").find(draft, pose, sources)
    assert found.shape == draft.shape
    assert found.abs().max() <= sources.abs().max()
    colour = torch.tensor([0.5, -0.25, 1.0]).view(3, 1, 1)
    _, found = net_of("fpdm").find(draft, pose, colour.expand_as(sources))
    torch.testing.assert_close(found, colour.expand_as(found))


def test_patches_of_their_own_places_are_the_picture():
    sources = torch.rand(4, 3, 24, 40, generator=torch.Generator().manual_seed(0))
    own = torch.eye(15).expand(2, 15, 15) / 2
    means = sources.view(2, 2, 3, 24, 40).mean(dim=1)  # both sources of a pair, in the same places
    torch.testing.assert_close(_patchwork(own.repeat(1, 1, 2), sources), means)


def test_it_learns_to_find_a_colour():
    """Clothes of a colour that only the source tells, elsewhere in it."""
    torch.manual_seed(0)
    refiner = SourceRefiner(CHANNELS, (8, 8, 16))
    optimizer = torch.optim.Adam(refiner.parameters(), lr=5e-3)
    first = None
    for _ in range(150):
        colours = torch.rand(16, 3, 1, 1) * 2 - 1
        draft, truth = torch.zeros(2, 16, 3, 32, 32)
        truth[..., 16:] = colours
        sources = torch.zeros(16, 1, 3, 32, 32)
        sources[:, 0, :, :, :16] = colours
        error = (refiner(draft, draft, sources) - truth).abs().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        first = first or error.item()
    assert error < 0.4 * first


def test_it_learns_to_show_what_the_source_shows():
    """The draft is grey, and the texture seen through the map is right in its upper half."""
    torch.manual_seed(0)
    refiner = Refiner(CHANNELS)
    optimizer = torch.optim.Adam(refiner.parameters(), lr=1e-2)
    truth, _, _, iuv = inputs("mcld", 2)
    marks, draft = torch.zeros_like(truth), torch.zeros_like(truth)
    marks[:, 0, : HEIGHT // 2] = 1
    rendered = torch.where(marks[:, :1] > 0, truth, torch.rand_like(truth))
    for _ in range(60):
        optimizer.zero_grad()
        (refiner(draft, rendered, marks, iuv) - truth).abs().mean().backward()
        optimizer.step()
    error = (refiner(draft, rendered, marks, iuv) - truth).abs()

    assert error[:, :, : HEIGHT // 2 - 2].mean() < 0.6 * truth.abs().mean()
    assert error[:, :, : HEIGHT // 2 - 2].mean() < 0.8 * error[:, :, HEIGHT // 2 + 2 :].mean()


def test_the_pipeline_refines_each_result_by_its_own_pair(with_refiner):
    refiner = with_refiner.refiner
    refined = pictures(with_refiner)
    with_refiner.register_modules(refiner=None)
    plain, latents = pictures(with_refiner), pictures(with_refiner, output_type="latent")
    with_refiner.register_modules(refiner=refiner)

    assert not torch.allclose(refined, plain, atol=0.05)
    assert torch.equal(pictures(with_refiner, output_type="latent"), latents)
    noise = torch.randn(2, *latents.shape[1:], generator=torch.Generator().manual_seed(0))
    rows = pictures(with_refiner, latents=noise.repeat(2, 1, 1, 1), num_images_per_pair=2)
    assert torch.allclose(rows, pictures(with_refiner, latents=noise).repeat(2, 1, 1, 1), atol=1e-3)
    assert not torch.allclose(rows[0], rows[1], atol=0.05)


def test_it_is_saved_loaded_and_bundled_with_the_pipeline(with_refiner, method, tmp_path):
    with_refiner.save_pretrained(tmp_path / "pipeline")
    pack(tmp_path / "pipeline", tmp_path / "bundle.safetensors", {})
    expected = pictures(with_refiner)

    for loaded in (
        PIPELINES[method].from_pretrained(tmp_path / "pipeline"),
        load_bundle(PIPELINES[method], tmp_path / "bundle.safetensors"),
    ):
        loaded.set_progress_bar_config(disable=True)
        assert loaded.refiner.config.channels == list(CHANNELS)
        assert torch.allclose(pictures(loaded), expected, atol=0.02)  # a bundle has half precision
    assert PIPELINES[method].from_pretrained(tmp_path / "pipeline", refiner=None).refiner is None


def test_half_precision_reaches_it(with_refiner, method):
    half = PIPELINES[method](**with_refiner.components).to(torch.bfloat16)
    half.set_progress_bar_config(disable=True)

    assert half.refiner.dtype == torch.bfloat16
    assert pictures(half).isfinite().all()
    with_refiner.to(torch.float32)


def test_a_task_draws_with_it_unless_it_is_told_not_to(with_refiner, method, tmp_path):
    with_refiner.save_pretrained(tmp_path)
    plain = SAMPLING[method](**SIZE, refine=False)

    usual = TASKS[method](pipeline=str(tmp_path), sampling=SAMPLING[method](**SIZE))
    assert usual.build_pipeline().refiner is not None
    task = TASKS[method](pipeline=str(tmp_path), sampling=plain)
    assert task.build_pipeline().refiner is None
    read = {key: spec for key, spec in usual.prediction_settings()["inputs"].items() if key != "source_picture"}
    assert task.prediction_settings() == usual.prediction_settings() | {"refine": False, "inputs": read}
    assert ("source_picture" in usual.input_specs) == (method == "fpdm")
    assert usual.prediction_weights().keys() - task.prediction_weights().keys() == {"refiner"}
    assert not any(parameter.requires_grad for parameter in task.refiner.parameters())


def test_training_batches_hold_what_the_loss_reads(with_refiner, method, tiny, tmp_path, monkeypatch):
    """Grids are drawn of validation batches, with what pictures are finished with; what scores them is for ``test``."""
    with_refiner.save_pretrained(tmp_path / "start")
    size = {**SIZE, "output_size": (20, 16)}
    finishing = {"truth_image", "source_picture"} if method == "fpdm" else {"truth_image"}
    task = TASKS[method](pipeline=str(tmp_path / "start"), sampling=SAMPLING[method](**size))
    assert task.input_specs.keys() - task.loss_specs.keys() == finishing
    training = TRAINING[method](str(tmp_path / "start"), sampling=SAMPLING[method](**size))
    assert training.input_specs.keys() - training.loss_specs.keys() == {"truth_image"}
    if method == "mcld":
        return
    read = {}

    def noting(function, stage):
        def call(self, batch, *arguments, **options):
            read[stage or options["train"]] = {*batch}
            return function(self, batch, *arguments, **options)

        return call

    monkeypatch.setattr(FPDMTask, "loss", noting(FPDMTask.loss, None))
    monkeypatch.setattr(FPDMTask, "sample_grid", noting(FPDMTask.sample_grid, "grid"))
    sampling = {"height": HEIGHT, "width": WIDTH, "output_size": [20, 16], "num_inference_steps": 2}
    words = [f"--model.init_args.sampling.{key}={value}" for key, value in sampling.items()]
    words += [f"--model.init_args.pipeline={tmp_path}/start", "--trainer.max_steps=1", "--trainer.val_check_interval=1"]
    assert main(tiny("fit", *words)) == 0
    assert read["grid"] - read[True] == finishing
    assert {"source_image", "target_image", "pose_image"} < read[True]


def test_what_is_trained_is_exported(folder, method):
    with pytest.raises(PgpisError, match="exported without what is trained"):
        TRAINING[method](str(folder), sampling=SAMPLING[method](**SIZE, refine=False))


def test_a_model_that_does_not_see_the_texture_has_no_use_for_it(tmp_path):
    tiny_mcld().save_pretrained(tmp_path)

    with pytest.raises(PgpisError, match="trained without rendered_texture") as raised:
        RefinerTask(str(tmp_path), sampling=MCLDSampling(**SIZE))
    assert "conditioner.rendered_texture: true" in str(raised.value.hint)
    with pytest.raises(PgpisError, match="a refiner reads the texture seen through the map"):
        MCLDPipeline(**{**tiny_mcld().components, "refiner": Refiner(CHANNELS)})


def test_its_loss_is_one_of_full_precision(folder, method):
    """Flat pictures with a faint pattern: their variance is lost in half precision."""
    task = TRAINING[method](str(folder), channels=CHANNELS, sampling=SAMPLING[method](**SIZE))
    pattern = 0.9 + 0.02 * torch.randn(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    batch = {
        "target_image": pattern,
        "pose_image": torch.full_like(pattern, -1),
        "source_picture": torch.zeros_like(pattern),
        "surface": torch.zeros(1, 3, 512, 1024),
    }
    task.draft = lambda batch: batch["target_image"] + 0.002
    exact, mixed = (
        _loss_in(task, {**batch, "backdrop_image": torch.zeros_like(pattern)}, enabled=enabled)
        for enabled in (False, True)
    )

    assert exact["ssim"] > 0.95
    assert ("found" in exact) == (method == "fpdm")
    assert abs(mixed["ssim"] - exact["ssim"]) < 1e-3
    assert abs(mixed["l1"] - exact["l1"]) < 1e-3


def test_a_draft_is_of_all_sources(folder, method, tmp_path):
    """Where training takes another number of them in another epoch; what fills a batch up does not count."""
    task = TRAINING[method](str(folder), str(tmp_path), CHANNELS, sampling=SAMPLING[method](**SIZE))
    specs = {key: spec for key, spec in task.input_specs.items() if spec.origin != "target"}
    shapes = {key: (spec.size,) if key == "face" else (3, spec.height, spec.width) for key, spec in specs.items()}
    batch = {"pair_id": ["a", "a"]} | {key: torch.zeros(2, *shape) for key, shape in shapes.items()}
    one = task._file(batch, 0)
    key = "source_picture" if method == "fpdm" else "source_image"
    further = torch.zeros(2, 2, *shapes[key])
    several = batch | {f"further_{key}": further, "source_count": torch.tensor([1, 2])}
    assert task._file(several, 0) == one
    two = task._file(several, 1)
    assert two != one
    further[1, 1] = 1  # no source of this pair
    assert task._file(several, 1) == two
    further[1, 0] = 1
    assert task._file(several, 1) != two


def test_a_draft_is_of_its_row_and_not_of_its_name(folder, method, tmp_path):
    """Data sets that are laid side by side may have pairs of the same names."""
    sampling = SAMPLING[method](**SIZE, num_inference_steps=1)
    task = TRAINING[method](str(folder), str(tmp_path), CHANNELS, sampling=sampling)
    wanted = {key: spec for key, spec in task.input_specs.items() if spec.origin != "target"}
    batch = random_batch(wanted, 2, torch.device("cpu"))
    alone = [{key: value[[row]] for key, value in batch.items() if torch.is_tensor(value)} for row in range(2)]
    expected = torch.cat([task.draft({**entries, "pair_id": ["a"]}) for entries in alone])
    assert not torch.equal(*expected)
    torch.testing.assert_close(task.draft({**batch, "pair_id": ["a", "a"]}), expected)
    task.drafts = None
    torch.testing.assert_close(task.draft({**batch, "pair_id": ["a", "a"]}), expected, atol=2 / 255, rtol=0)


def test_drafts_of_one_precision_are_none_of_another(folder, method, tmp_path):
    """They differ, and validation would compare with those that another run left."""
    folders = []
    for precision in (None, "32-true", "bf16-mixed", "16-mixed"):
        task = TRAINING[method](str(folder), str(tmp_path), CHANNELS, sampling=SAMPLING[method](**SIZE))
        task._trainer = precision and SimpleNamespace(precision=precision)
        folders.append(task._folder())
    assert folders[0] == folders[1]
    assert len({*folders}) == 3


@pytest.mark.parametrize("option", ["shared_noise", "anchor"])
def test_drafts_are_not_drawn_as_films(folder, method, option):
    sampling = SAMPLING[method](**SIZE, video=Video(**{option: True}))
    with pytest.raises(PgpisError, match=rf"sampling\.video\.{option}: drafts are drawn pair by pair"):
        TRAINING[method](str(folder), channels=CHANNELS, sampling=sampling)


def _loss_in(task, batch, *, enabled):
    with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
        return task.loss(batch, torch.Generator(), train=True)


@pytest.mark.slow
def test_the_recipe_trains_it_alone_on_drafts_that_are_drawn_once(folder, method, tmp_path):
    recipe = RECIPES[method]
    people, run, drafts = tmp_path / "people", tmp_path / "run", tmp_path / "drafts"
    drawing = "--people 2 --views 2 --seed 3 --textures seen --inpaint fast --test-share 0.5 --size 256x176"
    assert main(["synth", "--out", str(people), *drawing.split()]) == 0
    settings = {"pipeline": folder, "drafts": drafts, "channels": "[8, 16, 16]"}
    settings |= {"sampling.height": 64, "sampling.width": 56, "sampling.num_inference_steps": 2}
    words = [f"--model.init_args.{key}={value}" for key, value in settings.items()]
    words += [f"--data.{split}.init_args.root={people}" for split in ("train", "val", "test")]
    words += [f"--trainer.default_root_dir={run}", "--trainer.val_check_interval=1"]

    assert main(["fit", "--config", recipe, *words, "--trainer.max_steps=2"]) == 0
    before = {file: file.stat().st_mtime_ns for file in drafts.rglob("*.png")}
    assert len(before) == 4
    again = ["--trainer.max_steps=4", "--ckpt_path=last"]
    assert main(["fit", "--config", recipe, *words, *again]) == 0
    assert {file: file.stat().st_mtime_ns for file in drafts.rglob("*.png")} == before
    # other people of the same names have drafts of their own
    others = tmp_path / "others"
    shutil.copytree(people, others)
    for path in [*others.glob("train/*.jpg"), *others.glob("test/*.jpg"), *others.glob("img/**/*.jpg")]:
        ImageOps.invert(Image.open(path)).save(path)
    roots = [f"--data.{split}.init_args.root={others}" for split in ("train", "val")]
    words_of_others = [*words, *roots, f"--trainer.default_root_dir={tmp_path / 'other_run'}"]
    assert main(["fit", "--config", recipe, *words_of_others, "--trainer.max_steps=1"]) == 0
    assert len(list(drafts.rglob("*.png"))) == 8
    assert {file: file.stat().st_mtime_ns for file in before} == before

    trained = PIPELINES[method].from_pretrained(run / "pipeline")
    start = PIPELINES[method].from_pretrained(folder)
    for name in ("unet", "vae", "conditioner", "reference_net" if method == "mcld" else "fusion_embedder"):
        for one, other in zip(getattr(start, name).parameters(), getattr(trained, name).parameters(), strict=True):
            assert torch.equal(one, other)
    assert trained.refiner.last.weight.any()
    assert main(["test", "--config", recipe, *words]) == 0
    assert (run / "test/metrics.json").is_file()


@pytest.mark.slow
def test_the_shipped_one_brings_pictures_nearer_to_the_truth():
    """Three people whom nobody has trained on, each from the front and in another pose."""
    pipeline = load_bundle(MCLDPipeline, SHIPPED["synth-mcld"].path)
    pipeline.set_progress_bar_config(disable=True)
    scenes = [views_of(99, person, 5)[::4] for person in range(3)]
    sources, targets = ([draw(views[view], 256, 176) for views in scenes] for view in (0, 1))
    mapper = TextureMapper(inpaint="fast")
    inputs = (
        [Image.fromarray(source.rgb) for source in sources],
        [Image.fromarray(mapper(source.rgb, source.iuv)) for source in sources],
        [Image.fromarray(np.ascontiguousarray(target.iuv[..., ::-1])) for target in targets],
        [face_code(views[0].identity) for views in scenes],
    )
    others = {
        "surface": [Image.fromarray(surface_of(source.rgb, source.iuv)) for source in sources],
        "backdrop": [Image.fromarray(backdrop_of(source.rgb, source.layer >= 0)) for source in sources],
    }
    truth = np.stack([target.rgb for target in targets]) / 255

    def error():
        options = {"generator": torch.Generator().manual_seed(0), "output_type": "np"}
        return np.square(pipeline(*inputs, **others, **options).images - truth).mean()

    refined = error()
    pipeline.register_modules(refiner=None)
    assert refined < 0.8 * error()
