"""Results of the fault matrix, to be printed as one table."""

from __future__ import annotations

from collections.abc import Iterator


class Table:
    """Cells by fault and (format, place): seconds that playing took, or what was wrong."""

    def __init__(self) -> None:
        self._cells: dict[str, dict[tuple[str, str], str]] = {}
        self.notes: list[str] = []

    def put(self, fault: str, form: str, place: str, result: str) -> None:
        self._cells.setdefault(fault, {})[form, place] = result

    def lines(self) -> Iterator[str]:
        if self._cells:
            columns = sorted({key for row in self._cells.values() for key in row})
            yield "fault matrix: seconds until the last sample was out; each WAV is bit-identical to the fault-free one"
            yield f"{'':18}" + "".join(f"{form + ' ' + place:>13}" for form, place in columns)
            for fault, row in sorted(self._cells.items()):
                yield f"{fault:18}" + "".join(f"{row.get(column, ''):>13}" for column in columns)
        yield from self.notes


TABLE = Table()
