"""What every stage stands on: configuration, storage, tables, models, features, errors; no engine is imported."""
