"""What looks like a secret: names that promise one, and values that have the form of one. Pure.

A guess in the safe direction: a variable that is wrongly taken for a secret costs its owner a line, a secret that is
wrongly taken for a word stands in a manifest, in Git and in Slurm's records.
"""

from __future__ import annotations

import re

_WORDS = frozenset(
    {
        "APIKEY",
        "APITOKEN",
        "AUTH",
        "AUTHORIZATION",
        "CREDENTIAL",
        "CREDENTIALS",
        "DSN",
        "KEY",
        "PASS",
        "PASSPHRASE",
        "PASSWD",
        "PASSWORD",
        "PAT",
        "PW",
        "SECRET",
        "TOKEN",
    }
)
"""Of the words in a name: WANDB_API_KEY is one, TOKENIZERS_PARALLELISM and MAX_TOKENS are none."""

_FORMS = re.compile(
    r"""
      eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)?   # a JSON Web Token
    | \bhf_[A-Za-z0-9]{20,}                                     # Hugging Face
    | \bgh[opsu]_[A-Za-z0-9]{20,} | \bgithub_pat_\w{20,}        # GitHub
    | \bglpat-[A-Za-z0-9_-]{16,}                                # GitLab
    | (?<![\w/-])sk-(?![\w-]*(?:/|\.\w))                        # OpenAI and its like; no Slovak corpus, no path
      (?:(?:proj|ant)-|(?=[\w-]*[0-9])(?=[\w-]*[A-Z]))[A-Za-z0-9_-]{16,}
    | \b(AKIA|ASIA)[A-Z0-9]{16}\b                               # AWS
    | \bxox[abpr]-[A-Za-z0-9-]{10,}                             # Slack
    | (?<=://)[^/\s:@]*:[^/\s@]+(?=@)                           # user and password of an address
    | (?<=https://)[A-Za-z0-9_-]{16,}(?=@)                      # a key as the user of an address
    """,
    re.VERBOSE,
)

LEFT_OUT = "LEFT-OUT"
"""Stands where a secret stood."""

_VALUE = r"""(?:\\"[^"\\]*\\"|"(?:\\.|[^"\\])*"|'[^']*'|(?:\\[^\n]|[^\s;&|"'`()\\])+)"""
_GAP = r"(?:[ \t]|\\\n)+"
_BEFORE = r"""(?<![^\s;&|("'`,\[])"""
_ASSIGNED = re.compile(rf"{_BEFORE}([-+~]*[A-Za-z_][\w.-]*\+?)=")
_OPTION = re.compile(rf"{_BEFORE}(--?[A-Za-z][\w.-]*){_GAP}(?!-|(?:is|are)\s)")
_ONE = re.compile(_VALUE)
_DEFAULT = re.compile(r"\$\{(\w+)(:?[-=])([^}$]+)\}")
_HEADER = re.compile(
    r"(?i)\b(authorization:\s*(?:(?:basic|bearer|token)\s+)?|(?:x-[\w-]+|private-token):\s*|bearer\s+)"
    r"""([^\s"'`$\\]+)"""
)
_LOGIN = re.compile(
    rf"\b((?:clearml|comet|hf|huggingface-cli|neptune|wandb)(?:{_GAP}auth)?{_GAP}login)((?:{_GAP}{_VALUE})+)"
)
_PROGRAM = re.compile(
    r"""(?<![^\s;&|("'`/])((?:(?:mysql|mariadb|mongo)[\w-]*|sshpass|(?:docker|podman)\s+login)\s(?:[^;&|\n]{0,200}?\s)?-p"""
    r"""|redis-cli\s(?:[^;&|\n]{0,200}?\s)?-a|curl\s(?:[^;&|\n]{0,200}?\s)?(?:-u|--user))"""
    rf"({_GAP}|=?)(?!-)({_VALUE})"
)
_FLAG = re.compile(r"(?i)true|false|none|null|[0-9]")
_CERTAIN = frozenset(
    {"ACCESS", "API", "APIKEY", "APITOKEN", "AUTHORIZATION", "DSN", "PASSPHRASE", "PASSWD", "PASSWORD", "PW", "SECRET"}
)
_OF_DATA = re.compile(r"(?i)(pad|eos|bos|sep|mask|unk|cls|special|json|text|data|image|label|column|max|new|num)")


def name_promises(name: str) -> bool:
    """Whether a variable or an option of this name holds a secret by its promise: WANDB_API_KEY, --hf-token, apiKey."""
    return not _WORDS.isdisjoint(_words(name))


