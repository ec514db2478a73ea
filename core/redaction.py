"""Secrets in what a run captures: found by the name they go under and by their shape, and masked.

Used on everything that was not written for others to read: config, command line, diff, untracked files, remote URLs,
console. Nothing is guessed from randomness alone: a commit, a digest, a UUID or an encoded picture stays as it is.
All of it takes time proportional to the text, whatever the text is: patterns begin with something fixed and repeat
one class of characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

MASK = "[redacted]"

_NO, _WEAK, _STRONG = 0, 1, 2  # how much a name tells: nothing, only of values that look random, all
_MAX_NAME_CHARS = 64
_IDENTIFIER = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
# What the names of secrets hold, in lower case; looked for before anything dearer.
_HINTS = ("pass", "pwd", "secret", "token", "key", "auth", "credential", "cookie", "jwt")
_SECRET_WORDS = {"password", "passwd", "passphrase", "secret", "secrets", "credential", "credentials", "apikey",
                 "authtoken", "accesstoken", "secretkey", "privatekey", "accesskey", "passcode"}  # fmt: skip
_BEFORE_KEY = {"api", "access", "secret", "private", "encryption", "signing", "ssh", "auth", "account", "master",
               "service", "subscription", "shared", "app", "application", "client", "consumer", "deploy", "wandb",
               "openai", "anthropic", "tracker", "hf", "aws", "gcp", "azure"}  # fmt: skip
_BEFORE_TOKEN = {"auth", "access", "api", "bearer", "refresh", "session", "github", "gh", "gitlab", "git", "hf", "hub",
                 "huggingface", "slack", "bot", "discord", "telegram", "csrf", "xsrf", "oauth", "oauth2", "deploy",
                 "service", "security", "private", "personal", "secret", "client", "wandb", "pypi", "npm", "aws",
                 "vault", "registry", "login", "account", "use", "push", "read", "write", "admin", "jwt"}  # fmt: skip
_BEFORE_PASS = {"db", "database", "user", "admin", "root", "smtp", "mysql", "pg", "postgres", "redis", "ftp", "proxy",
                "mail", "email", "ssh", "rabbitmq", "mongo", "http", "basic", "login", "registry"}  # fmt: skip
# Tokens of a text, not of a login: a tokenizer's config is full of them.
_NO_TOKENS = {"pad", "eos", "bos", "unk", "mask", "sep", "cls", "special", "image", "video", "audio", "stop", "start",
              "end", "begin", "first", "last", "next", "prev", "per", "max", "min", "num", "n", "new", "vocab", "input",
              "output", "target", "text", "added", "prompt", "control", "fim", "prefix", "suffix", "middle", "tool",
              "think", "decoder", "separator", "continuation", "word", "sub", "by", "each", "one", "single"}  # fmt: skip
# What says something about a secret is none.
_ABOUT = {"name", "names", "ref", "id", "ids", "path", "file", "arn", "version", "count", "type", "types", "len",
          "length", "manager", "url", "uri", "env", "var", "dir", "ttl", "expiry", "expires", "policy", "size", "field",
          "column", "header", "prefix", "suffix", "format", "limit", "limits", "min", "max", "required", "enabled",
          "index", "error", "hint", "prompt", "regex", "pattern", "idx", "embedding", "embeddings", "dim", "loss",
          "rate", "ratio", "usage", "budget", "store", "provider", "class", "callback", "fn", "func"}  # fmt: skip
_NO_VALUES = {"str", "string", "int", "float", "bool", "bytes", "none", "null", "nil", "true", "false", "any",
              "optional", "undefined", "self", "yes", "no", "empty", "required", "secretstr", "callable", "object",
              "dict", "list", "tuple", "set", "type", "default", "n/a", "na", "not", "is", "redacted", MASK}  # fmt: skip

_PARTS = r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+"
_OPERATOR = r"(?:\\?[\"'`])?\]?[ \t]{0,8}(=>|:=|={1,3}|:)[ \t]{0,8}"
_ANNOTATED = r"[ \t]{0,8}:[ \t]{0,8}[\w.\[\], |]{1,60}?=[ \t]{0,8}(?=[rbufRBUF]{0,2}[\"'])"
_SPACES = r"[ \t]{1,8}(?!-)"
_QUOTED = (
    r"[rbufRBUF]{0,2}"
    r"(?:\"((?:\\.|[^\"\\\r\n]){1,2048})|'((?:\\.|[^'\\\r\n]){1,2048})|\\[\"']([^\"'\\\r\n]{1,2048}))"
)
_BARE = r"[^\s\"'`,;&|<>(){}\[\]\\]{1,2048}"
_RUNS = r"[A-Za-z0-9_\-.:/~+=%@?&]{16,}"  # what holds a token of any shape, whole
_BASE64 = r"[A-Za-z0-9+/=]{16,}"
_PEM = r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----"
_PEM_END = r"-----END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----"
_KEY_BEGINS = "-----BEGIN PRIVATE KEY-----"
_MAX_KEY_LINES = 200
_MAX_PEM_CHARS = 64 << 10  # a key without an end: masked so far

# A fixed part that is looked for first, then the shape. Group 1 is masked, or all of it. Sources: the vendors' own
# pages on what their tokens look like; `\b` keeps a longer word that only ends like a prefix from matching.
_SHAPES: tuple[tuple[str, str], ...] = (
    ("AKIA", r"\bAKIA[A-Z2-7]{16}\b"),
    ("ASIA", r"\bASIA[A-Z2-7]{16}\b"),
    ("ABSK", r"\bABSK[A-Za-z0-9+/]{60,}={0,2}"),
    ("AIza", r"\bAIza[\w-]{35}"),
    ("ya29.", r"\bya29\.[\w-]{20,}"),
    ("GOCSPX-", r"\bGOCSPX-[\w-]{20,}"),
    ("1//0", r"\b1//0[\w-]{40,}"),
    ("Key=", r"\b(?:Account|SharedAccess)Key=([A-Za-z0-9+/]{40,}={0,2})"),
    ("Q~", r"[\w.~-]{3}\dQ~[\w.~-]{31,40}"),
    ("ghp_", r"\bghp_[A-Za-z0-9]{30,}"),
    ("gho_", r"\bgho_[A-Za-z0-9]{30,}"),
    ("ghu_", r"\bghu_[A-Za-z0-9]{30,}"),
    ("ghs_", r"\bghs_[A-Za-z0-9]{30,}"),
    ("ghr_", r"\bghr_[A-Za-z0-9]{30,}"),
    ("github_pat_", r"\bgithub_pat_[A-Za-z0-9_]{22,}"),
    ("glpat-", r"\bglpat-[\w.-]{20,}"),
    ("gl", r"\bgl(?:dt|rt|soat|ft|cbt|ptt|agent|imt|oas)-[\w.-]{20,}"),
    ("ATBB", r"\bATBB[A-Za-z0-9]{32}"),
    ("ATATT3", r"\bATATT3[\w=-]{60,}"),
    ("ATCTT3", r"\bATCTT3[\w=-]{60,}"),
    ("hf_", r"\bhf_[A-Za-z0-9]{30,}"),
    ("api_org_", r"\bapi_org_[A-Za-z0-9]{30,}"),
    ("sk-", r"\bsk-(?=[A-Za-z_-]{0,40}[0-9])[A-Za-z0-9_-]{20,}"),
    ("gsk_", r"\bgsk_[A-Za-z0-9]{30,}"),
    ("xai-", r"\bxai-[A-Za-z0-9]{40,}"),
    ("pplx-", r"\bpplx-[A-Za-z0-9]{40,}"),
    ("r8_", r"\br8_[A-Za-z0-9]{30,}"),
    ("nvapi-", r"\bnvapi-[\w-]{40,}"),
    ("wandb_v1_", r"\bwandb_v1_[\w-]{20,}"),
    ("KGAT_", r"\bKGAT_[0-9a-f]{32}"),
    ("lsv2_", r"\blsv2_(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{6,}"),
    ("pcsk_", r"\bpcsk_\w{40,}"),
    ("xox", r"\bxox[abceoprs]-[A-Za-z0-9-]{10,}"),
    ("xapp-", r"\bxapp-[0-9]-[A-Za-z0-9-]{20,}"),
    ("hooks.slack.com/", r"hooks\.slack\.com/(?:services|workflows|triggers)/([\w/-]{20,})"),
    ("/api/webhooks/", r"/api/webhooks/[0-9]{5,}/([\w-]{20,})"),
    ("webhook.office.com/", r"webhook\.office\.com/webhookb2/([\w@/.-]{20,})"),
    (".", r"\b[MNO](?=[A-Za-z_-]{0,26}[0-9])[A-Za-z0-9_-]{23,27}\.[\w-]{6}\.[\w-]{27,40}"),
    (":AA", r"\b[0-9]{8,10}:AA[\w-]{32,34}"),
    ("_live_", r"\b[spr]k_live_[A-Za-z0-9]{16,}"),
    ("_test_", r"\b[spr]k_test_[A-Za-z0-9]{16,}"),
    ("whsec_", r"\bwhsec_[A-Za-z0-9+/=]{24,}"),
    ("SG.", r"\bSG\.[\w-]{16,}\.[\w-]{16,}"),
    ("SK", r"\bSK[0-9a-f]{32}\b"),
    ("key-", r"\bkey-[0-9a-f]{32}\b"),
    ("-us", r"\b[0-9a-f]{32}-us[0-9]{1,2}\b"),
    ("pypi-", r"\bpypi-[\w-]{50,}"),
    ("npm_", r"\bnpm_[A-Za-z0-9]{36}"),
    ("rubygems_", r"\brubygems_[0-9a-f]{48}"),
    ("dckr_", r"\bdckr_(?:pat|oat)_[\w-]{20,}"),
    ("oy2", r"\boy2[a-z0-9]{43}\b"),
    ("_v1_", r"\bdo[opr]_v1_[0-9a-f]{64}"),
    ("HRKU-", r"\bHRKU-[\w-]{30,}"),
    ("lin_api_", r"\blin_api_[A-Za-z0-9]{32,}"),
    ("ntn_", r"\bntn_[A-Za-z0-9]{40,}"),
    ("secret_", r"\bsecret_[A-Za-z0-9]{43}\b"),
    ("figd_", r"\bfigd_[\w-]{36,}"),
    ("dapi", r"\bdapi[0-9a-f]{32}(?:-[0-9])?\b"),
    ("hvs.", r"\bhvs\.[\w-]{20,}"),
    ("hvb.", r"\bhvb\.[\w-]{20,}"),
    (".atlasv1.", r"\b[A-Za-z0-9]{14}\.atlasv1\.[\w=-]{40,}"),
    ("glsa_", r"\bglsa_[A-Za-z0-9]{32}_[0-9a-f]{8}"),
    ("glc_", r"\bglc_[A-Za-z0-9+/=]{32,}"),
    ("NRAK-", r"\bNRAK-[A-Z0-9]{27}"),
    ("sntry", r"\bsntry[su]_[\w=+/.-]{40,}"),
    ("dp.", r"\bdp\.(?:pt|st|ct|sa|scim|audit)\.(?:[a-z0-9_-]{2,35}\.)?[A-Za-z0-9]{40,}"),
    ("pscale_", r"\bpscale_(?:tkn|pw|oauth)_[\w.=-]{32,}"),
    ("shp", r"\bshp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}"),
    ("PMAK-", r"\bPMAK-[0-9a-f]{24}-[0-9a-f]{34}"),
    ("sbp_", r"\bsbp_[0-9a-f]{40}"),
    ("tskey-", r"\btskey-[a-z]{2,12}-[\w-]{10,}"),
    ("ops_eyJ", r"\bops_eyJ[\w-]{40,}"),
    ("AGE-SECRET-KEY-", r"\bAGE-SECRET-KEY-1[0-9A-Z]{40,}"),
    ("pat", r"\bpat[A-Za-z0-9]{14}\.[0-9a-f]{64}"),
    ("EAA", r"\bEAA[A-Za-z0-9]{90,}"),
    ("fm2_", r"\bfm2_[A-Za-z0-9+/=]{40,}"),
    ("tk_", r"\btk_[A-Za-z0-9]{24,}"),
    ("eyJ", r"\beyJ[\w-]{8,}\.(?:eyJ)?[\w-]{4,}\.[\w.-]{4,}"),
    ("://", r"://[^\s/:@\"'<>?#]{0,256}:([^\s/@\"'<>]{1,1024})@(?=[\w\[])"),
    ("://", r"://((?=[A-Za-z_-]{0,40}[0-9])[\w.~-]{20,1024})@(?=[\w\[])"),
    ("ignature=", r"[?&](?:[Ss]ignature|X-Amz-Signature|X-Goog-Signature)=([^&\s\"'<>#]{8,})"),
    ("sig=", r"[?&]sig=([^&\s\"'<>#]{8,})"),
    ("key=", r"[?&](?:key|subscription-key)=([^&\s\"'<>#]{12,})"),
    ("-Token=", r"[?&]X-Amz-Security-Token=([^&\s\"'<>#]{8,})"),
)  # fmt: skip
# The same for what has spaces in it; the fixed part is in lower case, and so is the text it is looked for in.
_SENTENCES: tuple[tuple[str, str], ...] = (
    ("bearer ", r"(?i:\bbearer)[ \t]{1,4}((?=[A-Za-z_.~+/=-]{0,40}[0-9])[\w.~+/=-]{12,})"),
    ("authorization", r"(?i:authorization)[\"']?[ \t]{0,4}[:=][ \t]{0,4}[\"']?(?i:bearer|basic|token|apikey|digest)"
                      r"[ \t]{1,4}([\w.~+/=-]{4,})"),
    (" password ", r"(?i:\blogin)[ \t]{1,8}[^\s]{1,128}[ \t]{1,8}(?i:password)[ \t]{1,8}([^\s]{1,256})"),
    ("sshpass ", r"\bsshpass[ \t]{1,4}-p[ \t]{0,4}([^\s]{1,256})"),
    ("curl ", r"\bcurl\b[^\n]{0,512}?[ \t](?:-u|--user)[ \t=]{1,4}[\"']?[^\s:\"']{1,128}:([^\s\"']{1,256})"),
    ("docker login", r"docker login[^\n]{0,256}?[ \t](?:-p|--password)[ \t=]{1,4}([^\s]{1,256})"),
)  # fmt: skip


def redact(text: str) -> str:
    """Answer a text with the secrets in it masked.

    Args:
        text: One line or many; a key in several lines (PEM) is only seen where it is there as a whole.

    Example:
        redact("git clone https://me:hunter2@example.org/x")  # 'git clone https://me:[redacted]@example.org/x'
    """
    return redact_counted(text)[0]


def redact_counted(text: str) -> tuple[str, int]:
    """Answer a text with the secrets in it masked, and how many there were."""
    spans = sorted(_spans(text))
    if not spans:
        return text, 0
    parts: list[str] = []
    at = count = 0
    for start, end in spans:
        if start < at:  # inside what is masked already
            continue
        parts += (text[at:start], MASK)
        at = end
        count += 1
    parts.append(text[at:])
    return "".join(parts), count


class Redactor:
    """Masks secrets in lines that come bit by bit; it remembers that a private key has begun."""

    def __init__(self) -> None:
        self._key_lines = 0  # of a key, so far; 0 outside of one

    def lines(self, lines: Sequence[str]) -> list[str]:
        """Answer the lines, in order, with the secrets in them masked.

        Args:
            lines: Those that came since the last call, without newlines.
        """
        text = "\n".join(lines)
        if self._key_lines:
            text = f"{_KEY_BEGINS}\n{text}"
        found = redact(text).split("\n")
        begins = max(text.rfind("-----BEGIN"), -1)
        is_inside = begins >= 0 and "PRIVATE KEY" in text[begins:] and "-----END" not in text[begins:]
        was_inside, self._key_lines = bool(self._key_lines), self._key_lines + len(lines) if is_inside else 0
        if self._key_lines > _MAX_KEY_LINES:  # no key is that long: it has ended somewhere
            self._key_lines = 0
        return found[1:] if was_inside else found


def redact_bytes(data: bytes) -> tuple[bytes, int]:
    """Do the same for bytes that are a text in UTF-8, or nearly; all others come back as they were."""
    text, count = redact_counted(data.decode("utf-8", "surrogateescape"))
    return (text.encode("utf-8", "surrogateescape"), count) if count else (data, 0)


def redact_arguments(arguments: Iterable[str]) -> list[str]:
    """Answer a command line with its secrets masked: those of `--api-key X` and `--api-key=X`, and all of a known shape.

    Args:
        arguments: As in `sys.argv`.
    """
    found: list[str] = []
    is_value = False
    for argument in arguments:
        name, sign, value = argument.partition("=")
        if is_value and not argument.startswith("--"):
            found.append(MASK)
        elif sign and value and _secrecy(name.lstrip("-+")) == _STRONG:  # Hydra's overrides have no dashes
            found.append(f"{name}={MASK}")
        else:
            found.append(redact(argument))
        is_value = argument.startswith("-") and not sign and _secrecy(argument.lstrip("-")) == _STRONG
    return found


def redact_values(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Answer nested plain values with the texts masked that are secrets by their name or shape.

    Args:
        values: Such as a config; it is not changed.

    Returns:
        The values (the same parts where nothing is masked), and the dotted names of what was.
    """
    names: list[str] = []
    found = _redact_value(values, "", False, names)
    return (found if isinstance(found, dict) else dict(found)), names


