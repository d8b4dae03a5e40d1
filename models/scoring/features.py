"""Step 6, first half: views become the feature vector. Kernels; no Faust, no River.

One loop takes the logarithm of every feature, also of those that do not need it: a loop without branches runs on
the processor's vectors, and losing those would cost more than a few unused logarithms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.config import BUCKETS, HASHED, Feature
from streams.kernels import kernel

# Codes of `Feature.transform`. The calendar codes read the clock, not a view. _HASHED + b: bucket b of a hashed view.
_LOG1P: Final = 0
_IDENTITY: Final = 1
_HOUR_SIN: Final = 2
_HOUR_COS: Final = 3
_WEEKDAY_SIN: Final = 4
_WEEKDAY_COS: Final = 5
_HASHED: Final = 6
CODES: Final = {
    "log1p": _LOG1P,
    "identity": _IDENTITY,
    "hour_sin": _HOUR_SIN,
    "hour_cos": _HOUR_COS,
    "weekday_sin": _WEEKDAY_SIN,
    "weekday_cos": _WEEKDAY_COS,
    HASHED: _HASHED,
}

_MINUTE_MS: Final = 60_000
_MINUTES: Final = 1440
_WEEKDAYS: Final = 7
_EPOCH_WEEKDAY: Final = 3  # 1 January 1970 was a Thursday; Monday is 0


def _circle(steps: int) -> NDArray[np.float64]:
    """Return float64[steps, 2]: sine and cosine of each step of a full turn."""
    angles = [2.0 * math.pi * step / steps for step in range(steps)]
    return np.array([[math.sin(angle), math.cos(angle)] for angle in angles])


# The angle of the hour is the part of the UTC day that has passed: a table gives the whole minutes, and a rotation
# adds the rest. The angle of the weekday counts whole days (2 pi day / 7, Monday 0).
_DAY: Final = _circle(_MINUTES)
_WEEK: Final = _circle(_WEEKDAYS)
_ANGLE_PER_MS: Final = 2.0 * math.pi / (_MINUTES * _MINUTE_MS)

# Argument reduction of fdlibm's log (s_log1p.c, musl's log1p.c): u = 2^k m with m in [sqrt(1/2), sqrt(2)).
# Adding (1.0 - sqrt(1/2)) to the bits moves the boundary of the exponent to sqrt(1/2).
_MANTISSA: Final = np.int64(0x000FFFFFFFFFFFFF)
_SQRT_HALF_BITS: Final = np.int64(0x3FE6A09E667F3BCD)
_SHIFT_BITS: Final = np.int64(0x3FF0000000000000 - 0x3FE6A09E667F3BCD)
# Put into the mantissa of 2^52, the exponent becomes a float without a conversion instruction, which processors
# before AVX-512 lack for vectors.
_TWO_52_BITS: Final = np.int64(0x4330000000000000)
_TWO_52_AND_BIAS: Final = 4503599627370496.0 + 1023.0
_LN2: Final = math.log(2.0)
_LARGEST: Final = 1e300  # keeps 1 + x finite; log1p of it is 690.8
_WHOLE: Final = 2.0**53  # below it a float64 has all digits of its whole part

# (atanh(s) / s - 1) / z for z = s^2 in [0, ((sqrt(2) - 1) / (sqrt(2) + 1))^2], interpolated at the five
# Chebyshev nodes of that interval; the series is 1/3 + z/5 + z^2/7 + ... The tests compute them again.
_C0: Final = 0.3333333333368754
_C1: Final = 0.1999999939866879
_C2: Final = 0.1428587726795737
_C3: Final = 0.1109570041514758
_C4: Final = 0.09681326857213485


@dataclass(frozen=True, eq=False)
class FeaturePlan:
    """The features of the config as arrays for `transform`; made once.

    codes: int64[F]; missing: float64[F]; apart: int64[A], the places of the calendar and the hashed features.
    """

    codes: NDArray[np.int64]
    missing: NDArray[np.float64]
    apart: NDArray[np.int64]

    @classmethod
    def of(cls, features: Sequence[Feature]) -> FeaturePlan:
        codes = [CODES[feature.transform] + feature.bucket for feature in features]
        return cls(
            codes=np.array(codes, dtype=np.int64),
            missing=np.array([feature.missing for feature in features], dtype=np.float64),
            apart=np.array([i for i, code in enumerate(codes) if code > _IDENTITY], dtype=np.int64),
        )


@kernel
def log1p(x: float) -> float:
    """Return log(1 + x) of a float64 `x` in [0, 1e300]; relative error below 2e-13, except for subnormal numbers.

    log(1 + x) = k ln 2 + 2 atanh(s), s = (m - 1) / (m + 1), as in fdlibm's e_log.c, with a shorter
    polynomial. For k = 0, s = x / (2 + x) keeps the digits that 1 + x would lose. It uses plain IEEE operations, no
    library call and nothing fused, so it gives the same bits on every machine, and in NumPy.
    """
    bits = np.float64(1.0 + x).view(np.int64) + _SHIFT_BITS
    k = np.int64((bits >> np.int64(52)) | _TWO_52_BITS).view(np.float64) - _TWO_52_AND_BIAS
    m = np.int64((bits & _MANTISSA) + _SQRT_HALF_BITS).view(np.float64)
    low = k == 0.0
    s = (x if low else m - 1.0) / (x + 2.0 if low else m + 1.0)
    z = s * s
    tail = z * (_C0 + z * (_C1 + z * (_C2 + z * (_C3 + z * _C4))))
    return k * _LN2 + 2.0 * (s + s * tail)


@kernel
def transform(
    views: NDArray[np.float64],
    now_ms: float,
    codes: NDArray[np.int64],
    missing: NDArray[np.float64],
    apart: NDArray[np.int64],
    out: NDArray[np.float64],
) -> None:
    """Fill `out` with the features of one row as of `now_ms`, in the order of the config.

    views, missing, out: float64[F]; codes: int64[F], values of CODES; apart: int64[A], the places of the calendar and
    the hashed features. A calendar feature does not read its view. A hashed one is 1 if the whole part of its view,
    modulo BUCKETS, is its bucket, else 0. A NaN view counts as `missing` and falls into no bucket; log1p clips its
    value to [0, 1e300].

    >>> out = np.empty(2)
    >>> codes, missing = np.array([CODES["log1p"], CODES["identity"]]), np.array([0.0, 5.0])
    >>> transform(np.array([np.e - 1.0, np.nan]), 0.0, codes, missing, np.empty(0, np.int64), out)
    >>> out.round(6)
    array([1., 5.])
    """
    for i in range(len(out)):
        view = views[i]
        value = missing[i] if view != view else view
        positive = value if value > 0.0 else 0.0
        logarithm = log1p(positive if positive < _LARGEST else _LARGEST)
        out[i] = value if codes[i] == _IDENTITY else logarithm
    minute = np.int64(now_ms) // _MINUTE_MS
    in_day = minute % _MINUTES
    in_week = (minute // _MINUTES + _EPOCH_WEEKDAY) % _WEEKDAYS
    # The angle past the whole minute is at most 0.0044: the omitted Taylor terms are below 2e-14.
    angle = (now_ms - minute * _MINUTE_MS) * _ANGLE_PER_MS
    sine = angle - angle * angle * angle / 6.0
    cosine = 1.0 - angle * angle / 2.0 + angle * angle * angle * angle / 24.0
    day_sin, day_cos = _DAY[in_day, 0], _DAY[in_day, 1]
    for j in range(len(apart)):
        i = apart[j]
        code = codes[i]
        if code >= _HASHED:
            view = views[i]
            whole = np.int64(view) if abs(view) < _WHOLE else np.int64(0)
            out[i] = 1.0 if view == view and whole & (BUCKETS - 1) == code - _HASHED else 0.0
        elif code == _HOUR_SIN:
            out[i] = day_sin * cosine + day_cos * sine
        elif code == _HOUR_COS:
            out[i] = day_cos * cosine - day_sin * sine
        else:
            out[i] = _WEEK[in_week, code - _WEEKDAY_SIN]
