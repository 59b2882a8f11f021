// Functions of vectors of floats, and of rows of them.
#ifndef FLOATS_MATH_H
#define FLOATS_MATH_H

#include <math.h>

#include "simd.h"

// e^x to 2 units in the last place, for any x; below -87 as at -87.
INLINE floats floats_exp(floats x) {
    x = floats_max(floats_min(x, floats_set(88.0f)), floats_set(-87.0f));
    const words n = words_round(floats_mul(x, floats_set(1.44269504f)));
    // ln 2 in two parts, the first of so few bits that its product with n is exact.
    floats r = floats_fma(floats_of(n), floats_set(-0.693359375f), x);
    r = floats_fma(floats_of(n), floats_set(2.12194440e-4f), r);
    // Taylor's polynomial; |r| is at most ln 2 / 2.
    floats p = floats_set(1.0f / 5040);
    p = floats_fma(p, r, floats_set(1.0f / 720));
    p = floats_fma(p, r, floats_set(1.0f / 120));
    p = floats_fma(p, r, floats_set(1.0f / 24));
    p = floats_fma(p, r, floats_set(1.0f / 6));
    p = floats_fma(p, r, floats_set(0.5f));
    p = floats_fma(p, r, floats_set(1.0f));
    p = floats_fma(p, r, floats_set(1.0f));
    return floats_scale2(p, n);
}

// GELU in its tanh form: x (1 + tanh(u)) / 2 = x / (1 + e^(-2 u)), u = sqrt(2 / pi) (x + 0.044715 x^3).
INLINE floats floats_gelu(floats x) {
    const floats cubic = floats_fma(floats_mul(x, x), floats_set(0.044715f), floats_set(1.0f));
    const floats u2 = floats_mul(floats_mul(x, cubic), floats_set(-1.59576912f));
    return floats_div(x, floats_add(floats_set(1.0f), floats_exp(u2)));
}

// Row t of a tensor of floats.
INLINE float *row_of(const struct tensor *x, int64_t t) { return (float *)((char *)x->data + t * x->nb[1]); }

// 1 / sqrt(mean of x^2 + eps)
INLINE float inverse_rms(const float *x, int64_t n, float eps) {
    floats squares = floats_set(0);
    for (int64_t i = 0; i < n; i += 16) {
        const floats v = floats_load(x + i);
        squares = floats_fma(v, v, squares);
    }
    return 1.0f / sqrtf(floats_sum(squares) / (float)n + eps);
}

#endif
