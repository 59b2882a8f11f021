// Kernels of g3n: products of matrices, and what lies between them, as nodes of a ggml graph.
//
// A matrix [k, rows] is stored in panels of 16 rows, each as many bytes as its rows in the file. In a
// panel, a vector holds four neighbouring values of each of the 16 rows, so that one instruction
// multiplies them by the same four activations. Activations are quantized to 8 bits in blocks of 32,
// as ggml does it, and laid out in tiles of up to 8 tokens.
#ifndef G3N_H
#define G3N_H

#include <stddef.h>
#include <stdint.h>

#define API __attribute__((visibility("default")))
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

enum { PANEL = 16, GROUP = 32, BLOCK = 32, TILE = 8 };

// The beginning of ggml's struct ggml_tensor; g3n_cli/ggml/library.py verifies the layout at start.
struct tensor {
    int32_t type;
    void *buffer;
    int64_t ne[4];
    size_t nb[4];
    int32_t op;
    int32_t op_params[16];
    int32_t flags;
    struct tensor *src[10];
    struct tensor *view_src;
    size_t view_offs;
    void *data;
};

// ggml's numbers of the types that have panels.
enum { TYPE_F16 = 1, TYPE_Q4_0 = 2, TYPE_Q8_0 = 8, TYPE_Q4_K = 12, TYPE_Q5_K = 13, TYPE_Q6_K = 14 };

// Bytes of a row of k values, which are whole blocks; 0 if the type has no panels.
INLINE int64_t row_bytes(int type, int64_t k) {
    switch (type) {
    case TYPE_F16: return k * 2;
    case TYPE_Q4_0: return k / 32 * 18;
    case TYPE_Q8_0: return k / 32 * 34;
    case TYPE_Q4_K: return k / 256 * 144;
    case TYPE_Q5_K: return k / 256 * 176;
    case TYPE_Q6_K: return k / 256 * 210;
    default: return 0;
    }
}

// A matrix in panels, or as files have it: the first `rows` rows and `k` columns of one whose rows take `stride` bytes.
struct matrix {
    int type;
    int64_t rows, k, stride;
    const uint8_t *data;
};

// Quantized activations: tiles of `width` tokens (1 to 4, or 8), each with k / 32 blocks. The largest value of a block
// becomes `most`: 127, or less to see what fewer bits would do.
struct activations {
    int64_t n, k;
    int width;
    float most;
    uint8_t *data;
};

// One block of a tile lies in memory as
//   int8_t  q[8][width][4]   word g of token t: values 4 g to 4 g + 3
//   float   d[width]         scale
//   float   ds[width]        scale times the sum of the 32 values
//   int32_t z[2][width]      -8 times the sum, of all values and of the first 16: what a zero of 8 adds
INLINE size_t act_block_size(int width) { return (size_t)width * (BLOCK + 16); }
INLINE int act_width(int64_t n) { return n <= 4 ? (int)n : TILE; }
INLINE int64_t act_n_tiles(int64_t n, int width) { return (n + width - 1) / width; }
INLINE uint8_t *act_block(const struct activations *a, int64_t tile, int64_t block) {
    return a->data + (size_t)(tile * (a->k / BLOCK) + block) * act_block_size(a->width);
}

INLINE struct matrix matrix_of(const struct tensor *t) {
    return (struct matrix){t->type, t->ne[1], t->ne[0], (int64_t)t->nb[1], t->data};
}

// What a node has of its own: a counter for `take`, 0 between computations, and constants.
struct node {
    int64_t next;
    float params[6];
};

struct activations act_of(void *data, int64_t n, int64_t k);

// Quantizes 32 values of token t, those of block `block`.
void quantize_block(const struct activations *a, int64_t t, int64_t block, const float *x);

// Products of 32 rows with tokens first to last - 1, at most MOST_TOKENS of them, tiles whole: c[token - first][row].
// The rows are those of a matrix in panels, from `row` on, which are repeated beyond the matrix's last row; or, in a
// matrix as files have it, those that begin `at` bytes from its first one.
enum { MOST_TOKENS = 256 };
void product_group(const struct matrix *m, int64_t row, const int32_t *at, const struct activations *a,
                   int64_t first, int64_t last, float (*c)[GROUP]);

// Hands out work items 0 to count - 1 to all threads; the last thread to ask resets the counter.
int64_t take(int64_t *next, int64_t count, int n_threads);

#endif