def redact_url(url: str) -> str:
    """Answer a URL without user and password; `git@host:path` keeps its user, which is no secret."""
    scheme, sign, rest = url.partition("://")
    if sign:
        authority, slash, path = rest.partition("/")
        if "@" in authority and not scheme.endswith("ssh"):
            authority = authority.rpartition("@")[2]
        elif ":" in authority.rpartition("@")[0]:
            user, _, host = authority.rpartition("@")
            authority = f"{user.partition(':')[0]}@{host}"
        url = f"{scheme}://{authority}{slash}{path}"
    return redact(url)


def is_secret_name(name: str) -> bool:
    """Answer whether what goes under this name is a secret: `api_key`, `DB_PASSWORD`, `clientSecret`, ..."""
    return _secrecy(name) == _STRONG


# --- names --------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _secrecy(name: str) -> int:
    lowered = name.lower()
    if not any(hint in lowered for hint in _HINTS):
        return _NO
    words = [part.lower() for part in _compiled(_PARTS).findall(name)]
    while words and words[-1].isdigit():  # api_key_2
        words.pop()
    if not words or words[-1] in _ABOUT:
        return _NO
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    if any(word in _SECRET_WORDS for word in words) or lowered.replace("_", "").replace("-", "") in _SECRET_WORDS:
        return _STRONG
    if last == "key" or (last in ("base64", "b64", "pem") and before == "key"):
        return _STRONG if any(word in _BEFORE_KEY for word in words[:-1]) else _NO
    if last in ("token", "jwt"):
        if before in _NO_TOKENS:
            return _NO
        return _STRONG if not before or before in _BEFORE_TOKEN or last == "jwt" else _WEAK
    if last in ("pass", "pwd"):
        return _STRONG if before in _BEFORE_PASS else _WEAK if last == "pwd" else _NO
    if last in ("auth", "authorization", "cookie"):
        return _WEAK
    return _NO


