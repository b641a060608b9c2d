"""The laws of the repository: what a linter can't see, and what prose would otherwise get wrong."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from passerelle.crd import KINDS, definition
from passerelle.gateways.slurmrestd.errors import POLICIES, REFUSALS
from passerelle.slurm import ENDING_BY_REASON
from passerelle.v1alpha1 import API_VERSION, GROUP

REPOSITORY = Path(__file__).resolve().parents[1]
MODULE_LINES = 400
TARGETS = 13
ERRORS = {"Invalid", "Rejected", "Unauthorized", "Unavailable"}
VAGUE = re.compile(r"(^|_)(utils?|helpers?|common|managers?|misc)$")
MACHINE_PATHS = re.compile(r"(?<![\w.<-])(/home/(?!users\b)[a-z]\w*|/Users/\w+|/root/\w+|/work/\w+)")
"""/home/users is a supercomputer's."""


def tracked() -> list[Path]:
    """Every file that git tracks or would track."""
    told = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [path for name in sorted(set(told.split("\0")) - {""}) if (path := REPOSITORY / name).is_file()]


TRACKED = tracked()
MODULES = [path for path in TRACKED if path.suffix == ".py"]
SOURCES = [path for path in MODULES if path.is_relative_to(REPOSITORY / "src")]
PROSE = [path for path in TRACKED if path.suffix == ".md"]


TEXTS = [path for path in TRACKED if path.suffix in {".py", ".md", ".yaml", ".toml", ".sh", ""}]


def named(paths: Iterable[Path]) -> list[str]:
    """Files as a failure names them. A law is one test for all files: a test for each would cost more than it does."""
    return [str(path.relative_to(REPOSITORY)) for path in paths]


@cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def tree_of(path: Path) -> ast.Module:
    return ast.parse(text_of(path))


def imports(path: Path, name: str) -> bool:
    """Whether a module imports anything of this top-level name, anywhere in it. One without the word does not."""
    return name in text_of(path) and name in _imported(path)


def _imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def fenced(path: Path, *languages: str) -> Iterator[str]:
    """The code blocks of a Markdown file in these languages."""
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", text_of(path), re.MULTILINE | re.DOTALL):
        if language in languages:
            yield block


