"""A small product file, and ways to spoil it."""

from pathlib import Path

PRODUCT = """\
product: trips
sources:
  trips:
    path: trips.csv
    options: {nullValue: NA}
    columns:
      id: bigint
      started: timestamp
      city: string
      distance: double
      paid: double
      hour: int
  cities:
    path: cities.csv
    columns: {name: string, people: int, founded: date}
ingest:
  base: trips
  steps:
    - filter: {name: no-fare, keep: paid is not null}
    - join:
        source: cities
        on: {city: name}
        columns: {people: people, founded: founded}
    - derive:
        late: cast(hour > 20 as int)
        per_km: people / distance
    - drop: [id]
  key: [city, started]
  split: {by: hash, validation: 0.1, test: 0.1}
contract:
  min_rows: 10
  expectations:
    - expect_column_values_to_not_be_null: {column: late}
    - expect_column_values_to_be_between: {column: distance, min_value: 0, max_value: 100}
features:
  label: late
  banned: [paid]
  inputs:
    city: {as: category, dim: 4}
    people: {as: category}
    distance: {as: numeric}
    started: {as: cyclic, period: day}
  crosses:
    - {columns: [city, people], dim: 4}
train:
  task: binary
  model: train.models.tabular:build
  epochs: 2
  learning_rate: 1e-2
evaluate:
  slices: [city]
  gates:
    auc: {min: 0.5}
"""


def write_product(folder: Path, *changes: tuple[str, str]) -> Path:
    """Write the product file with pieces of its text replaced; each piece stands in it exactly once."""
    text = PRODUCT
    for old, new in changes:
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
        text = text.replace(old, new)
    path = folder / "trips.yaml"
    path.write_text(text)
    return path