def _looks_random(value: str, least: int) -> bool:
    return (
        len(value) >= least
        and "/" not in value
        and not value.replace(".", "").replace("-", "").isdigit()
        and any(char.isdigit() for char in value)
        and any(char.isalpha() for char in value)
    )


# --- texts --------------------------------------------------------------------------------


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """Walk the places of all secrets in a text, in no order; they may overlap."""
    lowered = text.lower()
    if len(lowered) != len(text):  # some letters become two
        lowered = "".join(char.lower() if char.isascii() else char for char in text)
    for hint in _HINTS:
        at = lowered.find(hint)
        while at >= 0:
            span = _assigned(text, at, len(hint))
            end = at + len(hint)
            if span is not None:
                yield span
                end = max(end, span[1])
            at = lowered.find(hint, end)
    for hint, pattern in _SENTENCES:
        if hint in lowered:
            yield from _matches(pattern, text)
    runs = _compiled(_RUNS).findall(text)
    if runs:
        candidates = "\n".join(runs)
        for hint, pattern in _SHAPES:
            if hint in candidates:
                # Only within the runs: they are few in most texts, and all of a token is in one.
                yield from _matches(pattern, text)
    if "PRIVATE KEY" in text:
        yield from _keys(text)


def _matches(pattern: str, text: str) -> Iterator[tuple[int, int]]:
    for found in _compiled(pattern).finditer(text):
        yield found.span(found.lastindex or 0)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)  # at first need: all together take milliseconds, and most are never needed


