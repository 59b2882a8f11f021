// Products of a matrix in panels with quantized activations.
//
// For many tokens, 32 rows times 512 values are unpacked to bytes once and multiplied by all tokens; for up
// to four tokens (decoding), each vector is unpacked in registers and every weight is read once.
#include "simd.h"

enum { CHUNK = 16 };  // blocks unpacked at a time

struct scratch {
    _Alignas(64) uint8_t bytes[CHUNK][8][2][64];
    _Alignas(64) float scales[CHUNK][2][PANEL];
};

// ------------------------------------------------------------------------------------------ one type

struct panel {
    const uint8_t *quants, *scales;
};

INLINE struct panel panel_of(const struct matrix *m, int64_t row) {
    const int64_t n_blocks = m->k / BLOCK;
    const uint8_t *quants = m->data + row / PANEL * n_blocks * 288;
    return (struct panel){quants, quants + n_blocks * 256};
}

// The 8 vectors of a block: unsigned, 8 above the value.
INLINE void load_block(bytes w[8], const struct panel *p, int64_t block) {
    UNROLL for (int v = 0; v < 4; v++) {
        const bytes x = bytes_load(p->quants + block * 256 + v * 64);
        w[v] = bytes_low(x);
        w[v + 4] = bytes_high(x);
    }
}

INLINE floats load_scales(const struct panel *p, int64_t block) {
    return floats_load_half(p->scales + block * 32);
}

// ---------------------------------------------------------------------------------------- many tokens

static void unpack(struct scratch *s, const struct panel p[2], int64_t first, int n_blocks) {
    for (int b = 0; b < n_blocks; b++)
        UNROLL for (int j = 0; j < 2; j++) {
            bytes w[8];
            load_block(w, &p[j], first + b);
            UNROLL for (int g = 0; g < 8; g++) bytes_store(s->bytes[b][g][j], w[g]);
            floats_store(s->scales[b][j], load_scales(&p[j], first + b));
        }
}

// Adds to c[0..n_tokens) the products of unpacked blocks with some tokens of a tile, x being word 0 of
// the first of them.
INLINE void multiply(const int n_tokens, const int n_panels, const struct scratch *s, int n_blocks, int j0,
                     const uint8_t *x, const int width, float (*c)[GROUP]) {
    for (int b = 0; b < n_blocks; b++, x += act_block_size(width)) {
        const int32_t *q = (const int32_t *)x;
        const float *d = (const float *)x + 8 * width;
        const int32_t *start = (const int32_t *)d + width;
        dot sum[AT_ONCE_TOKENS][AT_ONCE_PANELS];
        UNROLL for (int t = 0; t < n_tokens; t++)
            UNROLL for (int j = 0; j < n_panels; j++) sum[t][j] = dot_start(start[t]);
        UNROLL for (int g = 0; g < 8; g++) {
            bytes w[AT_ONCE_PANELS];
            UNROLL for (int j = 0; j < n_panels; j++) w[j] = bytes_load(s->bytes[b][g][j0 + j]);
            UNROLL for (int t = 0; t < n_tokens; t++)
                UNROLL for (int j = 0; j < n_panels; j++)
                    sum[t][j] = dot_add(sum[t][j], w[j], q[g * width + t]);
        }
        UNROLL for (int t = 0; t < n_tokens; t++)
            UNROLL for (int j = 0; j < n_panels; j++) {
                const floats scale = floats_mul(floats_load(s->scales[b][j0 + j]), floats_set(d[t]));
                const words total = dot_end(sum[t][j], start[t]);
                float *to = c[t] + (j0 + j) * PANEL;
                floats_store(to, floats_fma(floats_of(total), scale, floats_load(to)));
            }
        // Registers are for sums; without this the compiler keeps c in them and spills.
        __asm__ volatile("" ::: "memory");
    }
}

// As `multiply`, for any number of a tile's tokens and both panels.
static void multiply_tile(const struct scratch *s, int n_blocks, const uint8_t *x, int n_tokens,
                          float (*c)[GROUP]) {
    for (int j = 0; j < 2; j += AT_ONCE_PANELS) {
        int t = 0;
        for (; t + AT_ONCE_TOKENS <= n_tokens; t += AT_ONCE_TOKENS)
            multiply(AT_ONCE_TOKENS, AT_ONCE_PANELS, s, n_blocks, j, x + t * 4, TILE, c + t);
        for (; t < n_tokens; t++) multiply(1, AT_ONCE_PANELS, s, n_blocks, j, x + t * 4, TILE, c + t);
    }
}

