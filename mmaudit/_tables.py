"""Tables that somebody else may have written: read so that a small file cannot unpack until the memory is full."""

from __future__ import annotations

import contextlib
import gzip
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

__all__ = [
    "DamagedTableError",
    "UnpacksTooFarError",
    "error_name",
    "first_rows",
    "opened",
    "read_csv",
    "read_parquet",
    "to_numbers",
]

ANY_BYTES = 32 * 2**20  # any file may unpack to this
# Beyond that, so many times its own size: text of a table packs to a tenth, one value again and again to a thousandth.
MOST_TIMES = 100
MOST_TIMES_PARQUET = 1000  # where whole columns of one value are usual
CELL_BYTES = 8


class DamagedTableError(ValueError):
    """A file that pandas, pyarrow or a decompressor could not read, whatever they said of it."""


class UnpacksTooFarError(DamagedTableError):
    """A file that unpacks to far more than an honest table of its size."""


def error_name(error: Exception) -> str:
    """Return what kind of error it was, of a damaged table what its reader raised; not the text, which may quote it."""
    return (isinstance(error, DamagedTableError) and str(error)) or type(error).__name__


def to_numbers(column: pd.Series) -> pd.Series:
    """Return what `pandas.to_numeric` makes of a column, NaN for what is no number.

    pandas raises for a whole number of more than 308 digits, though not for its text, which is infinite.
    """
    import pandas as pd

    try:
        return pd.to_numeric(column, errors="coerce")
    except OverflowError:
        return pd.to_numeric(column.astype(str), errors="coerce")


def opened(path: Path) -> BinaryIO:
    """Return the bytes of a file as a stream, unpacked if its name ends in .gz; see `UnpacksTooFarError`."""
    if path.suffix.lower() != ".gz":
        return path.open("rb")
    return cast(BinaryIO, io.BufferedReader(_Bounded(gzip.open(path), _most(path, MOST_TIMES))))


def read_csv(path: Path, **options: Any) -> pd.DataFrame:
    """Return what `pandas.read_csv` does of a file, unpacked if its name ends in .gz.

    Raises
    ------
    OSError, ValueError
        As `pandas.read_csv` does; other errors are a `DamagedTableError`, which is a ValueError.
    UnpacksTooFarError
        A packed file of which more than 32 MB came out, and more than 100 times its size.
    """
    import pandas as pd

    try:
        with opened(path) as stream:
            return pd.read_csv(stream, **options)
    except (OSError, ValueError):
        raise
    except Exception as error:  # zlib.error, OverflowError and others: pandas has none for all that is damaged
        raise DamagedTableError(type(error).__name__) from None


