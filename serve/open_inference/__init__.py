"""Open Inference Protocol v2 (KServe, Triton) over REST and gRPC, for every task that registers for it."""
