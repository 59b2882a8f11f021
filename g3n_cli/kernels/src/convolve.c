// Convolutions of pictures whose pixels are rows of channels: products with float32 activations, as in dense.c.
#include <string.h>

#include "floats_math.h"
#include "floats_product.h"

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
                multiply_all(w + at, depth, row, 1, n, c);
                for (int64_t t = 0; t < n; t++) row[t] += row[t] == zeros ? 0 : depth;
            }
        }
        for (int64_t t = 0; t < n; t++)
            memcpy((char *)dst->data + (first + t) * dst->nb[1] + group * GROUP * 4, c[t], sizeof c[t]);
    }
}

// Convolutions of 3 x 3 with stride 1, 4 x 4 pixels at once, from a quarter of the multiplications: Winograd's F(4 x 4, 3 x 3).
// Source: Lavin, Gray: Fast Algorithms for Convolutional Neural Networks (arXiv 1509.09308), section 4.3. Its points 1 and 2
// make four times the error of these, which are oneDNN's.
enum { OUT = 4, SEEN = 6, PLACES = SEEN * SEEN, TILES = 24 };  // TILES: whole tiles of 6 and of 8 tokens
#define A 0.625f
#define B 1.5f

// B^T d
INLINE void spread(floats *d, const int step) {
    const floats a2 = floats_set(A * A), b2 = floats_set(B * B), both = floats_set(A * A + B * B);
    const floats d1 = d[step], d2 = d[2 * step], d3 = d[3 * step], d4 = d[4 * step];
    const floats even_a = floats_fnma(b2, d2, d4), odd_a = floats_mul(floats_set(A), floats_fnma(b2, d1, d3));
    const floats even_b = floats_fnma(a2, d2, d4), odd_b = floats_mul(floats_set(B), floats_fnma(a2, d1, d3));
    const floats product = floats_set(A * A * B * B);
    d[0] = floats_fma(product, d[0], floats_fnma(both, d2, d4));
    d[step] = floats_add(even_a, odd_a);
    d[2 * step] = floats_sub(even_a, odd_a);
    d[3 * step] = floats_add(even_b, odd_b);
    d[4 * step] = floats_sub(even_b, odd_b);
    d[5 * step] = floats_fma(product, d1, floats_fnma(both, d3, d[5 * step]));
}

// A^T m, in place of the first four
INLINE void gather(floats *m, const int step) {
    const floats even_a = floats_add(m[step], m[2 * step]), odd_a = floats_sub(m[step], m[2 * step]);
    const floats even_b = floats_add(m[3 * step], m[4 * step]), odd_b = floats_sub(m[3 * step], m[4 * step]);
    const floats last = m[5 * step];
    m[0] = floats_add(m[0], floats_add(even_a, even_b));
    m[step] = floats_fma(floats_set(A), odd_a, floats_mul(floats_set(B), odd_b));
    m[2 * step] = floats_fma(floats_set(A * A), even_a, floats_mul(floats_set(B * B), even_b));
    m[3 * step] = floats_add(last, floats_fma(floats_set(A * A * A), odd_a, floats_mul(floats_set(B * B * B), odd_b)));
}

// Node: dst float32 [n_channels, 36 * n * n]; src[0] a picture [n_channels, side * side], n = side / 4 rounded up; parameter
// side. Place p of tile t, B^T d B of the 6 x 6 pixels that its 4 x 4 see, is row 36 t + p.
API void g3n_spread(struct tensor *dst, int ith, int nth, void *userdata) {
    (void)ith;
    struct node *node = userdata;
    const struct tensor *x = dst->src[0];
    const int64_t side = (int64_t)node->params[0], n = (side + OUT - 1) / OUT, n_channels = dst->ne[0];
    for (int64_t row; (row = take(&node->next, n, nth)) < n;)
        for (int64_t column = 0; column < n; column++) {
            const int64_t y0 = row * OUT - 1, x0 = column * OUT - 1, first = (row * n + column) * PLACES;
            for (int64_t c = 0; c < n_channels; c += 16) {
                floats d[PLACES];
                for (int i = 0; i < PLACES; i++) {
                    const int64_t y = y0 + i / SEEN, at = x0 + i % SEEN;
                    const int is_seen = y >= 0 && y < side && at >= 0 && at < side;
                    d[i] = is_seen ? floats_load(row_of(x, y * side + at) + c) : floats_set(0);
                }
                for (int i = 0; i < SEEN; i++) spread(d + i, SEEN);
                for (int i = 0; i < SEEN; i++) spread(d + i * SEEN, 1);
                for (int i = 0; i < PLACES; i++) floats_store(row_of(dst, first + i) + c, d[i]);
            }
        }
}

// 32 channels of a tile of the picture: A^T m A of c[place][t].
static void gather_tile(struct tensor *dst, int64_t channel, int64_t side, int64_t tile, float (*c)[TILES][GROUP],
                        int64_t t) {
    const int64_t n = (side + OUT - 1) / OUT, y0 = tile / n * OUT, x0 = tile % n * OUT;
    for (int j = 0; j < GROUP; j += 16) {
        floats m[PLACES];
        for (int i = 0; i < PLACES; i++) m[i] = floats_load(c[i][t] + j);
        for (int i = 0; i < SEEN; i++) gather(m + i, SEEN);
        for (int i = 0; i < OUT; i++) gather(m + i * SEEN, 1);
        for (int64_t y = 0; y < OUT && y0 + y < side; y++)
            for (int64_t x = 0; x < OUT && x0 + x < side; x++)
                floats_store(row_of(dst, (y0 + y) * side + x0 + x) + channel + j, m[y * SEEN + x]);
    }
}

// Node: dst float32 [n_out, side * side]; src[0] [n_in, 36 * n * n] of g3n_spread, src[1] weights float32
// [32, 36 * n_in, n_out / 32], G g G^T; parameter side.
API void g3n_convolve_spread(struct tensor *dst, int ith, int nth, void *userdata) {
    (void)ith;
    _Alignas(64) float c[PLACES][TILES][GROUP];
    const float *row[TILES];
    struct node *node = userdata;
    const struct tensor *x = dst->src[0], *weights = dst->src[1];
    const int64_t side = (int64_t)node->params[0], n_in = x->ne[0], n_tiles = x->ne[1] / PLACES;
    const int64_t n_groups = weights->ne[2], count = n_groups * ((n_tiles + TILES - 1) / TILES);
    for (int64_t i; (i = take(&node->next, count, nth)) < count;) {
        const int64_t group = i % n_groups, first = i / n_groups * TILES;
        const int64_t n = n_tiles - first < TILES ? n_tiles - first : TILES;
        const float(*w)[GROUP] = (const float(*)[GROUP])((const char *)weights->data + group * weights->nb[2]);
        memset(c, 0, sizeof c);
        for (int64_t place = 0; place < PLACES; place++)
            for (int64_t at = 0; at < n_in; at += DEPTH) {
                const int depth = (int)(n_in - at < DEPTH ? n_in - at : DEPTH);
                for (int64_t t = 0; t < n; t++) row[t] = row_of(x, (first + t) * PLACES + place) + at;
                multiply_all(w + place * n_in + at, depth, row, 1, n, c[place]);
            }
        for (int64_t t = 0; t < n; t++)
            gather_tile(dst, group * GROUP, side, first + t, c, t);
    }
}
