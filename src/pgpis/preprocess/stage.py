"""What all steps from a photograph to a file have in common."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

from PIL import Image

from pgpis.jobs import reason_of
from pgpis.pictures.images import read_image
from pgpis.preprocess.settings import Box, NothingFoundError, Outcome, PictureFiles, PrepareSettings
from pgpis.refusals import UnwritableError

log = logging.getLogger(__name__)


class Uncertain(NamedTuple):
    """Where in the picture a file that was made comes from, and why it is uncertain; empty where it is not."""

    box: Box
    doubt: str


class Stage(ABC):
    """Makes one kind of file for pictures; a picture that fails does not stop the others.

    A class that names its ``condition`` is what makes that kind. Threads share an object of it.

    Args:
        settings: With which tools.

    Raises:
        PgpisError: A package or file of weights is missing; names it and the command that gets it.
    """

    condition: ClassVar[str]
    """Option of the kind."""
    is_neural: ClassVar[bool] = True
    """Whether it runs on the device; of each such stage there is one process on a GPU."""
    weights: ClassVar[staticmethod[[PrepareSettings], tuple[str, ...]]] = staticmethod(lambda _: ())
    """Returns the catalogue's names of the weights that it loads."""
    classes: ClassVar[dict[str, type[Stage]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        Stage.classes[cls.condition] = cls

    def __init__(self, settings: PrepareSettings) -> None:
        self.settings = settings.settled()

    def __call__(self, files: Sequence[PictureFiles]) -> list[Outcome]:
        """Make the files of some pictures, each atomically.

        Returns:
            What became of each, in their order.
        """
        return [self.attempt(file, self._make, file) for file in files]

    def _make(self, files: PictureFiles) -> Box | Uncertain | None:
        return self.make(read_image(files.picture), files)

    def attempt(self, files: PictureFiles, make: Callable[..., Box | Uncertain | None], *arguments: Any) -> Outcome:
        """Make the file of one picture, and say what became of it."""
        try:
            made = make(*arguments)
            box, doubt = made if isinstance(made, Uncertain) else (made, "")
            return Outcome(files.name, self.condition, box=box, doubt=doubt)
        except UnwritableError:  # it ends the job
            raise
        except Exception as error:
            log.debug("%s of %s", self.condition, files.picture, exc_info=error)
            found = not isinstance(error, NothingFoundError)
            return Outcome(files.name, self.condition, reason_of(error), found)

    @abstractmethod
    def make(self, picture: Image.Image, files: PictureFiles) -> Box | Uncertain | None:
        """Make the file of one picture; return where in the picture it comes from, and maybe why it is uncertain.

        Raises:
            NothingFoundError: The picture shows no such thing.
            PgpisError: Something else is missing or unreadable.
        """
