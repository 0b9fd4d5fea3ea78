"""oracle: see the modules."""
