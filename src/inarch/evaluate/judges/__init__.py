"""What all judged benchmarks share: the interface, official files, agreement."""
