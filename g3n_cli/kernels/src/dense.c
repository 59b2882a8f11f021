// Products with float32 activations, which are not rounded: of matrices of halves, and of quantized ones where
// activations are to stay as they are.
//
// 32 rows of some k are widened to floats once and multiplied by all tokens. Of halves, a panel holds the 16 rows' values
// of each k next to each other: for up to four tokens they are widened in registers and every weight is read once.
#include <string.h>

#include "floats_math.h"
#include "panels.h"

enum { DEPTH = 128, TOKENS = 288 };  // k and tokens of a pass; as many tokens as make whole tiles of 6 and of 8

// c[t] += w[0..depth) * x[t] for so many tokens.
INLINE void multiply(const int n_tokens, const float (*w)[GROUP], int depth, int j0, const float *const *x,
                     float (*c)[GROUP]) {
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
            UNROLL for (int j = 0; j < AT_ONCE_PANELS; j++) sum[t][j] = floats_fma(v[j], floats_set(row[t][i]), sum[t][j]);
    }
    UNROLL for (int t = 0; t < n_tokens; t++)
        UNROLL for (int j = 0; j < AT_ONCE_PANELS; j++) floats_store(c[t] + (j0 + j) * PANEL, sum[t][j]);
}

// The same for n tokens, of 32 rows.
static void multiply_all(const float (*w)[GROUP], int depth, const float *const *x, int64_t n, float (*c)[GROUP]) {
    int64_t t = 0;
    for (; t + AT_ONCE_FLOATS <= n; t += AT_ONCE_FLOATS)
        for (int j = 0; j < 2; j += AT_ONCE_PANELS) multiply(AT_ONCE_FLOATS, w, depth, j, x + t, c + t);
    for (; t + 2 <= n; t += 2)
        for (int j = 0; j < 2; j += AT_ONCE_PANELS) multiply(2, w, depth, j, x + t, c + t);
    for (; t < n; t++)
        for (int j = 0; j < 2; j += AT_ONCE_PANELS) multiply(1, w, depth, j, x + t, c + t);
}

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
        multiply_all(w, depth, row, last - first, c);
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

// A convolution: kernel and sides of the pictures are squares, zeros lie around them as TensorFlow's "same" has it.
struct convolution {
    int64_t side, n, kernel, stride, before;
};

// For n pixels of the result, from `first` on: where the channels of the pixel that place (ky, kx) of the kernel meets begin;
// zeros beyond the picture.
static void find_pixels(const struct convolution *o, const struct tensor *x, const float *zeros, int64_t first, int64_t n,
                        int64_t ky, int64_t kx, const float **row) {
    int64_t y = first / o->n * o->stride + ky - o->before, column = first % o->n;
    for (int64_t t = 0; t < n; t++) {
        const int64_t at = column * o->stride + kx - o->before;
        row[t] = y >= 0 && y < o->side && at >= 0 && at < o->side ? row_of(x, y * o->side + at) : zeros;
        if (++column == o->n) column = 0, y += o->stride;
    }
}

// Node: dst float32 [n_out, n * n]; src[0] a picture float32 [n_in, side * side], src[1] weights float32
// [32, kernel * kernel * n_in, n_out / 32]; parameters side and stride.
API void g3n_convolve(struct tensor *dst, int ith, int nth, void *userdata) {
    (void)ith;
    static const float zeros[DEPTH];
    _Alignas(64) float c[TOKENS][GROUP];
    const float *row[TOKENS];
    struct node *node = userdata;
    const struct tensor *x = dst->src[0], *weights = dst->src[1];
    const int64_t n_in = x->ne[0], n_pixels = dst->ne[1];
    struct convolution o = {(int64_t)node->params[0], 0, 1, (int64_t)node->params[1], 0};
    while (o.kernel * o.kernel * n_in < weights->ne[1]) o.kernel++;
    o.n = (o.side + o.stride - 1) / o.stride;
    const int64_t padding = (o.n - 1) * o.stride + o.kernel - o.side;
    o.before = padding > 0 ? padding / 2 : 0;
    const int64_t n_groups = weights->ne[2], count = n_groups * ((n_pixels + TOKENS - 1) / TOKENS);
    for (int64_t i; (i = take(&node->next, count, nth)) < count;) {
        const int64_t group = i % n_groups, first = i / n_groups * TOKENS;
        const int64_t n = n_pixels - first < TOKENS ? n_pixels - first : TOKENS;
        const float(*w)[GROUP] = (const float(*)[GROUP])((const char *)weights->data + group * weights->nb[2]);
        memset(c, 0, (size_t)n * sizeof *c);
        for (int64_t tap = 0; tap < o.kernel * o.kernel; tap++, w += n_in) {
            find_pixels(&o, x, zeros, first, n, tap / o.kernel, tap % o.kernel, row);
            for (int64_t at = 0; at < n_in; at += DEPTH) {
                const int depth = (int)(n_in - at < DEPTH ? n_in - at : DEPTH);
                multiply_all(w + at, depth, row, n, c);
                for (int64_t t = 0; t < n; t++) row[t] += row[t] == zeros ? 0 : depth;
            }
        }
        for (int64_t t = 0; t < n; t++)
            memcpy((char *)dst->data + (first + t) * dst->nb[1] + group * GROUP * 4, c[t], sizeof c[t]);
    }
}
