"""The Open Inference Protocol over gRPC: calls are translated to requests to the REST routes."""
