"""The data plane: an OpenAI-compatible gateway that serves from a route table and writes a journal. No database."""