static void multiply_many(const struct panel p[2], const struct activations *a, int64_t first,
                          int64_t last, float (*c)[GROUP]) {
    struct scratch s;
    const int64_t n_blocks = a->k / BLOCK;
    for (int64_t t = 0; t < last - first; t++)
        for (int j = 0; j < GROUP; j += PANEL) floats_store(c[t] + j, floats_set(0));
    for (int64_t b = 0; b < n_blocks; b += CHUNK) {
        const int count = (int)(n_blocks - b < CHUNK ? n_blocks - b : CHUNK);
        unpack(&s, p, b, count);
        for (int64_t t = first; t < last; t += TILE) {
            const int n_tokens = (int)(last - t < TILE ? last - t : TILE);
            multiply_tile(&s, count, act_block(a, t / TILE, b), n_tokens, c + (t - first));
        }
    }
}

// ----------------------------------------------------------------------------------------- few tokens

// One panel with all of 1 to 4 tokens.
INLINE void multiply_direct(const int n, const struct panel *p, const struct activations *a,
                            float (*c)[GROUP]) {
    const uint8_t *x = a->data;
    floats total[4];
    UNROLL for (int t = 0; t < n; t++) total[t] = floats_set(0);
    for (int64_t b = 0; b < a->k / BLOCK; b++, x += act_block_size(n)) {
        UNROLL for (int i = 0; i < 4; i++) __builtin_prefetch(p->quants + b * 256 + 2048 + i * 64);
        const int32_t *q = (const int32_t *)x;
        const float *d = (const float *)x + 8 * n;
        const int32_t *start = (const int32_t *)d + n;
        bytes w[8];
        load_block(w, p, b);
        const floats scales = load_scales(p, b);
        dot sum[4];
        UNROLL for (int t = 0; t < n; t++) sum[t] = dot_start(start[t]);
        UNROLL for (int g = 0; g < 8; g++)
            UNROLL for (int t = 0; t < n; t++) sum[t] = dot_add(sum[t], w[g], q[g * n + t]);
        UNROLL for (int t = 0; t < n; t++)
            total[t] = floats_fma(floats_of(dot_end(sum[t], start[t])),
                                  floats_mul(scales, floats_set(d[t])), total[t]);
    }
    UNROLL for (int t = 0; t < n; t++) floats_store(c[t], total[t]);
}

static void multiply_few(const struct panel *p, const struct activations *a, float (*c)[GROUP]) {
    switch (a->n) {
    case 1: multiply_direct(1, p, a, c); break;
    case 2: multiply_direct(2, p, a, c); break;
    case 3: multiply_direct(3, p, a, c); break;
    default: multiply_direct(4, p, a, c);
    }
}

// ------------------------------------------------------------------------------------------- interface

void product_group(const struct matrix *m, int64_t row, const struct activations *a, int64_t first,
                   int64_t last, float (*c)[GROUP]) {
    const int64_t other = row + PANEL < m->rows ? row + PANEL : row;
    const struct panel p[2] = {panel_of(m, row), panel_of(m, other)};
    if (a->width < TILE) {
        multiply_few(&p[0], a, c);
        if (other != row) multiply_few(&p[1], a, (float (*)[GROUP])(c[0] + PANEL));
    } else {
        multiply_many(p, a, first, last, c);
    }
}

int64_t take(int64_t *next, int64_t count, int n_threads) {
    const int64_t i = __atomic_fetch_add(next, 1, __ATOMIC_RELAXED);
    if (i == count + n_threads - 1) __atomic_store_n(next, 0, __ATOMIC_RELAXED);
    return i;
}

// Node: dst float32 [rows, n]; src[0] activations, src[1] the matrix in panels.
API void g3n_product(struct tensor *dst, int ith, int nth, void *userdata) {
    (void)ith;
    _Alignas(64) float c[MOST_TOKENS][GROUP];
    const struct matrix m = matrix_of(dst->src[1]);
    struct node *node = userdata;
    const int64_t n = dst->ne[1];
    const struct activations a = act_of(dst->src[0]->data, n, m.k);
    const int64_t n_groups = (m.rows + GROUP - 1) / GROUP;
    const int64_t count = n_groups * ((n + MOST_TOKENS - 1) / MOST_TOKENS);
    for (int64_t i; (i = take(&node->next, count, nth)) < count;) {
        const int64_t row = i % n_groups * GROUP, first = i / n_groups * MOST_TOKENS;
        const int64_t last = first + MOST_TOKENS < n ? first + MOST_TOKENS : n;
        const int64_t n_rows = m.rows - row < GROUP ? m.rows - row : GROUP;
        product_group(&m, row, &a, first, last, c);
        for (int64_t t = first; t < last; t++)
            __builtin_memcpy((char *)dst->data + t * dst->nb[1] + row * 4, c[t - first], (size_t)n_rows * 4);
    }
}
