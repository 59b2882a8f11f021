// Matrices from the rows of a file to panels of 16 rows; panels.h says how they lie there.
#include <string.h>

#include "panels.h"

enum { D4 = 18, D8 = 34 };

static void pack_q4_0(uint8_t *to, uint8_t *scales, const uint8_t *from, const int32_t *at, int64_t k) {
    for (int64_t b = 0; b < k / BLOCK; b++, from += D4) {
        for (int v = 0; v < 4; v++) bytes_store(to + b * 256 + v * 64, bytes_gather(from + 2 + v * 4, at));
        for (int r = 0; r < PANEL; r++) memcpy(scales + (b * PANEL + r) * 2, from + at[r], 2);
    }
}

static void pack_halves(uint8_t *to, const uint8_t *from, const int32_t *at, int64_t k) {
    for (int64_t i = 0; i < k; i++)
        for (int r = 0; r < PANEL; r++) memcpy(to + (i * PANEL + r) * 2, from + at[r] + i * 2, 2);
}

static void pack_q8_0(uint8_t *to, uint8_t *scales, const uint8_t *from, const int32_t *at, int64_t k) {
    for (int64_t b = 0; b < k / BLOCK; b++)
        for (int r = 0; r < PANEL; r++) {
            const uint8_t *block = from + at[r] + b * D8;
            memcpy(scales + (b * PANEL + r) * 2, block, 2);
            for (int v = 0; v < 8; v++) {
                uint32_t word;
                memcpy(&word, block + 2 + v * 4, 4);
                word ^= 0x80808080;
                memcpy(to + b * 512 + v * 64 + r * 4, &word, 4);
            }
        }
}

// Packs 256 values of 16 rows. Source: ggml's dequantize_row_q4_K, _q5_K, _q6_K.
INLINE void pack_long_block(const int type, uint8_t *to, const uint8_t *from, const int32_t *lanes) {
    const uint8_t *fours = type == TYPE_Q6_K ? from : type == TYPE_Q5_K ? from + 48 : from + 16;
    const uint8_t *rest = type == TYPE_Q6_K ? from + 128 : from + 16;
    uint8_t *more = to + NIBBLES;
    for (int j = 0; j < 8; j++) {
        const uint8_t *at = fours + (type == TYPE_Q6_K ? j / 4 * 64 + j % 2 * 32 : j / 2 * 32);
        const int is_high = type == TYPE_Q6_K ? j / 2 % 2 : j % 2;
        for (int v = 0; v < 4; v++) {
            const bytes a = bytes_gather(at + v * 4, lanes), b = bytes_gather(at + 16 + v * 4, lanes);
            const bytes low = is_high ? bytes_high(a) : bytes_low(a);
            bytes_store(to + j * 256 + v * 64, bytes_join(low, b, 4 * is_high, 4, 4));
        }
        bytes x = bytes_zero(), y = bytes_zero();
        if (type == TYPE_Q5_K) {
            for (int g = 0; g < 8; g++) x = bytes_join(x, bytes_gather(rest + g * 4, lanes), j, 1, g);
            bytes_store(more + j * 64, x);
        }
        if (type == TYPE_Q6_K) {
            const uint8_t *pairs = rest + j / 4 * 32;
            for (int g = 0; g < 4; g++) {
                x = bytes_join(x, bytes_gather(pairs + g * 4, lanes), j % 4 * 2, 2, 2 * g);
                y = bytes_join(y, bytes_gather(pairs + 16 + g * 4, lanes), j % 4 * 2, 2, 2 * g);
            }
            bytes_store(more + j * 128, x);
            bytes_store(more + j * 128 + 64, y);
        }
    }
    more += type == TYPE_Q6_K ? PAIRS : type == TYPE_Q5_K ? FIFTHS : 0;
    for (int r = 0; r < PANEL; r++) {
        const uint8_t *row = from + lanes[r];
        if (type == TYPE_Q6_K) {
            for (int i = 0; i < 16; i++) more[i * 16 + r] = row[192 + i];
            memcpy(more + HEADER + r * 2, row + 208, 2);
        } else {
            memcpy(more + r * 2, row, 2);
            memcpy(more + 32 + r * 2, row + 2, 2);
            for (int i = 0; i < 3; i++) memcpy(more + 64 + i * 64 + r * 4, row + 4 + i * 4, 4);
        }
    }
}

INLINE void pack_long(const int type, uint8_t *to, const uint8_t *from, const int32_t *at, int64_t k) {
    const int64_t size = row_bytes(type, LONG_BLOCK);
    for (int64_t b = 0; b < k / LONG_BLOCK; b++)
        pack_long_block(type, to + b * PANEL * size, from + b * size, at);
}

