"""Text -> YAML documents, with one sentence about whatever is no YAML. Pure."""

from __future__ import annotations

import yaml

from passerelle.errors import Invalid


def lines(text: str) -> str:
    """The text with line ends as Unix writes them, and without a byte order mark."""
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def documents(text: str) -> list[object]:
    """The documents that are not empty. Raises Invalid."""
    try:
        return [document for document in yaml.safe_load_all(lines(text)) if document is not None]
    except yaml.MarkedYAMLError as error:
        raise Invalid(_sentence(error)) from None
    except yaml.YAMLError:
        raise Invalid("The file is no YAML: it holds characters that no text has; write plain UTF-8.") from None
    except ValueError as error:
        raise Invalid(f"The file is no YAML: {error}; put quotes around such a value.") from None
    except RecursionError:
        raise Invalid("The file is nested too deeply to be a manifest.") from None


def _sentence(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "the file"
    problem = error.problem or "it can't be read"
    if "'\\t'" in problem:
        return f"The file is no YAML: {where} holds a tab; indent with spaces."
    return f"The file is no YAML: {where}: {problem}."
