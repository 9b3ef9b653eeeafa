"""PLY tables: reads the rows of any element in blocks, ascii or binary of either byte order, lists included.

Nothing is allocated from a number in the file alone: a header that promises more rows than the bytes behind it can
hold is refused, or, when at least half of them are there, cut to the whole rows with a warning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from recon.errors import InputError
from recon.formats.files import atomic_output, file_size
from recon.formats.ply_header import Element, Header, format_header, parse_header

BLOCK_BYTES = 8 << 20
DAMAGED = "The file is cut off, or was changed by a text-mode transfer; copy or export it again."


class ListColumn(NamedTuple):
    """A list property: row i is ``values[starts[i]:starts[i + 1]]``; ``starts`` has one entry more than rows."""

    values: np.ndarray
    starts: np.ndarray


class PlyReader:
    """Random access to the elements of one open PLY file.

    with open_input(path) as file:
        ply = PlyReader(file, path)
        for rows in ply.blocks("vertex"): rows["x"] ...

    ``warnings`` fills while rows are read. All errors are ``InputError``.
    """

    def __init__(self, file: BinaryIO, path: str | Path) -> None:
        self.path = Path(path)
        self.header: Header = parse_header(file, path)
        self.warnings: list[str] = []
        self._file = file
        self._size = file_size(file)
        self._starts: dict[str, int] = {}

    def capacity(self, name: str) -> int:
        """An upper bound of the rows of an element, from the bytes that are there; raises when far fewer are there."""
        element, left = self._element(name), max(0, self._size - self._start(name))
        smallest = _smallest_row(element, self.header)
        if not element.properties or smallest == 0:
            return 0
        fits = (left + 1 if self.header.is_ascii else left) // smallest
        if fits < element.count and fits * 2 < element.count:
            raise InputError(
                f'the header promises {element.count:,} rows of "{name}" but only {left:,} bytes follow (room for '
                f"{fits:,} rows)", file=self.path, fix=DAMAGED)
        return min(element.count, fits)

    def blocks(self, name: str, block_bytes: int = BLOCK_BYTES) -> Iterator[np.ndarray]:
        """Structured arrays of the scalar columns of an element, in order, each of about ``block_bytes`` at most.

        Lists are parsed and left out. Rows that the file lacks are left out with a warning.
        """
        for rows, _ in self._walk(name, block_bytes):
            yield rows

    def read(self, name: str) -> dict[str, np.ndarray | ListColumn]:
        """A whole element as columns: 1-D arrays in native byte order, and ``ListColumn`` for list properties."""
        element = self._element(name)
        parts = list(self._walk(name, BLOCK_BYTES))
        out: dict[str, np.ndarray | ListColumn] = {}
        for p in element.properties:
            if p.count_type is None:
                columns = [rows[p.name] for rows, _ in parts]
                out[p.name] = np.concatenate(columns).astype(p.type) if columns else np.empty(0, p.type)
                continue
            lengths = [lists[p.name][0] for _, lists in parts]
            values = [lists[p.name][1] for _, lists in parts]
            starts = np.zeros(sum(map(len, lengths)) + 1, np.int64)
            if lengths:
                np.cumsum(np.concatenate(lengths), out=starts[1:])
            out[p.name] = ListColumn(np.concatenate(values).astype(p.type) if values else np.empty(0, p.type), starts)
        return out

    # Each step of a walk is (scalar rows, {list name: (lengths, values)}).
    def _walk(self, name: str, block_bytes: int) -> Iterator[tuple[np.ndarray, dict]]:
        element = self._element(name)
        expected = self.capacity(name)
        done = 0
        for rows, lists in self._steps(element, self._start(name), block_bytes):
            done += len(rows)
            yield rows, lists
        if done * 2 < element.count and element.properties:
            raise InputError(f'only {done:,} of {element.count:,} rows of "{name}" are in the file', file=self.path,
                             fix=DAMAGED)
        if done < element.count:
            self.warnings.append(f'only {done:,} of {element.count:,} rows of "{name}" are in the file')
        assert done <= expected

    def _element(self, name: str) -> Element:
        element = self.header.element(name)
        if element is None:
            there = ", ".join(e.name for e in self.header.elements[:8]) or "none"
            raise InputError(f'the PLY file has no element "{name}" (it has: {there[:200]})', file=self.path,
                             fix="Check that this is the right file.")
        return element

    def _start(self, name: str) -> int:
        """Offset of the first byte of an element; walks over elements in front of it."""
        if name not in self._starts:
            offset = self.header.data_start
            for element in self.header.elements:
                self._starts[element.name] = offset
                if element.name == name:
                    break
                if element.has_lists or self.header.is_ascii:
                    offset = self._end_of(element, offset)
                else:
                    offset += element.count * element.dtype("<").itemsize
        return self._starts[name]

    def _end_of(self, element: Element, start: int) -> int:
        """The offset behind an element whose rows differ in size; raises where it is not whole."""
        rows = sum(len(rows) for rows, _ in self._steps(element, start, BLOCK_BYTES))
        if rows < element.count and element.properties:
            raise InputError(f'only {rows:,} of {element.count:,} rows of "{element.name}" are in the file',
                             file=self.path, fix=DAMAGED)
        return self._file.tell()

    def _steps(self, element: Element, start: int, block_bytes: int) -> Iterator[tuple[np.ndarray, dict]]:
        if not element.properties:
            self._file.seek(start)
            return iter(())
        if self.header.is_ascii:
            return self._ascii_steps(element, start, block_bytes)
        if element.has_lists:
            return self._list_steps(element, start, block_bytes)
        return self._packed_steps(element, start, block_bytes)

    def _packed_steps(self, element: Element, start: int, block_bytes: int) -> Iterator[tuple[np.ndarray, dict]]:
        dtype = element.dtype(self.header.byte_order)
        left, offset = element.count, start
        while left > 0:
            self._file.seek(offset)  # another element may have been read in between
            data = self._file.read(min(left, max(1, block_bytes // dtype.itemsize)) * dtype.itemsize)
            rows = np.frombuffer(data, dtype, count=len(data) // dtype.itemsize)
            if len(rows) == 0:
                return
            left -= len(rows)
            offset += len(rows) * dtype.itemsize
            yield rows, {}

    def _list_steps(self, element: Element, start: int, block_bytes: int) -> Iterator[tuple[np.ndarray, dict]]:
        """Rows with lists have no fixed size: take as many rows as share the list lengths of the first one at once."""
        order, left, offset, guess = self.header.byte_order, element.count, start, 1
        known: dict[tuple[int, ...], np.dtype] = {}
        while left > 0:
            lengths = self._lengths_at(element, offset)
            if lengths is None:
                break
            if lengths not in known:
                if len(known) > 1000:
                    known.clear()
                known[lengths] = _row_with_lists(element, lengths, order)
            dtype = known[lengths]
            guess = max(1, min(guess, left, block_bytes // dtype.itemsize))
            self._file.seek(offset)
            data = self._file.read(guess * dtype.itemsize)
            rows = np.frombuffer(data, dtype, count=len(data) // dtype.itemsize)
            good = _leading_rows(rows, element, lengths)
            if good == 0:
                break
            rows = rows[:good]
            guess = guess * 2 if good == guess else 1
            left -= good
            offset += good * dtype.itemsize
            lists = {
                p.name: (np.full(good, lengths[i], np.int64), rows[f"{i} values"].reshape(-1))
                for i, p in enumerate(p for p in element.properties if p.count_type)
            }
            yield _scalars(rows, element, order), lists
        self._file.seek(offset)

    def _lengths_at(self, element: Element, offset: int) -> tuple[int, ...] | None:
        """The list lengths of the row at ``offset``; None where the row does not fit into the file."""
        lengths: list[int] = []
        for p in element.properties:
            if p.count_type is not None:
                kind = np.dtype(self.header.byte_order + p.count_type)
                self._file.seek(offset)
                data = self._file.read(kind.itemsize)
                if len(data) < kind.itemsize:
                    return None
                length = int(np.frombuffer(data, kind)[0])
                if length < 0:
                    raise InputError(f'a list "{p.name}" has the length {length}', file=self.path, fix=DAMAGED)
                lengths.append(length)
                offset += kind.itemsize + length * np.dtype(p.type).itemsize
            else:
                offset += np.dtype(p.type).itemsize
            if offset > self._size:
                return None
        return tuple(lengths)

    def _ascii_steps(self, element: Element, start: int, block_bytes: int) -> Iterator[tuple[np.ndarray, dict]]:
        dtype, columns = element.dtype("<"), len(element.properties)
        left, offset, first = element.count, start, 0
        self._file.seek(start)
        while left > 0:
            self._file.seek(offset)
            wanted = min(left, max(1, block_bytes // (16 * columns)))
            lines = list(islice(self._file, wanted))
            if not lines:
                return
            offset = self._file.tell()
            lines = [line for line in lines if not line.isspace()]
            at_end = offset == self._size
            if element.has_lists:
                values, lists = self._ascii_rows_with_lists(lines, element, first, at_end)
            else:
                values, lists = self._ascii_rows(lines, columns, element.name, first, at_end), {}
            rows = np.empty(len(values), dtype)
            with np.errstate(all="ignore"):  # a number too large for its type becomes inf or wraps, as in C
                for i, name in enumerate(element.names):
                    rows[name] = values[:, i]
            left -= len(rows)
            first += len(rows)
            if len(rows):
                yield rows, lists

    def _ascii_rows(self, lines: list[bytes], columns: int, name: str, first: int, at_end: bool) -> np.ndarray:
        found = [len(line.split()) for line in lines]
        if at_end and found and found[-1] < columns:  # cut off within the last row
            lines, found = lines[:-1], found[:-1]
        for i, values in enumerate(found):
            if values != columns:
                raise InputError(f'row {first + i + 1} of "{name}" has {values} values instead of {columns}',
                                 file=self.path, fix=DAMAGED)
        words = b" ".join(lines).split()
        try:
            return np.fromiter(map(float, words), np.float64, len(words)).reshape(-1, columns)
        except ValueError as e:
            raise InputError(f'a value of "{name}" is not a number ({str(e)[:80]})', file=self.path,
                             fix=DAMAGED) from None

    def _ascii_rows_with_lists(
        self, lines: list[bytes], element: Element, first: int, at_end: bool
    ) -> tuple[np.ndarray, dict]:
        scalars: list[list[float]] = []
        lists: dict[str, tuple[list[int], list[float]]] = {p.name: ([], []) for p in element.properties if p.count_type}
        for i, line in enumerate(lines):
            words, at, row, taken = line.split(), 0, [], {}
            try:
                for p in element.properties:
                    length = 1 if p.count_type is None else int(words[at])
                    at += p.count_type is not None
                    if length < 0 or at + length > len(words):
                        raise IndexError
                    values = [float(w) for w in words[at:at + length]]
                    at += length
                    if p.count_type is None:
                        row += values
                    else:
                        taken[p.name] = values
            except (IndexError, ValueError):
                if at_end and i == len(lines) - 1:
                    break
                raise InputError(f'row {first + i + 1} of "{element.name}" cannot be read', file=self.path,
                                 fix=DAMAGED) from None
            scalars.append(row)
            for name, values in taken.items():
                lists[name][0].append(len(values))
                lists[name][1].extend(values)
        table = np.array(scalars, np.float64).reshape(len(scalars), len(element.names))
        with np.errstate(all="ignore"):
            done = {
                name: (np.array(lengths, np.int64), np.array(values, np.float64).astype(element.type_of(name)))
                for name, (lengths, values) in lists.items()
            }
        return table, done


def _smallest_row(element: Element, header: Header) -> int:
    if header.is_ascii:
        return 2 * len(element.properties)
    return sum(np.dtype(p.count_type or p.type).itemsize for p in element.properties)


def _row_with_lists(element: Element, lengths: tuple[int, ...], order: str) -> np.dtype:
    """Packed row type where list i (of the element's lists) has the fields "i count" and "i values"."""
    fields: list[tuple] = []
    lists = 0
    for p in element.properties:
        if p.count_type is None:
            fields.append((p.name + " ", order + p.type))  # the blank keeps it apart from the names of lists
        else:
            fields.append((f"{lists} count", order + p.count_type))
            fields.append((f"{lists} values", order + p.type, (lengths[lists],)))
            lists += 1
    return np.dtype(fields)


def _leading_rows(rows: np.ndarray, element: Element, lengths: tuple[int, ...]) -> int:
    """How many rows from the first on have exactly these list lengths."""
    same = np.ones(len(rows), bool)
    for i, length in enumerate(lengths):
        same &= rows[f"{i} count"] == length
    return len(rows) if same.all() else int(np.argmin(same))


def _scalars(rows: np.ndarray, element: Element, order: str) -> np.ndarray:
    out = np.empty(len(rows), element.dtype(order))
    for name in element.names:
        out[name] = rows[name + " "]
    return out


def matrix(rows: np.ndarray, names: tuple[str, ...] | list[str]) -> np.ndarray:
    """Columns of a structured array as one float32 array [rows, names]; values too large become inf."""
    fields: Mapping[str, tuple] = rows.dtype.fields or {}
    kinds = {kind for kind, *_ in fields.values()}
    if len(kinds) == 1 and rows.flags.c_contiguous:  # one type throughout: no copy per column
        order = rows.dtype.names or ()
        at = {name: i for i, name in enumerate(order)}
        table = rows.view(kinds.pop()).reshape(len(rows), len(order))
        chosen = [at[name] for name in names]
        consecutive = bool(chosen) and chosen == list(range(chosen[0], chosen[0] + len(chosen)))
        picked = table[:, chosen[0]:chosen[0] + len(chosen)] if consecutive else table[:, chosen]
        with np.errstate(all="ignore"):
            return picked.astype(np.float32)
    out = np.empty((len(rows), len(names)), np.float32)
    with np.errstate(all="ignore"):
        for i, name in enumerate(names):
            out[:, i] = rows[name]
    return out


def write_ply(path: str | Path, elements: Mapping[str, np.ndarray], comments: tuple[str, ...] = ()) -> None:
    """Writes structured arrays (one per element, scalar columns) as binary little-endian PLY, atomically."""
    tables = [(name, len(rows), rows.dtype) for name, rows in elements.items()]
    with atomic_output(path) as file:
        file.write(format_header(tables, comments))
        for rows in elements.values():
            packed = np.dtype([(n, rows.dtype[n].newbyteorder("<")) for n in rows.dtype.names or ()])
            file.write(rows.astype(packed).tobytes())
