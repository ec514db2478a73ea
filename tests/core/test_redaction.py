"""Secrets are masked wherever they stand; what only looks strange stays."""

from __future__ import annotations

import pytest

from tracker.core.redaction import (
    MASK,
    Redactor,
    is_secret_name,
    redact,
    redact_arguments,
    redact_bytes,
    redact_counted,
    redact_url,
    redact_values,
)


def letters(count: int, start: int = 7) -> str:
    """Answer letters and digits in no order that a person would see; put together here, so that no scanner cries."""
    alphabet = "aB3dE5gH7jK9mN2pQ4rS6tU8vW1xYzZ0"
    return "".join(alphabet[(start * (index + 3) * 5 + index * index) % len(alphabet)] for index in range(count))


def digits(count: int) -> str:
    return letters(count).lower().translate(dict.fromkeys(range(ord("g"), ord("z") + 1), "7"))


def capitals(count: int) -> str:
    return letters(count).upper().translate(str.maketrans("01589", "ABCDE"))


# name, token, how it stands in a text
TOKENS = {
    "aws-id": "AKIA" + capitals(16),
    "aws-session": "ASIA" + capitals(16),
    "google-api": "AIza" + letters(35),
    "google-oauth": "ya29." + letters(60),
    "google-client": "GOCSPX-" + letters(28),
    "google-refresh": "1//0" + letters(50),
    "azure-client": "abc8Q~" + letters(34),
    "github": "ghp_" + letters(36),
    "github-oauth": "gho_" + letters(36),
    "github-app": "ghs_" + letters(36),
    "github-refresh": "ghr_" + letters(40),
    "github-fine": "github_pat_" + letters(22) + "_" + letters(59),
    "gitlab": "glpat-" + letters(20),
    "gitlab-deploy": "gldt-" + letters(20),
    "gitlab-runner": "glrt-" + letters(20),
    "bitbucket": "ATBB" + letters(32),
    "atlassian": "ATATT3" + letters(80),
    "huggingface": "hf_" + letters(34),
    "huggingface-org": "api_org_" + letters(34),
    "openai": "sk-" + letters(48),
    "openai-project": "sk-proj-" + letters(60) + "-" + letters(20),
    "anthropic": "sk-ant-api03-" + letters(90),
    "openrouter": "sk-or-v1-" + digits(64),
    "groq": "gsk_" + letters(52),
    "xai": "xai-" + letters(80),
    "perplexity": "pplx-" + letters(48),
    "replicate": "r8_" + letters(37),
    "nvidia": "nvapi-" + letters(64),
    "wandb": "wandb_v1_" + letters(70),
    "kaggle": "KGAT_" + digits(32),
    "langsmith": "lsv2_pt_" + digits(32) + "_" + digits(10),
    "pinecone": "pcsk_" + letters(60),
    "slack-bot": "xoxb-1234567890-1234567890123-" + letters(24),
    "slack-user": "xoxp-1234567890-1234567890-" + letters(30),
    "slack-app": "xapp-1-A0123456789-1234567890123-" + digits(64),
    "discord": "MTA1" + letters(20) + "." + letters(6) + "." + letters(38),
    "telegram": "123456789:AA" + letters(33),
    "stripe": "sk_live_" + letters(24),
    "stripe-restricted": "rk_test_" + letters(24),
    "stripe-hook": "whsec_" + letters(32),
    "sendgrid": "SG." + letters(22) + "." + letters(43),
    "twilio": "SK" + digits(32),
    "mailgun": "key-" + digits(32),
    "mailchimp": digits(32) + "-us12",
    "pypi": "pypi-AgEIcHlwaS5vcmc" + letters(80),
    "npm": "npm_" + letters(36),
    "rubygems": "rubygems_" + digits(48),
    "docker": "dckr_pat_" + letters(27),
    "nuget": "oy2" + letters(43).lower(),
    "digitalocean": "dop_v1_" + digits(64),
    "heroku": "HRKU-" + letters(36),
    "linear": "lin_api_" + letters(40),
    "notion": "ntn_" + letters(46),
    "figma": "figd_" + letters(40),
    "databricks": "dapi" + digits(32),
    "vault": "hvs." + letters(90),
    "terraform": letters(14) + ".atlasv1." + letters(60),
    "grafana": "glsa_" + letters(32) + "_" + digits(8),
    "newrelic": "NRAK-" + capitals(27),
    "sentry": "sntrys_" + letters(80),
    "doppler": "dp.pt." + letters(43),
    "planetscale": "pscale_tkn_" + letters(43),
    "shopify": "shpat_" + digits(32),
    "postman": "PMAK-" + digits(24) + "-" + digits(34),
    "supabase": "sbp_" + digits(40),
    "tailscale": "tskey-auth-" + letters(12) + "-" + letters(32),
    "airtable": "pat" + letters(14) + "." + digits(64),
    "facebook": "EAA" + letters(120),
    "tracker": "tk_" + letters(43),
    "jwt": "eyJ" + letters(33) + ".eyJ" + letters(60) + "." + letters(43),
    "age": "AGE-SECRET-KEY-1" + capitals(58),
}
PLACES = [
    "{}",
    "the token is {}, keep it",
    'x = "{}"',
    "+    call('{}')",
    '{{"a": "{}"}}',
    "https://x.org/?a={}&b=1",
    "a\n{}\nb",
]

