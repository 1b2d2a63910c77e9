"""Parquet: typed columns, a row group for each page. Import it late: pyarrow takes long to load."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pyarrow as pa
from pyarrow import parquet

from occupancy.export.columns import Kind, Row, Table

_TYPES: dict[Kind, pa.DataType] = {
    "text": pa.string(),
    "instant": pa.timestamp("us", tz="UTC"),
    "whole": pa.int64(),
    "real": pa.float64(),
}


class ParquetEncoder:
    """A Parquet file whose pages leave memory as they are written. Instants are in UTC."""

    def __init__(self, table: Table) -> None:
        self._schema = pa.schema([(column.name, _TYPES[column.kind]) for column in table.columns])
        self._outlet = _Outlet()
        self._writer = parquet.ParquetWriter(self._outlet, self._schema, compression="zstd")

    def begin(self) -> bytes:
        """The mark of the format."""
        return self._outlet.take()

    def page(self, rows: Sequence[Row]) -> bytes:
        """A row group; of no rows, nothing."""
        if rows:
            columns = [
                pa.array(values, field.type)
                for values, field in zip(zip(*rows, strict=True), self._schema, strict=True)
            ]
            self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))
        return self._outlet.take()

    def end(self) -> bytes:
        """The index of the row groups, without which no reader takes the file to be complete."""
        self._writer.close()
        return self._outlet.take()


class _Outlet(io.RawIOBase):
    """A file that is taken away while it is written."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._length = 0

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        piece = bytes(memoryview(data))  # type: ignore[arg-type]
        self._pieces.append(piece)
        self._length += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._length

    def take(self) -> bytes:
        """What was written since it was last taken."""
        pieces = b"".join(self._pieces)
        self._pieces.clear()
        return pieces
