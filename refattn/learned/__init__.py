"""Block scales that are learned or predicted, in the attention of a causal language model from Hugging Face.

Each block of keys has a softmax of its own, and a scale a block takes the place of a normaliser of the whole row
(refattn.models.learned is the mathematics, proofs/block_scales.md the certificate). A frozen model runs with the scales
of a method; the scales alone are trained; perplexity, certificate, leak and row sums say what that costs.

`python -m refattn.learned train|eval|show` is the command line. Needs the extra `learned`.
"""
