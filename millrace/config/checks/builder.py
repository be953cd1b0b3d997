"""Checks ``train.options`` against what the builder of the model declares."""

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
    """A builder that is not there, and options that its class ``Options`` refuses."""
    trouble = find_function(config.train.model)
    if trouble:
        path = ("train", "model")
        return [Problem(document.place(path), ".".join(path), *trouble)]
    options = load_options(config.train.model)
    if options is None:
        return []
    try:
        options.model_validate_json(json.dumps(config.train.options), strict=True)
    except ValidationError as error:
        problems = problems_of(error, options, document.below(PATH))
        return [replace(problem, key=".".join((*PATH, problem.key))) for problem in problems]
    return []
