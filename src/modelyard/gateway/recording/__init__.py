"""What is written down: the journal with its entries, and the numbers for Prometheus."""
