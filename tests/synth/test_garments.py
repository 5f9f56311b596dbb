import dataclasses

import numpy as np
import pytest

from pgpis.synth.figure.body import load_body
from pgpis.synth.figure.description import Fabric, Layer, Outfit, from_json
from pgpis.synth.figure.fabric import LOGOS, PATTERNS, fabric_color, logo_mask
from pgpis.synth.figure.garments import NECKLINES, clothe, neck_field, top_field
from pgpis.synth.figure.identity import sample_identity
from pgpis.synth.figure.mesh import Surface
from pgpis.synth.figure.person import dress
from pgpis.synth.figure.photographs import PHOTOGRAPHS
from pgpis.synth.figure.wardrobe import sample_fabrics, sample_outfit, signer_outfit
from pgpis.synth.files.manifest import plain


@pytest.fixture(scope="module")
def body():
    return load_body()


@pytest.fixture(scope="module")
def shape(body):
    return body.shape(sample_identity(np.random.default_rng(0)).shape, {})


def outfit(**cut):
    drawn = sample_outfit(np.random.default_rng(3), female=False)
    return dataclasses.replace(drawn, cut=drawn.cut | cut, tucked=False, jacket=None, neckline="crew")


def surface(body, vertices):
    zeros = np.zeros(len(vertices), np.float32)
    return Surface(
        body.canonical[vertices],
        body.along_arm[vertices],
        body.along_leg[vertices],
        body.arm[vertices],
        zeros + 0.2,
        *[zeros] * 4,
    )


def test_sleeves_end_where_the_cut_says(body):
    forearm = (body.along_arm > 1.3) & (body.along_arm < 1.6) & (body.arm > 0.9)
    upper_arm = (body.along_arm > 0.2) & (body.along_arm < 0.4) & (body.arm > 0.9)
    long, short, none = (top_field(body, outfit(sleeve=length)) for length in (1.88, 0.6, -0.12))
    assert (long[forearm] > 0).all()
    assert (short[forearm] < 0).all()
    assert (short[upper_arm] > 0).all()
    assert (none[upper_arm] < 0).all()


@pytest.mark.parametrize("neckline", NECKLINES)
def test_necklines_bare_the_head_and_cover_the_chest(body, neckline):
    field = neck_field(body, neckline)
    skin = np.arange(body.vertex_count) < 13380
    assert (field[skin & (body.canonical[:, 2] > 0.57)] < 0).all()
    assert (field[skin & (body.canonical[:, 2] < 0.33)] > 0).all()


def test_a_v_neck_is_deeper_than_a_crew_neck_only_in_front(body):
    bare = {name: neck_field(body, name) < 0 for name in ("crew", "v")}
    more = bare["v"] & ~bare["crew"]
    assert more[:13380].sum() > 30
    assert (body.canonical[more, 1] < 0.03).all()


def test_trousers_cover_hips_and_legs_down_to_their_hem(body, shape):
    garments = clothe(body, shape, outfit(leg=1.0, waist=0.1))
    field = garments.fields[Layer.TROUSERS]
    thigh = (body.along_leg > 0.3) & (body.along_leg < 0.8) & (body.arm < 0.1)
    shin = (body.along_leg > 1.2) & (body.arm < 0.1)
    assert (field[thigh] > 0).all()
    assert (field[shin] < 0).all()


@pytest.mark.parametrize("seed", range(40))
def test_every_outfit_covers_the_trunk_and_has_finite_shells(body, shape, seed):
    rng = np.random.default_rng(seed)
    worn = sample_outfit(rng, female=bool(seed % 2))
    garments = clothe(body, shape, worn)
    trunk = (body.arm < 0.02) & (body.canonical[:, 2] > -0.05) & (body.canonical[:, 2] < 0.36)
    trunk &= (np.abs(body.canonical[:, 0]) < 0.11) & (np.arange(body.vertex_count) < 13380)
    covered = np.maximum(garments.coverage, garments.fields.get(Layer.SKIRT, garments.coverage))
    assert (covered[trunk] > 0).mean() > 0.99
    for shell in garments.shells:
        assert np.isfinite(shell.rest).all()
        assert shell.faces.max() < len(shell.rest)
        assert (np.abs(shell.rest - shape.vertices[shell.source]).max(axis=1) < 0.15).all()
    assert from_json(Outfit, plain(worn)) == worn


def test_other_fabrics_keep_the_mesh_bit_for_bit():
    rng = np.random.default_rng(1)
    identity = sample_identity(rng)
    worn = sample_outfit(rng, identity.female)
    first, second = dress(identity, worn), dress(identity, sample_fabrics(rng, worn))
    assert first.outfit != second.outfit
    for name in ("rest", "faces", "layer", "part", "clip", "attributes"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()


def test_signers_wear_dark_long_sleeves():
    for seed in range(20):
        worn = signer_outfit(np.random.default_rng(seed))
        assert worn.jacket is None
        assert worn.skirt is None
        assert max(worn.top.colors[0]) < 90
        assert worn.cut["sleeve"] > 1.8


@pytest.mark.parametrize("pattern", sorted(PATTERNS.keys() - PHOTOGRAPHS.keys()))  # those have tests of their own
@pytest.mark.parametrize("layer", [Layer.TOP, Layer.TROUSERS, Layer.SHOES])
def test_patterns_give_finite_colours(body, pattern, layer):
    vertices = np.arange(0, 13380, 7)
    fabric = Fabric(
        pattern, ((200.0, 40.0, 30.0), (30.0, 60.0, 200.0), (240.0, 240.0, 240.0)), logo="star", placket=True
    )
    color = fabric_color(fabric, layer, surface(body, vertices))
    assert color.shape == (len(vertices), 3)
    assert color.min() >= 0
    assert color.max() < 300  # grain may lighten white: the person clips
    if pattern not in {"plain", "block", "denim", "knit", "ribbed", "herringbone"} and layer != Layer.SHOES:
        assert (color[:, 2] > color[:, 0]).any()  # the second colour is there
        assert (color[:, 0] > color[:, 2]).any()


def test_stripes_repeat_with_the_scale(body):
    line = np.zeros((400, 3), np.float32)
    line[:, 1], line[:, 2] = -0.1, np.linspace(0.1, 0.3, 400)
    zeros = np.zeros(400, np.float32)
    points = Surface(line, zeros, zeros - 1, zeros, zeros + 0.2, zeros, zeros, zeros, zeros)
    fabric = Fabric("horizontal", ((255.0, 255.0, 255.0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)), scale=0.05)
    dark = fabric_color(fabric, Layer.TOP, points).mean(axis=1) < 128
    assert np.count_nonzero(np.diff(dark.astype(int)) == 1) == 4


def test_logos_are_drawn_and_unknown_ones_refused():
    for name in LOGOS:
        assert 0.05 < (logo_mask(name) > 0).mean() < 0.8
    with pytest.raises(KeyError, match="unknown logo"):
        logo_mask("pgpis")
