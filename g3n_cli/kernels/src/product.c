// Products of a matrix with quantized activations.
//
// For many tokens, 32 rows times 512 values are unpacked to bytes once and multiplied by all tokens; for up
// to four tokens (decoding), each vector is unpacked in registers and every weight is read once.
#include "panels.h"

enum { CHUNK = 16 };  // blocks unpacked at a time

struct scratch {
    _Alignas(64) uint8_t bytes[CHUNK][8][2][64];
    _Alignas(64) float scales[CHUNK][2][2][PANEL];  // of each panel: as load_scales gives them
};

// ---------------------------------------------------------------------------------------- many tokens

INLINE void unpack(const int type, struct scratch *s, const struct panel p[2], int64_t first, int n_blocks) {
    for (int b = 0; b < n_blocks; b++)
        UNROLL for (int j = 0; j < 2; j++) {
            bytes w[8];
            floats scale[2];
            load_block(type, w, &p[j], first + b);
            UNROLL for (int g = 0; g < 8; g++) bytes_store(s->bytes[b][g][j], w[g]);
            load_scales(type, scale, &p[j], first + b);
            floats_store(s->scales[b][j][0], scale[0]);
            if (n_parts(type) == 2 || has_minimum(type)) floats_store(s->scales[b][j][1], scale[1]);
        }
}

// Adds to c[0..n_tokens) the products of unpacked blocks with some tokens of a tile, x being word 0 of
// the first of them.
INLINE void multiply(const int type, const int n_tokens, const struct scratch *s, int n_blocks, int j0,
                     const uint8_t *x, const int width, float (*c)[GROUP]) {
    const int n_panels = AT_ONCE_PANELS, n_words = 8 / n_parts(type);
    for (int b = 0; b < n_blocks; b++, x += act_block_size(width)) {
        const int32_t *q = (const int32_t *)x;
        const float *d = (const float *)x + 8 * width, *ds = d + width;
        const int32_t *z = (const int32_t *)(ds + width);
        UNROLL for (int part = 0; part < n_parts(type); part++) {
            dot sum[AT_ONCE_TOKENS][AT_ONCE_PANELS];
            UNROLL for (int t = 0; t < n_tokens; t++)
                UNROLL for (int j = 0; j < n_panels; j++)
                    sum[t][j] = dot_start(start_of(type, part, z + t, width));
            UNROLL for (int g = part * n_words; g < (part + 1) * n_words; g++) {
                bytes w[AT_ONCE_PANELS];
                UNROLL for (int j = 0; j < n_panels; j++) w[j] = bytes_load(s->bytes[b][g][j0 + j]);
                UNROLL for (int t = 0; t < n_tokens; t++)
                    UNROLL for (int j = 0; j < n_panels; j++)
                        sum[t][j] = add_bytes(type, sum[t][j], w[j], q[g * width + t]);
            }
            UNROLL for (int t = 0; t < n_tokens; t++)
                UNROLL for (int j = 0; j < n_panels; j++) {
                    const float(*scales)[PANEL] = s->scales[b][j0 + j];
                    const floats scale = floats_mul(floats_load(scales[part]), floats_set(d[t]));
                    const words total = end_bytes(type, sum[t][j], start_of(type, part, z + t, width));
                    float *to = c[t] + (j0 + j) * PANEL;
                    floats y = floats_fma(floats_of(total), scale, floats_load(to));
                    if (has_minimum(type)) y = floats_fnma(floats_load(scales[1]), floats_set(ds[t]), y);
                    floats_store(to, y);
                }
        }
        // Registers are for sums; without this the compiler keeps c in them and spills.
        __asm__ volatile("" ::: "memory");
    }
}

// Adds to c the products of `n_blocks` blocks of the panels with those of the activations from `start` on.
INLINE void multiply_many(const int type, const struct panel p[2], int64_t start, int64_t n_blocks,
                          const struct activations *a, int64_t first, int64_t last, float (*c)[GROUP]) {
    struct scratch s;
    for (int64_t b = 0; b < n_blocks; b += CHUNK) {
        const int count = (int)(n_blocks - b < CHUNK ? n_blocks - b : CHUNK);
        unpack(type, &s, p, b, count);
        for (int64_t tile = first; tile < last; tile += TILE) {
            const uint8_t *x = act_block(a, tile / TILE, start + b);
            const int n_tokens = (int)(last - tile < TILE ? last - tile : TILE);
            float(*to)[GROUP] = c + (tile - first);
            for (int j = 0; j < 2; j += AT_ONCE_PANELS) {
                int t = 0;
                for (; t + AT_ONCE_TOKENS <= n_tokens; t += AT_ONCE_TOKENS)
                    multiply(type, AT_ONCE_TOKENS, &s, count, j, x + t * 4, TILE, to + t);
                for (; t < n_tokens; t++) multiply(type, 1, &s, count, j, x + t * 4, TILE, to + t);
            }
        }
    }
}

// ----------------------------------------------------------------------------------------- few tokens

