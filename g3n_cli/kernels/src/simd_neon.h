// NEON with dot products (ARMv8.2-A and later): a vector is four registers.
#include <arm_neon.h>

enum { AT_ONCE_PANELS = 1, AT_ONCE_TOKENS = 4, AT_ONCE_FLOATS = 4 };

typedef struct {
    uint8x16_t v[4];
} bytes;
typedef struct {
    int32x4_t v[4];
} words, dot;
typedef struct {
    float32x4_t v[4];
} floats;

#define EACH UNROLL for (int i = 0; i < 4; i++)

INLINE bytes bytes_zero(void) {
    bytes r;
    EACH r.v[i] = vdupq_n_u8(0);
    return r;
}
INLINE bytes bytes_load(const void *p) {
    bytes r;
    EACH r.v[i] = vld1q_u8((const uint8_t *)p + 16 * i);
    return r;
}
INLINE void bytes_store(void *p, bytes a) { EACH vst1q_u8((uint8_t *)p + 16 * i, a.v[i]); }
INLINE bytes bytes_low(bytes a) {
    EACH a.v[i] = vandq_u8(a.v[i], vdupq_n_u8(15));
    return a;
}
INLINE bytes bytes_high(bytes a) {
    EACH a.v[i] = vshrq_n_u8(a.v[i], 4);
    return a;
}

// `start` is added to each lane's sum at the end.
INLINE dot dot_start(int32_t start) {
    dot r;
    (void)start;
    EACH r.v[i] = vdupq_n_s32(0);
    return r;
}
INLINE dot dot_add(dot sum, bytes a, int32_t x) {
    const int8x16_t b = vreinterpretq_s8_s32(vdupq_n_s32(x));
    EACH sum.v[i] = vdotq_s32(sum.v[i], vreinterpretq_s8_u8(a.v[i]), b);
    return sum;
}
INLINE words dot_end(dot sum, int32_t start) {
    words r;
    EACH r.v[i] = vaddq_s32(sum.v[i], vdupq_n_s32(start));
    return r;
}
// The same for bytes up to 127: the instruction takes them as signed.
#define wide_add dot_add
#define wide_end dot_end
// The same for bytes up to 255 with a start of -128 times the sum of all x: takes 128 off each byte instead.
INLINE dot full_add(dot sum, bytes a, int32_t x) {
    EACH a.v[i] = veorq_u8(a.v[i], vdupq_n_u8(128));
    return dot_add(sum, a, x);
}
INLINE words full_end(dot sum, int32_t start) { return (void)start, sum; }

