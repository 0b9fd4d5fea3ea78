"""The conformance suite (refattn.suite) for pytest: one test for each property and format.

Run by `pytest --refattn-target package.module:callable --pyargs refattn.conformance`.
"""
