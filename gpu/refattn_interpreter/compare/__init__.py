"""The interpreter against a GPU, bit by bit and operation by operation:

    python -m refattn_interpreter.compare [--json FILE]

prints which operations give the same bits on both, which do not and by how much, and under which options of the
interpreter they would. Exit codes: 0 all that both can do agree, 1 some do not, 2 there is no GPU.
"""
