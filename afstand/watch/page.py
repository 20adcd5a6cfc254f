"""Many entries of a journal decoded together, without a Python object per entry or frame.

Only plain entries: ticks, and frames of registered devices that carry fixes or status. An entry
that holds anything else (an event, a phone, a name, a fault) is not plain and is left to the fold
of single entries, which alone gives reasons. A test holds the two together.
"""

from collections import Counter
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from afstand.limits import JOURNAL_FRAMES_MAX
from afstand.watch.frames import Devices, Inputs
from afstand.watch.kernels import checksums
from afstand.watch.plain import PlainFixes, plain_fixes
from firmware_contracts.batch import decode_batch
from geofence.engine import FixBatch
from ingest.columns import KIND_CODES, EntryColumns
from ingest.entries import (
    FLAGGED_VERSION,
    FRAMES_HEAD,
    FRAMES_VERSION,
    RECORD,
    EntryFlag,
    EntryKind,
    FrameFlag,
    LaneCode,
)

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_FRAMES: Final = KIND_CODES[EntryKind.FRAMES]
_TICK: Final = KIND_CODES[EntryKind.TICK]
_HEAD_BYTES: Final = FRAMES_HEAD.itemsize
_CRC_AT: Final = int(FRAMES_HEAD.fields["crc32"][1]) if FRAMES_HEAD.fields else 0
_RECORD_BYTES: Final = RECORD.itemsize
_AUTHENTICATED: Final = int(FrameFlag.AUTHENTICATED)
_LANE_FIRST, _LANE_END = int(LaneCode.FIX), int(LaneCode.OWNTRACKS)
_FEW_ENTRIES: Final = 512  # more at once are decoded column by column
_FLAGS_KNOWN: Final = int(~np.uint8(sum(FrameFlag)))
_NONE_PLAIN: Final = PlainFixes(
    np.zeros(1, np.bool_),
    np.zeros(1, np.bool_),
    np.zeros(1, np.int64),
    *np.zeros((len(PlainFixes._fields) - 3, 0), np.int64),
)
"""What is found in one entry that holds something else."""


class PageFixes(NamedTuple):
    """The fixes of a page in columns; `frame` is the row of the frame that each came in."""

    frame: Ints
    time_ms: Ints
    lat_e7: npt.NDArray[Any]
    lon_e7: npt.NDArray[Any]
    accuracy_dm: npt.NDArray[Any]
    speed_cm_s: npt.NDArray[Any]
    heading_cdeg: npt.NDArray[Any]
    mechanism: npt.NDArray[Any]


class Page(NamedTuple):
    """Entries, which of them are plain, and the frames of those.

    `frame_ends[k]` is the number of frames up to and with entry `k`, `fix_ends[k]` of fixes;
    `behind[k]` as in `PlainFixes`.
    """

    entries: EntryColumns
    plain: Mask
    behind: Mask
    frame_ends: Ints
    fix_ends: Ints
    handles: Ints
    proven: Mask
    received_ms: Ints
    sound: Mask
    boots: Ints
    sequences: Ints
    fixes: PageFixes


def _at(data: npt.NDArray[np.uint8], dtype: np.dtype[Any], starts: Ints) -> npt.NDArray[np.void]:
    """Copy a record of `dtype` from every start; all of them must lie inside `data`."""
    places = len(data) - dtype.itemsize + 1
    if places <= 0 or not len(starts):
        return np.zeros(0, dtype)
    view: npt.NDArray[np.void] = np.ndarray((places,), dtype, buffer=data, strides=(1,))
    return view[starts]


def read_page(entries: EntryColumns) -> Page:
    """Decode the plain ones among entries. Never raises for what stands in them."""
    found = plain_fixes(entries) if len(entries) <= _FEW_ENTRIES else None
    if found is None and len(entries) == 1:
        return page_of(entries, _NONE_PLAIN)  # by itself it costs less than column by column
    return read_general(entries) if found is None else page_of(entries, found)


