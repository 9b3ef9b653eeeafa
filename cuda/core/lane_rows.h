// Rows of numbers <-> lanes: a pack holds one column of as many rows.
#pragma once

#include <cstdint>

#include "pack.h"

namespace recon {

#if defined(__AVX512F__)
// Sixteen rows of three numbers, next to each other, and back: number e of 48 is column e % 3 of row e / 3.
inline void load_triples(const float* base, p16* out) {
  const __m512i triple = _mm512_setr_epi32(0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 33, 36, 39, 42, 45);
  const __m512 a = _mm512_loadu_ps(base), b = _mm512_loadu_ps(base + 16), c = _mm512_loadu_ps(base + 32);
  for (int j = 0; j < 3; ++j) {
    const __m512i at = _mm512_add_epi32(triple, _mm512_set1_epi32(j));
    const __mmask16 behind = _mm512_cmpge_epi32_mask(at, _mm512_set1_epi32(32));
    out[j] = _mm512_mask_permutexvar_ps(_mm512_permutex2var_ps(a, at, b), behind, at, c);
  }
}
inline void store_triples(float* base, const p16* in) {
  const __m512i row = _mm512_setr_epi32(0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5);
  const __m512i rows[3] = {row, _mm512_setr_epi32(5, 5, 6, 6, 6, 7, 7, 7, 8, 8, 8, 9, 9, 9, 10, 10),
                           _mm512_setr_epi32(10, 11, 11, 11, 12, 12, 12, 13, 13, 13, 14, 14, 14, 15, 15, 15)};
  const __mmask16 second[3] = {0x2492, 0x9249, 0x4924}, third[3] = {0x4924, 0x2492, 0x9249};  // lanes of columns 1, 2
  for (int k = 0; k < 3; ++k) {
    const __m512 first = _mm512_permutexvar_ps(rows[k], in[0].v);
    const __m512 two = _mm512_mask_permutexvar_ps(first, second[k], rows[k], in[1].v);
    _mm512_storeu_ps(base + 16 * k, _mm512_mask_permutexvar_ps(two, third[k], rows[k], in[2].v));
  }
}
// The same for rows of four: number e of 64 is column e % 4 of row e / 4.
inline void load_quads(const float* base, p16* out) {
  const __m512i quad = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28);
  const __m512 a = _mm512_loadu_ps(base), b = _mm512_loadu_ps(base + 16);
  const __m512 c = _mm512_loadu_ps(base + 32), d = _mm512_loadu_ps(base + 48);
  for (int j = 0; j < 4; ++j) {
    const __m512i at = _mm512_add_epi32(quad, _mm512_set1_epi32(j));
    const __m512 low = _mm512_permutex2var_ps(a, at, b), high = _mm512_permutex2var_ps(c, at, d);
    out[j] = _mm512_mask_blend_ps(0xff00, low, high);
  }
}
inline void store_quads(float* base, const p16* in) {
  const __m512i row = _mm512_setr_epi32(0, 16, 0, 16, 1, 17, 1, 17, 2, 18, 2, 18, 3, 19, 3, 19);
  for (int k = 0; k < 4; ++k) {
    const __m512i at = _mm512_add_epi32(row, _mm512_set1_epi32(4 * k));
    const __m512 low = _mm512_permutex2var_ps(in[0].v, at, in[1].v),
                 high = _mm512_permutex2var_ps(in[2].v, at, in[3].v);
    _mm512_storeu_ps(base + 16 * k, _mm512_mask_blend_ps(0xcccc, low, high));
  }
}
#endif

// Whether rows go to lanes by transposes in registers, and whether parts of rows are read and written by masks.
template <class P>
inline constexpr bool kTransposed = false;
template <class P>
inline constexpr bool kMasked = false;
#if defined(__AVX512F__)
template <>
inline constexpr bool kTransposed<p16> = true;
template <>
inline constexpr bool kMasked<p16> = true;
#endif
#if defined(__AVX2__)
template <>
inline constexpr bool kTransposed<p8> = true;
#endif

// How many of `columns` go by transposes; the rest go number by number.
template <class P>
constexpr int transposed_columns(int columns) {
  if (!kTransposed<P>) return 0;
  constexpr int L = traits<P>::lanes;
  return !kMasked<P> ? columns / L * L : columns >= L / 2 ? columns : 0;
}

