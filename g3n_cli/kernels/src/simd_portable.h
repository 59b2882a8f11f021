// Plain C: a vector is an array, and the compiler does what it can.
#include <math.h>
#include <string.h>

// Unrolled loops over arrays take the compiler minutes and gain nothing.
#undef UNROLL
#define UNROLL

enum { AT_ONCE_PANELS = 1, AT_ONCE_TOKENS = 1, AT_ONCE_FLOATS = 2 };

typedef struct {
    uint8_t v[64];
} bytes;
typedef struct {
    int32_t v[16];
} words, dot;
typedef struct {
    float v[16];
} floats;

#define EACH for (int i = 0; i < 16; i++)

INLINE bytes bytes_zero(void) { return (bytes){{0}}; }
INLINE bytes bytes_load(const void *p) {
    bytes a;
    memcpy(a.v, p, 64);
    return a;
}
INLINE void bytes_store(void *p, bytes a) { memcpy(p, a.v, 64); }
INLINE bytes bytes_low(bytes a) {
    for (int i = 0; i < 64; i++) a.v[i] &= 15;
    return a;
}
INLINE bytes bytes_high(bytes a) {
    for (int i = 0; i < 64; i++) a.v[i] >>= 4;
    return a;
}

// `start` is added to each lane's sum, be it at the start or at the end.
INLINE dot dot_start(int32_t start) {
    dot a;
    EACH a.v[i] = start;
    return a;
}
INLINE dot dot_add(dot sum, bytes a, int32_t x) {
    int8_t b[4];
    memcpy(b, &x, 4);
    EACH for (int j = 0; j < 4; j++) sum.v[i] += a.v[i * 4 + j] * b[j];
    return sum;
}
INLINE words dot_end(dot sum, int32_t start) { return (void)start, sum; }
// The same for bytes up to 127, and for those up to 255 with a start of -128 times the sum of all x.
#define wide_add dot_add
#define wide_end dot_end
#define full_add dot_add
#define full_end dot_end

// 4 bytes from each of 16 places, at[lane] bytes from p.
INLINE bytes bytes_gather(const uint8_t *p, const int32_t *at) {
    bytes a;
    EACH memcpy(a.v + i * 4, p + at[i], 4);
    return a;
}
// a with `bits` bits of each byte of b, from bit `from` on, put at bit `to`.
INLINE bytes bytes_join(bytes a, bytes b, int from, int bits, int to) {
    for (int i = 0; i < 64; i++) a.v[i] |= (uint8_t)((b.v[i] >> from & ((1 << bits) - 1)) << to);
    return a;
}
// Bits `shift` to `shift` + 5 at most, as `mask` says, of each lane's word
INLINE words words_field(bytes a, int shift, int mask) {
    words r;
    memcpy(r.v, a.v, 64);
    EACH r.v[i] = (int32_t)((uint32_t)r.v[i] >> shift) & mask;
    return r;
}
INLINE words words_or_shifted(words a, words b, int shift) {
    EACH a.v[i] |= b.v[i] << shift;
    return a;
}
INLINE words words_load_int8(const void *p) {
    words r;
    EACH r.v[i] = ((const int8_t *)p)[i];
    return r;
}

INLINE words words_round(floats a) {
    words r;
    EACH r.v[i] = (int32_t)lrintf(a.v[i]);
    return r;
}
INLINE int32_t words_sum(words a) {
    int32_t sum = 0;
    EACH sum += a.v[i];
    return sum;
}
INLINE void words_store_bytes(int8_t *p, words a) { EACH p[i] = (int8_t)a.v[i]; }

INLINE float half_to_float(uint16_t h) {
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, rest = h & 1023;
    float f;
    if (exponent == 0) {
        f = ldexpf((float)rest, -24);
        return sign ? -f : f;
    }
    const uint32_t bits = sign | (exponent == 31 ? 255u : exponent + 112) << 23 | rest << 13;
    memcpy(&f, &bits, 4);
    return f;
}
// A float as the nearest half, ties to even, as a float again.
INLINE float half_round(float x) {
    const float size = fabsf(x);
    if (!(size < 65520.0f)) return size > 0 ? copysignf(INFINITY, x) : x;
    int exponent;
    frexpf(size, &exponent);
    const float step = ldexpf(1.0f, (exponent < -13 ? -13 : exponent) - 11);
    return copysignf(rintf(size / step) * step, x);
}

INLINE floats floats_of(words a) {
    floats r;
    EACH r.v[i] = (float)a.v[i];
    return r;
}
INLINE floats floats_set(float x) {
    floats r;
    EACH r.v[i] = x;
    return r;
}
INLINE floats floats_load(const float *p) {
    floats r;
    memcpy(r.v, p, 64);
    return r;
}
INLINE floats floats_load_half(const void *p) {
    uint16_t h[16];
    floats r;
    memcpy(h, p, 32);
    EACH r.v[i] = half_to_float(h[i]);
    return r;
}
INLINE void floats_store(float *p, floats a) { memcpy(p, a.v, 64); }
#define PAIRWISE(name, value)                                                                      \
    INLINE floats name(floats a, floats b) {                                                       \
        floats r;                                                                                  \
        EACH r.v[i] = value;                                                                       \
        return r;                                                                                  \
    }
PAIRWISE(floats_add, a.v[i] + b.v[i])
PAIRWISE(floats_sub, a.v[i] - b.v[i])
PAIRWISE(floats_mul, a.v[i] * b.v[i])
PAIRWISE(floats_div, a.v[i] / b.v[i])
PAIRWISE(floats_max, a.v[i] > b.v[i] ? a.v[i] : b.v[i])
PAIRWISE(floats_min, a.v[i] < b.v[i] ? a.v[i] : b.v[i])
#undef PAIRWISE
INLINE floats floats_fma(floats a, floats b, floats c) { return floats_add(floats_mul(a, b), c); }
// c - a * b
INLINE floats floats_fnma(floats a, floats b, floats c) { return floats_sub(c, floats_mul(a, b)); }
// x where a > b, else 0
INLINE floats floats_where_above(floats a, floats b, floats x) {
    EACH x.v[i] = a.v[i] > b.v[i] ? x.v[i] : 0.0f;
    return x;
}
INLINE floats floats_abs(floats a) {
    EACH a.v[i] = fabsf(a.v[i]);
    return a;
}
INLINE float floats_most(floats a) {
    float most = a.v[0];
    EACH most = a.v[i] > most ? a.v[i] : most;
    return most;
}
INLINE float floats_sum(floats a) {
    float sum = 0;
    EACH sum += a.v[i];
    return sum;
}
// a * 2^n
INLINE floats floats_scale2(floats a, words n) {
    EACH a.v[i] = ldexpf(a.v[i], n.v[i]);
    return a;
}
#undef EACH
