"""The one DataModule: a data set per split, resumable order, and only the pictures that the model declared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from pgpis.batch import FrozenFeature, InputSpecs, PairBatch
from pgpis.data.cache import CacheFolder
from pgpis.data.deepfashion import DeepFashion  # noqa: F401  class names in recipes are found once they are imported
from pgpis.data.features import FeatureCache, feature_key, variants_of
from pgpis.data.folder import FolderPairs  # noqa: F401
from pgpis.data.packs.packed import Packed
from pgpis.data.pairs import PairDataset
from pgpis.data.phoenix import Phoenix14T  # noqa: F401
from pgpis.data.resident import ResidentLoader, refuse_other_versions
from pgpis.data.sampler import EpochPosition, ResumableLoader, ResumableSampler
from pgpis.data.samples import PairCollator, PairSamples
from pgpis.data.transforms import FPDM_AUGMENTATION, Augmentation, PairTransform
from pgpis.errors import PgpisError, check_range, hinting
from pgpis.jobs import leave_interrupts_alone, parts
from pgpis.pictures.drawing import CANVAS, DRAWING, PoseSkeleton, check_canvas

MOST_WORKERS = 1024
SPLITS_OF_STAGE = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ("predict",)}


class PoseTransferDataModule(LightningDataModule):
    """Batches of (source, target pose[, target]) pairs.

    Args:
        train: Pairs for ``fit``.
        val: Pairs for validation; ``fit`` works without.
        test: Pairs for ``test``.
        predict: Pairs for ``predict``.
        batch_size: Pairs per training batch and process.
        eval_batch_size: Pairs per batch elsewhere; ``batch_size`` by default.
        num_workers: Processes that load pairs, per training process. 0 loads in the training process itself.
        seed: Seed of the order of pairs and of the augmentation; ``seed_everything`` sets it on the command line.
        input_specs: What the model declares; linked from the model on the command line.
        loss_specs: What of it training batches hold; linked likewise. All by default.
        frozen_features: Returns what of it may be taken from ``cache``; linked likewise.
        pose_canvas: (height, width) on which key points are drawn.
        stick_width: Half the thickness of a limb on that canvas; the skeleton's own by default.
        pose_skeleton: Key points that the model was trained on, or shall be: of 133, body18 draws the body's 18.
        augmentation: What varies in training.
        cache: Folder of ``pgpis cache``, from which training takes the features of frozen encoders; for a pack that
            has features, the pack itself.
        resident: Keep all training pictures, decoded, in the memory of the device that trains, see ``ResidentLoader``.

    Raises:
        PgpisError: A number that none of these can have.
    """

    def __init__(
        self,
        *,
        train: PairDataset | None = None,
        val: PairDataset | None = None,
        test: PairDataset | None = None,
        predict: PairDataset | None = None,
        batch_size: int = 8,
        eval_batch_size: int | None = None,
        num_workers: int = 4,
        seed: int = 0,
        input_specs: InputSpecs | None = None,
        loss_specs: InputSpecs | None = None,
        frozen_features: Callable[[], dict[str, FrozenFeature]] | None = None,
        pose_canvas: tuple[int, int] = CANVAS,
        stick_width: int | None = None,
        pose_skeleton: PoseSkeleton | None = None,
        augmentation: Augmentation = FPDM_AUGMENTATION,
        cache: str | None = None,
        resident: bool = False,
    ) -> None:
        super().__init__()
        check_range("data.batch_size", batch_size, 1, whole=True)
        check_range("data.eval_batch_size", eval_batch_size, 1, whole=True, optional=True)
        check_range("data.num_workers", num_workers, 0, MOST_WORKERS, whole=True)
        check_canvas(*pose_canvas, stick_width)
        self.train = train
        self.val = val
        self.test = test
        self.predict = predict
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size or batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.input_specs = input_specs
        self.loss_specs = loss_specs
        self.frozen_features = frozen_features
        self.pose_canvas = pose_canvas
        self.stick_width = stick_width
        self.pose_skeleton = pose_skeleton
        self.augmentation = augmentation
        self.cache = cache
        self.resident = resident
        self._first_frame: tuple[str, PairBatch] | None = None
        # is told how to ask for the fingerprint of a pair by its id; None: there is no such pair
        self.find_finished: Callable[[Callable[[str], str | None]], set[str]] | None = None

    def setup(self, stage: str) -> None:
        """Read the lists that a stage needs, and look for the files that its model reads.

        Raises:
            PgpisError: The stage has no data set, its lists cannot be read, or files are missing that may not be.
        """
        for split in SPLITS_OF_STAGE[stage]:
            if split != "val" or stage == "validate" or self.val is not None:
                with hinting("--data.val null trains without validation" if (stage, split) == ("fit", "val") else None):
                    dataset = self.dataset(split)
                    dataset.setup()
                    if self.input_specs is not None:
                        dataset.require({spec.origin for spec in self.input_specs.values()})

    def dataset(self, split: str) -> PairDataset:
        """Return the data set of a split, which must be configured."""
        dataset: PairDataset | None = getattr(self, split)
        if dataset is None:
            usual = f"set data.{split} in the recipe: --data.{split}=DeepFashion --data.{split}.init_args.root=FOLDER"
            hint = "--sources FOLDER --poses FOLDER" if split == "predict" else usual
            raise PgpisError(f"no data set is configured for '{split}'", hint=hint)
        return dataset

    def train_dataloader(self) -> DataLoader[Any] | ResidentLoader:
        """Return shuffled batches that go on where an interrupted run stopped."""
        dataset = self.dataset("train")
        epoch, sample = (0, 0) if self.trainer is None else self.position.go_on(self.trainer)
        repeats = self.trainer is not None and self.trainer.overfit_batches > 0
        place = {"start_epoch": epoch, "start_sample": sample, **self._share}
        sampler = ResumableSampler(range(len(dataset)), shuffle=True, seed=self.seed, repeats=repeats, **place)
        if not self.resident:
            return self._loader(dataset, sampler, train=True)
        refuse_other_versions(self.augmentation, dataset, self.cache)
        transform = self._transform(self._specs(train=True), train=True)
        device = torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device
        loader = ResidentLoader(dataset, transform, sampler, self.batch_size, device, self.num_workers, self.seed)
        loader.read()  # now, so that it takes nothing of trainer.max_time
        return loader

    def batches_per_epoch(self) -> int:
        """Return how many batches each process trains on in an epoch, however much of it is done already."""
        return self.position.batches(0, self._share["world_size"])

    def require_one_source(self, why: str) -> None:
        """Refuse pairs of several sources in training and validation; see ``PairDataset.require_one_source``."""
        for split in SPLITS_OF_STAGE["fit"]:
            if (dataset := getattr(self, split)) is not None:
                dataset.require_one_source(why, f"data.{split}")

    @cached_property
    def position(self) -> EpochPosition:
        """Where in its epoch training is."""
        return EpochPosition(len(self.dataset("train")), self.seed, lambda: self.batch_size)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint holds of the data: the position in the epoch."""
        return {} if self.trainer is None or self.train is None else self.position.state_dict(self.trainer)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the run of a checkpoint stopped; only training asks for it."""
        if self.trainer is not None and self.trainer.training:
            self.position.load_state_dict(state_dict)

    def val_dataloader(self) -> DataLoader[Any] | list[DataLoader[Any]]:
        """Return the validation batches; none where no data set is configured."""
        return [] if self.val is None else self._evaluation_loader("val")

    def test_dataloader(self) -> DataLoader[Any]:
        """Return the test batches."""
        return self._evaluation_loader("test")

    def predict_dataloader(self) -> DataLoader[Any]:
        """Return the batches to make pictures for, of the pairs that :meth:`unfinished` names."""
        return self._evaluation_loader("predict", self.unfinished())

    def unfinished(self) -> Sequence[int]:
        """Return the positions of the pairs to make pictures for: all but those that ``find_finished`` returns."""
        dataset = self.dataset("predict")
        origins = {spec.origin for spec in self._specs().values()}
        places: dict[str, int] = {}

        def fingerprint_of(pair_id: str) -> str | None:
            if not places:  # a first run asks for none
                places.update((pair.pair_id, index) for index, pair in enumerate(dataset.pairs))
            try:
                return dataset.fingerprint(places[pair_id], origins) if pair_id in places else None
            except Exception:  # noqa: BLE001  the pair is read again, and fails with this reason
                return ""

        finished = set() if self.find_finished is None else self.find_finished(fingerprint_of)
        if not finished:
            return range(len(dataset))
        return [index for index, pair in enumerate(dataset.pairs) if pair.pair_id not in finished]

    def training_pictures(self, key: str, specs: InputSpecs, count: int) -> Iterator[torch.Tensor]:
        """Yield the entry ``key`` of ``count`` training pairs, spread over the list, in batches and not augmented."""
        dataset = self.dataset("train")
        dataset.setup()
        samples = PairSamples(dataset, self._transform(specs, train=False), self.seed)
        step = max(1, len(dataset) // count)
        positions = range(0, min(count, len(dataset)) * step, step)
        for chosen in parts(positions, self.eval_batch_size):
            batch = PairCollator(specs)([samples[0, position] for position in chosen])
            values: Any = batch.get(key)
            if values is not None and len(values):
                yield values

    def first_frame(self, video: str) -> PairBatch:
        """Return the first frame of a video of this stage that can be read, as a batch of one.

        Raises:
            PgpisError: There is none.
        """
        if self._first_frame is None or self._first_frame[0] != video:
            self._first_frame = video, self._read_first_frame(video)
        return self._first_frame[1]

    def _read_first_frame(self, video: str) -> PairBatch:
        assert self.trainer is not None
        assert self.trainer.state.fn is not None
        transform, collate = self._transform(self._specs(), train=False), PairCollator(self._specs())
        for split in SPLITS_OF_STAGE[self.trainer.state.fn.value]:
            dataset = self.dataset(split)
            samples = PairSamples(dataset, transform, self.seed, fingerprints=split == "predict")
            for index, pair in enumerate(dataset.pairs):
                if pair.video == video and not (batch := collate([samples[0, index]]))["failures"]:
                    return batch
        raise PgpisError(f"no frame of the video '{video}' can be read")

    def _evaluation_loader(self, split: str, indices: Sequence[int] | None = None) -> DataLoader[Any]:
        dataset = self.dataset(split)
        chosen = range(len(dataset)) if indices is None else indices
        sampler = ResumableSampler(chosen, shuffle=False, **self._share)
        return self._loader(dataset, sampler, fingerprints=split == "predict")

    def _loader(
        self, dataset: PairDataset, sampler: ResumableSampler, *, train: bool = False, fingerprints: bool = False
    ) -> DataLoader[Any]:
        cache = self._feature_cache if train and self.cache is not None else None
        specs = self._specs(train=train)
        transform = self._transform(specs, train=train, cache=cache)
        return (ResumableLoader if train else DataLoader)(
            PairSamples(dataset, transform, self.seed, fingerprints=fingerprints),
            batch_size=self.batch_size if train else self.eval_batch_size,  # by name, as Lightning builds it anew
            sampler=sampler,
            num_workers=self.num_workers,
            collate_fn=PairCollator(specs),
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=_start_worker,
            persistent_workers=train and self.num_workers > 0,
        )

    @cached_property
    def _feature_cache(self) -> FeatureCache:
        """The cache, which must belong to the model's frozen weights."""
        if self.frozen_features is None:
            hint = "pass frozen_features=model.frozen_features; the command line links it by itself"
            raise PgpisError("data.cache needs the model that is trained", hint=hint)
        train, place = self.dataset("train"), str(self.cache)
        train.require_one_source("data.cache holds features of one source of a pair", "data.train")
        features, specs = self.frozen_features(), self._specs()
        if train.on_missing.of("texture") == "drop" and "texture_moments" in features:
            raise PgpisError(
                "data.cache holds no features of missing textures, and on_missing.texture is 'drop'",
                hint="on_missing.texture 'error' or 'skip', or train without a cache",
            )
        keys = {name: feature_key(feature.picture, specs, feature.weights) for name, feature in features.items()}
        variants = {name: variants_of(key.picture, specs, self.augmentation) for name, key in keys.items()}
        files = train.features(place) if isinstance(train, Packed) else CacheFolder(Path(place))
        return FeatureCache(files, keys, variants, {each.picture for each in features.values() if each.keeps_picture})

    def _transform(self, specs: InputSpecs, *, train: bool, cache: FeatureCache | None = None) -> PairTransform:
        drawing = {name: getattr(self, name) for name in DRAWING}
        return PairTransform(specs, cache=cache, train=train, augmentation=self.augmentation, **drawing)

    def _specs(self, *, train: bool = False) -> InputSpecs:
        if self.input_specs is None:
            hint = "pass input_specs=model.input_specs; the command line links it by itself"
            raise PgpisError("the DataModule does not know which pictures the model needs", hint=hint)
        return self.loss_specs if train and self.loss_specs is not None else self.input_specs

    @property
    def _share(self) -> dict[str, Any]:
        rank, size = (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)
        return {"rank": rank, "world_size": size}


def _start_worker(_worker: int) -> None:
    """Leave Ctrl-C to the main process, and OpenCV's thread pool, which does not survive fork, out of workers."""
    leave_interrupts_alone()
    cv2.setNumThreads(0)
