"""How a run is spread over processes and machines, by PyTorch's own engine."""
