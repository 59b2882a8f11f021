// Products with float32 activations, which are not rounded: of matrices of halves, and of quantized ones where
// activations are to stay as they are.
//
// 32 rows of some k are widened to floats once and multiplied by all tokens. Of halves, a panel holds the 16 rows' values
// of each k next to each other: for up to four tokens they are widened in registers and every weight is read once.
#include <string.h>

#include "floats_math.h"
#include "floats_product.h"
#include "panels.h"

// Values `at` to `at` + depth - 1 of the panel's 16 rows as floats; whole blocks, but for halves.
INLINE void widen(const int type, const struct panel *p, int64_t at, int depth, float (*to)[GROUP]) {
    if (type == TYPE_F16) {
        for (int i = 0; i < depth; i++) floats_store(to[i], floats_load_half(p->data + (at + i) * PANEL * 2));
        return;
    }
    for (int64_t b = 0; b < depth / BLOCK; b++, to += BLOCK) {
        bytes w[8];
        floats scale[2];
        load_block(type, w, p, at / BLOCK + b);
        load_scales(type, scale, p, at / BLOCK + b);
        UNROLL for (int v = 0; v < 8; v++) {
            const floats s = scale[n_parts(type) == 2 ? v / 4 : 0];
            UNROLL for (int i = 0; i < 4; i++) {
                const floats value = floats_of(words_field(w[v], 8 * i, 255));
                floats_store(to[4 * v + i], has_minimum(type) ? floats_sub(floats_mul(value, s), scale[1])
                                                              : floats_mul(floats_sub(value, floats_set(zero_of(type))), s));
            }
        }
    }
}

static void widen_panel(int type, const struct panel *p, int64_t at, int depth, float (*to)[GROUP]) {
    switch (type) {
    case TYPE_F16: widen(TYPE_F16, p, at, depth, to); break;
    case TYPE_Q4_0: widen(TYPE_Q4_0, p, at, depth, to); break;
    case TYPE_Q8_0: widen(TYPE_Q8_0, p, at, depth, to); break;
    case TYPE_Q4_K: widen(TYPE_Q4_K, p, at, depth, to); break;
    case TYPE_Q5_K: widen(TYPE_Q5_K, p, at, depth, to); break;
    default: widen(TYPE_Q6_K, p, at, depth, to);
    }
}

static void multiply_many(int type, const struct panel panel[2], int64_t k, const struct tensor *x, int64_t first,
                          int64_t last, float (*c)[GROUP]) {
    _Alignas(64) float w[DEPTH][GROUP];
    const float *row[TOKENS];
    memset(c, 0, (size_t)(last - first) * sizeof *c);
    for (int64_t at = 0; at < k; at += DEPTH) {
        const int depth = (int)(k - at < DEPTH ? k - at : DEPTH);
        for (int j = 0; j < 2; j++) widen_panel(type, &panel[j], at, depth, (float(*)[GROUP])(w[0] + j * PANEL));
        for (int64_t t = first; t < last; t++) row[t - first] = row_of(x, t) + at;
        multiply_all(w, depth, row, 1, last - first, c);
    }
}

// One panel of halves with 1 to 4 tokens.
INLINE void multiply_direct(const int n, const uint16_t *panel, int64_t k, const struct tensor *x, float (*c)[GROUP]) {
    enum { CHAINS = 4 };  // sums that do not wait for each other
    floats sum[4][CHAINS];
    UNROLL for (int t = 0; t < n; t++)
        UNROLL for (int i = 0; i < CHAINS; i++) sum[t][i] = floats_set(0);
    for (int64_t at = 0; at < k; at += CHAINS)
        UNROLL for (int i = 0; i < CHAINS; i++) {
            const floats v = floats_load_half(panel + (at + i) * PANEL);
            UNROLL for (int t = 0; t < n; t++)
                sum[t][i] = floats_fma(v, floats_set(row_of(x, t)[at + i]), sum[t][i]);
        }
    UNROLL for (int t = 0; t < n; t++)
        floats_store(c[t], floats_add(floats_add(sum[t][0], sum[t][1]), floats_add(sum[t][2], sum[t][3])));
}

static void multiply_few(const struct panel *p, int64_t k, const struct tensor *x, int64_t n, float (*c)[GROUP]) {
    const uint16_t *panel = (const uint16_t *)p->data;
    switch (n) {
    case 1: multiply_direct(1, panel, k, x, c); break;
    case 2: multiply_direct(2, panel, k, x, c); break;
    case 3: multiply_direct(3, panel, k, x, c); break;
    default: multiply_direct(4, panel, k, x, c);
    }
}

// Node: dst float32 [rows, n]; src[0] float32 [k, n] whose rows may lie apart, src[1] the matrix in panels.
API void g3n_dense(struct tensor *dst, int ith, int nth, void *userdata) {
    (void)ith;
    _Alignas(64) float c[TOKENS][GROUP];
    struct node *node = userdata;
    const struct tensor *x = dst->src[0];
    const struct matrix m = matrix_of(dst->src[1]);
    const int64_t n = dst->ne[1], n_groups = (m.rows + GROUP - 1) / GROUP;
    const int64_t count = n_groups * ((n + TOKENS - 1) / TOKENS);
    for (int64_t i; (i = take(&node->next, count, nth)) < count;) {
        const int64_t row = i % n_groups * GROUP, first = i / n_groups * TOKENS;
        const int64_t last = first + TOKENS < n ? first + TOKENS : n;
        const int64_t n_rows = m.rows - row < GROUP ? m.rows - row : GROUP;
        const struct panel panel[2] = {panel_of(m.type, &m, row),
                                       panel_of(m.type, &m, n_rows < GROUP ? row : row + PANEL)};
        if (n > 4 || m.type != TYPE_F16) {
            multiply_many(m.type, panel, m.k, x, first, last, c);
        } else {
            for (int j = 0; j * PANEL < n_rows; j++)
                multiply_few(&panel[j], m.k, x, n, (float(*)[GROUP])(c[0] + j * PANEL));
        }
        for (int64_t t = first; t < last; t++)
            memcpy((char *)dst->data + t * dst->nb[1] + row * 4, c[t - first], (size_t)n_rows * 4);
    }
}
