"""Check every kernel on this machine's GPU, then time it against torch's own, in one call:

    python -m refattn_gpu.bench [--checks quick|ci|none] [--quick] [--only PATTERN] [--time-limit SECONDS]
                                [--output FILE] [--profile FILE] [--interpret]

A kernel that does not pass refattn's suite is not timed, nor is a problem on which the very call that would be timed
leaves its bound. Results go to a JSON file (refattn_gpu.bench.results says what is in it), from which
`python -m refattn_gpu.bench.table` prints tables. A second call with the same file goes on where the first one stopped.
"""
