"""properties: see the modules."""
