"""Building encoders, denoiser, autoencoder and scheduler from a hub id, a local folder or a configuration."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import diffusers
import torch
from diffusers import AutoencoderDC, AutoencoderKL, SchedulerMixin
from diffusers.utils import DummyObject
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection, Dinov2Config, Dinov2Model, PretrainedConfig

from pgpis.errors import PgpisError, nearest
from pgpis.models.autoencoder import Autoencoder
from pgpis.models.encoders import VisionEncoder
from pgpis.models.foreign import building, check_config, read_json
from pgpis.models.loading import (
    BOOKKEEPING,
    LoadErrors,
    check_finite,
    check_keys,
    init_keys,
    load_diffusers,
    load_strictly,
    public_fields,
    stored_config,
    subfolder_of,
)
from pgpis.models.samplers import check_sampler, predicted_as_trained
from pgpis.models.stored import check_loaded, refuse_integers

ModelSpec: TypeAlias = str | dict[str, Any]
"""A hub id or local folder (pretrained weights), or a configuration (random weights)."""

_FAMILIES = {
    **dict.fromkeys(("clip_vision_model", "clip"), (CLIPVisionConfig, CLIPVisionModelWithProjection)),
    "dinov2": (Dinov2Config, Dinov2Model),
}
_AUTOENCODERS: dict[str, type[Any]] = {"AutoencoderKL": AutoencoderKL, "AutoencoderDC": AutoencoderDC}


def build_vision_encoder(spec: ModelSpec) -> VisionEncoder:
    """Build a CLIP or DINOv2 vision encoder in float32.

    Args:
        spec: Hub id or folder; or a configuration with ``model_type`` (``clip_vision_model`` or ``dinov2``) and any
            field of ``CLIPVisionConfig`` or ``Dinov2Config``.

    Raises:
        PgpisError: Not found, another kind of model, or a key that the configuration does not have.
    """
    if isinstance(spec, Mapping):
        config, model_class = _vision_config(spec)
        with building("vision encoder: its configuration"):
            return _all_used(model_class(config).eval())
    with LoadErrors("vision encoder", spec):
        path = Path(spec) / "config.json"
        stored = read_json(path) if path.is_file() else PretrainedConfig.get_config_dict(spec)[0]
        model_type = str(check_config(stored, f"vision encoder '{spec}'").get("model_type"))
    if model_type not in _FAMILIES:
        raise PgpisError(f"'{spec}' is a '{model_type}' model, expected CLIP or DINOv2")
    # a full CLIP also holds its text half, which is not ours to load
    text_half = ("text_model.", "text_projection.", "logit_scale")
    return _all_used(load_strictly(_FAMILIES[model_type][1], "vision encoder", spec, text_half, dtype=torch.float32))


def load_vision_encoder(
    config: Mapping[str, Any], state_dict: Mapping[str, torch.Tensor], part: str = "vision encoder"
) -> VisionEncoder:
    """Build a vision encoder from a configuration and weights in memory, strictly.

    Weights may carry the names of any transformers version: 5.x renames DINOv2's attention layers in memory and
    translates the published names while loading. ``part`` is what errors call the encoder.

    Raises:
        PgpisError: A weight is missing, left over, or has another shape or integers; or the configuration describes no
            encoder.
    """
    model_config, model_class = _vision_config(config, part)
    with building(f"{part}: its configuration"):
        encoder, report = model_class.from_pretrained(
            None,
            config=model_config,
            state_dict=dict(state_dict),
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported below, with the name
        )
    check_loaded(part, report)
    refuse_integers(encoder, state_dict, part)
    check_finite(part, encoder.state_dict())
    return _all_used(encoder)


def vision_encoder_config(encoder: VisionEncoder) -> dict[str, Any]:
    """Return the shortest configuration from which :func:`build_vision_encoder` makes the same architecture."""
    config = {key: value for key, value in encoder.config.to_diff_dict().items() if key not in BOOKKEEPING}
    return {**config, "model_type": encoder.config.model_type}


def build_vae(spec: ModelSpec) -> Autoencoder:
    """Build the autoencoder.

    Args:
        spec: Hub id or folder of a Stable Diffusion pipeline (its ``vae`` subfolder is taken) or of an autoencoder
            alone; or a configuration of ``AutoencoderKL``, or of the class that its ``_class_name`` names:
            ``AutoencoderDC``.

    Raises:
        PgpisError: Not found, another class, or a key that it does not have.
    """
    if isinstance(spec, Mapping):
        vae_class = _autoencoder_class(spec.get("_class_name", "AutoencoderKL"))
        check_keys("vae", public_fields(spec), init_keys(vae_class))
        with building("vae: its configuration"):
            return vae_class.from_config(public_fields(spec)).eval()
    with LoadErrors("vae", spec):
        name = stored_config(AutoencoderKL, spec, subfolder_of(spec, "vae")).get("_class_name", "AutoencoderKL")
    return load_diffusers(_autoencoder_class(name), "vae", spec, subfolder="vae")


def _autoencoder_class(name: object) -> type[Any]:
    if str(name) not in _AUTOENCODERS:
        raise PgpisError(f"vae: no autoencoder '{name}'{nearest(str(name), _AUTOENCODERS)}; {', '.join(_AUTOENCODERS)}")
    return _AUTOENCODERS[str(name)]


def build_scheduler(spec: ModelSpec | None = None) -> SchedulerMixin:
    """Build a diffusion scheduler.

    Args:
        spec: Hub id or folder (subfolder ``scheduler``), read into a ``DDPMScheduler`` as officially; or a
            configuration, whose ``_class_name`` may name another diffusers scheduler, infinity as text or number.
            Keys that are not given take the values of Stable Diffusion 2.1.

    Raises:
        PgpisError: Not found, no such scheduler, one that cannot draw, or a key or value that it does not have.
    """
    if isinstance(spec, str):
        with LoadErrors("scheduler", spec):
            config = stored_config(diffusers.DDPMScheduler, spec, subfolder_of(spec, "scheduler"))
            return diffusers.DDPMScheduler.from_config(config)
    fields = {key: INFINITE.get(str(value), value) for key, value in (spec or {}).items()}
    name = str(fields.pop("_class_name", "DDPMScheduler"))
    scheduler_class = _scheduler_class(name)
    keys = init_keys(scheduler_class)
    check_keys("scheduler", fields, keys)
    for key, choices in _SCHEDULER_CHOICES.items():
        if (choice := fields.get(key, choices[0])) not in choices:
            near = nearest(str(choice), choices)
            raise PgpisError(f"scheduler: no such {key} '{choice}'{near}; one of {', '.join(choices)}")
    values = {key: value for key, value in _SD21_NOISE.items() if key in keys} | public_fields(fields)
    with building(f"scheduler: the configuration of {name}"):
        return scheduler_class(**values)


def build_sampler(trained: SchedulerMixin, spec: dict[str, Any], also: Collection[str] = ()) -> SchedulerMixin:
    """Build another sampler on the noise levels of a scheduler.

    Args:
        trained: The scheduler.
        spec: What is otherwise; without ``_class_name`` the class is the same, and what is not given is as trained.
        also: Further keys that another class takes over, where it has them.

    Raises:
        PgpisError: No such scheduler, one that cannot draw, a key that it does not have, or its class cannot have
            these noise levels or the denoiser predicts something else.
    """
    predicted_as_trained(trained, spec)
    name = str(spec.get("_class_name", type(trained).__name__))
    keys = init_keys(_scheduler_class(name))
    levels = {key: value for key in NOISE_LEVELS if (value := trained.config.get(key))}
    if lacking := [key for key in levels if key not in keys]:
        message = f"scheduler: {name} has no {lacking[0]}, with which this model was trained"
        raise PgpisError(message, hint="a sampler that has it, such as DDIMScheduler")
    kept = keys if name == type(trained).__name__ else also
    more = {key: trained.config[key] for key in kept if key in keys and key in trained.config}
    return build_scheduler({**levels, **more, **spec, "_class_name": name})


def _scheduler_class(name: str) -> type[SchedulerMixin]:
    found = getattr(diffusers, name, None)
    if isinstance(found, DummyObject):
        wanted = found._backends  # noqa: SLF001  diffusers tells it nowhere else
        message = f"scheduler: {name} needs {' and '.join(wanted)}, which is not installed"
        raise PgpisError(message, hint=f"pip install {' '.join(wanted)}")
    if not (inspect.isclass(found) and issubclass(found, SchedulerMixin)):
        names = [entry for entry in dir(diffusers) if entry.endswith("Scheduler")]
        known = [entry for entry in names if not isinstance(getattr(diffusers, entry), DummyObject)]
        raise PgpisError(f"scheduler: diffusers has no '{name}'{nearest(name, known)}")
    check_sampler(found)
    return found


INFINITE = {spelt: float(spelt.replace(".", "")) for spelt in ("inf", "-inf", ".inf", "-.inf")}
"""Numbers by how marks and YAML spell them."""
NOISE_LEVELS = (
    "num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "rescale_betas_zero_snr",
    "prediction_type",
)  # fmt: skip
"""What a sampler must have in common with the noise schedule of training."""
_SCHEDULER_CHOICES = {
    "prediction_type": ("epsilon", "sample", "v_prediction", "flow_prediction"),
    "timestep_spacing": ("linspace", "leading", "trailing"),
}
"""What diffusers would not check before it draws."""
_SD21_NOISE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "clip_sample": False,
    "timestep_spacing": "leading",
    "steps_offset": 1,
}


def _all_used(encoder: VisionEncoder) -> VisionEncoder:
    """Freeze DINOv2's token of masked patches: no picture here has any, and DDP fails on weights without gradient."""
    token = getattr(getattr(encoder, "embeddings", None), "mask_token", None)
    if token is not None:
        token.requires_grad_(False)
    return encoder


def _vision_config(
    spec: Mapping[str, Any], part: str = "vision encoder"
) -> tuple[PretrainedConfig, type[VisionEncoder]]:
    model_type = str(spec.get("model_type", ""))
    if model_type not in _FAMILIES:
        raise PgpisError(
            f"{part}: model_type is '{model_type}'{nearest(model_type, _FAMILIES)}; "
            "expected 'clip_vision_model' or 'dinov2'"
        )
    config_class, model_class = _FAMILIES[model_type]
    check_keys(part, spec, config_class().to_dict())
    fields = {key: value for key, value in spec.items() if key not in (*BOOKKEEPING, "model_type")}
    with building(f"{part}: its configuration"):
        return config_class(**fields), model_class
