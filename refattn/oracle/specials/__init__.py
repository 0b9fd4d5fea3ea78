"""Which results visible NaN and infinities reach, and the values that they give there."""
