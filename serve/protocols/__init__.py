"""One codec per protocol: pure functions between request bytes and arrays by name."""
