"""Values of requests and answers: JSON, nested lists, tensors; no protocol."""
