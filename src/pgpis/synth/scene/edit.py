"""Edits of a scene: one thing is another, everything else stays as it is.

An edit of *colours* (:func:`with_fabrics`, :func:`with_paint`) leaves every triangle where it is, so nothing outside
the garments, or outside skin, hair and eyes, can change. An edit of *geometry* (:func:`with_outfit`,
:func:`with_identity`, :func:`with_pose`) also changes what creases and the floor's shadow darken around it; compare it
with a picture of the :func:`isolated` scene.
"""

from __future__ import annotations

from dataclasses import replace

from pgpis.synth.figure.body import load_body
from pgpis.synth.figure.description import Identity, Outfit, Pose
from pgpis.synth.figure.identity import HAIR_SHAPE
from pgpis.synth.scene.scene import Scene

SECANT_STEPS = 2


def isolated(scene: Scene) -> Scene:
    """Return the scene without what the person's geometry does to pixels beside it: creases and floor shadow."""
    return replace(scene, occlusion=False, backdrop=replace(scene.backdrop, floor=False))


def with_outfit(scene: Scene, other: Outfit) -> Scene:
    """Dress the person in other garments."""
    return replace(scene, outfit=other)


def with_fabrics(scene: Scene, other: Outfit) -> Scene:
    """Cut the person's garments from the fabrics of another outfit.

    What has no counterpart there takes the fabric of the lower half (a skirt from trousers, and the other way round)
    or stays as it is (a jacket, tights).
    """
    own = scene.outfit
    lower = other.bottom if other.skirt is None else other.skirt
    top = replace(other.top, placket=own.top.placket)  # buttons belong to the cut
    skirt, bottom = own.skirt, lower
    if own.skirt is not None:
        skirt = top if own.dress else lower
        bottom = own.bottom if other.skirt is None else other.bottom
    jacket = other.jacket if own.jacket is not None and other.jacket is not None else own.jacket
    return replace(scene, outfit=replace(own, top=top, bottom=bottom, skirt=skirt, jacket=jacket, shoes=other.shoes))


def with_paint(scene: Scene, other: Identity) -> Scene:
    """Give the person another's colours: skin, hair, eyes, lips, brows, beard and marks; the shape stays."""
    own = scene.identity
    paint = other.paint | {name: own.paint[name] for name in HAIR_SHAPE if name in own.paint}
    painted = replace(other, female=own.female, shape=own.shape, face=own.face, hair=own.hair, paint=paint)
    return replace(scene, identity=painted)


def with_identity(scene: Scene, other: Identity) -> Scene:
    """Put another person, with their build, face and hair, into the same clothes and pose.

    They are given the stature of the one they replace: the camera stays, and would cut off a taller person's head.
    Nothing but the phenotype ``height`` changes for that.
    """
    metres = stature(scene.identity)
    for _ in range(SECANT_STEPS):  # stature is almost linear in it
        height = other.shape["height"]
        taller = replace(other, shape={**other.shape, "height": height + 0.1})
        slope = (stature(taller) - stature(other)) / 0.1
        height += (metres - stature(other)) / slope
        other = replace(other, shape={**other.shape, "height": height})
    return replace(scene, identity=other)


def stature(identity: Identity) -> float:
    """Return metres from sole to crown in the rest pose."""
    body = load_body()
    first, last = body.parts["body"].vertices
    height = body.shape(identity.shape, identity.face).vertices[first:last, 2]
    return float(height.max() - height.min())


def with_pose(scene: Scene, other: Pose) -> Scene:
    """Let the person take another pose before the same camera."""
    return replace(scene, pose=other)
