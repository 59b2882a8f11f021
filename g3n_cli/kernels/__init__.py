"""Kernels of g3n's own: C functions that enter ggml's graphs as custom nodes."""
