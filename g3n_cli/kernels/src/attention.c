// Attention of many queries: softmax(Q K^T + mask) V, some keys at a time, as flash attention does it.
//
// A lane is a query: one head of one token. Heads that share K/V and some neighbouring tokens fill up to 32
// lanes, so that a key or a value is read once for all of them. Blocks of keys that no query of a tile sees
// cost nothing.
#include <math.h>
#include <string.h>

#include "floats_math.h"
#include "floats_product.h"

// KEYS: whole tiles of 6 and of 8. STRIDE: so that values of neighbouring keys do not compete for places in the cache.
enum { LANES = GROUP, KEYS = 48, MOST_WIDTH = 256, STRIDE = MOST_WIDTH + 16 };

struct tile {
    _Alignas(64) float q[MOST_WIDTH][LANES];    // of value d of each query
    _Alignas(64) float rows[KEYS][STRIDE];      // keys or values, where they must be widened
    _Alignas(64) float p[KEYS][LANES];          // scores, then weights
    _Alignas(64) float sum[MOST_WIDTH][LANES];  // of weighted values
    _Alignas(64) float most[LANES], total[LANES];
};

struct operands {
    const struct tensor *q, *k, *v, *mask;
    int64_t n_heads, n_kv;  // query heads of a K/V head, keys
};

// mask[key][token], a half that is 0 or minus infinity: whether the token sees the key. Without a mask it does.
INLINE int sees(const struct operands *o, int64_t token, int64_t key) {
    if (!o->mask) return 1;
    const char *row = (const char *)o->mask->data + token * o->mask->nb[1];
    return ((const uint16_t *)row)[key] == 0;
}

// Keys or values `first` to `first` + n - 1 of a head as floats, `*stride` apart: where they are if they follow one another.
static const float *find_rows(float (*to)[STRIDE], const struct tensor *t, int64_t head, int64_t first, int n,
                              int64_t *stride) {
    const int64_t width = t->ne[0];
    const char *from = (const char *)t->data + head * t->nb[1] + first * t->nb[2];
    *stride = width;
    if (t->type != TYPE_F16 && t->nb[2] == (size_t)width * 4) return (const float *)from;
    *stride = STRIDE;
    for (int i = 0; i < n; i++, from += t->nb[2])
        for (int64_t d = 0; d < width; d += 16)
            floats_store(to[i] + d, t->type == TYPE_F16 ? floats_load_half(from + d * 2)
                                                        : floats_load((const float *)from + d));
    return to[0];
}

// e^(a - b), 0 where that is below e^-60: it would not count, and products with it would be denormal, which
// processors are slow at.
INLINE floats exp_of_difference(floats a, floats b) {
    const floats x = floats_sub(a, b);
    return floats_where_above(x, floats_set(-60.0f), floats_exp(x));
}

// Scores of n keys become weights; earlier sums shrink if a score is higher than all before.
static void weigh(struct tile *s, const struct operands *o, int64_t token, int n_tokens, int64_t first, int n) {
    for (int i = 0; i < n && o->mask; i++)
        for (int t = 0; t < n_tokens; t++)
            if (!sees(o, token + t, first + i))
                for (int64_t h = 0; h < o->n_heads; h++) s->p[i][t * o->n_heads + h] = -INFINITY;
    for (int j = 0; j < LANES; j += 16) {
        const floats before = floats_load(s->most + j);
        floats most = before;
        for (int i = 0; i < n; i++) most = floats_max(most, floats_load(s->p[i] + j));
        const floats factor = exp_of_difference(before, most);
        floats total = floats_mul(floats_load(s->total + j), factor);
        for (int i = 0; i < n; i++) {
            const floats weight = exp_of_difference(floats_load(s->p[i] + j), most);
            total = floats_add(total, weight);
            floats_store(s->p[i] + j, weight);
        }
        floats_store(s->most + j, most);
        floats_store(s->total + j, total);
        for (int64_t d = 0; d < o->v->ne[0]; d++)
            floats_store(s->sum[d] + j, floats_mul(floats_load(s->sum[d] + j), factor));
    }
}

