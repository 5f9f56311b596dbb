from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pgpis.batch import ImageSpec
from pgpis.data import Aim, Augmentation, DeepFashion, LoadedPair, Pair, PairTransform, Person, sample_generator
from pgpis.errors import PgpisError
from pgpis.pictures import plausibility
from pgpis.pictures.decoding import warn_once
from pgpis.pictures.images import image_to_tensor, resize
from pgpis.pictures.keypoints import Frame, Keypoints


@pytest.fixture
def loaded(toy_root):
    dataset = DeepFashion(toy_root, "train")
    dataset.setup()
    return dataset.load(1)


def test_same_generator_same_sample(loaded, specs):
    transform = PairTransform(specs, train=True)
    first, again, other = (transform(loaded, sample_generator(*parts)) for parts in ((0, 1, 2), (0, 1, 2), (0, 2, 2)))
    assert all(torch.equal(first[key], again[key]) for key in specs)
    assert not torch.equal(first["pose_image"], other["pose_image"])


def test_training_leaves_the_global_generators_alone(loaded, specs):
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    PairTransform(specs, train=True)(loaded, sample_generator(0, 0, 0))
    assert torch.equal(state, torch.get_rng_state())
    np.testing.assert_array_equal(numpy_state, np.random.get_state()[1])  # noqa: NPY002
    with pytest.raises(PgpisError, match="generator"):
        PairTransform(specs, train=True)(loaded)


def test_all_augmentation_off_is_evaluation(loaded, specs):
    off = Augmentation(jitter=0.0, flip_probability=0.0, detour_probability=0.0)
    trained = PairTransform(specs, train=True, augmentation=off)(loaded, sample_generator(0))
    evaluated = PairTransform(specs, train=False)(loaded)
    assert all(torch.equal(trained[key], evaluated[key]) for key in specs)


def test_flip_mirrors_pictures_and_pose_together():
    points = np.full((18, 2), -1.0)
    points[2], points[3] = (100, 100), (100, 300)  # right arm, at the left of the picture
    mirrored_points = np.full((18, 2), -1.0)
    mirrored_points[5], mirrored_points[6] = (275, 100), (275, 300)
    pictures = [Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 30, 3), np.uint8)) for seed in (0, 1)]
    pair = Pair("a_2_b", Person(Path("a")), Aim(Path("b")))
    frame = Frame(550, 375)
    specs = {key: ImageSpec(key, 40, 30) for key in ("source", "target", "pose")}
    always = Augmentation(jitter=0.0, flip_probability=1.0, detour_probability=0.0)
    loaded = LoadedPair(pair, *pictures, Keypoints.from_array(points, frame, "body18"), None)
    flipped = PairTransform(specs, train=True, augmentation=always)(loaded, sample_generator(0))
    by_hand = LoadedPair(pair, *pictures, Keypoints.from_array(mirrored_points, frame, "body18"), None)
    expected = PairTransform(specs, train=False)(by_hand)
    assert torch.equal(flipped["pose"], expected["pose"])
    for key, picture in zip(("source", "target"), pictures, strict=True):
        assert torch.equal(flipped[key], image_to_tensor(resize(picture.transpose(0), 40, 30)))


def test_probabilities_and_noise_are_those_asked_for(loaded):
    specs = {"source": ImageSpec("source", 32, 32, train_detour=(4, 4)), "pose": ImageSpec("pose", 64, 44)}
    transform = PairTransform(specs, train=True, augmentation=Augmentation(0.0, 0.5, 0.5))
    variants, poses = {}, {}
    for seed in range(200):
        images = transform(loaded, sample_generator(seed))
        for seen, image in ((variants, images["source"]), (poses, images["pose"])):
            key = image.numpy().tobytes()
            seen[key] = seen.get(key, 0) + 1
    assert len(variants) == 4  # flipped or not, low resolution or not
    assert len(poses) == 2
    assert all(30 <= count <= 70 for count in variants.values())
    assert all(75 <= count <= 125 for count in poses.values())


def test_a_pair_with_a_texture_is_not_mirrored_in_part(loaded):
    specs = {"pose": ImageSpec("pose", 64, 44), "texture": ImageSpec("texture", 8, 8)}
    textured = replace(loaded, conditions={"texture": Image.new("RGB", (8, 8))})
    always = Augmentation(jitter=0.0, flip_probability=1.0, detour_probability=0.0)
    trained = PairTransform(specs, train=True, augmentation=always)(textured, sample_generator(0))
    evaluated = PairTransform(specs, train=False)(textured)
    assert torch.equal(trained["pose"], evaluated["pose"])