def option_promises(name: str) -> bool:
    """The same of an option, where tokenizers and data have keys and tokens that are none: --eos-token, --text-key."""
    of_data = _OF_DATA.search(name) is not None and not name.isupper() and _CERTAIN.isdisjoint(_words(name))
    return name_promises(name) and not of_data


def _words(name: str) -> list[str]:
    return re.split(r"[^A-Z0-9]+", re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).upper())


def value_shows(value: str) -> bool:
    """Whether a secret of a known form stands somewhere in the text."""
    return _FORMS.search(value) is not None


def without(text: str) -> str:
    """The text, with LEFT_OUT in place of every secret of a known form."""
    return _FORMS.sub(LEFT_OUT, text)


_LOGIN_OF_ADDRESS = re.compile(
    r"""(?P<scheme>\b[A-Za-z][A-Za-z0-9+.-]{0,20}://)(?:[^/\s"'@]*|[^/\s"':@]*:(?![0-9]+/)[^\s"'@]*)@"""
    r"""(?:[^/\s"'@]*@)?(?P<host>[^/\s"'?#,;)]*)(?:[^\s"',;)]*[^\s"',;).])?"""
)


def hosts_only(text: str) -> str:
    """The text of a message, with nothing but the host of each address that somebody logs in to."""
    return _LOGIN_OF_ADDRESS.sub(lambda found: found["scheme"] + found["host"], text)


def without_told(text: str) -> tuple[str, list[str]]:
    """The text of a script or a note, with LEFT_OUT for secrets by form or by what stands before; the names, if any."""
    lost: list[str] = []

    def hidden(value: str) -> bool:
        bare = value.strip("\\\"'")
        return bool(bare) and bare != LEFT_OUT and not bare.startswith("$") and not _FLAG.fullmatch(bare)

    def after(lead: re.Pattern[str], text: str) -> str:
        done, place = "", 0
        while found := lead.search(text, place):
            value = _ONE.match(text, found.end()) if option_promises(found[1]) else None
            done, place = done + text[place : found.end()], found.end()
            if value is not None and hidden(value[0]):
                lost.append(found[1].strip("+"))
                done, place = done + LEFT_OUT, value.end()
        return done + text[place:]

    def default(found: re.Match[str]) -> str:
        if not option_promises(found[1]) or not hidden(found[3]):
            return found[0]
        lost.append(found[1])
        return f"${{{found[1]}{found[2]}{LEFT_OUT}}}"

    text = _DEFAULT.sub(default, text)
    text = _HEADER.sub(lambda found: found[1] + LEFT_OUT, text)
    text = after(_OPTION, after(_ASSIGNED, text))
    text = _PROGRAM.sub(lambda found: found[1] + found[2] + (LEFT_OUT if hidden(found[3]) else found[3]), text)
    text = _LOGIN.sub(lambda found: found[1] + _arguments(found[2]), text)
    text = without(text)
    return re.sub(r"(?<=://)[^/\s:@\"'$]+(?=@)", LEFT_OUT, text) if "http" in text else text, lost


def _arguments(text: str) -> str:
    """The arguments of a login: options stay, and what the shell puts in."""
    return re.sub(
        rf"({_GAP})({_VALUE})",
        lambda found: found[0] if found[2].strip("\"'").startswith(("-", "$")) else found[1] + LEFT_OUT,
        text,
    )


def words_without(words: list[str]) -> list[str]:
    """An argument vector with LEFT_OUT for its secrets: in a word, after an option, after a login."""
    clean = []
    for word in words:
        name, equals, value = word.partition("=")
        whole = name.startswith(("-", "+")) or not re.search(r"\s", value)
        if equals and whole and re.fullmatch(r"[-+~]*[A-Za-z_][\w.-]*", name):
            promised = option_promises(name) and value and value[0] != "$" and not _FLAG.fullmatch(value)
            clean.append(f"{name}={LEFT_OUT}" if promised else without_told(word)[0])
        else:
            clean.append(without_told(word)[0])
    for place, word in enumerate(clean[1:], 1):
        option = clean[place - 1]
        lead = " ".join(clean[max(0, place - _NEAR) : place])
        if option.startswith("-") and "=" not in option and option_promises(option):
            clean[place] = word if word.startswith(("-", "$")) or _FLAG.fullmatch(word) else LEFT_OUT
        elif not re.search(r"[\n;&|]", lead) and not re.search(r"\s", word):
            told = without_told(f"{lead} {word}")[0]
            clean[place] = told.removeprefix(f"{lead} ") if told.startswith(f"{lead} ") else word
    return clean


_NEAR = 8
"""So many words back stands the program of a word that follows a login or a -p."""
