"""Train networks: data sets, grouped split, training loop, evaluation and release."""