# text, the secret in it
SENTENCES = [
    ("https://me:hunter2@example.org/x.git", "hunter2"),
    ("postgresql+psycopg2://admin:s3cr:et@db.local:5432/runs", "s3cr:et"),
    ("redis://:p4ss@cache:6379/0", "p4ss"),
    ("https://" + letters(40) + "@git.example.org/a/b", letters(40)),
    ("AccountName=x;AccountKey=" + letters(86) + "==;EndpointSuffix=core", letters(86)),
    ("https://x.blob.core.windows.net/c?sv=2022&sig=" + letters(40) + "%3D", letters(40)),
    ("https://b.s3.amazonaws.com/k?X-Amz-Signature=" + digits(64), digits(64)),
    ("https://hooks.slack.com/services/T0000/B0000/" + letters(24), letters(24)),
    ("https://discord.com/api/webhooks/123456789/" + letters(68), letters(68)),
    ("https://maps.example.org/?key=" + letters(20), letters(20)),
    ("Authorization: Bearer " + letters(30), letters(30)),
    ('headers={"Authorization": "Basic ' + letters(20) + '"}', letters(20)),
    ("curl -u alice:hunter2 https://x.org", "hunter2"),
    ("machine x.org login alice password hunter2", "hunter2"),
    ("docker login -u me -p hunter2 registry.local", "hunter2"),
    ("sshpass -p hunter2 ssh host", "hunter2"),
    ("--api-key=" + letters(12), letters(12)),
    ("python train.py --api_key abcdef --lr 0.1", "abcdef"),
    ("password: hunter2", "hunter2"),
    ("password: correcthorse\n", "correcthorse"),
    ("DB_PASSWORD=correcthorse", "correcthorse"),
    ("export AWS_SECRET_ACCESS_KEY=" + letters(38) + "/+", letters(38)),
    ('"password": "correct horse battery"', "correct horse battery"),
    ("{\\\"password\\\": \\\"hunter2\\\"}", "hunter2"),
    ("client_secret = 'abc'", "abc"),
    ("clientSecret: 'abc',", "abc"),
    ('password: str = "hunter2"', "hunter2"),
    ("os.environ['WANDB_API_KEY'] = '" + digits(40) + "'", digits(40)),
    ('environ["HF_TOKEN"]="' + letters(30) + '"', letters(30)),
    ("api_key: " + letters(20), letters(20)),
    ("token=" + letters(20), letters(20)),
    ("GITHUB_TOKEN=" + letters(20), letters(20)),
    ('"auth": "' + letters(30) + '"', letters(30)),
    ("Set-Cookie: " + letters(40), letters(40)),
]  # fmt: skip

PEM = f"-----BEGIN RSA PRIVATE KEY-----\n{letters(64)}\n{letters(40, 3)}\n-----END RSA PRIVATE KEY-----"