// `columns` consecutive numbers of each of `count` rows -> one pack per column; missing lanes repeat row 0.
template <class P>
inline void load_rows(const scalar_of<P>* base, int64_t stride, int count, int columns, P* out) {
  constexpr int L = traits<P>::lanes;
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<P, p16>) {
    if (columns == 3 && stride == 3 && count == 16) return load_triples(base, out);
    if (columns == 4 && stride == 4 && count == 16) return load_quads(base, out);
  }
#endif
  int done = 0;
  if constexpr (kTransposed<P>)
    for (const int wide = transposed_columns<P>(columns); done < wide; done += L) {
      const int n = kMasked<P> && wide - done < L ? wide - done : L;
      P r[L];
      for (int i = 0; i < L; ++i) r[i] = load_part<P>(base + (i < count ? i : 0) * stride + done, n);
      transpose(r);
      for (int j = 0; j < n; ++j) out[done + j] = r[j];
    }
  if (done >= columns) return;
  alignas(64) scalar_of<P> buffer[48][L];
  for (int i = 0; i < L; ++i) {
    const auto* row = base + (i < count ? i : 0) * stride;
    for (int j = done; j < columns; ++j) buffer[j][i] = row[j];
  }
  for (int j = done; j < columns; ++j) out[j] = load<P>(buffer[j]);
}

template <class P>
inline void store_rows(scalar_of<P>* base, int64_t stride, int count, int columns, const P* in) {
  constexpr int L = traits<P>::lanes;
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<P, p16>) {
    if (columns == 3 && stride == 3 && count == 16) return store_triples(base, in);
    if (columns == 4 && stride == 4 && count == 16) return store_quads(base, in);
  }
#endif
  int done = 0;
  if constexpr (kTransposed<P>)
    for (const int wide = transposed_columns<P>(columns); done < wide; done += L) {
      const int n = kMasked<P> && wide - done < L ? wide - done : L;
      P r[L];
      for (int j = 0; j < L; ++j) r[j] = j < n ? in[done + j] : P(scalar_of<P>(0));
      transpose(r);
      for (int i = 0; i < count; ++i) store_part<P>(base + i * stride + done, r[i], n);
    }
  if (done >= columns) return;
  alignas(64) scalar_of<P> buffer[48][L];
  for (int j = done; j < columns; ++j) store<P>(buffer[j], in[j]);
  for (int i = 0; i < count; ++i)
    for (int j = done; j < columns; ++j) base[i * stride + j] = buffer[j][i];
}

// Numbers base[at[i]] and base[at[i] + 1] for every lane i.
template <class P>
inline void load_pairs(const scalar_of<P>* base, const int64_t* at, P& first, P& second) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<P, p16>) {
    const auto pair = [&](int i) { return reinterpret_cast<const double*>(base + at[i]); };
    const auto two = [&](int i) { return _mm_loadh_pd(_mm_load_sd(pair(i)), pair(i + 1)); };
    const auto four = [&](int i) { return _mm256_insertf128_pd(_mm256_castpd128_pd256(two(i)), two(i + 2), 1); };
    const auto eight = [&](int i) {
      return _mm512_castpd_ps(_mm512_insertf64x4(_mm512_castpd256_pd512(four(i)), four(i + 4), 1));
    };
    const __m512 a = eight(0), b = eight(8);
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    first = _mm512_permutex2var_ps(a, even, b);
    second = _mm512_permutex2var_ps(a, _mm512_add_epi32(even, _mm512_set1_epi32(1)), b);
    return;
  }
#endif
  constexpr int L = traits<P>::lanes;
  scalar_of<P> a[L], b[L];
  for (int i = 0; i < L; ++i) a[i] = base[at[i]], b[i] = base[at[i] + 1];
  first = load<P>(a), second = load<P>(b);
}
// The other way round: to[2 i] and to[2 i + 1] from lane i.
template <class P>
inline void store_pairs(scalar_of<P>* to, const P& first, const P& second) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<P, p16>) {
    const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
    _mm512_storeu_ps(to, _mm512_permutex2var_ps(first.v, low, second.v));
    _mm512_storeu_ps(to + 16, _mm512_permutex2var_ps(first.v, high, second.v));
    return;
  }
#endif
  constexpr int L = traits<P>::lanes;
  scalar_of<P> a[L], b[L];
  store(a, first), store(b, second);
  for (int i = 0; i < L; ++i) to[2 * i] = a[i], to[2 * i + 1] = b[i];
}

}  // namespace recon