def read_parquet(path: Path | BinaryIO, *, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Return what `pandas.read_parquet` does of a file or a stream that can be sought in, of all columns or of some.

    Raises
    ------
    OSError
        A file that may not be read.
    DamagedTableError
        One that is no whole parquet file, or whose footer promises what is not in it.
    UnpacksTooFarError
        One of which cells, or texts that stand once in it for many rows, take more than 32 MB and more than 1,000 times
        its size.
    """
    import pandas as pd

    with _pyarrow_errors():
        _check_footer(path)
        _check_promise(path, columns)
        frame = pd.read_parquet(path, columns=columns)
        _check_texts(frame)
        return frame


def first_rows(path: Path, n_rows: int) -> tuple[pd.DataFrame, list[str], int]:
    """Return the first rows of a parquet file, the names of its columns and the number of its rows.

    Raises
    ------
    OSError, DamagedTableError, UnpacksTooFarError
        As `read_parquet` does, of the whole file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _pyarrow_errors():
        _check_footer(path)
        _check_promise(path, None)
        with pq.ParquetFile(path) as file:
            batch = next(file.iter_batches(batch_size=n_rows), None)
            first = file.schema_arrow.empty_table() if batch is None else pa.Table.from_batches([batch])
            frame = first.to_pandas()
            _check_texts(frame)
            return frame, first.schema.names, file.metadata.num_rows


@contextlib.contextmanager
def _pyarrow_errors() -> Iterator[None]:
    """Let what pyarrow or pandas raise over a damaged file be a `DamagedTableError`."""
    try:
        yield
    except (FileNotFoundError, PermissionError, DamagedTableError):
        raise
    except Exception as error:  # some are ValueErrors, some KeyErrors, some neither
        raise DamagedTableError(type(error).__name__) from None


def _check_footer(path: Path | BinaryIO) -> None:
    """Raise where what the footer says of a column is not of its type.

    Python's view of such a column ends the process: its constructor throws, and nothing catches that. `iter_batches`
    makes the same objects for all columns before it reads from any, with errors caught, so it is begun on a file that
    can no longer be read.
    """
    import pyarrow.parquet as pq

    stream = path.open("rb") if isinstance(path, Path) else path
    sealed = _Sealed(stream)
    try:
        with pq.ParquetFile(sealed, pre_buffer=True) as file:
            sealed.is_sealed = True
            next(file.iter_batches(), None)
    except Exception:
        if not sealed.was_asked:
            raise
    finally:
        if isinstance(path, Path):
            stream.close()


def _check_promise(path: Path | BinaryIO, columns: Sequence[str] | None) -> None:
    """Raise where a parquet file unpacks too far: in cells, in pages, or in texts that stand once for many rows."""
    import pyarrow.parquet as pq

    most = _most(path, MOST_TIMES_PARQUET)
    with pq.ParquetFile(path) as file:
        n_cells, n_bytes = 0, 0
        repeated = dict.fromkeys(range(file.metadata.num_columns), 0)
        for group in map(file.metadata.row_group, range(file.metadata.num_row_groups)):
            for k in range(group.num_columns):
                chunk = group.column(k)
                n_values = max(group.num_rows, chunk.num_values)  # of lists there are more than rows
                n_cells, n_bytes = n_cells + n_values, n_bytes + chunk.total_uncompressed_size
                if chunk.physical_type == "BYTE_ARRAY" and chunk.has_dictionary_page:
                    repeated[k] += n_values * chunk.total_uncompressed_size
                elif chunk.physical_type == "FIXED_LEN_BYTE_ARRAY":
                    n_bytes += n_values * file.schema.column(k).length
        if max(n_cells * CELL_BYTES, n_bytes) > most:
            raise UnpacksTooFarError
        paths = [file.schema.column(k).path for k, at_most in repeated.items() if at_most > most]
    if not paths:
        return
    with pq.ParquetFile(path, read_dictionary=paths) as file:  # each text once
        index = (file.schema_arrow.pandas_metadata or {}).get("index_columns", [])  # which pandas reads too
        wanted = file.schema_arrow.names if columns is None else {*columns, *map(str, index)}
        names = [name for name in wanted if any(path == name or path.startswith(f"{name}.") for path in paths)]
        for batch in file.iter_batches(columns=names) if names else ():
            n_bytes += sum(map(_text_bytes, batch.columns))
            if n_bytes > most:
                raise UnpacksTooFarError


def _check_texts(frame: pd.DataFrame) -> None:
    """Raise where a text is none in UTF-8; pandas would say so only when somebody looks at it."""
    import pandas as pd
    import pyarrow as pa

    index = [frame.index.get_level_values(k) for k in range(frame.index.nlevels)]
    for values in (*(frame.iloc[:, k] for k in range(frame.shape[1])), *index):
        if isinstance(values.dtype, (pd.StringDtype, pd.CategoricalDtype)):
            pa.array(values).validate(full=True)


def _text_bytes(values: Any) -> int:
    """Return how long the texts of an Arrow array are that are written once for all rows, lists among them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(values.type):
        return pc.sum(pc.binary_length(values.dictionary).take(values.indices)).as_py() or 0
    if pa.types.is_map(values.type):
        return _text_bytes(values.keys) + _text_bytes(values.items)
    if pa.types.is_nested(values.type):
        inner = values.flatten()
        return sum(map(_text_bytes, inner)) if isinstance(inner, list) else _text_bytes(inner)
    return 0


def _most(path: Path | BinaryIO, times: int) -> int:
    size = path.stat().st_size if isinstance(path, Path) else path.seek(0, io.SEEK_END)
    return max(ANY_BYTES, times * size)


class _Sealed(io.RawIOBase):
    """A stream of the bytes of another, which it leaves open, until it is sealed: then it is at its end.

    It raises nothing, since pyarrow would keep the error, and with it all that it points to.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.is_sealed, self.was_asked = stream, False, False

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self.stream.seek(offset, whence)

    def tell(self) -> int:
        return self.stream.tell()

    def read(self, size: int | None = -1) -> bytes:
        if self.is_sealed:
            self.was_asked = True
            return b""
        return self.stream.read(-1 if size is None else size)


class _Bounded(io.RawIOBase):
    """A stream that raises once more than `most` bytes came out of it."""

    def __init__(self, stream: Any, most: int) -> None:
        self.stream, self.left = stream, most

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self.stream.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        n = self.stream.readinto(buffer)
        self.left -= n
        if self.left < 0:
            raise UnpacksTooFarError
        return n
