"""One codec per protocol: pure functions between the bytes of requests and arrays by name."""
