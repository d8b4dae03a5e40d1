"""Turns columns of text into the parts of an event (key, time, kind, id, typed fields), or gives a reason why not."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import orjson
import polars as pl

from streams.errors import ConfigError

from .mapping import Field, Mapping, Time
from .tabular import ROW, BadRow

# The worker refuses times outside of these years; in a file they mean a wrong unit or format.
_OLDEST_MS = 631_152_000_000  # 1990
_NEWEST_MS = 4_102_444_800_000  # 2100
_TIME = "\0time"  # the column of the time while `shape` works on a chunk
_PER_MS = {"ms": 1, "us": 1000, "ns": 1_000_000}
_OFFSETS = ("%z", "%:z", "%#z", "%+")  # a format with one of these gives times with an offset of their own


def shape(chunk: pl.DataFrame, mapping: Mapping, prefix: str) -> tuple[pl.DataFrame, list[BadRow]]:
    """Return the good rows of a chunk as `key, time, kind, id` and a column for each of the mapping's fields
    (String or Float64, named f0, f1, ...), and the bad rows.

    `prefix` starts the message ids that consist of row numbers.
    """
    kind = _kind(mapping)
    try:
        timed = chunk.with_columns(_time_ms(chunk, mapping.time).alias(_TIME))
        shaped = timed.select(
            pl.col(mapping.customer).cast(pl.String).alias("key"),
            pl.col(_TIME).alias("time"),
            kind.alias("kind"),
            _message_id(mapping, prefix).alias("id"),
            *(_value(field).alias(f"f{index}") for index, field in enumerate(mapping.fields)),
            pl.coalesce(*_reasons(mapping, kind), pl.lit(None, pl.String)).alias("reason"),
        )
    except pl.exceptions.PolarsError as error:
        message = " ".join(str(error).split())
        raise ConfigError(
            mapping.path, mapping.time.line, f"time: cannot be read this way: {message}"
        ) from error
    wrong = shaped["reason"].is_not_null()
    rows = chunk.filter(wrong).iter_rows(named=True)
    reasons = shaped["reason"].filter(wrong)
    bad = [BadRow(row.pop(ROW), why, orjson.dumps(row)) for row, why in zip(rows, reasons, strict=True)]
    return shaped.filter(~wrong).drop("reason"), bad


def _time_ms(chunk: pl.DataFrame, time: Time) -> pl.Expr | pl.Series:
    """Return milliseconds since the epoch; null if the cell is no time."""
    column, dtype = pl.col(time.column), chunk.schema[time.column]
    if dtype.is_temporal():
        aware = isinstance(dtype, pl.Datetime) and dtype.time_zone is not None
        return _epoch_ms(column if aware else column.cast(pl.Datetime("us")), aware, time.zone)
    text = column.str.strip_chars()
    if time.unit is not None:
        number = text.cast(pl.Float64, strict=False)
        whole = text.cast(pl.Int64, strict=False)
        per_ms = _PER_MS.get(time.unit)
        exact, rounded = (
            (whole * 1000, number * 1000) if per_ms is None else (whole // per_ms, number / per_ms)
        )
        return pl.coalesce(exact, rounded.round().cast(pl.Int64, strict=False))
    if time.format is not None:
        aware = any(mark in time.format for mark in _OFFSETS)
        return _epoch_ms(text.str.strptime(pl.Datetime("us"), time.format, strict=False), aware, time.zone)
    zone = ZoneInfo(time.zone)
    return pl.Series([_iso_ms(value, zone) for value in chunk[time.column]], dtype=pl.Int64)


def _epoch_ms(column: pl.Expr, aware: bool, zone: str) -> pl.Expr:
    """Return milliseconds since the epoch. When a clock is put back, an ambiguous time is the earlier one; when it is
    put forward, a time that does not exist is null."""
    if not aware:
        column = column.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    return column.dt.timestamp("ms")


def _iso_ms(text: str | None, zone: ZoneInfo) -> int | None:
    try:
        found = datetime.fromisoformat((text or "").strip())
        if found.tzinfo is None:
            found = found.replace(tzinfo=zone)
        return int(found.astimezone(UTC).timestamp() * 1000 + 0.5)
    except (ValueError, OverflowError):
        return None


def _kind(mapping: Mapping) -> pl.Expr:
    if mapping.kind_column is None:
        return pl.lit(mapping.kinds[""])
    column = pl.col(mapping.kind_column).cast(pl.String)
    return column.replace_strict(mapping.kinds, default=None, return_dtype=pl.String)


def _message_id(mapping: Mapping, prefix: str) -> pl.Expr:
    made = pl.format("{}-{}", pl.lit(prefix), pl.col(ROW))
    if mapping.message_id is None:
        return made
    return pl.coalesce(pl.col(mapping.message_id).cast(pl.String), made)


def _value(field: Field) -> pl.Expr:
    if field.column is None:
        return pl.lit(field.constant)
    text = pl.col(field.column).cast(pl.String)
    return text.str.strip_chars().cast(pl.Float64, strict=False) if field.type == "double" else text


def _reasons(mapping: Mapping, kind: pl.Expr) -> list[pl.Expr]:
    """Return an expression for each thing that can be wrong with a row: the reason, or null. The first one counts."""
    customer, time, time_ms = pl.col(mapping.customer), pl.col(mapping.time.column), pl.col(_TIME)
    found: list[pl.Expr] = [
        pl.when(customer.is_null()).then(pl.lit(f"customer: nothing in column {mapping.customer}")),
        pl.when(time.is_null()).then(pl.lit(f"time: nothing in column {mapping.time.column}")),
        pl.when(time_ms.is_null()).then(_says("time: cannot read ", time)),
        pl.when(~time_ms.is_between(_OLDEST_MS, _NEWEST_MS)).then(
            _says("time: ", time, " is before 1990 or after 2100")
        ),
    ]
    if mapping.kind_column is not None:
        column, expected = pl.col(mapping.kind_column), f" is none of {', '.join(mapping.kinds)}"
        found.append(pl.when(kind.is_null()).then(_says("kind: ", column, expected)))
    for field in mapping.fields:
        if field.column is None:
            continue
        column = pl.col(field.column)
        if field.required:
            found.append(
                pl.when(column.is_null()).then(pl.lit(f"{field.name}: nothing in column {field.column}"))
            )
        if field.type == "double":
            unread = column.is_not_null() & _value(field).is_null()
            found.append(pl.when(unread).then(_says(f"{field.name}: ", column, " is not a number")))
    return found


def _says(before: str, column: pl.Expr, after: str = "") -> pl.Expr:
    cell = column.cast(pl.String).fill_null("nothing").str.slice(0, 80)
    return pl.concat_str(pl.lit(before), cell, pl.lit(after))