void pack_panel(int type, const struct panel *to, const uint8_t *from, const int32_t *at, int64_t k) {
    uint8_t *data = (uint8_t *)to->data, *scales = (uint8_t *)to->scales;
    switch (type) {
    case TYPE_F16: pack_halves(data, from, at, k); break;
    case TYPE_Q4_0: pack_q4_0(data, scales, from, at, k); break;
    case TYPE_Q8_0: pack_q8_0(data, scales, from, at, k); break;
    case TYPE_Q4_K: pack_long(TYPE_Q4_K, data, from, at, k); break;
    case TYPE_Q5_K: pack_long(TYPE_Q5_K, data, from, at, k); break;
    default: pack_long(TYPE_Q6_K, data, from, at, k);
    }
}

// Packs columns `first` to `last` - 1, whole blocks, of `n_panels` panels of rows of k values.
API void g3n_pack(int type, uint8_t *to, const uint8_t *from, int64_t n_panels, int64_t k, int64_t first,
                  int64_t last) {
    const struct matrix m = {type, n_panels * PANEL, k, row_bytes(type, k), to};
    int32_t at[PANEL];
    for (int r = 0; r < PANEL; r++) at[r] = (int32_t)(r * m.stride);
    for (int64_t row = 0; row < m.rows; row += PANEL) {
        struct panel p = panel_of(type, &m, row);
        p.data += first / BLOCK * data_size(type);
        if (has_far_scales(type)) p.scales += first / BLOCK * PANEL * 2;
        pack_panel(type, &p, from + row * m.stride + row_bytes(type, first), at, last - first);
    }
}

// Where a panel of k columns has the values of `column`, the first of a block (part 0), and its scales (part 1), in
// bytes; scales that lie among the values are nowhere: 0.
API int64_t g3n_column_offset(int type, int64_t k, int64_t column, int part) {
    if (part == 0) return column / BLOCK * data_size(type);
    return has_far_scales(type) ? k / BLOCK * data_size(type) + column / BLOCK * PANEL * 2 : 0;
}

// Bytes of a row of k values, 0 if its type has no panels or k is not whole blocks.
API int64_t g3n_row_bytes(int type, int64_t k) {
    return k % (is_long(type) ? LONG_BLOCK : BLOCK) ? 0 : row_bytes(type, k);
}

static void get_halves(const struct matrix *m, int64_t row, int64_t block, float *to) {
    const uint16_t *panel = (const uint16_t *)(m->data + row / PANEL * PANEL * m->stride);
    for (int i = 0; i < BLOCK; i++) {
        float values[PANEL];
        floats_store(values, floats_load_half(panel + (block * BLOCK + i) * PANEL));
        to[i] = values[row % PANEL];
    }
}

INLINE void get_block(const int type, const struct matrix *m, int64_t row, int64_t block, float *to) {
    const struct panel p = panel_of(type, m, row / PANEL * PANEL);
    const int lane = (int)(row % PANEL);
    _Alignas(64) uint8_t values[8][64];
    float scales[2][PANEL];
    bytes w[8];
    floats s[2] = {floats_set(0), floats_set(0)};
    load_block(type, w, &p, block);
    load_scales(type, s, &p, block);
    for (int v = 0; v < 8; v++) bytes_store(values[v], w[v]);
    for (int i = 0; i < 2; i++) floats_store(scales[i], s[i]);
    for (int i = 0; i < BLOCK; i++) {
        const float scale = scales[n_parts(type) == 2 ? i / 16 : 0][lane];
        const int value = values[i / 4][lane * 4 + i % 4] - zero_of(type);
        to[i] = scale * (float)value - (has_minimum(type) ? scales[1][lane] : 0.0f);
    }
}

// Node: dst float32 [k, n], rows src[0] (int32 [n]) of the matrix src[1].
API void g3n_get_rows(struct tensor *dst, int ith, int nth, void *userdata) {
    (void)userdata;
    const struct matrix m = matrix_of(dst->src[1]);
    const int64_t n_blocks = m.k / BLOCK, count = dst->ne[1] * n_blocks;
    for (int64_t i = count * ith / nth; i < count * (ith + 1) / nth; i++) {
        const int64_t t = i / n_blocks, b = i % n_blocks;
        const int64_t row = ((const int32_t *)dst->src[0]->data)[t];
        float *to = (float *)((char *)dst->data + t * dst->nb[1]) + b * BLOCK;
        switch (m.type) {
        case TYPE_F16: get_halves(&m, row, b, to); break;
        case TYPE_Q4_0: get_block(TYPE_Q4_0, &m, row, b, to); break;
        case TYPE_Q8_0: get_block(TYPE_Q8_0, &m, row, b, to); break;
        case TYPE_Q4_K: get_block(TYPE_Q4_K, &m, row, b, to); break;
        case TYPE_Q5_K: get_block(TYPE_Q5_K, &m, row, b, to); break;
        default: get_block(TYPE_Q6_K, &m, row, b, to);
        }
    }
}
