"""What we measure; the results stand in docs/performance.md."""
