"""The analyst as a process on the embedded broker: replayed baskets, a kill, and the page."""

from __future__ import annotations

import signal
from typing import Any

import httpx
from confluent_kafka import Consumer, TopicPartition

import schemas
from agents.analyst.analysis import Analysis, forecast_key
from agents.analyst.results import encoded_forecast, encoded_recommended
from agents.analyst.role import analysis_maker
from config.settings import Settings
from ingest.datasets.complete_journey import CompleteJourney
from ingest.replay.run import replay
from schemas.topics import FORECASTS, RECOMMENDATIONS
from streams.kafka.embedded_broker import PARTITIONS

TOPIC = "sales.events"
BASKETS = 1000


def test_a_kill_loses_and_repeats_no_basket_of_complete_journey(
    broker: Any, settings: Settings, start: Any, until: Any
) -> None:
    """The promise: after kill -9 in mid-stream, what is published is what the models say when they are fed directly."""
    source, resume = CompleteJourney(), settings.state / "replays"
    half = enough(source, BASKETS // 2)
    replay(source, broker.bootstrap, limit=half, state_dir=resume)
    first = start("analyst")
    until(lambda: broker.values(RECOMMENDATIONS))
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    replay(source, broker.bootstrap, limit=enough(source, BASKETS) - half, state_dir=resume)
    second = start("analyst")

    twin = analysis_maker(settings)()
    recommended = fed(twin, broker.bootstrap)
    forecasts = {
        forecast_key(found): encoded_forecast(found, twin)
        for forecaster in twin.forecasters.values()
        for found in forecaster.forecasts()
    }
    assert (twin.baskets, bool(forecasts)) == (BASKETS, True)
    until(lambda: dict(broker.values(RECOMMENDATIONS)) == recommended)
    until(lambda: dict(broker.values(FORECASTS)) == forecasts)
    told = httpx.get(f"http://{second.address}/status").json()
    assert told["shoppers"] == len(twin.shop.shoppers)
    assert told["lag"] == {TOPIC: 0}
    assert twin.shop.assortment is not None
    scored = {key: schemas.decode(value)[1] for key, value in recommended.items()}
    key = max(scored, key=lambda key: (scored[key]["assortment"], key))
    assert scored[key]["assortment"] == twin.shop.assortment.version
    assert httpx.get(f"http://{second.address}/customers/{key.decode()}").json() == scored[key]


def fed(twin: Analysis, bootstrap: str) -> dict[bytes, bytes]:
    """Feed it the whole log in order of time; what is recommended in the end."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "twin", "log_level": 0})
    places = [TopicPartition(TOPIC, number, 0) for number in range(PARTITIONS)]
    wanted = sum(consumer.get_watermark_offsets(place, timeout=10)[1] for place in places)
    consumer.assign(places)
    found: list[tuple[int, int, int, bytes, dict[str, Any]]] = []
    while len(found) < wanted:
        for message in consumer.consume(1000, 0.2):
            record = schemas.decode(message.value())[1]
            found.append((record["time"], message.partition(), message.offset(), message.key(), record))
    consumer.close()
    for *_, key, record in sorted(found, key=lambda one: one[:3]):
        twin.apply(TOPIC, key, record)
    return {
        key: encoded_recommended(one) for key, one in twin.shop.take_recommended().items() if one is not None
    }


def enough(source: CompleteJourney, baskets: int) -> int:
    """How many events of the source hold so many baskets."""
    for number, event in enumerate(source.events(), 1):
        baskets -= event[0] == TOPIC
        if not baskets:
            return number
    raise AssertionError("the source has fewer baskets")