HARMLESS = [
    "commit 3f786850e387550fdab836ed7e6dc881de23001b",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "blake3 af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
    "550e8400-e29b-41d4-a716-446655440000",
    "/home/alice/projects/token-classification/data/passwords_2024/train.json",
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
    "index 83db48f..bf2a6e1 100644",
    "diff --git a/src/auth/token.py b/src/auth/token.py",
    "epoch 3 step 1200 loss 0.1234 tokens/s 51234.5",
    "tokens: 512, tokens_per_second=1234567",
    "pad_token: <pad>  eos_token: </s>  unk_token_id: 3",
    'tokenizer = AutoTokenizer.from_pretrained("bert-base-uncased")',
    '{"bos_token": "<s>", "sep_token": "[SEP]", "special_tokens_map_file": "/a/b/special_tokens_map.json"}',
    "max_new_tokens=256, num_tokens=1024",
    "token = tokens[index]",
    "if token == ']' or token == 'class': TRACKER_API_KEY=tk_...",
    "next_token = logits.argmax(-1)",
    "def login(user: str, password: str, token: str | None = None) -> None:",
    "    password: str",
    "    api_key: Optional[str] = None",
    "connect(password=password, token=token, api_key=self.api_key)",
    "password = getpass.getpass()",
    "api_key = os.environ['API_KEY']",
    "api_key=${{ secrets.API_KEY }}",
    "PASSWORD=$DB_PASSWORD",
    "key = 'loss'; sort_key=lambda run: run.name",
    "primary_key: id, foreign_key='run.id'",
    "monkey=1 keyboard: us author: Alice authors = ['x']",
    "git@github.com:alice/project.git",
    "https://github.com/alice/project.git",
    "http://localhost:8765/local/digits/runs/a1b2c3d4",
    "s3://bucket/prefix/key=value/part-0001.parquet",
    "passes 12 failed 0 passed: 130",
    "pass@1: 0.34 compass=3",
    "meta-llama/Llama-3.1-8B-Instruct",
    "<div id='sk-container-id-1' class='sk-top-container'><label class=\"sk-toggleable__label-arrow fitted\">",
    "secret_name: my-secret  password_file=/run/secrets/db  token_count: 17",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGeUfGAHY7CwoPYMZnhqxSJkzBZBxpnZ1iVlGkq9Lo7m alice@host",
    "-----BEGIN CERTIFICATE-----\nMIIDdzCCAl+gAwIBAgIEAgAAuTANBgkqhkiG9w0BAQUFADBaMQswCQYDVQQGEwJJ\n-----END CERTIFICATE-----",
    "2026-01-02T03:04:05.678Z INFO module.sub.thing: began",
    "eyJust a word, and eyJ.not.one",
    "rank 0 | it/s 3.21 | mem 12345MiB | lr 1e-05 | grad_norm 0.7812345678901234",
    "authorization: none, bearer of bad news",
    "hf_hub_download hf_transfer hf_home",
    "torch==2.13.0+cu128 nvidia-cublas-cu12==12.8.4.1 numpy==2.1.0",
    "GPU-5d1b0c2e-8a43-7f2b-90ab-1234567890ab",
    "author_token_embedding_dim: 768",
    "0x7f8a9b0c1d2e3f40 at 0xdeadbeefcafebabe",
    "arn:aws:iam::123456789012:role/SageMakerRole",
]  # fmt: skip


@pytest.mark.parametrize("name", TOKENS)
def test_a_token_is_masked_wherever_it_stands(name: str) -> None:
    token = TOKENS[name]
    for place in PLACES:
        found = redact(place.format(token))

        assert token not in found, place
        assert token[-12:] not in found, place
        assert MASK in found
        assert redact(found) == found


def test_there_are_enough_of_them() -> None:
    assert len(TOKENS) + len(SENTENCES) >= 100
    assert len(set(TOKENS.values())) == len(TOKENS)


@pytest.mark.parametrize(("text", "secret"), SENTENCES)
def test_a_secret_is_known_by_what_stands_before_it(text: str, secret: str) -> None:
    """And what stands around it stays."""
    found = redact(text)

    assert secret not in found
    assert found.replace(MASK, "").strip() != ""
    assert found.startswith(text[:4])


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("prefix", ["", "+", "    ", "> "])
def test_a_private_key_goes_and_its_lines_stay(prefix: str) -> None:
    text = "\n".join(prefix + line for line in PEM.splitlines()) + f"\n{prefix}after {'Zq1' * 10}\n"
    found = redact(text)

    assert letters(64)[:16] not in found
    assert found.count("\n") == text.count("\n")
    assert [line[: len(prefix)] for line in found.splitlines()] == [prefix] * 5
    assert f"after {'Zq1' * 10}" in found
    assert letters(64)[:20] not in redact('{"private_key": "' + PEM.replace("\n", "\\n") + '"}')
    assert letters(64)[:20] not in redact(PEM[:90])


def test_the_rest_of_a_text_stays_to_the_letter() -> None:
    text = f"a\r\nb = '{TOKENS['github']}' # {TOKENS['openai']}\tÄ\u2028İ\r\nlast"

    assert redact_counted(text) == (f"a\r\nb = '{MASK}' # {MASK}\tÄ\u2028İ\r\nlast", 2)
    assert redact_bytes(b"\xff\x00 password: hunter2\r\n") == (b"\xff\x00 password: [redacted]\r\n", 1)
    assert redact_bytes(b"\xff\x00nothing")[1] == 0


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        (["train.py", "--api-key", "abc", "--lr", "0.1"], ["train.py", "--api-key", MASK, "--lr", "0.1"]),
        (["--wandb_api_key=abc", "--password=x"], [f"--wandb_api_key={MASK}", f"--password={MASK}"]),
        (["--token", "--verbose"], ["--token", "--verbose"]),
        (["logger.api_key=abc", "model.hidden=3"], [f"logger.api_key={MASK}", "model.hidden=3"]),
        (["--pad-token", "<pad>", "--max-tokens", "12"], ["--pad-token", "<pad>", "--max-tokens", "12"]),
        (["--db", "postgres://u:p4ss@h/d"], ["--db", f"postgres://u:{MASK}@h/d"]),
        (["--hub", "hf_" + letters(34)], ["--hub", MASK]),
        (["--key", "loss", "--password-file", "/a/b"], ["--key", "loss", "--password-file", "/a/b"]),
    ],
)  # fmt: skip
def test_a_command_line_is_masked_by_its_names(arguments: list[str], kept: list[str]) -> None:
    assert redact_arguments(arguments) == kept


