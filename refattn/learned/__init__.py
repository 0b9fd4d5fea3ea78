"""Block scales that are learned or predicted, in the attention of a causal language model from Hugging Face.

Each block of keys has a softmax of its own; one scale for each block replaces the normaliser of the whole row
(mathematics: refattn.models.learned; certificate: proofs/block_scales.md). A frozen model runs with the scales of a
method; only the scales are trained; perplexity, certificate, leak and row sums measure the cost.

`python -m refattn.learned train|eval|show` is the command line. Needs the extra `learned`.
"""
