"""The common base of all stages: configuration, storage, tables, models, features and errors; it imports no engine."""
