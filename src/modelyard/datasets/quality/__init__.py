"""What makes a row worth learning from: one file a filter."""
