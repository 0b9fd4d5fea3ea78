"""Few queries over a long cache: split keys, pages."""
