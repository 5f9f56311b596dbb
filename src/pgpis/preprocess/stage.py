"""What all steps from a photograph to a file have in common."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from PIL import Image

from pgpis.jobs import reason_of
from pgpis.pictures.images import read_image
from pgpis.preprocess.settings import Box, NothingFoundError, Outcome, PictureFiles, PrepareSettings
from pgpis.refusals import UnwritableError

log = logging.getLogger(__name__)


class Stage(ABC):
    """Makes one kind of file for pictures; a picture that fails does not stop the others.

    A class that names its ``condition`` is what makes that kind.

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
        self.doubt = ""
        """Why what is being made is uncertain; ``make`` says it."""

    def __call__(self, files: Sequence[PictureFiles]) -> list[Outcome]:
        """Make the files of some pictures, each atomically.

        Returns:
            What became of each, in their order.
        """
        return [self.attempt(file, self._make, file) for file in files]

    def _make(self, files: PictureFiles) -> Box | None:
        return self.make(read_image(files.picture), files)

    def attempt(self, files: PictureFiles, make: Callable[..., Box | None], *arguments: Any) -> Outcome:
        """Make the file of one picture, and say what became of it."""
        self.doubt = ""
        try:
            box = make(*arguments)
            return Outcome(files.name, self.condition, box=box, doubt=self.doubt)
        except UnwritableError:  # it ends the job
            raise
        except Exception as error:
            log.debug("%s of %s", self.condition, files.picture, exc_info=error)
            found = not isinstance(error, NothingFoundError)
            return Outcome(files.name, self.condition, reason_of(error), found)

    @abstractmethod
    def make(self, picture: Image.Image, files: PictureFiles) -> Box | None:
        """Make the file of one picture; return where in the picture it comes from.

        Raises:
            NothingFoundError: The picture shows no such thing.
            PgpisError: Something else is missing or unreadable.
        """
