"""What a preparation tells: tables, a page, JSON, and the difference of two datasets."""
