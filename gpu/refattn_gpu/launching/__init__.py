"""What every launch needs: arguments, numerics, tilings, placement."""
