"""The outside world, implemented: one folder per port, one file per implementation. Only app.py picks from here."""
