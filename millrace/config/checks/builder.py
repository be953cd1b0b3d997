"""Checks ``train.options`` against the class ``Options`` of the model builder's module."""

import json
from dataclasses import replace

from pydantic import ValidationError

from millrace.config.sections.product import Config
from millrace.config.yaml.document import Document
from millrace.config.yaml.problems import problems_of
from millrace.dotted import find_function, load_options
from millrace.errors import Problem

PATH = ("train", "options")


def check_builder(config: Config, document: Document) -> list[Problem]:
    """Report a builder that cannot be found, and options that its class ``Options`` refuses."""
    mistake = find_function(config.train.model)
    if mistake:
        path = ("train", "model")
        return [Problem(document.location(path), ".".join(path), *mistake)]
    options = load_options(config.train.model)
    if options is None:
        return []
    try:
        options.model_validate_json(json.dumps(config.train.options), strict=True)
    except ValidationError as error:
        problems = problems_of(error, options, document.below(PATH))
        return [replace(problem, key=".".join((*PATH, problem.key))) for problem in problems]
    return []
