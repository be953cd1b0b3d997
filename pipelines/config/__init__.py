"""The typed configuration of a product: read, checked and frozen before any engine starts."""

from pipelines.config.load import Product, load_product
from pipelines.config.sections import Config

__all__ = ["Config", "Product", "load_product"]