@cache
def anchors(path: Path) -> set[str]:
    """The headings of a Markdown file, as links name them."""
    headings = re.findall(r"^#+ (.+)$", text_of(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def targets() -> dict[str, str]:
    """Documented targets of the Makefile."""
    return dict(
        re.findall(r"^([a-z0-9-]+):.*?## (.+)$", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )


def test_operator_holds_one_file_and_is_no_package() -> None:
    """kopf puts the folder first on sys.path: a sibling would become a top-level module, a package would hide the
    standard library's operator.
    """
    there = {path.name for path in TRACKED if path.parent == REPOSITORY / "operator"}

    assert there == {"main.py"}


def test_only_the_composition_root_imports_kopf() -> None:
    assert named(path for path in MODULES if imports(path, "kopf")) == ["operator/main.py"]


def test_the_product_never_imports_its_sandbox() -> None:
    product = [path for path in SOURCES if path.is_relative_to(REPOSITORY / "src" / "passerelle")]

    assert product
    assert named(path for path in product if imports(path, "passerelle_sandbox")) == []


def test_a_module_can_be_read_in_one_sitting() -> None:
    assert named(path for path in SOURCES if len(text_of(path).splitlines()) > MODULE_LINES) == []


def test_a_module_is_named_by_what_it_is_for() -> None:
    def parts(path: Path) -> tuple[str, ...]:
        return path.relative_to(REPOSITORY / "src").with_suffix("").parts

    assert named(path for path in SOURCES if any(map(VAGUE.search, parts(path)))) == []


def test_a_module_states_its_law() -> None:
    assert named(path for path in SOURCES if text_of(path).strip() and not ast.get_docstring(tree_of(path))) == []


def test_links_lead_somewhere() -> None:
    def leads(path: Path, target: str) -> bool:
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        return there.exists() and (not anchor or anchor in anchors(there))

    links = [(path, target) for path in PROSE for target in re.findall(r"\]\(([^)\s]+)\)", text_of(path))]
    own = [(path, target) for path, target in links if not re.match(r"[a-z]+:", target)]
    assert own
    assert [(*named([path]), target) for path, target in own if not leads(path, target)] == []


def test_a_make_command_in_prose_is_a_target() -> None:
    command = re.compile(r"^(?:\$ )?make ([a-z0-9-]+)", re.MULTILINE)
    told = [(*named([path]), target) for path in PROSE for block in shell(path) for target in command.findall(block)]

    assert told
    assert [each for each in told if each[1] not in targets()] == []


def shell(path: Path) -> Iterator[str]:
    return fenced(path, "sh", "bash", "console")


def test_manifests_in_prose_are_what_the_models_say() -> None:
    assert mistaken((path, block) for path in PROSE for block in fenced(path, "yaml")) == []


def test_examples_are_what_the_models_say() -> None:
    examples = [path for path in TRACKED if path.is_relative_to(REPOSITORY / "examples") and path.suffix == ".yaml"]

    assert examples
    assert mistaken((path, text_of(path)) for path in examples) == []


def test_a_site_that_is_shown_admits_somebody() -> None:
    """Copied as it stands, one without admission is Ready, and nobody may use it."""
    blocks = [block for path in PROSE for block in fenced(path, "yaml")]
    examples = [text_of(path) for path in TRACKED if path.match("examples/**/*.yaml")]
    shown = [each for text in (*blocks, *examples) for each in yaml.safe_load_all(text) if isinstance(each, dict)]
    sites = [each for each in shown if each.get("kind") == "Site"]

    assert sites
    assert [each["metadata"]["name"] for each in sites if not each["spec"].get("admission")] == []


def mistaken(texts: Iterable[tuple[Path, str]]) -> list[str]:
    """What is wrong with the manifests of ours in these files' YAML, each with its file."""
    found = []
    for path, text in texts:
        for manifest in yaml.safe_load_all(text):
            if isinstance(manifest, dict) and str(manifest.get("apiVersion", "")).startswith(f"{GROUP}/"):
                try:
                    check(manifest)
                except (AssertionError, ValueError, StopIteration) as error:
                    found.append(f"{path.relative_to(REPOSITORY)}: {manifest['kind']}: {str(error) or 'no such kind'}")
    return found


def check(manifest: dict[str, Any]) -> None:
    """The manifest's kind is ours, its spec is valid, and every field of it is known."""
    kind = next(kind for kind in KINDS if kind.name == manifest["kind"])
    assert manifest["apiVersion"] == API_VERSION
    assert ("namespace" not in manifest["metadata"]) or kind.scope == "Namespaced"
    kind.spec.model_validate(manifest["spec"])
    schema = definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert unknown(manifest["spec"], schema) == []


def unknown(value: Any, schema: dict[str, Any], path: str = "spec") -> list[str]:
    """The fields of a value that its schema lacks; the models ignore them, as they must."""
    if isinstance(value, list):
        return [found for item in value for found in unknown(item, schema["items"], f"{path}[]")]
    if not isinstance(value, dict) or "additionalProperties" in schema:
        return []
    known = schema["properties"]
    below = [found for name in value.keys() & known for found in unknown(value[name], known[name], f"{path}.{name}")]
    return [f"{path}.{name}" for name in sorted(value.keys() - known)] + below


def reasons() -> set[str]:
    """Every reason of a condition that stands in the code as a word."""
    found = set(ENDING_BY_REASON) | set(REFUSALS.values()) | set(POLICIES.values())
    for path in SOURCES:
        if not any(word in text_of(path) for word in ("reason", "Word")):
            continue  # none of the calls that are looked for
        for node in ast.walk(tree_of(path)):
            if not isinstance(node, ast.Call):
                continue
            called = node.func.id if isinstance(node.func, ast.Name) else ""
            given = [keyword.value for keyword in node.keywords if keyword.arg == "reason" and called in ERRORS]
            given += node.args[1:2] if called == "Word" else []
            found |= {each.value for each in given if isinstance(each, ast.Constant) and isinstance(each.value, str)}
    return found


def test_every_reason_is_explained() -> None:
    told = "".join((REPOSITORY / "docs" / f"{kind.name.lower()}.md").read_text(encoding="utf-8") for kind in KINDS)

    assert {reason for reason in reasons() if f"`{reason}`" not in told} == set()


def test_the_charts_copies_of_the_crds_are_the_crds() -> None:
    """Copies, for a chart is packed alone, and a symbolic link breaks in what unpacks it."""
    copies = REPOSITORY / "charts" / "passerelle" / "files" / "crds"

    assert {path.name: path.read_bytes() for path in copies.iterdir()} == {
        path.name: path.read_bytes() for path in (REPOSITORY / "crds").iterdir()
    }


def test_the_makefile_stays_small_enough_to_remember() -> None:
    assert 0 < len(targets()) <= TARGETS


def test_every_target_is_documented() -> None:
    phony = re.findall(r"^\.PHONY: (.+)$", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)

    assert {name for line in phony for name in line.split()} == set(targets())


def test_the_changelog_knows_the_version() -> None:
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

    newest = re.search(r"^## (\S+)", (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)

    assert newest
    assert newest[1] == version


def test_no_file_knows_the_machine_that_it_was_written_on() -> None:
    others = [path for path in TEXTS if path.name != Path(__file__).name]

    assert named(path for path in others if MACHINE_PATHS.search(text_of(path))) == []


def test_a_clone_stands_alone() -> None:
    """No file reaches beside the repository."""
    others = [path for path in TEXTS if path.name != Path(__file__).name]

    assert named(path for path in others if "../shared" in text_of(path)) == []
