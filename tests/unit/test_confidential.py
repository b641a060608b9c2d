"""What is taken for a secret, what is not, and that no secret stays in a script, a note or an argument vector."""

from __future__ import annotations

import pytest

from passerelle.confidential import LEFT_OUT, hosts_only, name_promises, value_shows, without_told, words_without
from passerelle.imports import convert

SECRET = "Zq7rT0kV9x"


@pytest.mark.parametrize("name", ["GITHUB_PW", "NEPTUNE_APITOKEN", "SENTRY_DSN", "MYSQL_PASSWD", "trainer.api_key"])
def test_a_name_promises_a_secret(name: str) -> None:
    assert name_promises(name)


@pytest.mark.parametrize("name", ["TOKENIZERS_PARALLELISM", "MAX_TOKENS", "PWD", "OMP_NUM_THREADS"])
def test_a_name_promises_none(name: str) -> None:
    assert not name_promises(name)


@pytest.mark.parametrize(
    "value",
    [
        "sk-Ab3dEf6hIj9kLm2nOp5q",
        "--key=sk-Ab3dEf6hIj9kLm2nOp5q",
        "sk-proj-abcdefghijklmnopqrst",
        "sk-ant-api03-abcdefghijklmnopqrst",
        "https://0123456789abcdef0123@sentry.example/4",
    ],
)
def test_a_value_shows_a_secret(value: str) -> None:
    assert value_shows(value)


@pytest.mark.parametrize(
    "value",
    [
        "en-sk-wmt21-bitext-large",
        "cs-sk-opus-2024-v2-filtered",
        "cs-sk-OPUS-2024-v2-filtered",
        "/scratch/sk-small-model-baseline",
        "/scratch/sk-Small-Model-baseline-2",
        "sk-Small-Model-baseline-2/shard",
        "sk-small-model-baseline-2",
        "sk-Small-Model-baseline-2.jsonl",
        "ssh://git@host.example/a",
    ],
)
def test_a_corpus_and_a_path_show_none(value: str) -> None:
    assert not value_shows(value)


@pytest.mark.parametrize(
    "text",
    [
        f"export WANDB_API_KEY={SECRET}",
        f"export WANDB_API_KEY='{SECRET} {SECRET}'",
        f'bash -c "export WANDB_API_KEY=\\"{SECRET}\\"; python train.py"',
        f"bash -c 'python train.py --hf_token {SECRET}'",
        f"python train.py --hf_token \\\n  {SECRET}",
        f"python train.py trainer.logger.api_key={SECRET} +hf_token={SECRET}",
        f'curl -H "Authorization: Bearer {SECRET}" https://host.example',
        f"curl -u me:{SECRET} https://host.example",
        f"wandb login --relogin {SECRET}",
        f"huggingface-cli login --token {SECRET}",
        f"if true; then wandb login {SECRET}; fi",
        f"mysql -u me -p {SECRET} runs",
        f"mysqldump -p{SECRET} runs",
        f"export KEY=${{WANDB_API_KEY:-{SECRET}}}",
        f"pip install git+https://{SECRET}@host.example/a",
    ],
)
def test_a_script_keeps_no_secret(text: str) -> None:
    clean, _ = without_told(text)
    assert SECRET not in clean
    assert LEFT_OUT in clean
    assert without_told(clean)[0] == clean


@pytest.mark.parametrize(
    "text",
    [
        "python train.py --eos_token x --max_tokens 5 --text-key body data.text_key=body",
        'export HF_TOKEN="$(cat ~/.token)" WANDB_API_KEY=$KEY',
        "wandb login $WANDB_API_KEY",
        "mkdir -p /scratch/a && python mysql_train.py -p 5",
        "git clone ssh://git@host.example/a",
        "python train.py --use_auth_token=True --data /scratch/en-sk-wmt21-bitext-large",
    ],
)
def test_a_script_without_one_stays_as_it_is(text: str) -> None:
    assert without_told(text) == (text, [])


@pytest.mark.parametrize(
    "words, clean",
    [
        (["t.py", f"trainer.logger.api_key={SECRET}"], ["t.py", f"trainer.logger.api_key={LEFT_OUT}"]),
        (["t.py", f"+hf_token={SECRET}"], ["t.py", f"+hf_token={LEFT_OUT}"]),
        (["t.py", f"--password=a {SECRET}"], ["t.py", f"--password={LEFT_OUT}"]),
        (["t.py", "--hf-token", SECRET, "5"], ["t.py", "--hf-token", LEFT_OUT, "5"]),
        (["mysql", "-p", SECRET], ["mysql", "-p", LEFT_OUT]),
        (["mysql", "-uroot", f"-p{SECRET}"], ["mysql", "-uroot", f"-p{LEFT_OUT}"]),
        (["wandb", "login", SECRET], ["wandb", "login", LEFT_OUT]),
        (
            ["t.py", "--header", f"Authorization: Bearer {SECRET}"],
            ["t.py", "--header", f"Authorization: Bearer {LEFT_OUT}"],
        ),
        (["bash", "-c", f"A_TOKEN={SECRET} python t.py"], ["bash", "-c", f"A_TOKEN={LEFT_OUT} python t.py"]),
        (["t.py", "--eos-token", "x", "-p", "5"], ["t.py", "--eos-token", "x", "-p", "5"]),
    ],
)
def test_an_argument_vector_keeps_no_secret(words: list[str], clean: list[str]) -> None:
    assert words_without(words) == clean


@pytest.mark.parametrize(
    "lines",
    [
        f"#SBATCH --foo={SECRET}\npython train.py",
        f"wandb login {SECRET}\npython train.py",
        f"huggingface-cli login --token {SECRET}\npython train.py",
        f"export SENTRY_DSN=https://{SECRET}@host.example GITHUB_PW={SECRET}\npython train.py",
        f"export NEPTUNE_APITOKEN={SECRET}\npython train.py",
        f"for a in 1 2; do\n  wandb login {SECRET}\n  python train.py\ndone",
        f"for a in 1 2; do\n  python train.py --hf_token {SECRET} --header 'Bearer {SECRET}'\ndone",
        f"srun bash -c 'if true; then WANDB_API_KEY={SECRET} python train.py --hf_token {SECRET}; fi'",
        f"srun python train.py model.key_name=a +hf_token={SECRET}",
    ],
)
def test_an_import_brings_no_secret(lines: str) -> None:
    found = convert(f"#!/bin/bash\n#SBATCH --gpus-per-node=4\n{lines}\n")
    assert SECRET not in repr(found)
    assert "train.py" in repr(found)


@pytest.mark.parametrize(
    "text,shown",
    [
        ("fetch https://jane:pw@example.eu:8443/a/b?c=d first", "fetch https://example.eu:8443 first"),
        ("fetch https://jane@example.eu/a.", "fetch https://example.eu."),
        ("'https://jane:p/w@example.eu/a', or", "'https://example.eu', or"),
        ("https://jane:p@w@example.eu/a", "https://example.eu"),
        ("postgres://u:p@db:5432/x and s3://k:s@b/x", "postgres://db:5432 and s3://b"),
        ("https://example.eu:8443/a@v1", "https://example.eu:8443/a@v1"),
        ("https://example.eu/a/b", "https://example.eu/a/b"),
        ("mail me@example.eu", "mail me@example.eu"),
    ],
)
def test_of_an_address_with_a_login_only_the_host_is_shown(text: str, shown: str) -> None:
    assert hosts_only(text) == shown
