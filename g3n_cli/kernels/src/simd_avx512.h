// AVX-512 with VNNI: a vector is one register.
#include <immintrin.h>

enum { AT_ONCE_PANELS = 2, AT_ONCE_TOKENS = 8, AT_ONCE_FLOATS = 8 };

typedef __m512i bytes, words, dot;
typedef __m512 floats;

INLINE bytes bytes_zero(void) { return _mm512_setzero_si512(); }
INLINE bytes bytes_load(const void *p) { return _mm512_loadu_si512(p); }
INLINE void bytes_store(void *p, bytes a) { _mm512_storeu_si512(p, a); }
INLINE bytes bytes_low(bytes a) { return _mm512_and_si512(a, _mm512_set1_epi8(15)); }
INLINE bytes bytes_high(bytes a) {
    return _mm512_and_si512(_mm512_srli_epi16(a, 4), _mm512_set1_epi8(15));
}

// `start` is added to each lane's sum, be it at the start or at the end.
INLINE dot dot_start(int32_t start) { return _mm512_set1_epi32(start); }
INLINE dot dot_add(dot sum, bytes a, int32_t x) {
    return _mm512_dpbusd_epi32(sum, a, _mm512_set1_epi32(x));
}
INLINE words dot_end(dot sum, int32_t start) { return (void)start, sum; }
// The same for bytes up to 127, and for those up to 255 with a start of -128 times the sum of all x.
#define wide_add dot_add
#define wide_end dot_end
#define full_add dot_add
#define full_end dot_end

// 4 bytes from each of 16 places, at[lane] bytes from p.
INLINE bytes bytes_gather(const uint8_t *p, const int32_t *at) {
    return _mm512_i32gather_epi32(_mm512_loadu_si512(at), p, 1);
}
// a with `bits` bits of each byte of b, from bit `from` on, put at bit `to`.
INLINE bytes bytes_join(bytes a, bytes b, int from, int bits, int to) {
    const bytes m = _mm512_set1_epi8((char)((1 << bits) - 1));
    b = _mm512_and_si512(_mm512_srl_epi32(b, _mm_cvtsi32_si128(from)), m);
    return _mm512_or_si512(a, _mm512_sll_epi32(b, _mm_cvtsi32_si128(to)));
}
// Bits `shift` to `shift` + 5 at most, as `mask` says, of each lane's word
INLINE words words_field(bytes a, int shift, int mask) {
    return _mm512_and_si512(_mm512_srl_epi32(a, _mm_cvtsi32_si128(shift)), _mm512_set1_epi32(mask));
}
INLINE words words_or_shifted(words a, words b, int shift) {
    return _mm512_or_si512(a, _mm512_sll_epi32(b, _mm_cvtsi32_si128(shift)));
}
INLINE words words_load_int8(const void *p) { return _mm512_cvtepi8_epi32(_mm_loadu_si128(p)); }
INLINE words words_round(floats a) { return _mm512_cvtps_epi32(a); }
INLINE int32_t words_sum(words a) { return _mm512_reduce_add_epi32(a); }
INLINE void words_store_bytes(int8_t *p, words a) {
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(a));
}

INLINE floats floats_of(words a) { return _mm512_cvtepi32_ps(a); }
INLINE floats floats_set(float x) { return _mm512_set1_ps(x); }
INLINE floats floats_load(const float *p) { return _mm512_loadu_ps(p); }
INLINE floats floats_load_half(const void *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
INLINE void floats_store(float *p, floats a) { _mm512_storeu_ps(p, a); }
INLINE floats floats_add(floats a, floats b) { return _mm512_add_ps(a, b); }
INLINE floats floats_sub(floats a, floats b) { return _mm512_sub_ps(a, b); }
INLINE floats floats_mul(floats a, floats b) { return _mm512_mul_ps(a, b); }
INLINE floats floats_div(floats a, floats b) { return _mm512_div_ps(a, b); }
INLINE floats floats_fma(floats a, floats b, floats c) { return _mm512_fmadd_ps(a, b, c); }
// c - a * b
INLINE floats floats_fnma(floats a, floats b, floats c) { return _mm512_fnmadd_ps(a, b, c); }
INLINE floats floats_max(floats a, floats b) { return _mm512_max_ps(a, b); }
INLINE floats floats_min(floats a, floats b) { return _mm512_min_ps(a, b); }
// x where a > b, else 0
INLINE floats floats_where_above(floats a, floats b, floats x) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), x);
}
INLINE floats floats_abs(floats a) { return _mm512_abs_ps(a); }
INLINE float floats_most(floats a) { return _mm512_reduce_max_ps(a); }
INLINE float floats_sum(floats a) { return _mm512_reduce_add_ps(a); }
// a * 2^n
INLINE floats floats_scale2(floats a, words n) {
    return _mm512_castsi512_ps(
        _mm512_add_epi32(_mm512_castps_si512(a), _mm512_slli_epi32(n, 23)));
}
// A float as the nearest half, as a float again.
INLINE float half_round(float x) { return _cvtsh_ss(_cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT)); }
