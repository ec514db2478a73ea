"""`.trackerignore`: files that are never captured, told as in a `.gitignore`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

FILE_NAME = ".trackerignore"
# What is never code of the user's, where no `.gitignore` says so.
ALWAYS = (
    "__pycache__/", "*.py[cod]", ".venv/", "venv/", "node_modules/", ".git/", ".ipynb_checkpoints/", ".mypy_cache/",
    ".pytest_cache/", ".ruff_cache/", ".tox/", ".nox/", "*.egg-info/", "site-packages/", "wandb/", "mlruns/",
)  # fmt: skip
# Files whose whole content is a secret, or may be: not even with parts of it masked.
SECRETS = (
    ".env", ".env.*", "*.env", "!.env.example", "!.env.template", "!.env.sample", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks",
    "*.keystore", "*.kdbx", "*.ppk", "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", ".netrc", "_netrc", ".pypirc",
    ".npmrc", ".pgpass", ".htpasswd", ".git-credentials", ".boto", ".s3cfg", ".dockercfg", ".aws/", ".ssh/", ".gnupg/",
    ".kube/", ".docker/config.json", "kubeconfig", "credentials.json", "service_account*.json",
    "service-account*.json", "application_default_credentials.json", "client_secret*.json", "secrets.toml",
    "secrets.yaml", "secrets.yml", "secrets.json", "secret.yaml", "secret.yml", "kaggle.json",
)  # fmt: skip
_MAX_BYTES = 256 << 10


class Ignore:
    """Patterns as in a `.gitignore`; the last one that matches a file decides.

    Args:
        patterns: One each; "#" begins a comment, "!" takes a file back, a "/" at the end means folders only, one
            before that ties the pattern to the root.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self._rules: list[tuple[re.Pattern[str], bool]] = []
        for line in patterns:
            pattern = line.rstrip("\r\n")
            if not pattern.endswith("\\ "):
                pattern = pattern.rstrip(" ")
            is_back = pattern.startswith("!")
            pattern = pattern[1:] if is_back else pattern
            if not pattern or pattern.startswith("#"):
                continue
            try:
                self._rules.append((re.compile(_expression(pattern)), is_back))
            except re.error:  # a range that is none
                continue

    def covers(self, path: str) -> bool:
        """Answer whether a file is left out: by its own name, or by a folder it lies in.

        Args:
            path: From the root on, with `/`.
        """
        is_covered = False
        for expression, is_back in self._rules:
            if is_back == is_covered and expression.match(path):
                is_covered = not is_back
        return is_covered


def ignore_of(root: Path) -> Ignore:
    """Answer what `.trackerignore` at this root says; nothing where there is none."""
    try:
        with open(root / FILE_NAME, encoding="utf-8", errors="replace") as file:
            return Ignore(file.read(_MAX_BYTES).splitlines())
    except OSError:
        return Ignore(())


def _expression(pattern: str) -> str:
    is_folder = pattern.endswith("/")
    pattern = pattern.rstrip("/")
    is_rooted = "/" in pattern
    pattern = pattern.removeprefix("/")
    found = "" if is_rooted else "(?:.*/)?"
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if pattern.startswith("**/", at):
            found += "(?:.*/)?"
            at += 3
        elif pattern.startswith("**", at):
            found += ".*"
            at += 2
        elif char == "*":
            found += "[^/]*"
            at += 1
        elif char == "?":
            found += "[^/]"
            at += 1
        elif char == "[" and (end := pattern.find("]", at + 2)) > 0:
            inner = pattern[at + 1 : end].replace("\\", "\\\\")
            found += f"[{'^' + inner[1:] if inner[0] in '!^' else inner}]"
            at = end + 1
        else:
            at += char == "\\" and at + 1 < len(pattern)
            found += re.escape(pattern[at])
            at += 1
    return f"{found}/.*\\Z" if is_folder else f"{found}(?:/.*)?\\Z"
