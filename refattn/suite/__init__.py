"""Run properties on a target, judge what it returns against truth and budget, collect findings."""
