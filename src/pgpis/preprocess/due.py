"""What a job has to make: what is missing or damaged, or was made of another picture or another map."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pgpis.data.picture_store import content_hash
from pgpis.jobs import meter
from pgpis.pictures.kinds import kind_of
from pgpis.preprocess.record import Record
from pgpis.preprocess.settings import Outcome, PictureFiles
from pgpis.preprocess.stages import is_valid

log = logging.getLogger(__name__)


@dataclass
class Due:
    """What is to be made, and what is there; nothing is changed in finding it out."""

    options: Mapping[str, str]
    """What is asked for, each after what it needs, and how it would be made."""
    record: Record
    again: bool = False
    """Also look again where an earlier run with the same tools found nothing."""
    todo: dict[str, list[PictureFiles]] = field(default_factory=dict)
    already: Counter[str] = field(default_factory=Counter)
    failures: list[Outcome] = field(default_factory=list)
    """What earlier runs did not find, and what cannot be made anew because its map is not there."""
    doubtful: list[Outcome] = field(default_factory=list)
    """What earlier runs made that stays, and is uncertain."""
    _made_with: Counter[tuple[str, str]] = field(default_factory=Counter)
    _maps_gone: Counter[str] = field(default_factory=Counter)

    def look(self, files: Sequence[PictureFiles]) -> None:
        """Look at what is there, and say what stays although it would not be made like that today."""
        self.todo = {condition: [] for condition in self.options}
        self._adopt(files)
        with meter("looking at what is there", len(files)) as looked:
            for file in files:
                looked(1)
                self._look_at(replace(file, content=content_hash(file.picture)))
        for (condition, others), count in self._made_with.items():
            if others not in ("", self.options[condition]):
                message = "%s: %d there were made with %s, not %s, and stay; remove them to have all alike"
                log.warning(message, condition, count, others, self.options[condition])
        for condition, count in self._maps_gone.items():
            needed = kind_of(condition).needs
            message = "%s: %d there were made of a %s that is gone, and stay; --conditions %s,%s makes both anew"
            log.warning(message, condition, count, kind_of(needed or "").label, needed, condition)

    def _adopt(self, files: Sequence[PictureFiles]) -> None:
        """Take what is recorded of ``anna.png`` for ``anna.jpg``, if only that is there: both have the same files."""
        names = {file.name.rpartition(".")[0]: file.name for file in files}
        for (name, condition), outcome in [*self.record.outcomes.items()]:
            now = names.get(name.rpartition(".")[0], name)
            if now != name:
                self.record.outcomes.setdefault((now, condition), replace(outcome, name=now))

    def _look_at(self, file: PictureFiles) -> None:
        made = [condition for condition, _ in file.outputs if condition not in file.held]
        stale = {condition for condition in made if self.record.is_made_of_another_picture(file, condition)}
        todo: list[str] = []
        for condition in self.options:
            if condition in file.held:
                self.already[condition] += 1
                continue
            outcome, needed = self.record.outcomes.get((file.name, condition)), kind_of(condition).needs
            map_now = map_hash(condition, file)
            has_map = needed in todo or map_now != ""
            made_of = "" if outcome is None or outcome.reason is not None else outcome.map
            # a picture that cannot be read makes no new map, and no new texture
            if made_of and file.content and has_map and (needed in todo or made_of != map_now):
                stale.add(condition)
            is_there = is_valid(condition, file)
            if is_there and condition not in stale:
                self.already[condition] += 1
                self.doubtful += [outcome] if outcome is not None and outcome.doubt else []
                self._made_with[condition, "" if outcome is None else outcome.options] += 1
                self._maps_gone.update([condition] if made_of and not has_map else [])
            elif needed is not None and needed not in todo and (needed in stale or (is_there and not has_map)):
                self.failures.append(_without_map(file, condition, "of another picture" if has_map else "missing"))
            elif (
                outcome is None
                or outcome.found
                or self.again
                or self.record.is_of_another_picture(file, condition)
                or outcome.options not in ("", self.options[condition])  # others may find it
                or needed in todo
                or (needed is not None and is_valid(needed, file))  # it has been found since
            ):
                todo.append(condition)
            else:
                self.failures.append(outcome)
        for condition in todo:
            self.todo[condition].append(replace(file, stale=frozenset(stale)))


def _without_map(file: PictureFiles, condition: str, why: str) -> Outcome:
    kind = kind_of(condition)
    made_by = f"--conditions {','.join(kind.chain)} makes both"
    reason = f"not made: the {kind_of(str(kind.needs)).label} of this picture is {why}; {made_by}"
    return Outcome(file.name, condition, reason, content=file.content)


def map_hash(condition: str, file: PictureFiles) -> str:
    """Return the hash of the map that a condition is made of; empty where it needs none, or there is none."""
    needed = kind_of(condition).needs
    return "" if needed is None else content_hash(file.path(needed))
