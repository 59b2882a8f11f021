// The gated half of an FFN: gelu(gate) * up, quantized at once for the product with down.
#include <math.h>

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

// Node: dst activations [n_ff, n], n being the node's parameter; src[0] activations [k, n], src[1] the matrix of up in panels, src[2] that of
// the gate; or, with src[3] the cut-offs [n], src[2] the gate's values float32 [n_ff, n].
API void g3n_gated(struct tensor *dst, int ith, int nth, void *userdata) {
    (void)ith;
    _Alignas(64) float up[MOST_TOKENS][GROUP], gate[MOST_TOKENS][GROUP];
    struct node *node = userdata;
    const int64_t n = (int64_t)node->params[0];
    const struct tensor *values = dst->src[2], *cutoffs = dst->src[3];
    const struct matrix w_up = matrix_of(dst->src[1]);
    const struct activations x = act_of(dst->src[0]->data, n, w_up.k);
    const struct activations out = act_of(dst->data, n, w_up.rows);
    const int64_t n_groups = w_up.rows / GROUP;
    const int64_t count = n_groups * ((n + MOST_TOKENS - 1) / MOST_TOKENS);
    for (int64_t i; (i = take(&node->next, count, nth)) < count;) {
        const int64_t row = i % n_groups * GROUP, first = i / n_groups * MOST_TOKENS;
        const int64_t last = first + MOST_TOKENS < n ? first + MOST_TOKENS : n;
        product_group(&w_up, row, &x, first, last, up);
        if (!cutoffs) {
            const struct matrix w_gate = matrix_of(values);
            product_group(&w_gate, row, &x, first, last, gate);
        }
        for (int64_t t = first; t < last; t++) {
            float *g = gate[t - first], *u = up[t - first];
            for (int j = 0; j < GROUP; j += 16) {
                floats v = floats_load(g + j);
                if (cutoffs) {
                    const char *at = (const char *)values->data + t * values->nb[1] + (row + j) * 4;
                    const floats cutoff = floats_set(((const float *)cutoffs->data)[t]);
                    v = floats_sub(floats_load((const float *)at), cutoff);
                    v = floats_max(v, floats_set(0));
                }
                floats_store(u + j, floats_mul(floats_gelu(v), floats_load(u + j)));
            }
            quantize_block(act_block(&out, t / out.width, row / BLOCK), out.width, (int)(t % out.width), u);
        }
    }
}
