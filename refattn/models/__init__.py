"""models: see the modules."""
