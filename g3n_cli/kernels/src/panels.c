// Matrices from the rows of a file to panels of 16 rows; a panel takes the bytes of its rows.
#include <string.h>

#include "g3n.h"

// Q4_0, a panel: k / 32 blocks of 256 bytes of nibbles, then k / 32 times 16 scales. In a block, vector
// v holds bytes 4 v to 4 v + 3 of each row's 16: values 4 v and on below, 16 + 4 v and on above.
static void pack_q4_0(uint8_t *to, const uint8_t *from, int64_t k) {
    enum { FROM_BLOCK = 18 };
    const int64_t n_blocks = k / BLOCK;
    uint8_t *scales = to + n_blocks * 256;
    for (int64_t b = 0; b < n_blocks; b++)
        for (int r = 0; r < PANEL; r++) {
            const uint8_t *block = from + (r * n_blocks + b) * FROM_BLOCK;
            memcpy(scales + (b * PANEL + r) * 2, block, 2);
            for (int v = 0; v < 4; v++) memcpy(to + b * 256 + v * 64 + r * 4, block + 2 + v * 4, 4);
        }
}

// Packs `n_panels` panels; returns 0, or -1 for a type that has none.
API int g3n_pack(int type, uint8_t *to, const uint8_t *from, int64_t n_panels, int64_t k) {
    if (type != TYPE_Q4_0) return -1;
    const int64_t size = PANEL * (k / BLOCK) * 18;
    for (int64_t p = 0; p < n_panels; p++) pack_q4_0(to + p * size, from + p * size, k);
    return 0;
}
