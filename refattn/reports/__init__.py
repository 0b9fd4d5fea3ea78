"""Reports for people and tools: terminal, JSON, JUnit XML; each in its own module."""

from refattn.reports import json, junit
from refattn.suite.findings import RENDERERS

RENDERERS.update(json=json.render, junit=junit.render)
