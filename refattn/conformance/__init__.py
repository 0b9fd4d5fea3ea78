"""The conformance suite as pytest tests.

Run by `pytest --refattn-target package.module:callable --pyargs refattn.conformance`.
"""
