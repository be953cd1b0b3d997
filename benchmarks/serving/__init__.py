"""``make bench-serve``: the service beside the floor of its stack, other Python servers, and the direct call."""