def page_of(entries: EntryColumns, found: PlainFixes) -> Page:
    """Give what the one loop found as a page."""
    count = len(found.handles)
    return Page(
        entries=entries,
        plain=found.plain,
        behind=found.behind,
        frame_ends=found.ends,
        fix_ends=found.ends,
        handles=found.handles,
        proven=found.proven != 0,
        received_ms=found.received_ms,
        sound=np.ones(count, np.bool_),
        boots=found.boots,
        sequences=found.sequences,
        fixes=PageFixes(
            np.arange(count),
            found.time_ms,
            found.lat_e7,
            found.lon_e7,
            found.accuracy_dm,
            found.speed_cm_s,
            found.heading_cdeg,
            found.mechanism,
        ),
    )


def read_general(entries: EntryColumns) -> Page:
    """Decode column by column, whatever the entries are."""
    plain = entries.kind == _TICK
    rows = np.flatnonzero((entries.kind == _FRAMES) & (entries.length >= _HEAD_BYTES))
    heads = _at(entries.data, FRAMES_HEAD, entries.start[rows])
    behind = np.zeros(len(entries), np.bool_)
    behind[rows] = heads["flags"] == EntryFlag.BEHIND
    rows, counts, payloads = _sound_heads(entries, rows, heads)
    owner = np.repeat(np.arange(len(rows)), counts)
    first = np.cumsum(counts) - counts
    index = np.arange(len(owner)) - first[owner]
    table_at = entries.start[rows] + _HEAD_BYTES
    table = _at(entries.data, RECORD, table_at[owner] + index * _RECORD_BYTES)
    bad = _bad_records(table, payloads[owner])
    payload_at = (table_at + counts * _RECORD_BYTES)[owner]
    offsets, lengths = payload_at + table["offset"], table["length"].astype(np.int64)
    lengths[bad] = 0
    decoded = decode_batch(entries.data.data, offsets, lengths)
    bad[decoded.events.frame] = True
    bad_rows = np.zeros(len(rows), np.bool_)
    bad_rows[owner[bad]] = True
    plain[rows[~bad_rows]] = True
    keep = ~bad_rows[owner]
    return _page(entries, plain, behind, rows[owner[keep]], table[keep], decoded, keep)


def _sound_heads(
    entries: EntryColumns, rows: Ints, heads: npt.NDArray[np.void]
) -> tuple[Ints, Ints, Ints]:
    """Which entries are blobs as the intake builds them: rows, frames and payload bytes of each."""
    counts, payloads = heads["records"].astype(np.int64), heads["payload_bytes"].astype(np.int64)
    flagged = heads["flags"] == EntryFlag.BEHIND  # the one flag that is known
    good = heads["version"] == np.where(flagged, FLAGGED_VERSION, FRAMES_VERSION)
    good &= flagged | (heads["flags"] == 0)
    good &= (heads["names"] == 0) & (heads["names_bytes"] == 0)
    good &= (counts > 0) & (counts <= JOURNAL_FRAMES_MAX)
    good &= _HEAD_BYTES + counts * _RECORD_BYTES + payloads == entries.length[rows]
    rows, counts, payloads = rows[good], counts[good], payloads[good]
    whole = _whole(entries, rows, heads["crc32"][good])
    return rows[whole], counts[whole], payloads[whole]


def _whole(entries: EntryColumns, rows: Ints, stated: npt.NDArray[np.uint32]) -> Mask:
    """Which blobs have the checksum that stands in their head."""
    starts, lengths = entries.start[rows], entries.length[rows]
    found = checksums(entries.data, starts, lengths, _CRC_AT, _HEAD_BYTES)
    same: Mask = found == stated
    return same


def _bad_records(table: npt.NDArray[np.void], payload_bytes: Ints) -> Mask:
    bad: Mask = table["offset"].astype(np.int64) + table["length"] > payload_bytes
    bad |= table["ext"] != 0
    bad |= (table["lane"] < _LANE_FIRST) | (table["lane"] >= _LANE_END)
    bad |= (table["flags"] & _FLAGS_KNOWN) != 0
    return bad


