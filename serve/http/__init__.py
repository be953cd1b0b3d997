"""HTTP: connections and their deadlines, reading requests, errors as responses."""