// 4 bytes from each of 16 places, at[lane] bytes from p.
INLINE bytes bytes_gather(const uint8_t *p, const int32_t *at) {
    uint8_t a[64];
    for (int i = 0; i < 16; i++) __builtin_memcpy(a + i * 4, p + at[i], 4);
    return bytes_load(a);
}
// a with `bits` bits of each byte of b, from bit `from` on, put at bit `to`.
INLINE bytes bytes_join(bytes a, bytes b, int from, int bits, int to) {
    const uint8x16_t m = vdupq_n_u8((uint8_t)((1 << bits) - 1));
    EACH {
        const uint8x16_t part = vandq_u8(vshlq_u8(b.v[i], vdupq_n_s8((int8_t)-from)), m);
        a.v[i] = vorrq_u8(a.v[i], vshlq_u8(part, vdupq_n_s8((int8_t)to)));
    }
    return a;
}
// Bits `shift` to `shift` + 5 at most, as `mask` says, of each lane's word
INLINE words words_field(bytes a, int shift, int mask) {
    words r;
    EACH {
        const uint32x4_t part = vshlq_u32(vreinterpretq_u32_u8(a.v[i]), vdupq_n_s32(-shift));
        r.v[i] = vandq_s32(vreinterpretq_s32_u32(part), vdupq_n_s32(mask));
    }
    return r;
}
INLINE words words_or_shifted(words a, words b, int shift) {
    EACH a.v[i] = vorrq_s32(a.v[i], vshlq_s32(b.v[i], vdupq_n_s32(shift)));
    return a;
}
INLINE words words_load_int8(const void *p) {
    const int8x16_t a = vld1q_s8(p);
    const int16x8_t low = vmovl_s8(vget_low_s8(a)), high = vmovl_s8(vget_high_s8(a));
    return (words){{vmovl_s16(vget_low_s16(low)), vmovl_s16(vget_high_s16(low)),
                    vmovl_s16(vget_low_s16(high)), vmovl_s16(vget_high_s16(high))}};
}
INLINE words words_round(floats a) {
    words r;
    EACH r.v[i] = vcvtnq_s32_f32(a.v[i]);
    return r;
}
INLINE int32_t words_sum(words a) {
    return vaddvq_s32(vaddq_s32(vaddq_s32(a.v[0], a.v[1]), vaddq_s32(a.v[2], a.v[3])));
}
INLINE void words_store_bytes(int8_t *p, words a) {
    const int16x8_t low = vcombine_s16(vmovn_s32(a.v[0]), vmovn_s32(a.v[1]));
    const int16x8_t high = vcombine_s16(vmovn_s32(a.v[2]), vmovn_s32(a.v[3]));
    vst1q_s8(p, vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
}

INLINE floats floats_of(words a) {
    floats r;
    EACH r.v[i] = vcvtq_f32_s32(a.v[i]);
    return r;
}
INLINE floats floats_set(float x) {
    floats r;
    EACH r.v[i] = vdupq_n_f32(x);
    return r;
}
INLINE floats floats_load(const float *p) {
    floats r;
    EACH r.v[i] = vld1q_f32(p + 4 * i);
    return r;
}
INLINE floats floats_load_half(const void *p) {
    floats r;
    EACH r.v[i] = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16((const uint16_t *)p + 4 * i)));
    return r;
}
INLINE void floats_store(float *p, floats a) { EACH vst1q_f32(p + 4 * i, a.v[i]); }
#define PAIRWISE(name, op)                                                                         \
    INLINE floats name(floats a, floats b) {                                                       \
        EACH a.v[i] = op(a.v[i], b.v[i]);                                                          \
        return a;                                                                                  \
    }
PAIRWISE(floats_add, vaddq_f32)
PAIRWISE(floats_sub, vsubq_f32)
PAIRWISE(floats_mul, vmulq_f32)
PAIRWISE(floats_div, vdivq_f32)
PAIRWISE(floats_max, vmaxq_f32)
PAIRWISE(floats_min, vminq_f32)
#undef PAIRWISE
INLINE floats floats_fma(floats a, floats b, floats c) {
    EACH c.v[i] = vfmaq_f32(c.v[i], a.v[i], b.v[i]);
    return c;
}
// c - a * b
INLINE floats floats_fnma(floats a, floats b, floats c) {
    EACH c.v[i] = vfmsq_f32(c.v[i], a.v[i], b.v[i]);
    return c;
}
// x where a > b, else 0
INLINE floats floats_where_above(floats a, floats b, floats x) {
    EACH {
        const uint32x4_t is_above = vcgtq_f32(a.v[i], b.v[i]);
        x.v[i] = vreinterpretq_f32_u32(vandq_u32(is_above, vreinterpretq_u32_f32(x.v[i])));
    }
    return x;
}
INLINE floats floats_abs(floats a) {
    EACH a.v[i] = vabsq_f32(a.v[i]);
    return a;
}
INLINE float floats_most(floats a) {
    return vmaxvq_f32(vmaxq_f32(vmaxq_f32(a.v[0], a.v[1]), vmaxq_f32(a.v[2], a.v[3])));
}
INLINE float floats_sum(floats a) {
    return vaddvq_f32(vaddq_f32(vaddq_f32(a.v[0], a.v[1]), vaddq_f32(a.v[2], a.v[3])));
}
// a * 2^n
INLINE floats floats_scale2(floats a, words n) {
    EACH {
        const int32x4_t bits = vaddq_s32(vreinterpretq_s32_f32(a.v[i]), vshlq_n_s32(n.v[i], 23));
        a.v[i] = vreinterpretq_f32_s32(bits);
    }
    return a;
}
// A float as the nearest half, as a float again.
INLINE float half_round(float x) {
    return vgetq_lane_f32(vcvt_f32_f16(vcvt_f16_f32(vdupq_n_f32(x))), 0);
}
#undef EACH
