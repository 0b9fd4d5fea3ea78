"""bounds: see the modules."""
