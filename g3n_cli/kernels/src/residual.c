// Source: transformers Gemma3nTextDecoderLayer.forward.
#include "floats_math.h"

// Node: dst float32 [n_embd, n], what goes into a layer's FFN:
//   (norm(src[0]) * src[1] + src[2] + norm(src[3]) * src[4] + src[5]) / sqrt(2)
// of the attention's answer and its norm's weights, the active stream, Laurel's answer and its norm's weights, and the layer's
// normed input; parameter eps.
API void g3n_residual(struct tensor *dst, int ith, int nth, void *userdata) {
    const float eps = ((const struct node *)userdata)->params[0], half = sqrtf(0.5f);
    const float *attended_norm = dst->src[1]->data, *low_norm = dst->src[4]->data;
    const int64_t n_embd = dst->ne[0], n = dst->ne[1];
    for (int64_t t = n * ith / nth; t < n * (ith + 1) / nth; t++) {
        const float *attended = row_of(dst->src[0], t), *active = row_of(dst->src[2], t);
        const float *low = row_of(dst->src[3], t), *x = row_of(dst->src[5], t);
        const floats by_attended = floats_set(inverse_rms(attended, n_embd, eps));
        const floats by_low = floats_set(inverse_rms(low, n_embd, eps));
        for (int64_t i = 0; i < n_embd; i += 16) {
            floats sum = floats_add(floats_load(active + i), floats_load(x + i));
            const floats a = floats_mul(floats_load(attended + i), by_attended);
            sum = floats_fma(a, floats_load(attended_norm + i), sum);
            const floats b = floats_mul(floats_load(low + i), by_low);
            sum = floats_fma(b, floats_load(low_norm + i), sum);
            floats_store(row_of(dst, t) + i, floats_mul(sum, floats_set(half)));
        }
    }
}
