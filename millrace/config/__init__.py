"""The typed configuration of a product: read, checked and frozen before Spark or TensorFlow starts."""

from millrace.config.load import Product, load_product
from millrace.config.sections.product import Config

__all__ = ["Config", "Product", "load_product"]
