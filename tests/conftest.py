"""For all tests."""

import signal

# Who runs the tests in the background may have them ignore Ctrl+C, and so would every process that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
