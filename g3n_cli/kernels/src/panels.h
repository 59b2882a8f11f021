// How each type lies in a panel of 16 rows. Everything is a vector: 4 bytes, or one scale, of each row.
//
//   F16   k times 16 halves
//   Q4_0  k / 32 blocks of 4 vectors of nibbles, then 16 scales a block
//   Q8_0  k / 32 blocks of 8 vectors of bytes (128 above the value), then 16 scales a block
//   Q4_K, Q5_K, Q6_K  k / 256 blocks of
//         8 times 4 vectors of nibbles
//         Q5_K: 8 vectors of fifth bits; Q6_K: 8 times 2 vectors of fifth and sixth bits
//         Q6_K: 16 times 16 scales of 8 bits, 16 halves d
//         else: 16 halves d, 16 halves dmin, 3 vectors of scales and minima of 6 bits as in the file
//
// Of nibbles, vector v holds values 4 v to 4 v + 3 of the 32 below and 16 + 4 v to 16 + 4 v + 3 above. Of fifth
// bits, bit g of byte i is that of value 4 g + i; of Q6_K's pairs, bits 2 g and 2 g + 1 of byte i in vector h are
// those of value 16 h + 4 g + i.
#ifndef PANELS_H
#define PANELS_H

#include "simd.h"

enum { LONG_BLOCK = 256, HEADER = 256, FIFTHS = 8 * 64, PAIRS = 16 * 64, NIBBLES = 32 * 64 };

struct panel {
    const uint8_t *data, *scales;
};

INLINE int is_long(const int type) {
    return type == TYPE_Q4_K || type == TYPE_Q5_K || type == TYPE_Q6_K;
}
// Bytes of 256 values of 16 rows.
INLINE int64_t long_size(const int type) { return row_bytes(type, LONG_BLOCK) * PANEL; }

// Bytes of a block of 32 values of 16 rows, without the scales that lie apart.
INLINE int64_t data_size(const int type) {
    return is_long(type) ? long_size(type) / 8 : type == TYPE_F16 ? 1024 : type == TYPE_Q8_0 ? 512 : 256;
}

INLINE int has_far_scales(const int type) { return type == TYPE_Q4_0 || type == TYPE_Q8_0; }

INLINE struct panel panel_of(const int type, const struct matrix *m, int64_t row) {
    const uint8_t *data = m->data + row * m->stride;
    if (!has_far_scales(type)) return (struct panel){data, NULL};
    return (struct panel){data, data + m->stride / row_bytes(type, BLOCK) * data_size(type)};
}

// Packs k values of 16 rows, those of row r from from + at[r] on, to where a panel has the first of them.
void pack_panel(int type, const struct panel *to, const uint8_t *from, const int32_t *at, int64_t k);

// The values of a block as unsigned bytes.
INLINE void load_block(const int type, bytes w[8], const struct panel *p, int64_t block) {
    if (type == TYPE_Q8_0) {
        UNROLL for (int v = 0; v < 8; v++) w[v] = bytes_load(p->data + block * 512 + v * 64);
        return;
    }
    const uint8_t *from = p->data + block * 256;
    const uint8_t *more = from;
    if (is_long(type)) {
        const uint8_t *whole = p->data + block / 8 * long_size(type);
        from = whole + block % 8 * 256;
        more = whole + NIBBLES + block % 8 * (type == TYPE_Q6_K ? 128 : 64);
    }
    UNROLL for (int v = 0; v < 4; v++) {
        const bytes x = bytes_load(from + v * 64);
        w[v] = bytes_low(x);
        w[v + 4] = bytes_high(x);
    }
    if (type == TYPE_Q5_K) {
        const bytes x = bytes_load(more);
        UNROLL for (int g = 0; g < 8; g++) w[g] = bytes_join(w[g], x, g, 1, 4);
    }
    if (type == TYPE_Q6_K) {
        const bytes x = bytes_load(more), y = bytes_load(more + 64);
        UNROLL for (int g = 0; g < 4; g++) {
            w[g] = bytes_join(w[g], x, 2 * g, 2, 4);
            w[g + 4] = bytes_join(w[g + 4], y, 2 * g, 2, 4);
        }
    }
}

// A block's parts have scales of their own: 2 in Q6_K, else 1.
INLINE int n_parts(const int type) { return type == TYPE_Q6_K ? 2 : 1; }
// Whether a value is scale * byte - minimum; else it is scale * (byte - zero).
INLINE int has_minimum(const int type) { return type == TYPE_Q4_K || type == TYPE_Q5_K; }

// scale[part], and the minimum at scale[1] if there is one.
INLINE void load_scales(const int type, floats scale[2], const struct panel *p, int64_t block) {
    if (!is_long(type)) {
        scale[0] = floats_load_half(p->scales + block * 32);
        return;
    }
    const uint8_t *whole = p->data + block / 8 * long_size(type);
    const int j = (int)(block % 8);
    if (type == TYPE_Q6_K) {
        const uint8_t *scales = whole + NIBBLES + PAIRS;
        const floats d = floats_load_half(scales + HEADER);
        scale[0] = floats_mul(d, floats_of(words_load_int8(scales + j * 32)));
        scale[1] = floats_mul(d, floats_of(words_load_int8(scales + j * 32 + 16)));
        return;
    }
    const uint8_t *header = whole + NIBBLES + (type == TYPE_Q5_K ? FIFTHS : 0);
    const bytes low = bytes_load(header + 64), middle = bytes_load(header + 128);
    words s, m;
    if (j < 4) {
        s = words_field(low, 8 * j, 63);
        m = words_field(middle, 8 * j, 63);
    } else {
        const bytes high = bytes_load(header + 192);
        const int at = 8 * (j - 4);
        s = words_or_shifted(words_field(high, at, 15), words_field(low, at + 6, 3), 4);
        m = words_or_shifted(words_field(high, at + 4, 15), words_field(middle, at + 6, 3), 4);
    }
    scale[0] = floats_mul(floats_load_half(header), floats_of(s));
    scale[1] = floats_mul(floats_load_half(header + 32), floats_of(m));
}

INLINE int zero_of(const int type) {
    return type == TYPE_Q4_0 ? 8 : type == TYPE_Q8_0 ? 128 : type == TYPE_Q6_K ? 32 : 0;
}

// The sum that a product of bytes starts from, so that it is one of values less the zero.
INLINE int32_t start_of(const int type, const int part, const int32_t *z, int width) {
    const int32_t eight = n_parts(type) == 1 ? z[0] : part == 0 ? z[width] : z[0] - z[width];
    return eight * (zero_of(type) / 8);
}

INLINE dot add_bytes(const int type, dot sum, bytes w, int32_t x) {
    if (type == TYPE_Q8_0) return full_add(sum, w, x);
    if (type == TYPE_Q5_K || type == TYPE_Q6_K) return wide_add(sum, w, x);
    return dot_add(sum, w, x);
}
INLINE words end_bytes(const int type, dot sum, int32_t start) {
    if (type == TYPE_Q8_0) return full_end(sum, start);
    if (type == TYPE_Q5_K || type == TYPE_Q6_K) return wide_end(sum, start);
    return dot_end(sum, start);
}

#endif
