// The rate of the instructions that products are made of: the limit of what they can reach.
#include "simd.h"

// Multiplies and adds 512 n pairs of values in registers; returns what nobody needs.
API int64_t g3n_peak(int64_t n, int32_t x) {
    _Alignas(64) uint8_t values[64];
    for (int i = 0; i < 64; i++) values[i] = (uint8_t)(i & 1);
    const bytes w = bytes_load(values);
    dot sum[8];
    UNROLL for (int j = 0; j < 8; j++) sum[j] = dot_start(j);
    for (int64_t i = 0; i < n; i++) {
        UNROLL for (int j = 0; j < 8; j++) sum[j] = dot_add(sum[j], w, x);
        __asm__ volatile("" ::: "memory");
    }
    int64_t total = 0;
    UNROLL for (int j = 0; j < 8; j++) total += words_sum(dot_end(sum[j], j));
    return total;
}
