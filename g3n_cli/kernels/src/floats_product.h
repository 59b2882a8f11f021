// Products of floats: 32 rows of some k, one after the other for each k, with tokens wherever they lie.
#ifndef FLOATS_PRODUCT_H
#define FLOATS_PRODUCT_H

#include "simd.h"

enum { DEPTH = 256, TOKENS = 288 };  // k and tokens of a pass; as many tokens as make whole tiles of 6 and of 8

// c[t] += sum over i of w[i] * x[t][i * step], for so many tokens.
INLINE void multiply(const int n_tokens, const float (*w)[GROUP], int depth, int j0, const float *const *x,
                     const int64_t step, float (*c)[GROUP]) {
    floats sum[AT_ONCE_FLOATS][AT_ONCE_PANELS];
    const float *row[AT_ONCE_FLOATS];
    UNROLL for (int t = 0; t < n_tokens; t++) {
        row[t] = x[t];
        UNROLL for (int j = 0; j < AT_ONCE_PANELS; j++) sum[t][j] = floats_load(c[t] + (j0 + j) * PANEL);
    }
    for (int i = 0; i < depth; i++) {
        floats v[AT_ONCE_PANELS];
        UNROLL for (int j = 0; j < AT_ONCE_PANELS; j++) v[j] = floats_load(w[i] + (j0 + j) * PANEL);
        UNROLL for (int t = 0; t < n_tokens; t++)
            UNROLL for (int j = 0; j < AT_ONCE_PANELS; j++)
                sum[t][j] = floats_fma(v[j], floats_set(row[t][i * step]), sum[t][j]);
    }
    UNROLL for (int t = 0; t < n_tokens; t++)
        UNROLL for (int j = 0; j < AT_ONCE_PANELS; j++) floats_store(c[t] + (j0 + j) * PANEL, sum[t][j]);
}

// The same for n tokens, of 32 rows.
INLINE void multiply_all(const float (*w)[GROUP], int depth, const float *const *x, const int64_t step, int64_t n,
                         float (*c)[GROUP]) {
    int64_t t = 0;
    for (; t + AT_ONCE_FLOATS <= n; t += AT_ONCE_FLOATS)
        for (int j = 0; j < 2; j += AT_ONCE_PANELS) multiply(AT_ONCE_FLOATS, w, depth, j, x + t, step, c + t);
    if (AT_ONCE_FLOATS > 4 && t + 4 <= n) {
        for (int j = 0; j < 2; j += AT_ONCE_PANELS) multiply(4, w, depth, j, x + t, step, c + t);
        t += 4;
    }
    for (; t + 2 <= n; t += 2)
        for (int j = 0; j < 2; j += AT_ONCE_PANELS) multiply(2, w, depth, j, x + t, step, c + t);
    for (; t < n; t++)
        for (int j = 0; j < 2; j += AT_ONCE_PANELS) multiply(1, w, depth, j, x + t, step, c + t);
}

#endif
