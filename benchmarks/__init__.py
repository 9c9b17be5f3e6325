"""The benchmark suite: rate, distortion, time, memory and complexity of this codec and of its peers.

`python -m benchmarks rd|sar|speed|complexity|report --help`. Every rate is counted from real bytes, every distortion
from a real decode. `docs/benchmarks.md` says how to read the results and how to add a codec.
"""
