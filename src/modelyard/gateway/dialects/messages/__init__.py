"""Anthropic's Messages API: requests into chat completions, answers and streams back, errors in its own shape."""
