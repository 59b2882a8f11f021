// AVX2 with FMA and F16C, and AVX-VNNI where the compiler may use it: a vector is two registers.
#include <immintrin.h>

enum { AT_ONCE_PANELS = 1, AT_ONCE_TOKENS = 4, AT_ONCE_FLOATS = 6 };

typedef struct {
    __m256i a, b;
} bytes, words, dot;
typedef struct {
    __m256 a, b;
} floats;

INLINE bytes bytes_zero(void) {
    return (bytes){_mm256_setzero_si256(), _mm256_setzero_si256()};
}
INLINE bytes bytes_load(const void *p) {
    return (bytes){_mm256_loadu_si256(p), _mm256_loadu_si256((const __m256i *)p + 1)};
}
INLINE void bytes_store(void *p, bytes x) {
    _mm256_storeu_si256(p, x.a);
    _mm256_storeu_si256((__m256i *)p + 1, x.b);
}
INLINE bytes bytes_low(bytes x) {
    const __m256i m = _mm256_set1_epi8(15);
    return (bytes){_mm256_and_si256(x.a, m), _mm256_and_si256(x.b, m)};
}
INLINE bytes bytes_high(bytes x) {
    return bytes_low((bytes){_mm256_srli_epi16(x.a, 4), _mm256_srli_epi16(x.b, 4)});
}

#ifdef __AVXVNNI__
INLINE dot dot_start(int32_t start) {
    return (dot){_mm256_set1_epi32(start), _mm256_set1_epi32(start)};
}
INLINE dot dot_add(dot sum, bytes w, int32_t x) {
    const __m256i v = _mm256_set1_epi32(x);
    return (dot){_mm256_dpbusd_avx_epi32(sum.a, w.a, v), _mm256_dpbusd_avx_epi32(sum.b, w.b, v)};
}
INLINE words dot_end(dot sum, int32_t start) { return (void)start, (words){sum.a, sum.b}; }
// The same for bytes up to 127, and for those up to 255 with a start of -128 times the sum of all x.
#define wide_add dot_add
#define wide_end dot_end
#define full_add dot_add
#define full_end dot_end
#else
// Sums of 16 bits, two a lane: 16 products of at most 15 * 127 fit (30480 < 32768).
INLINE dot dot_start(int32_t start) {
    return (void)start, (dot){_mm256_setzero_si256(), _mm256_setzero_si256()};
}
INLINE dot dot_add(dot sum, bytes w, int32_t x) {
    const __m256i v = _mm256_set1_epi32(x);
    return (dot){_mm256_add_epi16(sum.a, _mm256_maddubs_epi16(w.a, v)),
                 _mm256_add_epi16(sum.b, _mm256_maddubs_epi16(w.b, v))};
}
INLINE words dot_end(dot sum, int32_t start) {
    const __m256i one = _mm256_set1_epi16(1), v = _mm256_set1_epi32(start);
    return (words){_mm256_add_epi32(_mm256_madd_epi16(sum.a, one), v),
                   _mm256_add_epi32(_mm256_madd_epi16(sum.b, one), v)};
}
// The same for bytes up to 127, in sums of 32 bits: two products of at most 127 * 127 fit 16 bits.
INLINE __m256i wide_step(__m256i sum, __m256i w, __m256i x) {
    const __m256i one = _mm256_set1_epi16(1);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), one));
}
INLINE dot wide_add(dot sum, bytes w, int32_t x) {
    const __m256i v = _mm256_set1_epi32(x);
    return (dot){wide_step(sum.a, w.a, v), wide_step(sum.b, w.b, v)};
}
INLINE words wide_end(dot sum, int32_t start) {
    const __m256i v = _mm256_set1_epi32(start);
    return (words){_mm256_add_epi32(sum.a, v), _mm256_add_epi32(sum.b, v)};
}
// The same for bytes up to 255 with a start of -128 times the sum of all x: takes 128 off each byte instead, and lets
// the activations have its sign.
INLINE __m256i full_step(__m256i sum, __m256i w, __m256i x) {
    const __m256i s = _mm256_xor_si256(w, _mm256_set1_epi8(-128));
    return wide_step(sum, _mm256_abs_epi8(s), _mm256_sign_epi8(x, s));
}
INLINE dot full_add(dot sum, bytes w, int32_t x) {
    const __m256i v = _mm256_set1_epi32(x);
    return (dot){full_step(sum.a, w.a, v), full_step(sum.b, w.b, v)};
}
INLINE words full_end(dot sum, int32_t start) { return (void)start, (words){sum.a, sum.b}; }
#endif

