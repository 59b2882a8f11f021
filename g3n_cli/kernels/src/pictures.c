// What a network of convolutions does to pictures between its products. A pixel is a row of channels, a multiple of 16.
#include "floats_math.h"

enum { PIXELS = 64 };  // of a work item

// A pixel divided by the root of its mean square, times a weight; then GELU, or plus a residual.
static void finish(float *to, const float *x, const float *weight, const float *residual, int64_t n, float eps,
                   int has_gelu) {
    const floats factor = floats_set(inverse_rms(x, n, eps));
    for (int64_t i = 0; i < n; i += 16) {
        floats v = floats_mul(floats_mul(floats_load(x + i), factor), floats_load(weight + i));
        if (has_gelu) v = floats_gelu(v);
        if (residual) v = floats_add(v, floats_load(residual + i));
        floats_store(to + i, v);
    }
}

// Node: dst float32 [n_channels, n], which may be src[0]; src[0] the same, src[1] weight [n_channels]; parameters eps and
// whether GELU follows. With src[2] that is what is normed, and src[0] what it is added to.
API void g3n_norm(struct tensor *dst, int ith, int nth, void *userdata) {
    (void)ith;
    struct node *node = userdata;
    const float eps = node->params[0];
    const int has_gelu = node->params[1] != 0;
    const struct tensor *x = dst->src[2] ? dst->src[2] : dst->src[0], *residual = dst->src[2] ? dst->src[0] : NULL;
    const int64_t n = dst->ne[1], count = (n + PIXELS - 1) / PIXELS;
    for (int64_t i; (i = take(&node->next, count, nth)) < count;)
        for (int64_t t = i * PIXELS; t < n && t < (i + 1) * PIXELS; t++)
            finish(row_of(dst, t), row_of(x, t), dst->src[1]->data, residual ? row_of(residual, t) : NULL, dst->ne[0],
                   eps, has_gelu);
}

// Node: dst float32 [n_channels, n * n], a convolution of each channel by itself, then `finish`; src[0] a picture
// [n_channels, side * side], src[1] weights [n_channels, kernel * kernel], src[2] of the norm; parameters eps, whether GELU
// follows, side, stride.
API void g3n_depthwise(struct tensor *dst, int ith, int nth, void *userdata) {
    (void)ith;
    struct node *node = userdata;
    const struct tensor *x = dst->src[0], *weights = dst->src[1];
    const float eps = node->params[0];
    const int has_gelu = node->params[1] != 0;
    const int64_t side = (int64_t)node->params[2], stride = (int64_t)node->params[3];
    const int64_t n_channels = dst->ne[0], n = (side + stride - 1) / stride;
    int64_t kernel = 1;
    while (kernel * kernel < weights->ne[1]) kernel++;
    const int64_t padding = (n - 1) * stride + kernel - side, before = padding > 0 ? padding / 2 : 0;
    for (int64_t row; (row = take(&node->next, n, nth)) < n;)
        for (int64_t column = 0; column < n; column++) {
            float *to = row_of(dst, row * n + column);
            const int64_t y0 = row * stride - before, x0 = column * stride - before;
            const int64_t first_y = y0 < 0 ? -y0 : 0, last_y = y0 + kernel > side ? side - y0 : kernel;
            const int64_t first_x = x0 < 0 ? -x0 : 0, last_x = x0 + kernel > side ? side - x0 : kernel;
            for (int64_t i = 0; i < n_channels; i += 16) {
                floats sum = floats_set(0);
                for (int64_t ky = first_y; ky < last_y; ky++)
                    for (int64_t kx = first_x; kx < last_x; kx++)
                        sum = floats_fma(floats_load(row_of(weights, ky * kernel + kx) + i),
                                         floats_load(row_of(x, (y0 + ky) * side + x0 + kx) + i), sum);
                floats_store(to + i, sum);
            }
            finish(to, to, dst->src[2]->data, NULL, n_channels, eps, has_gelu);
        }
}
