"""The outside world as protocols (records, blobs, engines, tracking, compute), and the values they speak."""
