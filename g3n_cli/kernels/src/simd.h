// Vectors of 16 lanes, one lane a row: the little that the kernels need of an instruction set.
//
//   bytes   4 unsigned bytes a lane     words   one int32 a lane     floats   one float a lane
//   dot     accumulates products of bytes with 4 signed bytes that all lanes share
//
// AT_ONCE_PANELS times AT_ONCE_TOKENS sums of bytes, or AT_ONCE_FLOATS of floats, at least 2, fit the registers.
#ifndef SIMD_H
#define SIMD_H

#include "g3n.h"

#if defined(__AVX512VNNI__) && defined(__AVX512BW__)
#include "simd_avx512.h"
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include "simd_avx2.h"
#elif defined(__ARM_FEATURE_DOTPROD)
#include "simd_neon.h"
#else
#include "simd_portable.h"
#endif

#endif