// Adds to c the products of `n_blocks` blocks of a panel with those of all of 1 to 4 tokens from `start` on.
INLINE void multiply_direct(const int type, const int n, const struct panel *p, int64_t start, int64_t n_blocks,
                            const struct activations *a, float (*c)[GROUP]) {
    const int n_words = 8 / n_parts(type);
    const int64_t ahead = 2048, step = row_bytes(type, LONG_BLOCK) * PANEL / 8;
    const uint8_t *x = act_block(a, 0, start);
    floats y[4];
    UNROLL for (int t = 0; t < n; t++) y[t] = floats_load(c[t]);
    for (int64_t b = 0; b < n_blocks; b++, x += act_block_size(n)) {
        for (int64_t i = 0; i < step; i += 64) __builtin_prefetch(p->data + b * step + ahead + i);
        const int32_t *q = (const int32_t *)x;
        const float *d = (const float *)x + 8 * n, *ds = d + n;
        const int32_t *z = (const int32_t *)(ds + n);
        bytes w[8];
        floats scale[2];
        load_block(type, w, p, b);
        load_scales(type, scale, p, b);
        UNROLL for (int part = 0; part < n_parts(type); part++) {
            dot sum[4];
            UNROLL for (int t = 0; t < n; t++) sum[t] = dot_start(start_of(type, part, z + t, n));
            UNROLL for (int g = part * n_words; g < (part + 1) * n_words; g++)
                UNROLL for (int t = 0; t < n; t++) sum[t] = add_bytes(type, sum[t], w[g], q[g * n + t]);
            UNROLL for (int t = 0; t < n; t++) {
                const words total = end_bytes(type, sum[t], start_of(type, part, z + t, n));
                y[t] = floats_fma(floats_of(total), floats_mul(scale[part], floats_set(d[t])), y[t]);
                if (has_minimum(type)) y[t] = floats_fnma(scale[1], floats_set(ds[t]), y[t]);
            }
        }
    }
    UNROLL for (int t = 0; t < n; t++) floats_store(c[t], y[t]);
}

INLINE void multiply_few(const int type, const struct panel *p, int64_t start, int64_t n_blocks,
                         const struct activations *a, float (*c)[GROUP]) {
    switch (a->n) {
    case 1: multiply_direct(type, 1, p, start, n_blocks, a, c); break;
    case 2: multiply_direct(type, 2, p, start, n_blocks, a, c); break;
    case 3: multiply_direct(type, 3, p, start, n_blocks, a, c); break;
    default: multiply_direct(type, 4, p, start, n_blocks, a, c);
    }
}

// ------------------------------------------------------------------------------------------ each type

INLINE void multiply_group(const int type, const struct matrix *m, int64_t row, const int32_t *at,
                           const struct activations *a, int64_t first, int64_t last, float (*c)[GROUP]) {
    // Rows of a file are packed as they are needed, so many values at a time that they stay in the first cache.
    _Alignas(64) uint8_t packed[2][CHUNK * PANEL * (BLOCK + 2)];
    const int64_t other = row + PANEL < m->rows ? row + PANEL : row, n_blocks = m->k / BLOCK;
    struct panel p[2] = {panel_of(type, m, row), panel_of(type, m, other)};
    for (int64_t t = 0; t < last - first; t++)
        for (int j = 0; j < GROUP; j += PANEL) floats_store(c[t] + j, floats_set(0));
    for (int64_t start = 0, count = n_blocks; start < n_blocks; start += count) {
        if (at) {
            count = n_blocks - start < CHUNK ? n_blocks - start : CHUNK;
            for (int j = 0; j < 2; j++) {
                const struct matrix part = {type, PANEL, count * BLOCK, row_bytes(type, count * BLOCK), packed[j]};
                p[j] = panel_of(type, &part, 0);
                pack_panel(type, &p[j], m->data + row_bytes(type, start * BLOCK), at + j * PANEL, part.k);
            }
        }
        if (a->width == TILE) {
            multiply_many(type, p, start, count, a, first, last, c);
            continue;
        }
        multiply_few(type, &p[0], start, count, a, c);
        if (at || other != row) multiply_few(type, &p[1], start, count, a, (float(*)[GROUP])(c[0] + PANEL));
    }
}

#define GROUP_OF(type)                                                                                    \
    static void group_##type(const struct matrix *m, int64_t row, const int32_t *at,                      \
                             const struct activations *a, int64_t first, int64_t last, float (*c)[GROUP]) { \
        multiply_group(TYPE_##type, m, row, at, a, first, last, c);                                       \
    }
GROUP_OF(Q4_0)
GROUP_OF(Q8_0)
GROUP_OF(Q4_K)
GROUP_OF(Q5_K)
GROUP_OF(Q6_K)
#undef GROUP_OF

void product_group(const struct matrix *m, int64_t row, const int32_t *at, const struct activations *a,
                   int64_t first, int64_t last, float (*c)[GROUP]) {
    switch (m->type) {
    case TYPE_Q4_0: group_Q4_0(m, row, at, a, first, last, c); break;
    case TYPE_Q8_0: group_Q8_0(m, row, at, a, first, last, c); break;
    case TYPE_Q4_K: group_Q4_K(m, row, at, a, first, last, c); break;
    case TYPE_Q5_K: group_Q5_K(m, row, at, a, first, last, c); break;
    default: group_Q6_K(m, row, at, a, first, last, c);
    }
}

// ----------------------------------------------------------------------------------------------- nodes

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
        product_group(&m, row, NULL, &a, first, last, c);
        for (int64_t t = first; t < last; t++)
            __builtin_memcpy((char *)dst->data + t * dst->nb[1] + row * 4, c[t - first], (size_t)n_rows * 4);
    }
}
