"""adapters: see the modules."""