def test_drawn_poses_are_neither_moved_nor_mirrored(toy_root, specs):
    dataset = DeepFashion(toy_root, "train", pose="drawn")
    dataset.setup()
    loaded = dataset.load(0)
    always = Augmentation(flip_probability=1.0, detour_probability=0.0)
    trained = PairTransform(specs, train=True, augmentation=always)(loaded, sample_generator(0))
    evaluated = PairTransform(specs, train=False)(loaded)
    assert all(torch.equal(trained[key], evaluated[key]) for key in specs)


def whole_body(toy):
    """A pair whose pose has 133 points, the body's at those of another pair, and that one with the body alone."""
    points = np.random.default_rng(2).uniform(50, 350, (133, 2))
    whole = Keypoints.from_visible(points, np.ones((133, 2), bool), Frame(550, 375), "wholebody133")
    return replace(toy, keypoints=whole), replace(toy, keypoints=whole.to_body18())


@pytest.mark.parametrize("train", [True, False])
def test_a_model_of_18_points_is_shown_the_body_of_133(loaded, caplog, train):
    whole, body = whole_body(loaded)
    transform = PairTransform({"pose": ImageSpec("pose", 110, 75)}, train=train, pose_skeleton="body18")
    warn_once.cache_clear()

    ours, theirs = (transform(pair, sample_generator(0))["pose"] for pair in (whole, body))
    assert torch.equal(ours, theirs)
    assert "the 18 of the body are drawn" in caplog.text


@pytest.mark.parametrize(("train", "mend"), [(False, "--prepare-skeleton wholebody133"), (True, "skeleton body18")])
def test_key_points_that_the_model_does_not_know_are_refused(loaded, train, mend):
    transform = PairTransform({"pose": ImageSpec("pose", 110, 75)}, train=train, pose_skeleton="wholebody133")
    with pytest.raises(PgpisError, match=r"has 18 points, and data.pose_skeleton is wholebody133") as refusal:
        transform(loaded, sample_generator(0))
    assert mend in refusal.value.hint


def test_where_nobody_says_what_a_model_knows_whole_bodies_are_warned_about(loaded, caplog):
    whole, body = whole_body(loaded)
    transform = PairTransform({"pose": ImageSpec("pose", 110, 75)}, train=False)
    warn_once.cache_clear()

    assert not torch.equal(transform(whole)["pose"], transform(body)["pose"])
    assert "most know 18: --data.pose_skeleton says it" in caplog.text


def test_drawn_poses_of_another_shape_are_centred_on_black():
    drawing = Image.new("RGB", (300, 100), "red")
    loaded = LoadedPair(Pair("a_2_b", Person(Path("a")), Aim(Path("b"))), None, None, None, drawing)
    image = PairTransform({"pose": ImageSpec("pose", 110, 75)}, train=False)(loaded)["pose"]
    rows = (image[0] > 0.9).nonzero()[:, 0]
    assert rows.float().mean() == pytest.approx(54.5, abs=0.5)
    assert int(rows.max() - rows.min()) + 1 == pytest.approx(25, abs=2)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("size", [(44, 64), (60, 64), (90, 64)])
