"""Classify and regress, with errors per row: ``"parameters": {"on_row_error": "report"}``."""

from collections.abc import Sequence
from dataclasses import replace

from serve.errors import BadValue, InvalidRequest
from serve.inference.inputs import Decoded
from serve.protocols.examples import Example, ExamplesRequest, column_of, decode_feature, takes_examples
from serve.values.document import MAX_SHOWN, describe


class ExampleRows:
    """The examples of a request.

    Args:
        request: The request.
        method: ``classify`` or ``regress``.

    Raises:
        InvalidRequest: The signature is of another kind.
    """

    def __init__(self, request: ExamplesRequest, method: str) -> None:
        self._request = request
        self._method = method
        self._takes_examples = takes_examples(request.signature, method)

    @property
    def count(self) -> int:
        """The number of examples."""
        return len(self._request.rows)

    def check(self, row: int) -> tuple[str, str] | None:
        """The feature and the error of a bad example; None for a good one."""
        value = self._request.rows[row]
        if not isinstance(value, dict):
            return "", f"expected an object, found {describe(value)}"
        example: Example = dict(self._request.context)
        for name, content in value.items():
            try:
                example[name] = decode_feature(name[:MAX_SHOWN], content)
            except InvalidRequest as error:
                return name[:MAX_SHOWN], str(error)
        if self._takes_examples:
            return None
        for name, info in self._request.signature.inputs.items():
            try:
                column_of([example], info)
            except BadValue as error:
                return name, error.reason
        return None

    def only(self, rows: Sequence[int]) -> Decoded:
        """The request with only these examples."""
        return Decoded(replace(self._request, rows=[self._request.rows[row] for row in rows]).inputs(self._method))
