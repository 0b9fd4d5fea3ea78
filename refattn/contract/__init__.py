"""What a kernel computes (spec), how (arithmetic), and which keys each query sees."""
