"""Near-duplicates: which clips and videos of a store are copies of others, wholly or in part, from its tables alone.

Candidates come from hashes that nearly agree and from embeddings that are near; what makes a copy of one is that its
pictures change over time as the original's do. Knows no media and no Ray.
"""