def test_values_are_masked_by_the_names_above_them() -> None:
    values = {
        "lr": 0.1,
        "api_key": "abc",
        "token": "x",
        "pad_token": "<pad>",
        "password": 12345,
        "nested": {"DB_PASSWORD": "x", "url": "mysql://u:pw@h/d", "tokens": [1, 2], "list": ["a", TOKENS["slack-bot"]]},
        "credentials": {"user": "alice", "more": ["b"]},
        "secret": None,
        "secret_key": "",
        "model": "meta-llama/Llama-3.1-8B-Instruct",
    }
    before = repr(values)
    found, names = redact_values(values)

    assert found == {
        "lr": 0.1,
        "api_key": MASK,
        "token": MASK,
        "pad_token": "<pad>",
        "password": 12345,
        "nested": {"DB_PASSWORD": MASK, "url": f"mysql://u:{MASK}@h/d", "tokens": [1, 2], "list": ["a", MASK]},
        "credentials": {"user": MASK, "more": [MASK]},
        "secret": None,
        "secret_key": "",
        "model": "meta-llama/Llama-3.1-8B-Instruct",
    }
    assert names == ["api_key", "token", "nested.DB_PASSWORD", "nested.url", "nested.list", "credentials.user",
                     "credentials.more"]  # fmt: skip
    assert repr(values) == before
    assert redact_values({"a": 1}) == ({"a": 1}, [])


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://alice:pw@example.org/a/b.git", "https://example.org/a/b.git"),
        ("https://alice@example.org/a", "https://example.org/a"),
        ("https://x-access-token:ghs_abc@github.com/a/b", "https://github.com/a/b"),
        ("git@github.com:a/b.git", "git@github.com:a/b.git"),
        ("ssh://git@example.org:22/a", "ssh://git@example.org:22/a"),
        ("ssh://git:pw@example.org/a", "ssh://git@example.org/a"),
        ("/srv/git/a.git", "/srv/git/a.git"),
        ("file:///srv/git/a.git", "file:///srv/git/a.git"),
        ("https://example.org/a@b/c", "https://example.org/a@b/c"),
    ],
)
def test_an_address_loses_who_asks(url: str, kept: str) -> None:
    assert redact_url(url) == kept


@pytest.mark.parametrize(
    "name",
    ["password", "DB_PASSWORD", "api_key", "apiKey", "API-KEY", "x.api_key", "clientSecret", "aws_secret_access_key",
     "AWS_SESSION_TOKEN", "hf_token", "wandbApiKey", "private_key", "credentials", "smtp_pass", "api_key_2"],
)  # fmt: skip
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    ["lr", "key", "sort_key", "pad_token", "max_tokens", "tokenizer", "token_ids", "author", "password_file", "keys",
     "secret_name", "compass", "num_attention_heads", "auth_type", "public_key", "monkey", "tokens", "token_type"],
)  # fmt: skip
def test_names_of_other_things(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    "unit",
    ["a", "aB3", "password", "password=", "token: ", "key=\"", "sk-", "://", "://a:", "eyJa.", "-----BEGIN PRIVATE KEY-----",
     "\\\"", "bearer ", "curl -u ", "api_key: x | ", "=", "login x password ", "gl", "a.b/c-d_e+", "AKIA", "\n", "'", "M2"],
)  # fmt: skip
def test_a_long_text_comes_to_an_end(unit: str) -> None:
    """Half a megabyte of what makes careless patterns go back and forth: that would take hours."""
    text = unit * (500_000 // len(unit))
    found, count = redact_counted(text)

    assert count == 0 or MASK in found
    assert (count == 0) == (found == text)


def test_lines_that_come_bit_by_bit() -> None:
    """A private key is one, however its lines arrive; what comes behind it is none of it."""
    lines = ["before hunter2", *PEM.splitlines(), "password: hunter2", letters(40), "", "end"]
    expected = redact("\n".join(lines)).split("\n")
    for size in (1, 2, 3, 100):
        redactor = Redactor()
        found = [line for at in range(0, len(lines), size) for line in redactor.lines(lines[at : at + size])]

        assert found == expected, size
    endless = Redactor()
    endless.lines(["-----BEGIN PRIVATE KEY-----"])
    for _ in range(300):
        endless.lines([letters(40)])
    assert endless.lines([letters(40)]) == [letters(40)]
