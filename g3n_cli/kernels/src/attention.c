// Attention of many queries: softmax(Q K^T + mask) V, some keys at a time, as flash attention does it.
//
// A lane is a query: one head of one token. Heads that share K/V and some neighbouring tokens fill up to 32
// lanes, so that a key or a value is read once for all of them. Blocks of keys that no query of a tile sees
// cost nothing.
#include <math.h>
#include <string.h>

#include "floats_math.h"

enum { LANES = 32, KEYS = 32, MOST_WIDTH = 256 };

struct tile {
    _Alignas(64) float q[MOST_WIDTH][LANES];    // of value d of each query
    _Alignas(64) float rows[KEYS * MOST_WIDTH];  // keys [key][d], then values [d / 16][key][d % 16]
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

// Vector i of a key's row goes to to[key * by_key + i * by_vector].
INLINE void load_rows(float *to, const int by_key, const int by_vector, const struct tensor *t,
                      int64_t head, int64_t first, int n) {
    for (int i = 0; i < n; i++) {
        const char *row = (const char *)t->data + head * t->nb[1] + (first + i) * t->nb[2];
        for (int64_t d = 0; d < t->ne[0]; d += 16)
            floats_store(to + i * by_key + d / 16 * by_vector,
                         t->type == TYPE_F16 ? floats_load_half(row + d * 2)
                                             : floats_load((const float *)row + d));
    }
}

// to[x][lane] = (add ? to[x][lane] : 0) + sum over y of a[y][lane] * b[x * bx + y * by], for AT_ONCE_TOKENS x.
INLINE void multiply(const int add, float (*to)[LANES], const float (*a)[LANES], int j0, int n_y,
                     const float *b, const int64_t bx, const int64_t by) {
    floats sum[AT_ONCE_TOKENS][AT_ONCE_PANELS];
    UNROLL for (int x = 0; x < AT_ONCE_TOKENS; x++)
        UNROLL for (int j = 0; j < AT_ONCE_PANELS; j++)
            sum[x][j] = add ? floats_load(to[x] + (j0 + j) * 16) : floats_set(0);
    for (int y = 0; y < n_y; y++) {
        floats v[AT_ONCE_PANELS];
        UNROLL for (int j = 0; j < AT_ONCE_PANELS; j++) v[j] = floats_load(a[y] + (j0 + j) * 16);
        UNROLL for (int x = 0; x < AT_ONCE_TOKENS; x++)
            UNROLL for (int j = 0; j < AT_ONCE_PANELS; j++)
                sum[x][j] = floats_fma(v[j], floats_set(b[x * bx + y * by]), sum[x][j]);
    }
    UNROLL for (int x = 0; x < AT_ONCE_TOKENS; x++)
        UNROLL for (int j = 0; j < AT_ONCE_PANELS; j++)
            floats_store(to[x] + (j0 + j) * 16, sum[x][j]);
}

// e^(a - b), 0 where that is below e^-60: it would not count, and products with it would be denormal, which
// processors are slow at.
INLINE floats exp_of_difference(floats a, floats b) {
    const floats x = floats_sub(a, b);
    return floats_where_above(x, floats_set(-60.0f), floats_exp(x));
}

// Scores of `n` keys (KEYS, the rest masked) become weights; earlier sums shrink if a score is higher than
// all before.
static void weigh(struct tile *s, const struct operands *o, int64_t token, int n_tokens, int64_t first, int n) {
    _Alignas(64) float shrink[LANES];
    for (int i = o->mask ? 0 : n; i < KEYS; i++)
        for (int t = 0; t < n_tokens; t++)
            if (i >= n || !sees(o, token + t, first + i))
                for (int64_t h = 0; h < o->n_heads; h++) s->p[i][t * o->n_heads + h] = -INFINITY;
    for (int j = 0; j < LANES; j += 16) {
        const floats before = floats_load(s->most + j);
        floats most = before;
        for (int i = 0; i < KEYS; i++) most = floats_max(most, floats_load(s->p[i] + j));
        const floats factor = exp_of_difference(before, most);
        floats total = floats_mul(floats_load(s->total + j), factor);
        for (int i = 0; i < KEYS; i++) {
            const floats weight = exp_of_difference(floats_load(s->p[i] + j), most);
            total = floats_add(total, weight);
            floats_store(s->p[i] + j, weight);
        }
        floats_store(s->most + j, most);
        floats_store(s->total + j, total);
        floats_store(shrink + j, factor);
    }
    for (int64_t d = 0; d < o->v->ne[0]; d++)
        for (int j = 0; j < LANES; j += 16)
            floats_store(s->sum[d] + j, floats_mul(floats_load(s->sum[d] + j), floats_load(shrink + j)));
}

static void attend(struct tile *s, const struct operands *o, int64_t head, int64_t token, int n_tokens,
                   struct tensor *dst) {
    const int64_t width_k = o->k->ne[0], width_v = o->v->ne[0];
    memset(s->q, 0, sizeof s->q);
    memset(s->sum, 0, sizeof s->sum);
    for (int lane = 0; lane < LANES; lane++) s->most[lane] = -1e30f, s->total[lane] = 0;
    for (int t = 0; t < n_tokens; t++)
        for (int64_t h = 0; h < o->n_heads; h++) {
            const char *row = (const char *)o->q->data + (head * o->n_heads + h) * o->q->nb[1] +
                              (token + t) * o->q->nb[2];
            for (int64_t d = 0; d < width_k; d++) s->q[d][t * o->n_heads + h] = ((const float *)row)[d];
        }
    for (int64_t first = 0; first < o->n_kv; first += KEYS) {
        const int n = (int)(o->n_kv - first < KEYS ? o->n_kv - first : KEYS);
        int is_seen = 0;
        for (int t = 0; t < n_tokens && !is_seen; t++)
            for (int i = 0; i < n && !is_seen; i++) is_seen = sees(o, token + t, first + i);
        if (!is_seen) continue;
        load_rows(s->rows, MOST_WIDTH, 16, o->k, head, first, n);
        for (int i = 0; i < KEYS; i += AT_ONCE_TOKENS)
            for (int j = 0; j < 2; j += AT_ONCE_PANELS)
                multiply(0, s->p + i, s->q, j, (int)width_k, s->rows + i * MOST_WIDTH, MOST_WIDTH, 1);
        weigh(s, o, token, n_tokens, first, n);
        load_rows(s->rows, 16, KEYS * 16, o->v, head, first, n);
        for (int64_t d = 0; d < width_v; d += AT_ONCE_TOKENS)
            for (int j = 0; j < 2; j += AT_ONCE_PANELS)
                multiply(1, s->sum + d, s->p, j, n, s->rows + d / 16 * KEYS * 16 + d % 16, 1, 16);
    }
    for (int t = 0; t < n_tokens; t++)
        for (int64_t h = 0; h < o->n_heads; h++) {
            const int64_t lane = t * o->n_heads + h;
            float *row = (float *)dst->data +
                         ((token + t) * o->k->ne[1] * o->n_heads + head * o->n_heads + h) * width_v;
            for (int64_t d = 0; d < width_v; d++) row[d] = s->sum[d][lane] / s->total[lane];
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
