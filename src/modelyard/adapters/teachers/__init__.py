"""Teachers: servers whose answers become training rows."""
