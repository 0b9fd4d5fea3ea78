"""Number formats, arrays of any library, unit roundoff. Knows nothing of attention."""
