"""The campaign's compiled core: variants of packed sequences (variants.h)."""