def _keys(text: str) -> Iterator[tuple[int, int]]:
    """Walk what is between the lines of a PEM; line breaks stay, and so does what stands before each line."""
    at = 0
    while (begin := _compiled(_PEM).search(text, at)) is not None:
        end = _compiled(_PEM_END).search(text, begin.end(), begin.end() + _MAX_PEM_CHARS)
        at = end.start() if end else min(len(text), begin.end() + _MAX_PEM_CHARS)
        for run in _compiled(_BASE64).finditer(text, begin.end(), at):
            start = run.start()
            # JSON's line break, and the mark of a diff, are no part of the key.
            if text[start - 1 : start + 1] in ("\\n", "\n+"):
                start += 1
            yield start, run.end()


def _assigned(text: str, at: int, length: int) -> tuple[int, int] | None:
    """Answer where the value is that is given to the name around `at`, if that is a secret."""
    before = text[max(0, at - _MAX_NAME_CHARS) : at]
    start = at - (len(before) - len(before.rstrip(_IDENTIFIER)))
    after = text[at + length : at + length + _MAX_NAME_CHARS]
    end = at + length + len(after) - len(after.lstrip(_IDENTIFIER))
    name = text[start:end]
    secrecy = _secrecy(name.strip("-"))
    if secrecy == _NO:
        return None
    is_option = name.startswith("-")
    operator = _compiled(_OPERATOR).match(text, end)
    if operator is None:
        operator = _compiled(_SPACES).match(text, end) if is_option else None
        if operator is None:
            return None
    elif operator[0].strip() == ":" and (annotated := _compiled(_ANNOTATED).match(text, end)) is not None:
        operator = annotated
    quoted = _compiled(_QUOTED).match(text, operator.end())
    if quoted is not None:
        span = quoted.span(quoted.lastindex or 0)
        value = text[slice(*span)]
        if value.lower() in _NO_VALUES or value[0] in "<[{$*" or value.endswith("..."):
            return None
        if secrecy == _WEAK or name.lower().endswith(("token", "jwt")):  # parsers compare tokens with signs and words
            return span if _looks_random(value, 16 if secrecy == _WEAK else 8) else None
        return span
    bare = _compiled(_BARE).match(text, operator.end())
    if bare is None or not _is_secret(name, bare, operator[0], secrecy, is_option):
        return None
    return bare.span()


