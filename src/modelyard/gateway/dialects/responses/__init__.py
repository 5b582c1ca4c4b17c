"""OpenAI's Responses API: requests into chat completions, answers and streams back. It keeps no conversations."""
