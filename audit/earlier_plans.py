"""What a folder's plan was before, where results had been seen when it was changed: it is remembered, and never replaced in
silence."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from typing import NoReturn

from seethrough.common.errors import InputError
from seethrough.reports.findings.text import counted
from seethrough.reports.row import EarlierPlan, Manifest

from .cells.store import DamagedFileError, Store


def with_history(manifest: Manifest, earlier: Manifest | None, store: Store, replaces: bool) -> Manifest:
    """`manifest`, which remembers the plans that its folder had before: those that `earlier` remembers, the manifest that lies
    there, and that plan itself, where it is another one and some of its cells were measured. Where there is no manifest that
    can be read, though there are measured cells, it remembers that.

    Raises: InputError, if measured cells of another spec are not part of the new plan, unless it `replaces` them.
    """
    if earlier is None:
        return _without_history(manifest, store, replaces)
    same_margins = earlier.margins == manifest.margins
    if earlier.keys == manifest.keys and same_margins:
        return replace(manifest, earlier=earlier.earlier)
    seen = set(_measured(earlier.keys, store))
    left_out, same_spec = len(seen - manifest.keys), _subject(earlier) == _subject(manifest)
    if left_out and not same_spec and not replaces:
        _refuse(store, left_out, f"the audit {earlier.name!r}")
    if not seen:
        return replace(manifest, earlier=earlier.earlier)
    if same_margins and not left_out and (before := _before_a_slip(earlier, manifest)) is not None:
        return replace(manifest, earlier=before)
    found = EarlierPlan(
        name=earlier.name,
        trials=earlier.trials,
        label_trials=earlier.label_trials,
        until=_now(),
        planned=len(earlier.keys),
        measured=len(seen),
        raised=_raised(earlier, manifest, seen),
        left_out=left_out,
        same_spec=same_spec,
        lowered=_lowered(earlier, manifest, seen),
        margins=not same_margins,
        plan=_digest(earlier),
    )
    return replace(manifest, earlier=(*earlier.earlier, found))


def _without_history(manifest: Manifest, store: Store, replaces: bool) -> Manifest:
    """A run writes its manifest before its cells: if there is none, it was deleted, or the cells are from elsewhere."""
    seen = set(_measured(frozenset(store.cell_keys()), store))
    left_out = len(seen - manifest.keys)
    if left_out and not replaces:
        _refuse(store, left_out, "an audit without a manifest")
    lost = EarlierPlan("", 0, None, _now(), planned=0, measured=len(seen), raised=0, left_out=left_out, same_spec=False)
    return replace(manifest, earlier=(lost,)) if seen else manifest


def _refuse(store: Store, left_out: int, whose: str) -> NoReturn:
    raise InputError(
        f"{store.directory}: found {counted(left_out, 'measured cell')} of {whose} that this one does not have; allowed: "
        "a new folder, an audit that has all of them, or --replace, which leaves them out and says so."
    )


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _digest(manifest: Manifest) -> str:
    return hashlib.sha256("\n".join(sorted(manifest.keys)).encode()).hexdigest()


def _subject(manifest: Manifest) -> tuple[str, frozenset[tuple[str, str]]]:
    """What is audited: the spec, and the hashes of data and weights."""
    return manifest.spec, frozenset(each for each in manifest.hashes if each[0].startswith(("data of ", "weights of ")))


def _before_a_slip(earlier: Manifest, manifest: Manifest) -> tuple[EarlierPlan, ...] | None:
    """The plans before the one of `manifest`, where that one is taken up again, and nothing beyond it was measured, left out
    or judged by another margin since. None where it is not."""
    for place, known in enumerate(earlier.earlier):
        if known.plan == _digest(manifest) and not any(
            each.left_out or each.margins for each in earlier.earlier[place:]
        ):
            return earlier.earlier[:place]
    return None


def _measured(keys: frozenset[str], store: Store) -> Iterator[str]:
    """Those whose cells hold numbers; a damaged file holds none."""
    for key in keys.intersection(store.cell_keys()):
        try:
            cell = store.read(key)
        except DamagedFileError:
            continue
        if cell is not None and cell.status == "ok":
            yield key


def _raised(earlier: Manifest, manifest: Manifest, seen: set[str]) -> int:
    """How many combinations of the new plan hold cells that were seen, and cells that were not planned then. Names may be
    others: keys tell."""
    known = earlier.keys
    return sum(bool(keys & seen) and bool(keys - known) for keys in _combinations(manifest))


def _lowered(earlier: Manifest, manifest: Manifest, seen: set[str]) -> int:
    """How many combinations of the former plan hold cells that were seen and are kept, and cells that were neither."""
    kept = manifest.keys
    return sum(bool(keys & seen & kept) and bool(keys - seen - kept) for keys in _combinations(earlier))


def _combinations(manifest: Manifest) -> Iterable[set[str]]:
    """The keys of each."""
    found = dict[tuple[str, ...], set[str]]()
    for place in manifest.planned:
        path = (place.setting, place.threat, place.defense, place.attack)
        found.setdefault(path, set()).add(place.key)
    return found.values()
