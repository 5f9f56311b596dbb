"""Protocol ``modern``: truth wins every column, by the nets' real classes, tiny or with random weights."""

import csv
import json
import pickle
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from safetensors.torch import save_file
from torchvision.models.vgg import cfgs, make_layers

import tiny_models
from pgpis.cli import main
from pgpis.cluster import Crew
from pgpis.data import DeepFashion
from pgpis.errors import PgpisError
from pgpis.evaluate import judge as judge_module
from pgpis.evaluate.columns import METRICS, MODERN_COLUMNS
from pgpis.evaluate.features import RealSets
from pgpis.evaluate.modern import DISTANCES, ModernDistances, distance_interval, kept_pictures
from pgpis.evaluate.naming import list_pictures, match_pictures
from pgpis.evaluate.protocols import EvaluationOptions
from pgpis.evaluate.reference import Reference
from pgpis.evaluate.score import evaluate
from pgpis.interrupts import StopRequest
from pgpis.metrics.vision import NETS, VisionFeatures
from pgpis.metrics.weights import NetFile
from pgpis.weight_files import CATALOGUE

FeatureExtractorInceptionV3 = pytest.importorskip(
    "torch_fidelity.feature_extractor_inceptionv3"
).FeatureExtractorInceptionV3
SIZE = (128, 88)
PAIRS = 3
METHODS = ("truth", "blurred", "shifted", "stranger", "noise")
TINY = {
    "dinov2": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56, "patch_size": 14},
    "clip": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 56,
        "patch_size": 14,
        "projection_dim": 16,
    },
}


@pytest.fixture(scope="module")
def tiny_nets():
    """Vision transformers and Inception at sizes that a core does in milliseconds."""
    with pytest.MonkeyPatch.context() as patch:
        for kind, config in TINY.items():
            width = config.get("projection_dim", config["hidden_size"])
            patch.setitem(NETS, kind, replace(NETS[kind], config=config, side=56, width=width))
        patch.setattr(FeatureExtractorInceptionV3, "INPUT_IMAGE_SIZE", 75)
        yield


@pytest.fixture(scope="module")
def judges(made_once, tiny_nets):
    """Their files, as they are published, and those of VGG-16 and the face nets."""

    def make(folder):
        import transformers

        folder.mkdir()
        torch.manual_seed(0)
        for kind, spec in NETS.items():
            model = getattr(transformers, spec.model)
            net = model(model.config_class(**spec.config))
            for value in net.parameters():  # the usual start is so small that pictures would hardly differ
                torch.nn.init.normal_(value, std=0.2)
            file = folder / CATALOGUE[spec.weights].files[0]
            file.parent.mkdir()
            weights = {name: value.clone() for name, value in net.state_dict().items()}
            if kind == "clip":  # the file holds the text half and a buffer of earlier versions too
                weights |= {"text_model.any": torch.zeros(1), "vision_model.embeddings.position_ids": torch.arange(17)}
                torch.save(weights, file)
            else:
                save_file(weights, file)
        file = folder / CATALOGUE["inception-standard"].files[0]
        torch.save({}, file)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.nn.Module, "load_state_dict", lambda *_, **__: None)
            inception = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], str(file))
        for module in inception.modules():  # by the usual start nothing would be left of the picture after 48 layers
            if isinstance(module, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(module.weight)
        torch.save(inception.state_dict(), file)
        vgg = {f"features.{name}": value for name, value in make_layers(cfgs["D"]).state_dict().items()}
        torch.save(vgg, folder / CATALOGUE["dists-vgg16"].files[0])
        tiny_models.write_insightface(folder, CATALOGUE["face-buffalo_s"].files)

    return made_once("modern_judges", make)


def spoilt(toy_root, folder):
    """Folders of the true pictures, and of four ways to spoil them."""
    dataset = DeepFashion(toy_root, "test")
    dataset.setup()
    strangers = DeepFashion(toy_root, "train")
    strangers.setup()
    rng = np.random.default_rng(0)
    for pair, stranger in zip(dataset.pairs[:PAIRS], strangers.pairs, strict=False):
        picture = Image.open(pair.target).convert("RGB").resize(SIZE[::-1])
        pictures = {
            "truth": picture,
            "blurred": picture.filter(ImageFilter.GaussianBlur(3)),
            "shifted": Image.fromarray(np.roll(np.asarray(picture), (12, 16), (0, 1))),
            "stranger": Image.open(stranger.target).convert("RGB").resize(SIZE[::-1]),
            "noise": Image.fromarray(rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)),
        }
        for name, image in pictures.items():
            (folder / name).mkdir(exist_ok=True, parents=True)
            image.save(folder / name / f"{pair.pair_id}.png")
    return [folder / name for name in pictures]