def _is_secret(name: str, bare: re.Match[str], operator: str, secrecy: int, is_option: bool) -> bool:
    """Answer whether a value without quotes is one, and not a piece of a program: a variable, a call, a type."""
    value, text, end = bare[0], bare.string, bare.end()
    if value.lower() in _NO_VALUES or value[0] in "$%*=" or len(set(value)) == 1 or value.endswith(("=", "...")):
        return False
    follows = text[end : end + 1]
    if follows in ("(", "[", "{") or secrecy == _WEAK:
        return follows not in ("(", "[", "{") and _looks_random(value, 16)
    if is_option:
        return True
    if name.lower().endswith(("token", "key", "jwt")):
        is_env = operator == "=" and name.isupper()
        return (_looks_random(value, 8) and not _is_program(value)) or (is_env and not value.isdigit())
    if any(not (char.isalpha() or char in "_.-") for char in value):
        return not _is_program(value)
    if operator == "=" and name.isupper():
        return True
    is_last = not text[end : end + 1].strip(" \t\r\n") and not text[end : end + 8].partition("\n")[0].strip()
    return operator.endswith((": ", ":\t")) and is_last and value.islower()


def _is_program(value: str) -> bool:
    """Answer whether it reads as names with dots between: `args.key2`; not `a8f2....` of a token."""
    parts = value.split(".")
    return len(parts) > 1 and all(part.isidentifier() and len(part) < 24 for part in parts)


# --- values -------------------------------------------------------------------------------


def _redact_value(value: Any, path: str, is_secret: bool, names: list[str]) -> Any:
    if isinstance(value, str):
        if not value or value == MASK:
            return value
        masked = MASK if is_secret and value.lower() not in _NO_VALUES else value
        if not is_secret and (len(value) >= 16 or "://" in value):
            masked = redact(value)
        if masked != value:
            names.append(path)
        return masked
    if isinstance(value, Mapping):
        changed: dict[str, Any] = {}
        for key, item in value.items():
            name = str(key)
            below = _redact_value(
                item, f"{path}.{name}" if path else name, is_secret or _secrecy(name) == _STRONG, names
            )
            if below is not item:
                changed[key] = below
        return {**value, **changed} if changed else value
    if isinstance(value, (list, tuple)):
        items = [_redact_value(item, path, is_secret, names) for item in value]
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    return value


def is_redacted(data: bytes) -> bool:
    """Answer whether something in these bytes was masked."""
    return MASK.encode() in data


__all__: Sequence[str] = [
    "MASK",
    "Redactor",
    "is_redacted",
    "is_secret_name",
    "redact",
    "redact_arguments",
    "redact_bytes",
    "redact_counted",
    "redact_url",
    "redact_values",
]