def _page(
    entries: EntryColumns,
    plain: Mask,
    behind: Mask,
    entry_of: Ints,
    table: npt.NDArray[np.void],
    decoded: Any,
    keep: Mask,
) -> Page:
    """Put the frames of the plain entries beside each other."""
    boots, sequences = np.zeros(len(keep), np.int64), np.zeros(len(keep), np.int64)
    for records in (decoded.fixes, decoded.status):
        if len(records.frame):
            boots[records.frame] = records.boot
            sequences[records.frame] = records.sequence
    fixes = PageFixes(*(getattr(decoded.fixes, name) for name in PageFixes._fields))
    if not keep.all():
        place = np.cumsum(keep) - 1
        rows = keep[fixes.frame]
        fixes = PageFixes(*(column[rows] for column in fixes))
        fixes = fixes._replace(frame=place[fixes.frame])
    frames = np.bincount(entry_of, minlength=len(entries))
    fix_counts = np.bincount(entry_of[fixes.frame], minlength=len(entries))
    return Page(
        entries=entries,
        plain=plain,
        behind=behind,
        frame_ends=np.cumsum(frames),
        fix_ends=np.cumsum(fix_counts),
        handles=table["handle"].astype(np.int64),
        proven=(table["flags"] & _AUTHENTICATED) != 0,
        received_ms=table["received_ms"].astype(np.int64),
        sound=decoded.fault[keep] == 0,
        boots=boots[keep],
        sequences=sequences[keep],
        fixes=fixes,
    )


class Run:
    """Plain entries in a row with the fixes that count: copies dropped, persons named.

    Making one notes its frames as seen, so all of it has to be folded.
    """

    def __init__(self, page: Page, first: int, end: int, devices: Devices) -> None:
        self.page, self.first, self.end = page, first, end
        self.times_ms = page.entries.ms[first:end]
        frames = slice(_before(page.frame_ends, first), _before(page.frame_ends, end))
        rows = slice(_before(page.fix_ends, first), _before(page.fix_ends, end))
        sound = page.sound[frames]
        wanted = sound & page.proven[frames]
        fresh = devices.note_all(
            page.handles[frames], page.boots[frames], page.sequences[frames], wanted
        )
        fixes = page.fixes
        frame = fixes.frame[rows]
        counts = (fresh & wanted)[frame - frames.start]
        columns: tuple[npt.NDArray[Any], ...] = (
            fixes.time_ms,
            fixes.lat_e7,
            fixes.lon_e7,
            fixes.accuracy_dm,
            fixes.speed_cm_s,
            fixes.heading_cdeg,
            fixes.mechanism,
        )
        self.owner = page.handles[frame]
        self._columns = tuple(column[rows] for column in columns)
        self._ends = page.fix_ends[first:end] - rows.start
        self._keep(counts)
        known = len(self.owner)
        self._name(devices)
        self.notes = Counter(
            {
                "fixes": len(self.owner),
                "fixes-without-person": known - len(self.owner),
                "undecodable": len(sound) - int(np.count_nonzero(sound)),
                "duplicate": int(np.count_nonzero(sound & ~fresh)),
            }
        )

    def _name(self, devices: Devices) -> None:
        self._persons = devices.person_rows(self.owner)
        self._changes = devices.changes
        ours = self._persons >= 0
        self._persons = self._persons[ours]
        self._keep(ours)

    def _keep(self, rows: Mask) -> None:
        if rows.all():
            return
        self.owner = self.owner[rows]
        self._columns = tuple(column[rows] for column in self._columns)
        self._ends = np.concatenate(([0], np.cumsum(rows)))[self._ends]

    def renamed(self, devices: Devices) -> bool:
        """Leave out the fixes of devices that were set aside meanwhile; whether there are any."""
        if devices.changes == self._changes:
            return False
        self._name(devices)
        return True

    def fixes(self) -> tuple[FixBatch, Ints, Ints, Mask]:
        """Return the fixes, where those of each entry end, its time, and whether it was late."""
        behind = self.page.behind[self.first : self.end]
        return FixBatch(self._persons, *self._columns), self._ends, self.times_ms, behind

    def inputs(self, at: int) -> Inputs:
        """Return what one entry holds."""
        begin, end = (_before(self._ends, k - self.first) for k in (at, at + 1))
        fixes = FixBatch._make(column[begin:end] for column in self.fixes()[0])
        frames = slice(*(_before(self.page.frame_ends, k) for k in (at, at + 1)))
        received = self.page.received_ms[frames]
        received_ms = int(received.min()) if len(received) else 0
        return Inputs(fixes, self.owner[begin:end], [], received_ms, Counter())


def _before(ends: Ints, index: int) -> int:
    """Return where the part with this index begins."""
    return int(ends[index - 1]) if index else 0
