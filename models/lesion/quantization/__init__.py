"""Int8 quantization of the lesion network."""
