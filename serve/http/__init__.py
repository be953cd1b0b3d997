"""The service as its clients see it: connections, limits, routes, workers."""
