"""What clients and the machine do to the service: bad requests, overload, slow connections, killed processes."""
