// The gated half of an FFN: gelu(gate) * up, quantized at once for the product with down, or left as it is.
#include "floats_math.h"

// Node: dst float32 [n], the value below which each token's gate is cut off: mean + z * standard deviation
// (of the population) of src[0] float32 [n_ff, n]; z is the node's parameter.
API void g3n_cutoff(struct tensor *dst, int ith, int nth, void *userdata) {
    const struct tensor *gate = dst->src[0];
    const float z = ((const struct node *)userdata)->params[0];
    const int64_t n_ff = gate->ne[0], n = gate->ne[1];
    for (int64_t t = n * ith / nth; t < n * (ith + 1) / nth; t++) {
        const float *x = (const float *)((const char *)gate->data + t * gate->nb[1]);
        floats sum = floats_set(0), squares = floats_set(0);
        for (int64_t i = 0; i < n_ff; i += 16) {
            const floats v = floats_load(x + i);
            sum = floats_add(sum, v);
            squares = floats_fma(v, v, squares);
        }
        const double mean = (double)floats_sum(sum) / (double)n_ff;
        const double variance = (double)floats_sum(squares) / (double)n_ff - mean * mean;
        ((float *)dst->data)[t] = (float)(mean + z * sqrt(variance > 0 ? variance : 0));
    }
}

// Gates of token t for 32 rows from `row` on, cut off.
INLINE void load_gates(float *to, const struct tensor *values, const struct tensor *cutoffs, int64_t t,
                       int64_t row) {
    const floats cutoff = floats_set(((const float *)cutoffs->data)[t]);
    const float *from = row_of(values, t) + row;
    for (int j = 0; j < GROUP; j += 16)
        floats_store(to + j, floats_max(floats_sub(floats_load(from + j), cutoff), floats_set(0)));
}

// Node: dst float32 [n_ff, n], gelu(gate) * up of src[0] and src[1], float32 [n_ff, n]; the gates are cut off at src[2] [n]
// if that is there. n_ff is a multiple of 16.
API void g3n_geglu(struct tensor *dst, int ith, int nth, void *userdata) {
    (void)userdata;
    const struct tensor *gate = dst->src[0], *up = dst->src[1], *cutoffs = dst->src[2];
    const int64_t n_vectors = dst->ne[0] / 16, count = n_vectors * dst->ne[1];
    for (int64_t i = count * ith / nth; i < count * (ith + 1) / nth; i++) {
        const int64_t t = i / n_vectors, at = i % n_vectors * 16;
        floats x = floats_load(row_of(gate, t) + at);
        if (cutoffs) x = floats_max(floats_sub(x, floats_set(((const float *)cutoffs->data)[t])), floats_set(0));
        floats_store((float *)row_of(dst, t) + at, floats_mul(floats_gelu(x), floats_load(row_of(up, t) + at)));
    }
}

// gelu(gate) * up of token t for 32 rows from `row` on, in place of up and then quantized.
INLINE void put(const struct activations *out, int64_t t, int64_t row, const float *gate, float *up) {
    for (int j = 0; j < GROUP; j += 16)
        floats_store(up + j, floats_mul(floats_gelu(floats_load(gate + j)), floats_load(up + j)));
    quantize_block(out, t, row / BLOCK, up);
}

// Of the rows from `row` on, up's are read only where a token's gate is not cut off; `up` begins with them.
enum { STRETCH = 512 };
static void put_stretch(const struct activations *out, int64_t row, const struct tensor *values,
                        const struct tensor *cutoffs, const struct matrix *up, const struct activations *x) {
    _Alignas(64) float gates[4][STRETCH], ups[4][STRETCH] = {0}, c[4][GROUP];
    int open[STRETCH], n_open = 0;
    const int n_rows = (int)(out->k - row < STRETCH ? out->k - row : STRETCH), n = (int)out->n;
    for (int t = 0; t < n; t++)
        for (int i = 0; i < n_rows; i += GROUP) load_gates(gates[t] + i, values, cutoffs, t, row + i);
    for (int i = 0; i < n_rows; i++) {
        float most = 0;
        for (int t = 0; t < n; t++) most = gates[t][i] > most ? gates[t][i] : most;
        open[n_open] = i;
        n_open += most > 0;
    }
    for (int first = 0; first < n_open; first += GROUP) {
        const int count = n_open - first < GROUP ? n_open - first : GROUP;
        int32_t at[GROUP];
        for (int j = 0; j < GROUP; j++)
            at[j] = (int32_t)(open[first + (j < count ? j : 0)] * up->stride);
        product_group(up, 0, at, x, 0, n, c);
        for (int t = 0; t < n; t++)
            for (int j = 0; j < count; j++) ups[t][open[first + j]] = c[t][j];
    }
    for (int t = 0; t < n; t++)
        for (int i = 0; i < n_rows; i += GROUP) put(out, t, row + i, gates[t] + i, ups[t] + i);
}

// Node: dst activations [n_ff, n], n and their largest value being its first parameters; src[0] activations [k, n], src[1]
// the matrix of up, in panels or, if the third parameter is not 0, as files have it; src[2] the matrix of the gate in
// panels, or, with src[3] the cut-offs [n], the gate's values float32 [n_ff, n].
API void g3n_gated(struct tensor *dst, int ith, int nth, void *userdata) {
    (void)ith;
    _Alignas(64) float up[MOST_TOKENS][GROUP], gate[MOST_TOKENS][GROUP];
    struct node *node = userdata;
    const int64_t n = (int64_t)node->params[0];
    const int is_file = node->params[2] != 0;
    const struct tensor *values = dst->src[2], *cutoffs = dst->src[3];
    const struct matrix w_up = matrix_of(dst->src[1]);
    const struct activations x = act_of(dst->src[0]->data, n, w_up.k);
    struct activations out = act_of(dst->data, n, w_up.rows);
    out.most = node->params[1];
    const int64_t most = is_file && n <= 4 ? STRETCH : GROUP;
    const int64_t n_groups = (w_up.rows + most - 1) / most;
    const int64_t count = n_groups * ((n + MOST_TOKENS - 1) / MOST_TOKENS);
    int32_t at[GROUP];
    for (int j = 0; j < GROUP; j++) at[j] = (int32_t)(j * w_up.stride);
    for (int64_t i; (i = take(&node->next, count, nth)) < count;) {
        const int64_t row = i % n_groups * most, first = i / n_groups * MOST_TOKENS;
        const int64_t last = first + MOST_TOKENS < n ? first + MOST_TOKENS : n;
        struct matrix rest = w_up;
        rest.rows -= row;
        rest.data += row * rest.stride;
        if (most == STRETCH) {
            put_stretch(&out, row, values, cutoffs, &rest, &x);
            continue;
        }
        product_group(&rest, 0, is_file ? at : NULL, &x, first, last, up);
        if (!cutoffs) {
            const struct matrix w_gate = matrix_of(values);
            product_group(&w_gate, row, NULL, &x, first, last, gate);
        }
        for (int64_t t = first; t < last; t++) {
            if (cutoffs) load_gates(gate[t - first], values, cutoffs, t, row);
            put(&out, t, row, gate[t - first], up[t - first]);
        }
    }
}