static void attend(struct tile *s, const struct operands *o, int64_t head, int64_t token, int n_tokens,
                   struct tensor *dst) {
    const int64_t width_k = o->k->ne[0], width_v = o->v->ne[0];
    const float *row[MOST_WIDTH];
    memset(s->q, 0, (size_t)width_k * sizeof *s->q);
    memset(s->sum, 0, (size_t)width_v * sizeof *s->sum);
    for (int lane = 0; lane < LANES; lane++) s->most[lane] = -1e30f, s->total[lane] = 0;
    for (int t = 0; t < n_tokens; t++)
        for (int64_t h = 0; h < o->n_heads; h++) {
            const char *from = (const char *)o->q->data + (head * o->n_heads + h) * o->q->nb[1] +
                               (token + t) * o->q->nb[2];
            for (int64_t d = 0; d < width_k; d++) s->q[d][t * o->n_heads + h] = ((const float *)from)[d];
        }
    for (int64_t first = 0; first < o->n_kv; first += KEYS) {
        const int n = (int)(o->n_kv - first < KEYS ? o->n_kv - first : KEYS);
        int is_seen = 0;
        for (int t = 0; t < n_tokens && !is_seen; t++)
            for (int i = 0; i < n && !is_seen; i++) is_seen = sees(o, token + t, first + i);
        if (!is_seen) continue;
        int64_t stride;
        const float *rows = find_rows(s->rows, o->k, head, first, n, &stride);
        for (int i = 0; i < n; i++) row[i] = rows + i * stride;
        memset(s->p, 0, sizeof s->p);
        multiply_all((const float(*)[GROUP])s->q, (int)width_k, row, 1, n, s->p);
        weigh(s, o, token, n_tokens, first, n);
        rows = find_rows(s->rows, o->v, head, first, n, &stride);
        for (int64_t d = 0; d < width_v; d++) row[d] = rows + d;
        multiply_all((const float(*)[GROUP])s->p, n, row, stride, width_v, s->sum);
    }
    for (int j = 0; j < LANES; j += 16) {
        const floats total = floats_load(s->total + j);
        for (int64_t d = 0; d < width_v; d++)
            floats_store(s->sum[d] + j, floats_div(floats_load(s->sum[d] + j), total));
    }
    for (int t = 0; t < n_tokens; t++)
        for (int64_t h = 0; h < o->n_heads; h++) {
            float *to = (float *)dst->data +
                        ((token + t) * o->k->ne[1] * o->n_heads + head * o->n_heads + h) * width_v;
            for (int64_t d = 0; d < width_v; d++) to[d] = s->sum[d][t * o->n_heads + h];
        }
}

// Node: dst float32 [width_v * n_head, n]; src[0] queries float32 [width, n_head, n], src[1] keys and src[2] values
// [width, n_head_kv, n_kv] of halves or float32, src[3] the mask of halves [n_kv, n], or none. Each query sees a key.
API void g3n_attention(struct tensor *dst, int ith, int nth, void *userdata) {
    (void)ith;
    struct tile s;
    struct node *node = userdata;
    const struct tensor *q = dst->src[0], *k = dst->src[1];
    const struct operands o = {q, k, dst->src[2], dst->src[3], q->ne[1] / k->ne[1], k->ne[2]};
    const int64_t n = q->ne[2], step = LANES / o.n_heads, n_tiles = (n + step - 1) / step;
    const int64_t count = n_tiles * k->ne[1];
    for (int64_t i; (i = take(&node->next, count, nth)) < count;) {
        // The last tiles see most keys and come first.
        const int64_t token = (n_tiles - 1 - i / k->ne[1]) * step;
        attend(&s, &o, i % k->ne[1], token, (int)(n - token < step ? n - token : step), dst);
    }
}
