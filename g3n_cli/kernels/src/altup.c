// AltUp: predicting all streams of a position from each other, and correcting them by what a layer did to one.
// Source: transformers Gemma3nTextAltUp. The state of n positions is float32 [n_embd, n_altup, n].
#include "floats_math.h"

enum { MOST_STREAMS = 16 };

INLINE floats load_any(const struct tensor *t, int64_t row, int64_t i) {
    const char *at = (const char *)t->data + row * t->nb[1];
    return t->type == TYPE_F16 ? floats_load_half(at + i * 2) : floats_load((const float *)at + i);
}

// route[a] = tanh(router[a] . norm(x) / n_embd): what decides how streams mix.
static void find_route(float *route, const float *x, const struct tensor *norm, const struct tensor *router,
                       float eps) {
    const int64_t n_embd = router->ne[0];
    const float scale = inverse_rms(x, n_embd, eps) / (float)n_embd;
    for (int64_t a = 0; a < router->ne[1]; a++) {
        floats sum = floats_set(0);
        for (int64_t i = 0; i < n_embd; i += 16) {
            const floats v = floats_mul(floats_load(x + i), load_any(norm, 0, i));
            sum = floats_fma(v, load_any(router, a, i), sum);
        }
        route[a] = tanhf(floats_sum(sum) * scale);
    }
}

// matrix[row] . route
static float mix(const struct tensor *matrix, int64_t row, const float *route) {
    const float *w = (const float *)((const char *)matrix->data + row * matrix->nb[1]);
    float sum = 0;
    for (int64_t a = 0; a < matrix->ne[0]; a++) sum += w[a] * route[a];
    return sum;
}

// Node: dst float32 [n_embd, n_streams, n], the first streams as predicted; src[0] the state, src[1] the router's
// norm, src[2] the router, src[3] float32 [n_altup, n_altup * n_altup] coefficients; parameter eps.
API void g3n_predict(struct tensor *dst, int ith, int nth, void *userdata) {
    const struct tensor *state = dst->src[0], *router = dst->src[2];
    const float eps = ((const struct node *)userdata)->params[0];
    const int64_t n_embd = state->ne[0], n_altup = state->ne[1], n = state->ne[2];
    for (int64_t t = n * ith / nth; t < n * (ith + 1) / nth; t++) {
        const float *from = (const float *)((const char *)state->data + t * state->nb[2]);
        float *to = (float *)((char *)dst->data + t * dst->nb[2]);
        float route[MOST_STREAMS], p[MOST_STREAMS];
        find_route(route, from, dst->src[1], router, eps);
        for (int64_t s = 0; s < dst->ne[1]; s++) {
            for (int64_t k = 0; k < n_altup; k++)
                p[k] = mix(dst->src[3], s * n_altup + k, route) + (k == s ? 1.0f : 0.0f);
            for (int64_t i = 0; i < n_embd; i += 16) {
                floats sum = floats_set(0);
                for (int64_t k = 0; k < n_altup; k++)
                    sum = floats_fma(floats_load(from + k * n_embd + i), floats_set(p[k]), sum);
                floats_store(to + s * n_embd + i, sum);
            }
        }
    }
}

// Node: dst float32 [n_embd, n_altup, n]; src[0] the prediction, src[1] and src[2] the router's norm and the router, src[3]
// float32 [n_altup, n_altup] coefficients; the layer's output is norm(src[4]) * src[5] + src[6], of the FFN's answer
// float32 [n_embd, n], its norm's weights and what went into it; parameter eps.
API void g3n_correct(struct tensor *dst, int ith, int nth, void *userdata) {
    const struct tensor *predicted = dst->src[0];
    const float eps = ((const struct node *)userdata)->params[0], *norm = dst->src[5]->data;
    const int64_t n_embd = dst->ne[0], n_altup = dst->ne[1], n = dst->ne[2];
    for (int64_t t = n * ith / nth; t < n * (ith + 1) / nth; t++) {
        const float *from = (const float *)((const char *)predicted->data + t * predicted->nb[2]);
        const float *answer = row_of(dst->src[4], t), *residual = row_of(dst->src[6], t);
        float *to = (float *)((char *)dst->data + t * dst->nb[2]);
        float route[MOST_STREAMS], factor[MOST_STREAMS];
        // The output is kept where the first stream goes, which is written last of all that needs it.
        const floats scale = floats_set(inverse_rms(answer, n_embd, eps));
        for (int64_t i = 0; i < n_embd; i += 16) {
            const floats normed = floats_mul(floats_mul(floats_load(answer + i), scale), floats_load(norm + i));
            floats_store(to + i, floats_add(normed, floats_load(residual + i)));
        }
        find_route(route, to, dst->src[1], dst->src[2], eps);
        for (int64_t a = 0; a < n_altup; a++) factor[a] = 1.0f + mix(dst->src[3], a, route);
        for (int64_t i = 0; i < n_embd; i += 16) {
            const floats innovation = floats_sub(floats_load(to + i), floats_load(from + i));
            for (int64_t a = 0; a < n_altup; a++) {
                const floats before = floats_load(from + a * n_embd + i);
                floats_store(to + a * n_embd + i, floats_fma(innovation, floats_set(factor[a]), before));
            }
        }
    }
}