// 4 bytes from each of 16 places, at[lane] bytes from p.
INLINE bytes bytes_gather(const uint8_t *p, const int32_t *at) {
    const __m256i low = _mm256_loadu_si256((const __m256i *)at);
    const __m256i high = _mm256_loadu_si256((const __m256i *)(at + 8));
    return (bytes){_mm256_i32gather_epi32((const int *)p, low, 1),
                   _mm256_i32gather_epi32((const int *)p, high, 1)};
}
// a with `bits` bits of each byte of b, from bit `from` on, put at bit `to`.
INLINE __m256i join(__m256i a, __m256i b, __m128i from, __m256i mask, __m128i to) {
    b = _mm256_and_si256(_mm256_srl_epi32(b, from), mask);
    return _mm256_or_si256(a, _mm256_sll_epi32(b, to));
}
INLINE bytes bytes_join(bytes a, bytes b, int from, int bits, int to) {
    const __m128i f = _mm_cvtsi32_si128(from), t = _mm_cvtsi32_si128(to);
    const __m256i m = _mm256_set1_epi8((char)((1 << bits) - 1));
    return (bytes){join(a.a, b.a, f, m, t), join(a.b, b.b, f, m, t)};
}
// Bits `shift` to `shift` + 5 at most, as `mask` says, of each lane's word
INLINE words words_field(bytes x, int shift, int mask) {
    const __m128i s = _mm_cvtsi32_si128(shift);
    const __m256i m = _mm256_set1_epi32(mask);
    return (words){_mm256_and_si256(_mm256_srl_epi32(x.a, s), m),
                   _mm256_and_si256(_mm256_srl_epi32(x.b, s), m)};
}
INLINE words words_or_shifted(words x, words y, int shift) {
    const __m128i s = _mm_cvtsi32_si128(shift);
    return (words){_mm256_or_si256(x.a, _mm256_sll_epi32(y.a, s)),
                   _mm256_or_si256(x.b, _mm256_sll_epi32(y.b, s))};
}
INLINE words words_load_int8(const void *p) {
    return (words){_mm256_cvtepi8_epi32(_mm_loadl_epi64(p)),
                   _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)((const char *)p + 8)))};
}

INLINE words words_round(floats x) {
    return (words){_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)};
}
INLINE int32_t words_sum(words x) {
    const __m256i s = _mm256_add_epi32(x.a, x.b);
    __m128i q = _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
    q = _mm_add_epi32(q, _mm_shuffle_epi32(q, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(q, _mm_shuffle_epi32(q, 0xb1)));
}
INLINE void words_store_bytes(int8_t *p, words x) {
    __m256i q = _mm256_packs_epi32(x.a, x.b);
    q = _mm256_permute4x64_epi64(q, 0xd8);
    q = _mm256_permute4x64_epi64(_mm256_packs_epi16(q, q), 0x08);
    _mm_storeu_si128((__m128i *)p, _mm256_castsi256_si128(q));
}

INLINE floats floats_of(words x) {
    return (floats){_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)};
}
INLINE floats floats_set(float x) { return (floats){_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
INLINE floats floats_load(const float *p) {
    return (floats){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
INLINE floats floats_load_half(const void *p) {
    return (floats){_mm256_cvtph_ps(_mm_loadu_si128(p)),
                    _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p + 1))};
}
INLINE void floats_store(float *p, floats x) {
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
}
#define PAIRWISE(name, op)                                                                         \
    INLINE floats name(floats x, floats y) { return (floats){op(x.a, y.a), op(x.b, y.b)}; }
PAIRWISE(floats_add, _mm256_add_ps)
PAIRWISE(floats_sub, _mm256_sub_ps)
PAIRWISE(floats_mul, _mm256_mul_ps)
PAIRWISE(floats_div, _mm256_div_ps)
PAIRWISE(floats_max, _mm256_max_ps)
PAIRWISE(floats_min, _mm256_min_ps)
#undef PAIRWISE
INLINE floats floats_fma(floats x, floats y, floats z) {
    return (floats){_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
// z - x * y
INLINE floats floats_fnma(floats x, floats y, floats z) {
    return (floats){_mm256_fnmadd_ps(x.a, y.a, z.a), _mm256_fnmadd_ps(x.b, y.b, z.b)};
}
// z where x > y, else 0
INLINE floats floats_where_above(floats x, floats y, floats z) {
    return (floats){_mm256_and_ps(_mm256_cmp_ps(x.a, y.a, _CMP_GT_OQ), z.a),
                    _mm256_and_ps(_mm256_cmp_ps(x.b, y.b, _CMP_GT_OQ), z.b)};
}
INLINE floats floats_abs(floats x) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return (floats){_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b)};
}
INLINE float floats_most(floats x) {
    const __m256 m = _mm256_max_ps(x.a, x.b);
    __m128 h = _mm_max_ps(_mm256_castps256_ps128(m), _mm256_extractf128_ps(m, 1));
    h = _mm_max_ps(h, _mm_movehl_ps(h, h));
    return _mm_cvtss_f32(_mm_max_ss(h, _mm_movehdup_ps(h)));
}
INLINE float floats_sum(floats x) {
    const __m256 m = _mm256_add_ps(x.a, x.b);
    __m128 h = _mm_add_ps(_mm256_castps256_ps128(m), _mm256_extractf128_ps(m, 1));
    h = _mm_add_ps(h, _mm_movehl_ps(h, h));
    return _mm_cvtss_f32(_mm_add_ss(h, _mm_movehdup_ps(h)));
}
// a * 2^n
INLINE floats floats_scale2(floats x, words n) {
    return (floats){_mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x.a),
                                                         _mm256_slli_epi32(n.a, 23))),
                    _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x.b),
                                                         _mm256_slli_epi32(n.b, 23)))};
}
// A float as the nearest half, as a float again.
INLINE float half_round(float x) { return _cvtsh_ss(_cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT)); }
