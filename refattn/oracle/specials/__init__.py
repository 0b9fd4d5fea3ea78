"""What visible NaN and infinities reach, and what they make of it."""