def words(toy_root, weights, folder, *generated, more):
    size = f"{SIZE[0]}x{SIZE[1]}"
    rest = ["--reference", toy_root, "--size", size, "--out", folder / "out", "--cache", folder / "cache"]
    return list(map(str, ["--generated", *generated, *rest, "--weights", weights, "--workers", 0, *more]))


@pytest.fixture(scope="module")
def scored(toy_root, judges, made_once):
    """All five folders, scored in one run."""

    def make(folder):
        more = ("--protocol", "modern", "--max-pairs", PAIRS)
        assert main(["evaluate", *words(toy_root, judges, folder, *spoilt(toy_root, folder), more=more)]) == 0

    return made_once("modern", make)


@pytest.fixture(scope="module")
def numbers(scored):
    """Value and interval by metric and method."""
    table = {}
    with (scored / "out/table.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            method = row["method"].removesuffix(" (measured here)")
            ends = [float(row[end]) for end in ("low", "high") if row[end]]
            table[row["metric"], method] = float(row["value"]), ends
    return table


@pytest.mark.slow
@pytest.mark.parametrize("metric", MODERN_COLUMNS)
def test_truth_wins_every_column(numbers, metric):
    sign = 1 if METRICS[metric].lower_is_better else -1
    truth, *others = (sign * numbers[metric, method][0] for method in METHODS)
    blurred, shifted, stranger, noise = others
    assert truth < noise
    assert truth < min(shifted, stranger) or metric == "nobody"
    assert truth <= blurred


@pytest.mark.slow
def test_of_the_truth_the_values_are_known(numbers):
    """Where a picture is compared with itself."""
    for metric, value in {"dists": 0, "face_cosine_target": 1, "pck": 1, "pckh": 1, "oks": 1, "nobody": 0}.items():
        assert numbers[metric, "truth"][0] == pytest.approx(value, abs=1e-5)
    assert numbers["nobody", "noise"][0] == 1
    assert numbers["pck", "noise"][0] == numbers["oks", "noise"][0] == 0


@pytest.mark.slow
def test_every_number_has_an_interval(numbers):
    for (metric, method), (value, ends) in numbers.items():
        low, high = ends
        assert low - 1e-9 <= value <= high + 1e-9, (metric, method)


@pytest.mark.slow
def test_one_table_in_four_forms(scored):
    tables = {end: (scored / f"out/table.{end}").read_text() for end in ("md", "tex", "csv", "html")}
    for text in tables.values():
        assert all(f"{name} (measured here)" in text for name in METHODS)
    assert "detector BlazePose" in tables["md"]
    assert f"FD of {PAIRS} pictures against {PAIRS} is too high" in tables["md"]
    assert r"& FD$_{DINOv2}\downarrow$ & KID$\times10^3\downarrow$ &" in tables["tex"]
    assert tables["html"].count('class="ours"') == len(METHODS)
    content = json.loads((scored / "out/noise-modern/metrics.json").read_text())
    assert content["details"]["detector"] == "BlazePose"
    assert set(MODERN_COLUMNS) <= content["results"].keys()
    assert (scored / "out/noise-modern/report.html").read_text().count("<img") == 3 * 3 * PAIRS


@pytest.mark.slow
def test_judges_elsewhere_say_the_same(toy_root, judges, scored, tmp_path, monkeypatch):
    """Two, each in a thread, who scored one pair after the other."""

    class Shared:
        def __init__(self, value):
            self.content = pickle.dumps(value)
            self.own = threading.local()

        def get(self):
            if not hasattr(self.own, "value"):
                self.own.value = pickle.loads(self.content)
            return self.own.value

    monkeypatch.setattr(judge_module, "Shared", Shared)
    options = EvaluationOptions("modern", SIZE, judges, tmp_path, batch_size=1)
    reference = Reference(toy_root, max_pairs=PAIRS)
    dataset = reference.dataset()
    files = match_pictures(list_pictures(scored / "blurred"), dataset.pairs).files
    with ThreadPoolExecutor(2) as pool:
        crew = Crew(pool, 2, "cpu", StopRequest())
        scores = evaluate(files, reference.real_sets(dataset, ["modern"])[0], options, crew=crew)
    content = json.loads((scored / "out/blurred-modern/metrics.json").read_text())
    for name, value in scores.summary().items():
        assert value == pytest.approx(content["results"][name]["value"], rel=1e-4), name
    with (scored / "out/blurred-modern/pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert scores.pair_ids == tuple(row["pair_id"] for row in rows)
    assert scores.values["oks"] == pytest.approx([float(row["oks"]) for row in rows], rel=1e-4)


@pytest.mark.slow
def test_missing_weights_are_named_with_the_command(toy_root, scored, tmp_path, capsys):
    line = words(toy_root, tmp_path, tmp_path, scored / "truth", more=("--protocol", "modern", "--max-pairs", "1"))
    assert main(["evaluate", *line]) == 3
    output = capsys.readouterr().out
    for name in ("dinov2-large", "inception-standard", "clip-large-336", "dists-vgg16", "face-buffalo_s"):
        assert f"pgpis weights fetch {name} --folder" in output
    assert "| pck | 1.0000 |" in output


@pytest.mark.slow
def test_comparison_by_key_points_alone(toy_root, scored, tmp_path):
    """Without DISTS pairs are ranked by what there is; LaTeX too."""
    more = ("--protocol", "modern", "--max-pairs", "2")
    line = words(toy_root, tmp_path, tmp_path, scored / "noise", more=more)[2:]
    assert main(["compare", str(scored / "noise"), str(scored / "truth"), *line]) == 3
    assert "B is ahead by oks" in (tmp_path / "out/comparison.html").read_text()
    text = (tmp_path / "out/comparison.tex").read_text()
    assert r"PCK@0.1$\uparrow$ & 0.0000 & 1.0000 & +1.0000 & +1.0000 to +1.0000 & B is better \\" in text


@pytest.mark.slow
def test_several_protocols_share_the_table(toy_root, scored, tmp_path, capsys):
    more = ("--protocol", "fpdm", "modern", "--max-pairs", "1", "--name", "ours", "noise")
    line = words(toy_root, tmp_path, tmp_path, scored / "truth", scored / "noise", more=more)
    assert main(["evaluate", *line]) == 3
    output = capsys.readouterr().out
    [head] = [line for line in output.splitlines() if line.startswith("| | ")]
    assert " ssim (fpdm) |" in head
    assert " oks (modern) |" in head
    [row] = [line for line in output.splitlines() if line.startswith("| ours")]
    assert row.count("1.0000") == 4
    assert "Without published rows: these are synthetic people" in output
    folders = {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()}
    assert folders == {"ours-fpdm", "ours-modern", "noise-fpdm", "noise-modern"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folders", "names", "message"),
    [
        (["a/x/images", "b/x/images"], [], None),
        (["a/images", "a/images"], [], "folders need different names: images, images"),
        (["a/images", "b/images"], ["a/b", "A-B"], "folders need different names: a/b, A-B"),
        (["a/images", "b/images"], ["A"], "--name gives 1 names for 2 folders"),
    ],
)
def test_rows_are_named_by_what_differs(toy_root, scored, tmp_path, folders, names, message, capsys):
    paths = [tmp_path / folder for folder in folders]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            shutil.copytree(scored / "truth", path)
    more = ("--protocol", "fpdm", "--max-pairs", "1", *(["--name", *names] if names else []))
    code = main(["evaluate", *words(toy_root, tmp_path, tmp_path, *paths, more=more)])
    assert code == (2 if message else 3)
    assert (message or "| a (measured here) |") in "".join(capsys.readouterr())


def test_vision_features_are_of_the_published_kind(judges):
    pictures = torch.randint(0, 256, (2, 3, 40, 30), dtype=torch.uint8)
    for kind, spec in NETS.items():
        features = VisionFeatures(kind, judges)(pictures)
        assert features.shape == (2, spec.width)
        assert torch.allclose(features.norm(dim=1), torch.ones(2)) == (kind == "clip")


def test_files_with_other_weights_are_refused(judges, tmp_path):
    file = tmp_path / CATALOGUE["clip-large-336"].files[0]
    file.parent.mkdir()
    whole = torch.load(judges / CATALOGUE["clip-large-336"].files[0])
    for weights in (
        {},
        {**whole, "vision_model.extra": torch.zeros(1)},
        {**whole, "visual_projection.weight": torch.zeros(2, 2)},
    ):
        torch.save(weights, file)
        with pytest.raises(PgpisError, match="is not CLIP ViT-L/14-336") as error:
            VisionFeatures("clip", tmp_path)
        assert "pgpis weights fetch clip-large-336" in error.value.hint


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("shift", [0, 0.3])
def test_an_interval_is_about_as_long_as_the_distance_scatters(name, shift):
    """Also where generated pictures are like the real ones, and most of all depends on which there are."""
    generator = torch.Generator().manual_seed(0)
    mixed = torch.randn(16, 16, generator=generator) / 4
    real, *sets = (torch.randn(count, 16, generator=generator) @ mixed for count in (1000, *[64] * 200))
    sets = [ours + shift for ours in sets]
    distance, _ = DISTANCES[name]
    kept = kept_pictures(64, 100)
    length = np.mean([np.diff(distance_interval(distance(ours, real, kept), kept)) for ours in sets[:10]])
    scatter = 3.92 * np.std([float(distance(ours, real, kept[:1])) for ours in sets])
    assert scatter < length < 1.6 * scatter


def test_samples_lack_a_tenth_and_are_the_same_for_the_same_pictures():
    kept = kept_pictures(30, 5)
    assert kept.sum(dim=1).tolist() == [30, *[27] * 5]
    assert torch.equal(kept, kept_pictures(30, 5))
    assert len(kept[1:].unique(dim=0)) == 5
    assert distance_interval(torch.tensor([5.0, *range(10, 21)]), kept) == pytest.approx((5 - 3 * 4.75, 5 + 3 * 4.75))
    assert len(kept_pictures(2, 5)) == 1, "of which none can be left out"


def test_only_kid_may_be_negative(tmp_path):
    """Of few pictures close to the real ones the interval of another distance would begin below 0."""
    nets = {name: SimpleNamespace(not_computed=None, kind=name, file=NetFile("x", tmp_path, "")) for name in DISTANCES}
    features = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    distances = ModernDistances(EvaluationOptions("modern", SIZE, tmp_path, tmp_path, batch_size=20), nets)
    distances.add(dict.fromkeys(DISTANCES, features[:20]))
    files = tuple(tmp_path / f"{number}.png" for number in range(40))
    for file in files:
        file.touch()
    distances.distances(RealSets((), files), lambda *_: iter(features.split(20)), lambda _: None)
    low = {name: ends[0] for name, ends in distances.intervals.items()}
    assert low["kid"] < 0
    assert low["fd_dinov2"] == low["cmmd"] == 0