def test_what_shows_the_pose_lies_on_the_target(size, train):
    """Whatever the shape of the pictures: key points, a drawn pose, and a map."""
    width, height = size
    box = (width // 4, 0, width // 2, height // 8)
    picture = Image.new("RGB", size)
    picture.paste("white", box)
    pair = Pair("a_2_b", Person(Path("a")), Aim(Path("b"), target=Path("c")))
    specs = {origin: ImageSpec(origin, 64, 44, filter="nearest") for origin in ("target", "pose", "iuv")}
    transform = PairTransform(specs, train=train, augmentation=Augmentation(0, 0, 0))
    loaded = LoadedPair(pair, picture, picture, pose_image=picture, conditions={"iuv": picture})

    shown = transform(loaded, sample_generator(0))
    assert torch.equal(shown["pose"], shown["target"])
    assert torch.equal(shown["iuv"], shown["target"])
    shares = np.random.default_rng(0).uniform(0, 1, (18, 2))
    frames = (Frame(height, width), Frame(*transform.pose_canvas))
    points = [Keypoints.from_array(shares * (frame.width, frame.height), frame, "body18") for frame in frames]
    drawn, expected = (transform(replace(loaded, keypoints=each), sample_generator(0))["pose"] for each in points)
    assert torch.equal(drawn, expected)


@pytest.mark.parametrize("train", [True, False])
def test_the_first_source_of_another_shape_is_named(loaded, specs, caplog, train):
    """What is drawn of it is as it was; training pictures are their data set's."""
    plausibility._is_news.cache_clear()
    transform = PairTransform(specs, train=train)
    transform(loaded, sample_generator(0))
    assert not caplog.messages
    for _ in range(2):
        transform(replace(loaded, source=loaded.source.resize((80, 64))), sample_generator(0))
    told = "80x64 pixels are squashed to the shape of 375x550; crop such sources to it"
    assert caplog.messages == ([] if train else [f"{loaded.pair.source}: {told}"])


def test_self_pairs_take_the_target_as_source(toy_root):
    shares = {}
    for probability in (0.0, 0.3, 1.0):
        dataset = DeepFashion(toy_root, "train", self_pair_probability=probability)
        dataset.setup()
        loads = [dataset.load(0, (), sample_generator(seed)) for seed in range(200)]
        shares[probability] = sum(loaded.pair.source == loaded.pair.target for loaded in loads) / 200
        assert dataset.load(0, ()).pair.source != dataset.load(0, ()).pair.target
    assert shares[0.0] == 0
    assert shares[0.3] == pytest.approx(0.3, abs=0.1)
    assert shares[1.0] == 1


REFRAMED = Augmentation(0.0, 0.5, 0.0, reference_zoom=(0.7, 1.8), reference_cut=(0.0, 0.5))


def test_sources_are_framed_anew_by_the_draws_of_their_pair_and_nothing_else_is(loaded, specs):
    transform = PairTransform(specs, train=True, augmentation=REFRAMED)
    as_they_are = PairTransform(
        specs, train=True, augmentation=replace(REFRAMED, reference_zoom=(1.0, 1.0), reference_cut=(0.0, 0.0))
    )
    frames = set()
    for seed in range(6):
        images, plain = (make(loaded, sample_generator(seed)) for make in (transform, as_they_are))
        assert torch.equal(images["source_image"], transform(loaded, sample_generator(seed))["source_image"])
        assert all(torch.equal(images[key], plain[key]) for key in ("target_image", "pose_image"))
        frames.add(images["source_image"].numpy().tobytes())
    assert len(frames) == 6
    evaluated = PairTransform(specs, train=False, augmentation=REFRAMED)(loaded)
    assert torch.equal(evaluated["source_image"], PairTransform(specs, train=False)(loaded)["source_image"])


def test_further_sources_are_framed_anew_too(loaded, specs):
    several = replace(loaded, further=(loaded, loaded))
    still = replace(REFRAMED, reference_zoom=(1.0, 1.0), reference_cut=(0.0, 0.0))
    made, plain = (
        PairTransform(specs, train=True, augmentation=augmentation)(several, sample_generator(3))
        for augmentation in (REFRAMED, still)
    )
    further = made["further_source_image"]
    assert not torch.equal(further[0], plain["further_source_image"][0])
    assert not torch.equal(further[0], further[1]), "each by draws of its own"
    assert torch.equal(made["target_image"], plain["target_image"])


def test_frames_that_cannot_be_are_refused(specs):
    """Among them those of sources from which other files were made."""
    specs = {**specs, "texture_image": ImageSpec("texture", 8, 8)}
    with pytest.raises(PgpisError, match="frame sources anew, but not texture maps"):
        PairTransform(specs, train=True, augmentation=REFRAMED)
    assert PairTransform(specs, train=False, augmentation=REFRAMED).images.keys() == specs.keys()
    for ranges, name in (
        ({"reference_zoom": (1.2, 1.1)}, "reference_zoom"),
        ({"reference_zoom": (0.1, 1)}, "reference_zoom"),
        ({"reference_cut": (0.0, 1.0)}, "reference_cut"),
    ):
        with pytest.raises(PgpisError, match=f"data.augmentation.{name}"):
            Augmentation(**ranges)
