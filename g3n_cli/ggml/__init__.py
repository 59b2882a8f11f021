"""The only ctypes code: ggml and llama.cpp's vocabulary and samplers."""
