"""What all tests of one process share."""

# TensorFlow carries a libcurl of its own; loaded first, it takes curl_cffi's place and yfinance cannot fetch.
# Commands that fetch never import TensorFlow, but tests of both share a process.
import curl_cffi  # noqa: F401
