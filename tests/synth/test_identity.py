import numpy as np
import pytest

from pgpis.synth.figure.body import load_body
from pgpis.synth.figure.description import Identity, Layer, from_json
from pgpis.synth.figure.hair import STYLES, hair_shells, hairline
from pgpis.synth.figure.identity import face_code, sample_identity, sample_paint
from pgpis.synth.figure.mesh import Surface
from pgpis.synth.figure.skin import eye_color, hair_color, skin_color
from pgpis.synth.files.manifest import plain
from pgpis.synth.scene.render import draw
from pgpis.synth.scene.sampling import person_of, views_of


@pytest.fixture(scope="module")
def people():
    return [sample_identity(np.random.default_rng(seed)) for seed in range(120)]


def cosines(codes):
    unit = np.array(codes) / np.linalg.norm(codes, axis=1, keepdims=True)
    return (unit @ unit.T)[np.triu_indices(len(codes), 1)]


def test_people_are_reproducible_and_survive_json(people):
    assert sample_identity(np.random.default_rng(5)) == people[5]
    for identity in people[:20]:
        assert from_json(Identity, plain(identity)) == identity


def test_both_sexes_and_many_styles_occur(people):
    assert 0.3 < np.mean([identity.female for identity in people]) < 0.8
    assert len({identity.hair for identity in people}) >= 8
    assert {identity.hair for identity in people} <= set(STYLES)


def test_paint_keeps_shape_and_style(people):
    for number, identity in enumerate(people[:20]):
        other = sample_paint(np.random.default_rng(number), identity)
        assert (other.shape, other.face, other.hair, other.female) == (
            identity.shape,
            identity.face,
            identity.hair,
            identity.female,
        )
        assert other.skin != identity.skin
        for name in ("hair_volume", "hair_length", "parting"):
            assert other.paint[name] == identity.paint[name]


def test_face_codes_are_equal_for_equal_and_far_for_different_people(people):
    codes = [face_code(identity) for identity in people[:60]]
    assert all(code.shape == (512,) and code.dtype == np.float32 for code in codes)
    assert np.allclose(np.linalg.norm(codes, axis=1), 22, rtol=1e-4)
    assert np.array_equal(face_code(people[0]), codes[0])
    between = cosines(codes)
    assert abs(between.mean()) < 0.25
    assert np.quantile(between, 0.99) < 0.75
    similar = face_code(from_json(Identity, plain(people[0]) | {"eye_color": [92.0, 64.0, 40.0]}))
    assert codes[0] @ similar / 22**2 > 0.95


def test_colours_are_colours(people):
    body = load_body()
    skin = np.arange(0, 13380, 5)
    line = hairline(body)
    for identity in people[:12]:
        columns = [body.along_arm, body.along_leg, body.arm, line, line, body.lips, body.lids, body.nails]
        surface = Surface(body.canonical[skin], *(column[skin] for column in columns))
        eye = body.joint("eye.L")
        for color in (
            skin_color(identity, surface, eye),
            eye_color(identity, surface, eye),
            hair_color(identity, surface),
        ):
            assert np.isfinite(color).all()
            assert color.min() > -5
            assert color.max() < 330  # the person clips highlights


@pytest.mark.parametrize("style", STYLES)
def test_hair_is_finite_and_outside_the_skull(people, style):
    body = load_body()
    identity = from_json(Identity, plain(people[1]) | {"hair": style})
    shape = body.shape(identity.shape, identity.face)
    shells = hair_shells(body, shape, identity)
    assert bool(shells) == (style not in {"bald", "buzz"})
    for shell in shells:
        assert shell.layer == Layer.HAIR
        assert np.isfinite(shell.rest).all()
        assert set(np.unique(shell.part)) <= {23, 24}
        assert ((shell.chart_uv >= 0) & (shell.chart_uv <= 1)).all()
        right = shell.rest[shell.faces].mean(axis=1)[:, 0] < -0.02
        assert (shell.part[right] == 23).mean() > 0.98


def test_no_skin_shows_through_hair_from_behind():
    people = {person_of(11, person)[0].hair: person for person in range(12)}  # one of each style
    people = {style: person for style, person in people.items() if style not in {"bald", "buzz", "bun", "ponytail"}}
    assert len(people) >= 4
    for person in people.values():
        picture = draw(views_of(11, person, 3)[2], 256, 176)
        head = np.isin(picture.iuv[..., 0], (23, 24))
        rows = np.flatnonzero(head.any(axis=1))
        upper = rows[: len(rows) // 2]
        assert (picture.layer[upper][head[upper]] == Layer.HAIR).mean() > 0.93
