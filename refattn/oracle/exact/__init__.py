"""The last rungs: Arb's balls, and the definition in mpmath, against which every other is tested."""
