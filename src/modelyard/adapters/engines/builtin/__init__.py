"""The built-in engine: a server of its own for small models on CPU, with many LoRA adapters in one batch."""
