"""The transform kernel against plain Python, compiled and (by test_jit_off.py) not."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.config import Feature
from models.scoring import features as kernels
from models.scoring.features import CODES, FeaturePlan, log1p, transform
from streams.kernels.hashing import hash_text

DAY_MS = 86_400_000
TRANSFORMS = list(CODES)
TIMES_MS = st.integers(631_152_000_000, 4_102_444_800_000)  # 1990 to 2100, as events are bounded


def twin(feature: Feature, view: float, now_ms: int) -> float:
    """One feature, from the definition in docs/steps/06-score.md."""
    moment = datetime.fromtimestamp(now_ms / 1000, UTC)
    hour = 2 * math.pi * (now_ms % DAY_MS) / DAY_MS
    weekday = 2 * math.pi * moment.weekday() / 7
    value = feature.missing if math.isnan(view) else view
    whole = int(view) if abs(view) < 2**53 else 0
    return {
        "log1p": lambda: math.log1p(min(max(value, 0.0), 1e300)),
        "identity": lambda: value,
        "hour_sin": lambda: math.sin(hour),
        "hour_cos": lambda: math.cos(hour),
        "weekday_sin": lambda: math.sin(weekday),
        "weekday_cos": lambda: math.cos(weekday),
        "hashed": lambda: float(not math.isnan(view) and whole % 8 == feature.bucket),
    }[feature.transform]()


def feature(transform: str, missing: float = 0.0, bucket: int = 0) -> Feature:
    return Feature(
        "x" if transform in ("log1p", "identity", "hashed") else None, transform, missing, "x", bucket
    )


def run(features: list[Feature], views: list[float], now_ms: int) -> list[float]:
    plan, out = FeaturePlan.of(features), np.full(len(views), -1.0)
    transform(np.array(views), float(now_ms), plan.codes, plan.missing, plan.apart, out)
    return [float(value) for value in out]


SUBNORMAL = math.ulp(0.0)  # numbers below 1e-307 have fewer digits, and may miss the last one


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(TRANSFORMS),
            st.floats(width=64),
            st.floats(allow_nan=False, allow_infinity=False),
            st.integers(0, 7),
        ),
        min_size=1,
        max_size=45,
    ),
    TIMES_MS,
)
def test_transform_is_its_definition(drawn: list[tuple[str, float, float, int]], now_ms: int) -> None:
    features = [
        feature(transform, missing, bucket if transform == "hashed" else 0)
        for transform, _, missing, bucket in drawn
    ]
    views = [view for _, view, *_ in drawn]
    for one, view, found in zip(features, views, run(features, views, now_ms), strict=True):
        assert found == pytest.approx(
            twin(one, view, now_ms), rel=2e-13, abs=1e-12 if one.view is None else SUBNORMAL
        )


def test_the_order_is_that_of_the_config() -> None:
    features = [feature("hour_cos"), feature("log1p"), feature("weekday_sin"), feature("identity")]
    assert FeaturePlan.of(features).apart.tolist() == [0, 2]
    monday_noon = int(datetime(2024, 1, 1, 12, tzinfo=UTC).timestamp() * 1000)
    assert run(features, [9.0, 0.0, 9.0, -4.5], monday_noon) == [-1.0, 0.0, 0.0, -4.5]


def test_of_the_buckets_of_a_view_one_is_1_and_none_where_there_is_no_view() -> None:
    buckets = [feature("hashed", bucket=number) for number in range(8)]
    name = hash_text("Type A")
    assert sorted(run(buckets, [name] * 8, 0)) == [0.0] * 7 + [1.0]
    assert run(buckets, [name] * 8, 0)[int(name) % 8] == 1.0
    assert sum(run(buckets, [math.nan] * 8, 0)) == 0.0


def test_missing_stands_for_nan_before_the_transform() -> None:
    found = run([feature("log1p", 2000.0), feature("identity", -3.0)], [math.nan, math.nan], 0)
    assert found == [pytest.approx(math.log1p(2000.0), rel=2e-13), -3.0]


@settings(deadline=None)
@given(st.floats(0, 1e300))
def test_log1p_is_within_2e_13(x: float) -> None:
    assert float(log1p(x)) == pytest.approx(math.log1p(x), rel=2e-13, abs=1e-300)


@pytest.mark.parametrize("x", [0.0, 5e-324, 1e-300, 1e-17, 1e-9, math.sqrt(2) - 1, 0.42, 1.0, 2.0**52, 1e300])
def test_log1p_at_the_seams(x: float) -> None:
    assert float(log1p(x)) == pytest.approx(math.log1p(x), rel=2e-13, abs=1e-300)


@settings(deadline=None)
@given(st.floats(0, 1e12), st.floats(1e-9, 1e3))
def test_log1p_rises(x: float, step: float) -> None:
    assert log1p(x * (1 + step)) >= log1p(x)


def test_log1p_has_the_same_bits_in_numpy() -> None:
    """Plain IEEE operations: whole arrays in NumPy give what the loop of scalars gives."""
    x = np.concatenate([[0.0], np.logspace(-12, 12, 500), np.linspace(0.3, 0.5, 100)])
    bits = (1.0 + x).view(np.int64) + kernels._SHIFT_BITS
    k = ((bits >> np.int64(52)) | kernels._TWO_52_BITS).view(np.float64) - kernels._TWO_52_AND_BIAS
    m = ((bits & kernels._MANTISSA) + kernels._SQRT_HALF_BITS).view(np.float64)
    s = np.where(k == 0.0, x, m - 1.0) / np.where(k == 0.0, x + 2.0, m + 1.0)
    z = s * s
    tail = kernels._C3 + z * kernels._C4
    for coefficient in (kernels._C2, kernels._C1, kernels._C0):
        tail = coefficient + z * tail
    expected = k * kernels._LN2 + 2.0 * (s + s * (z * tail))
    assert run([feature("log1p")] * len(x), x.tolist(), 0) == expected.tolist()


def test_the_polynomial_is_the_interpolation_it_is_said_to_be() -> None:
    """Newton's divided differences in exact fractions at the five Chebyshev nodes."""
    top = ((math.sqrt(2) - 1) / (math.sqrt(2) + 1)) ** 2
    nodes = [Fraction(top / 2 * (1 + math.cos((2 * i + 1) * math.pi / 10))) for i in range(5)]
    parts = [sum((z**k / (2 * k + 3) for k in range(25)), Fraction(0)) for z in nodes]
    for j in range(1, 5):
        for i in range(4, j - 1, -1):
            parts[i] = (parts[i] - parts[i - 1]) / (nodes[i] - nodes[i - j])
    polynomial = [parts[4]]
    for i in range(3, -1, -1):
        raised = [Fraction(0), *polynomial]
        polynomial = [a - nodes[i] * b for a, b in zip(raised, [*polynomial, Fraction(0)], strict=True)]
        polynomial[0] += parts[i]
    given = [kernels._C0, kernels._C1, kernels._C2, kernels._C3, kernels._C4]
    assert [float(one) for one in polynomial] == pytest.approx(given, rel=1e-10)
