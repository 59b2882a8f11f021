// Which variants of this library the machine can run.
#include "g3n.h"

#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

// A set of bits: 1 AVX2, 2 AVX-VNNI, 4 AVX-512 with VNNI, 8 NEON with dot products. The portable variant always
// runs.
API int g3n_cpu_variants(void) {
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
    const int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                     __builtin_cpu_supports("f16c");
    const int avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                       __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
    return !avx2 ? 0 : 1 | (__builtin_cpu_supports("avxvnni") ? 2 : 0) | (avx512 ? 4 : 0);
#elif defined(__aarch64__) && defined(__linux__)
    return getauxval(AT_HWCAP) & HWCAP_ASIMDDP ? 8 : 0;
#elif defined(__aarch64__) && defined(__APPLE__)
    return 8;  // every processor of theirs has them
#else
    return 0;
#endif
}
