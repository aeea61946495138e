"""Networks and weights that several rooms use: loading, batching, fusing, TransNet, MiniLM."""
