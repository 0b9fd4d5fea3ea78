"""How a report is shown and kept: terminal, JSON, JUnit XML; each in its own module."""
