"""Elementary functions that give the same bits on every processor.

The sine of one C library is not the sine of another in the last bit, and the same library picks
another routine on another processor. A replica must not decide differently for that. These use
only operations that IEEE 754 rounds correctly (+ - * / sqrt, comparison, conversion), in a fixed
order, so that compiled and interpreted, here and there, agree in every bit. They have no branches,
so that a loop over them runs on all lanes of the processor.

Polynomials for sine, cosine, atan, exp and log: FreeBSD msun (fdlibm, Sun Microsystems 1993).
Normal distribution: Hart 1968 as given by West, "Better approximations to cumulative normal
functions", 2005. Errors against the C library: tests.
"""

import math
from typing import Final

import numpy as np

from afstand.compile import jit_inline

_RADIANS: Final = math.pi / 180.0
_HALF_PI: Final = math.pi / 2.0
_LN2_HIGH: Final = 6.93147180369123816490e-01
_LN2_LOW: Final = 1.90821492927058770002e-10
_INVERSE_LN2: Final = 1.44269504088896338700
_MANTISSA: Final = (1 << 52) - 1
_ONE_BITS: Final = 1023 << 52
# The bits of sqrt(1/2): a mantissa at or above it keeps its exponent, so that log works in
# [sqrt(1/2), sqrt(2)).
_HALF_ROOT_BITS: Final = 0x3FE6A09E667F3BCD


@jit_inline
def sin_cos_degrees(angle_deg: float) -> tuple[float, float]:
    """Sine and cosine of an angle in degrees, any finite size; exact reduction to +-45 degrees."""
    turn = math.floor(angle_deg / 90.0 + 0.5)
    x = (angle_deg - 90.0 * turn) * _RADIANS
    z = x * x
    sine = x + x * z * (
        -1.66666666666666324348e-01
        + z
        * (
            8.33333333332248946124e-03
            + z
            * (
                -1.98412698298579493134e-04
                + z
                * (
                    2.75573137070700676789e-06
                    + z * (-2.50507602534068634195e-08 + z * 1.58969099521155010221e-10)
                )
            )
        )
    )
    cosine = 1.0 - (
        0.5 * z
        - z
        * z
        * (
            4.16666666666666019037e-02
            + z
            * (
                -1.38888888888741095749e-03
                + z
                * (
                    2.48015872894767294178e-05
                    + z
                    * (
                        -2.75573143513906633035e-07
                        + z * (2.08757232129817482790e-09 - z * 1.13596475577881948265e-11)
                    )
                )
            )
        )
    )
    quadrant = int(turn) & 3
    swapped = (quadrant & 1) == 1
    s = cosine if swapped else sine
    c = sine if swapped else cosine
    s = -s if quadrant >= 2 else s
    c = -c if (quadrant == 1) | (quadrant == 2) else c
    return s, c


@jit_inline
def arctan2(y: float, x: float) -> float:
    """Angle of (x, y) in radians, (-pi, pi]; 0 for the origin."""
    ax = abs(x)
    ay = abs(y)
    high = max(ax, ay)
    low = min(ax, ay)
    # tan(pi/8) splits [0, 1]; above it atan(q) = pi/4 + atan((q - 1) / (q + 1)).
    upper = low > 0.41421356237309503 * high
    numerator = low - high if upper else low
    denominator = low + high if upper else high
    denominator = denominator if denominator > 0.0 else 1.0
    q = numerator / denominator
    z = q * q
    w = z * z
    odd = z * (
        3.33333333333329318027e-01
        + w
        * (
            1.42857142725034663711e-01
            + w
            * (
                9.09088713343650656196e-02
                + w
                * (
                    6.66107313738753120669e-02
                    + w * (4.97687799461593236017e-02 + w * 1.62858201153657823623e-02)
                )
            )
        )
    )
    even = w * (
        -1.99999999998764832476e-01
        + w
        * (
            -1.11111104054623557880e-01
            + w
            * (
                -7.69187620504482999495e-02
                + w * (-5.83357013379057348645e-02 - w * 3.65315727442169155270e-02)
            )
        )
    )
    angle = (0.5 * _HALF_PI if upper else 0.0) + (q - q * (odd + even))
    angle = _HALF_PI - angle if ay > ax else angle
    angle = math.pi - angle if x < 0.0 else angle
    return -angle if y < 0.0 else angle


@jit_inline
def log(value: float) -> float:
    """Natural logarithm of a positive normal number."""
    bits = np.int64(np.float64(value).view(np.int64))
    exponent = (bits - _HALF_ROOT_BITS) >> 52
    mantissa = np.int64(bits - (exponent << 52)).view(np.float64)
    k = float(exponent)
    f = mantissa - 1.0
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    r = w * (
        3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01)
    ) + z * (
        6.666666666666735130e-01
        + w
        * (2.857142874366239149e-01 + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01))
    )
    half_square = 0.5 * f * f
    return k * _LN2_HIGH - ((half_square - (s * (half_square + r) + k * _LN2_LOW)) - f)


@jit_inline
def exp(value: float) -> float:
    """Exponential; values outside +-700 are taken as +-700."""
    x = min(max(value, -700.0), 700.0)
    k = math.floor(x * _INVERSE_LN2 + 0.5)
    high = x - k * _LN2_HIGH
    low = k * _LN2_LOW
    r = high - low
    z = r * r
    c = r - z * (
        1.66666666666666019037e-01
        + z
        * (
            -2.77777777770155933842e-03
            + z
            * (
                6.61375632143793436117e-05
                + z * (-1.65339022054652515390e-06 + z * 4.13813679705723846039e-08)
            )
        )
    )
    y = 1.0 - ((low - (r * c) / (2.0 - c)) - high)
    scale = np.int64((np.int64(k) << 52) + _ONE_BITS).view(np.float64)
    return y * scale


@jit_inline
def tanh(value: float) -> float:
    """Hyperbolic tangent; absolute error below 1e-15."""
    e = exp(2.0 * min(max(value, -20.0), 20.0))
    return (e - 1.0) / (e + 1.0)


@jit_inline
def normal_cdf(value: float) -> float:
    """P(Z <= value) of the standard normal distribution; absolute error below 1e-14."""
    x = min(abs(value), 37.0)
    e = exp(-0.5 * x * x)
    top = 3.52624965998911e-02 * x + 0.700383064443688
    top = top * x + 6.37396220353165
    top = top * x + 33.912866078383
    top = top * x + 112.079291497871
    top = top * x + 221.213596169931
    top = top * x + 220.206867912376
    bottom = 8.83883476483184e-02 * x + 1.75566716318264
    bottom = bottom * x + 16.064177579207
    bottom = bottom * x + 86.7807322029461
    bottom = bottom * x + 296.564248779674
    bottom = bottom * x + 637.333633378831
    bottom = bottom * x + 793.826512519948
    bottom = bottom * x + 440.413735824752
    near = e * top / bottom
    far = x + 0.65
    far = x + 4.0 / far
    far = x + 3.0 / far
    far = x + 2.0 / far
    far = x + 1.0 / far
    tail = near if x < 7.07106781186547 else e / (far * 2.506628274631000502415765284811)
    return 1.0 - tail if value > 0.0 else tail
