// Activations to 8 bits, as ggml's quantize_row_q8_0 does it: scale = largest / 127 as a half. Fewer bits have fewer steps.
#include "simd.h"

struct activations act_of(void *data, int64_t n, int64_t k) {
    return (struct activations){n, k, act_width(n), 127.0f, data};
}

void quantize_block(const struct activations *a, int64_t token, int64_t number, const float *x) {
    const int width = a->width, t = (int)(token % width);
    uint8_t *block = act_block(a, token / width, number);
    const floats low = floats_load(x), high = floats_load(x + 16);
    const float most = floats_most(floats_max(floats_abs(low), floats_abs(high)));
    const floats inverse = floats_set(most != 0 ? a->most / most : 0.0f);
    const words q0 = words_round(floats_mul(low, inverse));
    const words q1 = words_round(floats_mul(high, inverse));
    int8_t q[BLOCK];
    words_store_bytes(q, q0);
    words_store_bytes(q + 16, q1);
    for (int g = 0; g < 8; g++) __builtin_memcpy(block + (g * width + t) * 4, q + g * 4, 4);
    const int32_t half = words_sum(q0), sum = half + words_sum(q1);
    float *d = (float *)(block + width * BLOCK);
    int32_t *z = (int32_t *)(d + 2 * width);
    d[t] = half_round(most / a->most);
    d[width + t] = d[t] * (float)sum;
    z[t] = -8 * sum;
    z[width + t] = -8 * half;
}

// Node: dst activations [k, n], n and their largest value being its parameters; src[0] float32 [k, n] whose rows may lie
// apart.
API void g3n_quantize(struct tensor *dst, int ith, int nth, void *userdata) {
    const struct tensor *x = dst->src[0];
    struct activations a = act_of(dst->data, x->ne[1], x->ne[0]);
    a.most = ((const struct node *)userdata)->params[1];
    const int64_t n_blocks = a.k / BLOCK, count = act_n_tiles(a.n, a.width) * n_blocks;
    for (int64_t i = count * ith / nth; i < count * (ith + 1) / nth; i++) {
        const int64_t first = i / n_blocks * a.width, block = i % n_blocks;
        for (int64_t t = first; t < first + a.width && t < a.n; t++) {
            const char *row = (const char *)x->data + t * x->nb[1];
            quantize_block(&a, t, block, (const float *)row + block * BLOCK);
        }
    }
}

API int64_t g3n_activation_bytes(int64_t n, int64_t k) {
    const int width = act_width(n);
    return act_n_tiles(n, width) * (k / BLOCK) * (int64_t)act_block_size(width);
}
