// The rate of the instructions that products are made of: the limit of what they can reach.
#include "simd.h"

enum { CHAINS = 12 };  // sums that do not wait for each other

// Multiplies and adds 768 n pairs of values (12 chains of 16 lanes of 4) and does nothing else; returns what nobody
// needs.
API int64_t g3n_peak(int64_t n, int32_t x) {
    _Alignas(64) uint8_t values[CHAINS][64];
    for (int i = 0; i < CHAINS * 64; i++) values[i / 64][i % 64] = (uint8_t)(i & 1);
    dot sum[CHAINS];
    UNROLL for (int j = 0; j < CHAINS; j++) sum[j] = dot_start(j);
    for (int64_t i = 0; i < n; i++) {
        // Read anew, or the compiler would multiply once for all steps.
        __asm__ volatile("" ::"r"(values) : "memory");
        UNROLL for (int j = 0; j < CHAINS; j++) sum[j] = dot_add(sum[j], bytes_load(values[j]), x);
    }
    int64_t total = 0;
    UNROLL for (int j = 0; j < CHAINS; j++) total += words_sum(dot_end(sum[j], j));
    return total;
}
