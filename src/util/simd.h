/* SPDX-License-Identifier: Apache-2.0 */
/* Portable loops compiled for several instruction sets; the loader picks the best one the processor has.
 *
 * SAH_SIMD before a function's definition makes the clones. Loops stay plain C that gcc and clang vectorise.
 * Sanitizer builds keep one version: the picking (ifunc) runs before the sanitizers' run time is ready. So
 * does clang before 17, which names the clones so that other files do not find them: there
 * CFLAGS=-march=native helps. */
#ifndef SAH_UTIL_SIMD_H
#define SAH_UTIL_SIMD_H

#if defined(__clang__) && __clang_major__ < 17
#define SAH_SIMD
#elif defined(__x86_64__) && defined(__ELF__) && !defined(__SANITIZE_ADDRESS__) && !defined(SAH_NO_CLONES)
#define SAH_SIMD __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define SAH_SIMD
#endif

/* A helper that must melt into the clone that calls it. */
#define SAH_INLINE static inline __attribute__((always_inline))

#endif
