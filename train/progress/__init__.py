"""Train, evaluate and release progress networks."""
